"""Segmentation and tracking quality (Weber et al., STEP, NeurIPS 2021): STQ = sqrt(AQ * SQ).

SQ is mIoU over all pixels. AQ takes each true thing of a video as a tube, all its pixels in all frames: the mean over
the tubes of 1 / |g| * sum over the predicted tubes p of |p and g| * IoU(p, g). Classes play no part in it. As in the
authors' program, predicted pixels on a true group of things (a crowd) count nowhere in AQ.
"""

from typing import Dict, Tuple

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.video import FrameCounts
from deeplab_tf.core.panoptic import thing_classes
from deeplab_tf.core.panoptic.segments import keys_of


class StepQuality:
    """Counts tubes and pixels; `update` counts a frame, `end_sequence` its sequence, the other methods return scores.

    Attributes:
        confusion: of all pixels.
        tubes: (C,) int64: true things of each class, in all sequences.
        association: (C,) float64: their summed association quality.
    """

    def __init__(self, table: LabelTable):
        self.confusion = ConfusionMatrix(len(table))
        self.tubes, self.association = np.zeros(len(table), np.int64), np.zeros(len(table))
        self._things = thing_classes(table)
        self._begin()

    def _begin(self):
        self._true: Dict[int, int] = {}
        self._predicted: Dict[int, int] = {}
        self._joint: Dict[Tuple[int, int], int] = {}

    def update(self, frame: FrameCounts) -> None:
        """Count the next frame of a sequence."""
        pixels = np.zeros((256, 256), np.int64)
        np.add.at(pixels, (frame.true_classes[:, None], frame.classes[None]), frame.pairs)
        self.confusion.add_pairs(pixels)
        true_things = self._things[frame.true_classes]
        single = true_things & (frame.true_numbers > 0)
        predicted = self._things[frame.classes]
        true_keys = keys_of(frame.true_classes, frame.true_numbers)
        keys = keys_of(frame.classes, frame.numbers)
        counted = frame.pairs[~true_things | single]  # not on crowds
        _add(self._true, true_keys[single], frame.pairs[single].sum(axis=1))
        _add(self._predicted, keys[predicted], counted[:, predicted].sum(axis=0))
        rows, columns = np.nonzero(frame.pairs * (single[:, None] & predicted))
        for row, column in zip(rows.tolist(), columns.tolist()):
            pair = int(true_keys[row]), int(keys[column])
            self._joint[pair] = self._joint.get(pair, 0) + int(frame.pairs[row, column])

    def end_sequence(self) -> None:
        """Count the tubes of the frames since the last call."""
        for key in self._true:
            self.tubes[key >> 48] += 1
        for (true, predicted), joint in self._joint.items():
            union = self._true[true] + self._predicted[predicted] - joint
            self.association[true >> 48] += joint * (joint / union) / self._true[true]
        self._begin()

    def aq_per_class(self) -> np.ndarray:
        """Return (C,) float64 association quality of the true things of each class; NaN where there are none."""
        return np.divide(self.association, self.tubes, out=np.full(len(self.tubes), np.nan), where=self.tubes > 0)

    def aq(self) -> float:
        """Return the association quality, the mean over all true things; NaN if there are none."""
        tubes = self.tubes.sum()
        return float(self.association.sum() / tubes) if tubes else float("nan")

    def sq(self) -> float:
        """Return the segmentation quality, mIoU; NaN if no pixel has a class."""
        return self.confusion.miou()

    def stq(self) -> float:
        """Return sqrt(AQ * SQ); NaN where either is."""
        return float(np.sqrt(self.aq() * self.sq()))

    def stq_per_class(self) -> np.ndarray:
        """Return (C,) float64: sqrt(AQ * IoU) of each class of things."""
        return np.sqrt(self.aq_per_class() * self.confusion.iou())


def _add(counts: Dict[int, int], keys: np.ndarray, pixels: np.ndarray) -> None:
    for key, count in zip(keys.tolist(), pixels.tolist()):
        if count:
            counts[key] = counts.get(key, 0) + count
