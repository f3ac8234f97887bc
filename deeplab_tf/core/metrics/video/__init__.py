"""Scores of panoptic videos: STQ, VPQ, IDF1 and MOTA, all from one table of shared pixels for each frame."""

from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.metrics.confusion import check_equal_sizes
from deeplab_tf.core.panoptic.segments import SegmentMap


class FrameCounts(NamedTuple):
    """How T true and P predicted segments of a frame meet."""

    true_classes: np.ndarray  # (T,) int64; IGNORE_LABEL without a class
    true_numbers: np.ndarray  # (T,) int64; 0 for stuff and groups
    classes: np.ndarray  # (P,)
    numbers: np.ndarray  # (P,)
    pairs: np.ndarray  # (T, P) int64 pixels


def count_frame(truth: SegmentMap, prediction: SegmentMap, num_classes: int) -> FrameCounts:
    """Count the pixels that each pair of segments shares.

    Args:
        truth, prediction: of one frame, of one size.
        num_classes: C; class ids are below it, or IGNORE_LABEL.

    Raises:
        DeepLabError: sizes that differ, or a class that does not exist.
    """
    check_equal_sizes(truth.where, prediction.where)
    for name, segments in (("truth", truth), ("prediction", prediction)):
        unknown = segments.classes[(segments.classes >= num_classes) & (segments.classes != IGNORE_LABEL)]
        if unknown.size:
            raise DeepLabError(
                f"The {name} holds class {unknown[0]}, which does not exist; expected classes 0 to {num_classes - 1}."
            )
    shape = len(truth.classes), len(prediction.classes)
    joint = truth.where.reshape(-1).astype(np.int64) * shape[1] + prediction.where.reshape(-1)
    pairs = np.bincount(joint, minlength=shape[0] * shape[1]).reshape(shape)
    return FrameCounts(*truth[:2], *prediction[:2], pairs)
