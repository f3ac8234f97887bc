"""From what a network predicts to a panoptic map (Cheng et al., CVPR 2020, section 3.2), and the cheap way for networks
without instances.

Both leave out what is too small to be believed, by the share of the image that it covers.
"""

from typing import Tuple

import cv2
import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, Prediction, thing_classes

THRESHOLD = 0.3
"""Of the heat map; what is lower is no center. The paper's authors take 0.1, which costs 0.013 of PQ on training scenes
of `configs/sample_panoptic.yaml`: low peaks are second centers of a thing more often than things of their own. 0.2 to
0.4 are alike."""
NEIGHBOURHOOD = 7
"""Pixels of the image, a side, in which only the highest value can be a center."""
SMALLEST_STUFF = 1 / 32768
"""Share of the image; a class of stuff that covers less is VOID. The paper's authors take 1 / 1025, which leaves out
poles and lights."""
SMALLEST_THING = 1 / 32768
"""Share of the image; a thing that covers less is VOID."""


def to_panoptic(prediction: Prediction, table: LabelTable, *, stride: int = 1) -> Tuple[np.ndarray, str]:
    """The panoptic map of a prediction, and which of `deeplab_tf.core.panoptic.METHODS` made it: `group` where there
    are centers, or `components`."""
    if prediction.center is None:
        return components(prediction.label_map, table), "components"
    return group(prediction.label_map, prediction.center, prediction.offset, table, stride=stride), "centers"


def group(
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
    """Every pixel of a thing goes to the center that its offset points at, and every thing gets the class that most of
    its pixels have.

    An offset's target is rounded to a whole position and kept inside the map.

    Args:
        label_map: (h, w) uint8 class ids.
        center: (h, w) float32: 1 at the center of mass of a thing, falling off around it.
        offset: (h, w, 2) float32: rows and columns to the center of a pixel's thing, in pixels of the network's image.
        table: the classes.
        stride: pixels of that image a side for one position of the three maps.
        threshold, smallest_stuff, smallest_thing: see the constants of this module.

    Returns:
        (h, w) int32 panoptic map; pixels of things are VOID where there is no center at all.
    """
    panoptic, things = _stuff(label_map, table, smallest_stuff)
    pixels = np.flatnonzero(things)
    centers = find_centers(center, stride=stride, threshold=threshold)
    if not len(pixels) or not len(centers):
        return panoptic
    instance = _nearest(pixels, offset, centers, label_map.shape, stride)
    classes = label_map.reshape(-1)[pixels]
    votes = np.bincount(instance * len(table) + classes, minlength=(len(centers)) * len(table)).reshape(
        len(centers), len(table)
    )
    panoptic.reshape(-1)[pixels] = _values(votes.argmax(axis=1), votes.sum(axis=1), smallest_thing * label_map.size)[
        instance
    ]
    return panoptic


def find_centers(center: np.ndarray, *, stride: int = 1, threshold: float = THRESHOLD) -> np.ndarray:
    """(K, 2) rows and columns of the peaks of a heat map, row by row: what is above the threshold and highest in its
    neighbourhood.

    Of neighbours that are equally high the first is taken.
    """
    side = max(3, NEIGHBOURHOOD // stride | 1)
    highest = cv2.dilate(center, np.ones((side, side), np.uint8))
    peaks = (center >= highest) & (center > threshold)
    found = np.argwhere(peaks)
    _, plateaus = cv2.connectedComponents(peaks.view(np.uint8), connectivity=8)
    _, first = np.unique(plateaus[found[:, 0], found[:, 1]], return_index=True)  # of equal neighbours one
    return found[np.sort(first)]


def components(
    label_map: np.ndarray,
    table: LabelTable,
    *,
    smallest_stuff: float = SMALLEST_STUFF,
    smallest_thing: float = SMALLEST_THING,
) -> np.ndarray:
    """Each connected region of a class of things is one thing: things that touch are taken for one, and a thing behind
    a pole for two.

    Arguments and result as of `group`.
    """
    panoptic, things = _stuff(label_map, table, smallest_stuff)
    present = np.flatnonzero(np.bincount(label_map[things], minlength=256))
    for class_id in present:
        count, regions, stats, _ = cv2.connectedComponentsWithStats(
            (label_map == class_id).view(np.uint8), connectivity=8
        )
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0  # what is not of this class
        values = _values(np.full(count, class_id), areas, smallest_thing * label_map.size)
        inside = regions > 0
        panoptic[inside] = values[regions[inside]]
    return panoptic


def _stuff(label_map, table, smallest):
    """The panoptic map with stuff alone, things VOID; and (h, w) bool, where things are."""
    counts = cv2.calcHist([label_map], [0], None, [256], [0, 256])[:, 0]
    things = thing_classes(table)
    values = np.full(256, VOID, np.int32)
    for label in table:
        if not label.thing and counts[label.id] >= smallest * label_map.size:
            values[label.id] = label.id * DIVISOR
    return values[label_map], things[label_map]


def _nearest(pixels, offset, centers, shape, stride):
    """(N,) which center each of N pixels points at.

    A distance transform tells every position its nearest center once; what is left is a look-up a pixel. Its distances
    are good to two per cent, so a pixel that points between two centers may go to one that is a little farther.
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
    """(K,) int32: a panoptic value for each of K things, counted from 1 in each class; VOID for one that is too
    small."""
    values, counts = np.full(len(classes), VOID, np.int32), {}  # type: np.ndarray, dict
    for i in np.flatnonzero(areas >= max(1, smallest)):
        class_id = int(classes[i])
        counts[class_id] = counts.get(class_id, 0) + 1
        if counts[class_id] < DIVISOR:
            values[i] = class_id * DIVISOR + counts[class_id]
    return values
