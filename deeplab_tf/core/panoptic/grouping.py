"""Panoptic maps from the outputs of a network (Cheng et al., CVPR 2020, section 3.2), or from its label map alone.

Every pixel with a class is in a segment: VOID is only what the label map ignores. Cheng et al. leave out small
segments; here stuff keeps every pixel, and what is too small for an instance joins the nearest one of its class.
"""

from typing import Dict, Optional, Tuple

import cv2
import numpy as np

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, Prediction, distinct, thing_classes

THRESHOLD = 0.3
"""Of the heat map; lower values are no center. Cheng et al. take 0.1, but low peaks are more often second centers of an
instance than instances of their own."""
NEIGHBORHOOD = 7
"""Side of the square, in pixels of the image, in which only the highest value can be a center."""
SMALLEST_THING = 1 / 32768
"""Share of the image; what covers less is no instance of its own."""


def to_panoptic(
    prediction: Prediction, table: LabelTable, *, stride: int = 1, label_map: Optional[np.ndarray] = None
) -> Tuple[np.ndarray, str]:
    """Return the panoptic map of a prediction, and the one of `deeplab_tf.core.panoptic.METHODS` that made it.

    Pixels are grouped if the prediction has centers and offsets; otherwise instances are connected components.

    Args:
        stride: of the prediction.
        label_map: (H, W) uint8 class ids to take in place of the prediction's own, at any size.
    """
    label_map = prediction.label_map if label_map is None else label_map
    if prediction.center is None or prediction.offset is None:
        return components(label_map, table), "components"
    return group_pixels(label_map, prediction.center, prediction.offset, table, stride=stride), "centers"


def group_pixels(
    label_map: np.ndarray,
    center: np.ndarray,
    offset: np.ndarray,
    table: LabelTable,
    *,
    stride: int = 1,
    threshold: float = THRESHOLD,
    smallest: float = SMALLEST_THING,
) -> np.ndarray:
    """Assign each pixel of a thing class to the center that its offset points at; the instance gets its majority class.

    The target of an offset is rounded to a whole position and kept inside the map.

    Args:
        label_map: (H, W) uint8 class ids, at any size.
        center: (h, w) float32: 1 at the center of mass of an instance, falling off around it.
        offset: (h, w, 2) float32: rows and columns from a pixel to its center, in pixels of the network's image.
        table: the classes.
        stride: stride of center and offset, in pixels of that image.
        threshold: see THRESHOLD.
        smallest: see SMALLEST_THING.

    Returns:
        (H, W) int32 panoptic map. Pixels of things without an instance of their class anywhere have instance 0.
    """
    panoptic, things = _stuff(label_map, table)
    pixels = np.flatnonzero(things)
    centers = find_centers(center, stride=stride, threshold=threshold)
    if len(pixels) and len(centers):
        instance = _nearest(_positions(pixels, label_map.shape, center.shape, stride), offset, centers, stride)
        classes = label_map.reshape(-1)[pixels]
        votes = np.bincount(instance * len(table) + classes, minlength=len(centers) * len(table))
        votes = votes.reshape(len(centers), len(table))
        values = _values(votes.argmax(axis=1), votes.sum(axis=1), smallest * label_map.size)
        panoptic.reshape(-1)[pixels] = values[instance]
    return _with_rest(panoptic, label_map, things)


