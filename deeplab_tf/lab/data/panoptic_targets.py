"""Training targets of a network that predicts instances: the inverse of `deeplab_tf.core.panoptic.grouping` (Cheng et
al., CVPR 2020, section 3.2)."""

from typing import NamedTuple

import cv2
import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, label_map_of, segments_of, thing_classes


class Targets(NamedTuple):
    """The targets of an image, with the weight of each pixel."""

    label_map: np.ndarray  # (H, W) uint8 class ids and IGNORE_LABEL
    label_weight: np.ndarray  # (H, W) float32
    center: np.ndarray  # (H, W) float32: 1 at the center of mass of an instance, a Gaussian around it
    center_weight: np.ndarray  # (H, W) float32: 0 on VOID and on crowds, whose centers are unknown
    offset: np.ndarray  # (H, W, 2) float32: rows and columns to the center of a pixel's instance
    offset_weight: np.ndarray  # (H, W) float32: 1 on instances


def panoptic_targets(
    panoptic: np.ndarray, table: LabelTable, *, sigma: float = 8.0, small: int = 4096, small_weight: float = 3.0
) -> Targets:
    """Return the targets of an image or a crop; centers are those of the visible parts.

    Args:
        panoptic: (H, W) int32 panoptic map.
        table: its classes.
        sigma: standard deviation of the Gaussians, in pixels.
        small: pixels below which an instance is small.
        small_weight: weight of a small instance's pixels in its class.
    """
    values, areas, index = segments_of(panoptic)
    things = thing_classes(table)[values // DIVISOR]
    single, crowd = things & (values % DIVISOR > 0), things & (values % DIVISOR == 0)
    rows, columns = (side.reshape(-1) for side in np.indices(panoptic.shape, np.float32))
    centers = np.stack([np.bincount(index, weights=side) / areas for side in (rows, columns)], axis=1)
    centers = centers.astype(np.float32)  # (N, 2)
    offset = (centers[index] - np.stack([rows, columns], axis=1)) * single[index, None]

    center = _gaussians(np.rint(centers[single]).astype(int), panoptic.shape, sigma)
    label_weight = np.where(single & (areas < small), small_weight, 1.0).astype(np.float32)
    known = ((values != VOID) & ~crowd).astype(np.float32)
    shape = panoptic.shape
    return Targets(
        label_map_of(panoptic),
        label_weight[index].reshape(shape),
        center,
        known[index].reshape(shape),
        offset.astype(np.float32).reshape(*shape, 2),
        single.astype(np.float32)[index].reshape(shape),
    )


def _gaussians(centers, shape, sigma):
    """(H, W) float32: at each pixel the Gaussian of the nearest of (K, 2) centers; 0 everywhere without any.

    Squares of distances between pixels are integers, and are rounded to them: OpenCV's distances differ from call to
    call.
    """
    if not len(centers):
        return np.zeros(shape, np.float32)
    free = np.ones(shape, np.uint8)
    free[centers[:, 0], centers[:, 1]] = 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squares = np.rint(distance * distance).astype(np.int32)
    values = np.exp(-np.arange(int(40 * sigma**2) + 1) / (2 * sigma**2))  # the last is 2e-9
    return values.astype(np.float32)[np.minimum(squares, len(values) - 1)]
