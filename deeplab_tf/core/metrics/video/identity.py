"""IDF1 (Ristani et al., ECCVW 2016) and MOTA (Bernardin and Stiefelhagen, 2008) of the things of panoptic videos.

A true and a predicted thing of one class match in a frame where their mask IoU exceeds one half; masks that do not
overlap have one partner at most (MOTS; Voigtlaender et al., CVPR 2019). A prediction without a partner that lies by
more than half on pixels without a class, or on a group of its class, counts nowhere. Groups are no things.
"""

from typing import Dict, NamedTuple, Tuple

import numpy as np

from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.metrics.video import FrameCounts
from deeplab_tf.core.metrics.video.assignment import best_total
from deeplab_tf.core.panoptic import thing_classes
from deeplab_tf.core.panoptic.segments import keys_of


class TrackCounts(NamedTuple):
    """Counts of each class, (C,) int64; a detection is one thing in one frame."""

    true: np.ndarray  # true detections
    predicted: np.ndarray  # predicted detections
    matched: np.ndarray  # detections that match
    switches: np.ndarray  # matches of a true thing with another number than at its last match
    identity: np.ndarray  # matches under the best assignment of predicted to true things
    true_things: np.ndarray  # different true things


class TrackQuality:
    """Counts matches; `update` counts a frame, `end_sequence` its sequence, the other methods return the scores."""

    def __init__(self, table: LabelTable):
        self.counts = TrackCounts(*np.zeros((len(TrackCounts._fields), len(table)), np.int64))
        self._things = thing_classes(table)
        self._begin()

    def _begin(self):
        self._last: Dict[int, int] = {}  # true thing -> the one that it matched last
        self._together: Dict[Tuple[int, int], int] = {}  # frames in which two match
        self._seen: Dict[int, None] = {}

    def update(self, frame: FrameCounts) -> None:
        """Count the next frame of a sequence."""
        counts, pairs = self.counts, frame.pairs
        true = self._things[frame.true_classes] & (frame.true_numbers > 0)
        single = self._things[frame.classes] & (frame.numbers > 0)
        same = frame.true_classes[:, None] == frame.classes
        areas = pairs.sum(axis=0)
        union = pairs.sum(axis=1)[:, None] + areas - pairs
        hits = same & true[:, None] & single & (2 * pairs > union)
        crowd = self._things[frame.true_classes] & (frame.true_numbers == 0)
        ignored = (frame.true_classes == IGNORE_LABEL)[:, None] | (crowd[:, None] & same)
        counted = single & (hits.any(axis=0) | (2 * (pairs * ignored).sum(axis=0) <= areas))
        np.add.at(counts.true, frame.true_classes[true], 1)
        np.add.at(counts.predicted, frame.classes[counted], 1)
        true_keys = keys_of(frame.true_classes, frame.true_numbers)
        self._seen.update(dict.fromkeys(true_keys[true].tolist()))
        self._match(hits, true_keys, keys_of(frame.classes, frame.numbers))

    def _match(self, hits, true_keys, keys):
        rows, columns = np.nonzero(hits)
        for true, key in zip(true_keys[rows].tolist(), keys[columns].tolist()):
            self.counts.matched[true >> 48] += 1
            self.counts.switches[true >> 48] += self._last.get(true, key) != key
            self._last[true] = key
            self._together[true, key] = self._together.get((true, key), 0) + 1

    def end_sequence(self) -> None:
        """Assign the predicted things of the frames since the last call to the true ones."""
        for key in self._seen:
            self.counts.true_things[key >> 48] += 1
        pairs = np.array(list(self._together), np.int64).reshape(-1, 2)
        frames = np.array(list(self._together.values()), np.int64)
        classes = pairs[:, 0] >> 48
        for class_id in np.unique(classes):
            chosen = classes == class_id
            self.counts.identity[class_id] += best_total(pairs[chosen, 0], pairs[chosen, 1], frames[chosen])
        self._begin()

    def idf1_per_class(self) -> np.ndarray:
        """Return (C,) float64: twice the matches under the best assignment / (true + predicted detections); NaN where
        there are no detections."""
        return _idf1(self.counts)

    def idf1(self) -> float:
        """Return IDF1 over all classes, of their summed counts."""
        return float(_idf1(_total(self.counts))[0])

    def mota_per_class(self) -> np.ndarray:
        """Return (C,) float64: 1 - (misses + wrong detections + switches) / true detections; NaN where there are no
        true ones. It is negative where there are more mistakes than true detections."""
        return _mota(self.counts)

    def mota(self) -> float:
        """Return MOTA over all classes, of their summed counts."""
        return float(_mota(_total(self.counts))[0])


def _total(counts: TrackCounts) -> TrackCounts:
    return TrackCounts(*(each.sum(keepdims=True) for each in counts))


def _idf1(counts):
    both = counts.true + counts.predicted
    return np.divide(2 * counts.identity, both, out=np.full(len(both), np.nan), where=both > 0)


def _mota(counts):
    right = 2 * counts.matched - counts.predicted - counts.switches
    return np.divide(right, counts.true, out=np.full(len(right), np.nan), where=counts.true > 0)