def find_centers(center: np.ndarray, *, stride: int = 1, threshold: float = THRESHOLD) -> np.ndarray:
    """Return the (K, 2) rows and columns of the peaks of a heat map: above the threshold and highest around.

    They come row by row; of neighbors that are equally high the first is taken.
    """
    side = max(3, NEIGHBORHOOD // stride | 1)
    highest = cv2.dilate(center, np.ones((side, side), np.uint8))
    peaks = (center >= highest) & (center > threshold)
    found = np.argwhere(peaks)
    _, plateaus = cv2.connectedComponents(peaks.view(np.uint8), connectivity=8)
    _, first = np.unique(plateaus[found[:, 0], found[:, 1]], return_index=True)  # of equal neighbors one
    return found[np.sort(first)]


def components(label_map: np.ndarray, table: LabelTable, *, smallest: float = SMALLEST_THING) -> np.ndarray:
    """Take each connected component of a thing class as an instance: touching instances merge, occluded ones split.

    Arguments and result are those of `group_pixels`.
    """
    panoptic, things = _stuff(label_map, table)
    present = np.flatnonzero(np.bincount(label_map[things], minlength=256))
    for class_id in present:
        count, regions, stats, _ = cv2.connectedComponentsWithStats(
            (label_map == class_id).view(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0  # the background
        values = _values(np.full(count, class_id), areas, smallest * label_map.size)
        inside = regions > 0
        panoptic[inside] = values[regions[inside]]
    return _with_rest(panoptic, label_map, things)


def _stuff(label_map, table):
    """Return the panoptic map of stuff alone, with things VOID; and (H, W) bool, the pixels of things."""
    values = np.full(256, VOID, np.int32)
    for label in table:
        if not label.thing:
            values[label.id] = label.id * DIVISOR
    return cv2.LUT(label_map, values), cv2.LUT(label_map, thing_classes(table).view(np.uint8)).view(bool)


def _with_rest(panoptic, label_map, things):
    """Give pixels of things that are in no instance to the instance of their class whose center is nearest; without
    any, to instance 0."""
    flat, rest = panoptic.reshape(-1), np.flatnonzero(things & (panoptic == VOID))
    classes = label_map.reshape(-1)[rest]
    for class_id in np.flatnonzero(np.bincount(classes, minlength=256)):
        own = rest[classes == class_id]
        members = np.flatnonzero((panoptic >= class_id * DIVISOR) & (panoptic < (class_id + 1) * DIVISOR))
        if not len(members):
            flat[own] = class_id * DIVISOR
            continue
        instances, areas, index = distinct(flat[members] - class_id * DIVISOR)
        centers = [np.bincount(index, weights) / areas for weights in np.divmod(members, panoptic.shape[1])]
        for part in np.array_split(own, 1 + len(own) * len(centers[0]) // 10**6):  # in blocks of some 10 MB
            places = np.divmod(part, panoptic.shape[1])
            distances = sum((here[:, None] - there) ** 2 for here, there in zip(places, centers))
            flat[part] = class_id * DIVISOR + instances[distances.argmin(axis=1)]
    return panoptic


def _positions(pixels, size, source, stride):
    """Return (N,) the positions, in the flat map of a network's outputs, of N pixels of a map of another size."""
    if size == source:
        return pixels
    positions = np.arange(source[0] * source[1], dtype=np.int32).reshape(source)
    return resize_labels(positions, size, stride).reshape(-1)[pixels]


def _nearest(positions, offset, centers, stride):
    """Return (N,) the center that the offset at each of N positions points at.

    A distance transform gives every position its nearest center, which leaves one look-up per pixel. Its distances are
    good to two per cent: a pixel that points between two centers may go to one that is a little farther.
    """
    height, width = offset.shape[:2]
    free = np.ones((height, width), np.uint8)
    free[centers[:, 0], centers[:, 1]] = 0
    _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(len(centers) + 1, np.int32)
    number[nearest[centers[:, 0], centers[:, 1]]] = np.arange(len(centers))
    rows, columns = np.divmod(positions, width)
    moved = offset.reshape(-1, 2)[positions] / np.float32(stride)
    rows = np.clip(np.rint(rows + moved[:, 0]), 0, height - 1).astype(np.int32)
    columns = np.clip(np.rint(columns + moved[:, 1]), 0, width - 1).astype(np.int32)
    return number[nearest[rows, columns]]


def _values(classes, areas, smallest):
    """Return (K,) int32, the panoptic value of each of K instances: counted from 1 in each class, VOID if too small or
    too many."""
    values = np.full(len(classes), VOID, np.int32)
    counts: Dict[int, int] = {}
    for i in np.flatnonzero(areas >= max(1, smallest)):
        class_id = int(classes[i])
        counts[class_id] = counts.get(class_id, 0) + 1
        if counts[class_id] < DIVISOR:
            values[i] = class_id * DIVISOR + counts[class_id]
    return values
