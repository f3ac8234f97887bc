"""Panoptic maps: the class and the instance of every pixel (Kirillov et al., CVPR 2019).

A panoptic map is (H, W) int32: class id * DIVISOR + instance. Instances of a thing class count from 1. Instance 0 is a
whole class: stuff or, for a thing class, a crowd: a group without single instances. VOID has no class and counts
nowhere.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable

DIVISOR = 1000
"""Instances of one class in one image are fewer than this."""

VOID = IGNORE_LABEL * DIVISOR
"""The value of a pixel without a class."""

METHODS = {"centers": "predicted centers and offsets", "components": "connected components of each class of things"}
"""Ways to make a panoptic map; every score names its own, because they are not comparable."""


class Prediction(NamedTuple):
    """Outputs of a network for an (H, W) image at a stride s; None for those that it does not have."""

    label_map: np.ndarray  # (H/s, W/s) uint8 class ids
    center: Optional[np.ndarray] = None  # (H/s, W/s) float32: 1 at the center of mass of an instance, falling off
    offset: Optional[np.ndarray] = None  # (H/s, W/s, 2) float32: rows and columns from a pixel to its center
    logits: Optional[np.ndarray] = None  # (H/s, W/s, C) float32: an array, or what numpy.asarray makes one of


def panoptic_map(label_map: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Return the panoptic map of classes and instances.

    Args:
        label_map: (H, W) uint8 class ids and IGNORE_LABEL.
        instances: (H, W) integers below DIVISOR: the instance of each pixel, or 0.
    """
    joined = label_map.astype(np.int32)
    joined *= DIVISOR
    joined += instances.astype(np.int32, copy=False)
    joined[label_map == IGNORE_LABEL] = VOID
    return joined


def label_map_of(panoptic: np.ndarray) -> np.ndarray:
    """Return the (H, W) uint8 class ids and IGNORE_LABEL of a panoptic map."""
    return (panoptic // DIVISOR).astype(np.uint8)


def thing_classes(table: LabelTable) -> np.ndarray:
    """Return (256,) bool: which ids are classes of things."""
    things = np.zeros(256, bool)
    things[[label.id for label in table if label.thing]] = True
    return things


def segments_of(panoptic: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the segments of a panoptic map.

    Returns:
        (N,) their values, ascending, VOID among them; (N,) pixels of each; (H * W,) which of the N each pixel is in.
    """
    flat = np.ascontiguousarray(panoptic).reshape(-1)
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    if low < 0 or high > VOID:
        wrong = low if low < 0 else high
        raise DeepLabError(f"A panoptic map holds class * {DIVISOR} + instance, at most {VOID}; got {wrong}.")
    return distinct(flat)


def distinct(numbers: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, counts and inverse as numpy.unique does, of (N,) integers.

    Only the first of a run of equal numbers is sorted: segments are such runs, and their ids may be large.
    """
    is_first = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    values, inverse = np.unique(numbers[starts], return_inverse=True)
    lengths = np.diff(np.append(starts, len(numbers)))
    counts = np.bincount(inverse, lengths, len(values)).astype(np.int64)
    return values, counts, np.repeat(inverse.astype(np.int32), lengths)


def instance_counts(panoptic: np.ndarray, table: LabelTable) -> List[int]:
    """Return how many instances of each class there are, by class id; 0 for stuff."""
    values = np.flatnonzero(np.bincount(panoptic.reshape(-1), minlength=1))
    single = thing_classes(table)[values // DIVISOR] & (values % DIVISOR > 0)
    return np.bincount((values // DIVISOR)[single], minlength=len(table)).tolist()
