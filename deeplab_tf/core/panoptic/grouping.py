"""Panoptic maps from the outputs of a network (Cheng et al., CVPR 2020, section 3.2), or from its label map alone.

Both leave out segments that cover too small a share of the image.
"""

from typing import Dict, Tuple

import cv2
import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, Prediction, thing_classes

THRESHOLD = 0.3
"""Of the heat map; lower values are no center. Cheng et al. take 0.1, but low peaks are more often second centers of an
instance than instances of their own."""
NEIGHBORHOOD = 7
"""Side of the square, in pixels of the image, in which only the highest value can be a center."""
SMALLEST_STUFF = 1 / 32768
"""Share of the image; a stuff class that covers less is VOID. Cheng et al. take 1 / 1025, which leaves out poles and
lights."""
SMALLEST_THING = 1 / 32768
"""Share of the image; an instance that covers less is VOID."""


def to_panoptic(prediction: Prediction, table: LabelTable, *, stride: int = 1) -> Tuple[np.ndarray, str]:
    """Return the panoptic map of a prediction, and the one of `deeplab_tf.core.panoptic.METHODS` that made it.

    Pixels are grouped if the prediction has centers and offsets; otherwise instances are connected components.
    """
    if prediction.center is None or prediction.offset is None:
        return components(prediction.label_map, table), "components"
    return group_pixels(prediction.label_map, prediction.center, prediction.offset, table, stride=stride), "centers"


def group_pixels(
    label_map: np.ndarray,
    center: np.ndarray,
    offset: np.ndarray,
    table: LabelTable,
    *,
    stride: int = 1,
    threshold: float = THRESHOLD,
    smallest_stuff: float = SMALLEST_STUFF,
    smallest_thing: float = SMALLEST_THING,
) -> np.ndarray:
    """Assign each pixel of a thing class to the center that its offset points at; the instance gets its majority class.

    The target of an offset is rounded to a whole position and kept inside the map.

    Args:
        label_map: (h, w) uint8 class ids.
        center: (h, w) float32: 1 at the center of mass of an instance, falling off around it.
        offset: (h, w, 2) float32: rows and columns from a pixel to its center, in pixels of the network's image.
        table: the classes.
        stride: stride of the three maps, in pixels of that image.
        threshold, smallest_stuff, smallest_thing: see the constants of this module.

    Returns:
        (h, w) int32 panoptic map; without any center, pixels of things are VOID.
    """
    panoptic, things = _stuff(label_map, table, smallest_stuff)
    pixels = np.flatnonzero(things)
    centers = find_centers(center, stride=stride, threshold=threshold)
    if not len(pixels) or not len(centers):
        return panoptic
    instance = _nearest(pixels, offset, centers, label_map.shape, stride)
    classes = label_map.reshape(-1)[pixels]
    votes = np.bincount(instance * len(table) + classes, minlength=len(centers) * len(table))
    votes = votes.reshape(len(centers), len(table))
    values = _values(votes.argmax(axis=1), votes.sum(axis=1), smallest_thing * label_map.size)
    panoptic.reshape(-1)[pixels] = values[instance]
    return panoptic


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


def components(
    label_map: np.ndarray,
    table: LabelTable,
    *,
    smallest_stuff: float = SMALLEST_STUFF,
    smallest_thing: float = SMALLEST_THING,
) -> np.ndarray:
    """Take each connected component of a thing class as an instance: touching instances merge, occluded ones split.

    Arguments and result are those of `group_pixels`.
    """
    panoptic, things = _stuff(label_map, table, smallest_stuff)
    present = np.flatnonzero(np.bincount(label_map[things], minlength=256))
    for class_id in present:
        count, regions, stats, _ = cv2.connectedComponentsWithStats(
            (label_map == class_id).view(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0  # the background
        values = _values(np.full(count, class_id), areas, smallest_thing * label_map.size)
        inside = regions > 0
        panoptic[inside] = values[regions[inside]]
    return panoptic


def _stuff(label_map, table, smallest):
    """Return the panoptic map of stuff alone, with things VOID; and (h, w) bool, the pixels of things."""
    counts = cv2.calcHist([label_map], [0], None, [256], [0, 256])[:, 0]
    things = thing_classes(table)
    values = np.full(256, VOID, np.int32)
    for label in table:
        if not label.thing and counts[label.id] >= smallest * label_map.size:
            values[label.id] = label.id * DIVISOR
    return values[label_map], things[label_map]


def _nearest(pixels, offset, centers, shape, stride):
    """Return (N,) the center that each of N pixels points at.

    A distance transform gives every position its nearest center, which leaves one look-up per pixel. Its distances are
    good to two per cent: a pixel that points between two centers may go to one that is a little farther.
    """
    height, width = shape
    free = np.ones(shape, np.uint8)
    free[centers[:, 0], centers[:, 1]] = 0
    _, nearest = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(len(centers) + 1, np.int32)
    number[nearest[centers[:, 0], centers[:, 1]]] = np.arange(len(centers))
    rows, columns = np.divmod(pixels, width)
    moved = offset.reshape(-1, 2)[pixels] / np.float32(stride)
    rows = np.clip(np.rint(rows + moved[:, 0]), 0, height - 1).astype(np.int32)
    columns = np.clip(np.rint(columns + moved[:, 1]), 0, width - 1).astype(np.int32)
    return number[nearest[rows, columns]]


def _values(classes, areas, smallest):
    """Return (K,) int32, the panoptic value of each of K instances: counted from 1 in each class, VOID if too small."""
    values = np.full(len(classes), VOID, np.int32)
    counts: Dict[int, int] = {}
    for i in np.flatnonzero(areas >= max(1, smallest)):
        class_id = int(classes[i])
        counts[class_id] = counts.get(class_id, 0) + 1
        if counts[class_id] < DIVISOR:
            values[i] = class_id * DIVISOR + counts[class_id]
    return values
