"""Segments of one frame of a video: a class, and a number that is the same in all frames."""

from typing import NamedTuple, Tuple

import numpy as np

from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, segments_of, thing_classes


class SegmentMap(NamedTuple):
    """The N segments of a frame, and which of them each pixel is in."""

    classes: np.ndarray  # (N,) int64 class ids; IGNORE_LABEL for pixels without a class
    numbers: np.ndarray  # (N,) int64: of a thing, from 1; 0 for stuff, for groups of things and without a class
    where: np.ndarray  # (H, W) int32: which of the N, from 0


def segment_map(panoptic: np.ndarray, table: LabelTable) -> SegmentMap:
    """Return the segments of an (H, W) int32 panoptic map; things are numbered by their instances."""
    values, _, index = segments_of(panoptic)
    classes = np.where(values == VOID, IGNORE_LABEL, values // DIVISOR)
    return joined(classes, values % DIVISOR, thing_classes(table), index.reshape(panoptic.shape))


def joined(classes: np.ndarray, numbers: np.ndarray, things: np.ndarray, index: np.ndarray) -> SegmentMap:
    """Return a map in which segments of one class and number are one, and only things have numbers.

    Args:
        classes, numbers: (N,) of segments that may repeat.
        things: (256,) bool, which classes are things.
        index: (H, W) or (H * W,) which of the N each pixel is in.
    """
    keys = keys_of(classes, np.where(things[classes], numbers, 0))
    unique, new = np.unique(keys, return_inverse=True)
    merged, single = from_keys(unique)
    return SegmentMap(merged, single, new.reshape(-1).astype(np.int32)[index])


def keys_of(classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return one int64 for each class and number; classes below 256, numbers below 2 ** 48."""
    return (np.asarray(classes, np.int64) << 48) + numbers


def from_keys(keys: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return classes and numbers: the inverse of `keys_of`."""
    return keys >> 48, keys & ((1 << 48) - 1)
