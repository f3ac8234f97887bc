"""Video panoptic quality (Kim et al., CVPR 2020): PQ of tubes.

VPQ^k is PQ (see `deeplab_tf.core.metrics.panoptic`) of every window of k labeled frames in a row, in which a thing's
pixels of all frames are one segment: matches are counted over all windows, divided once for each class, and averaged
over the classes. VPQ is the mean over k = 1, 2, 3 and 4. k = 1 is PQ.
"""

from collections import deque
from typing import Deque, List, Sequence

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics import mean_of_defined
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.metrics.video import FrameCounts
from deeplab_tf.core.panoptic import thing_classes
from deeplab_tf.core.panoptic.segments import from_keys, keys_of

WINDOWS = (1, 2, 3, 4)


class VideoPanopticQuality:
    """Counts windows; `update` counts a frame, `end_sequence` begins the next video, the other methods return scores.

    Attributes:
        qualities: the counts of each of WINDOWS.
    """

    def __init__(self, table: LabelTable):
        self.qualities = [PanopticQuality(table) for _ in WINDOWS]
        self._things = thing_classes(table)
        self._of_things = self._things[: len(table)]
        self._last: Deque[FrameCounts] = deque(maxlen=max(WINDOWS))

    def update(self, frame: FrameCounts) -> None:
        """Count the windows that end with the next frame of a sequence."""
        self._last.append(frame)
        for window, quality in zip(WINDOWS, self.qualities):
            if len(self._last) >= window:
                whole = _together(list(self._last)[-window:])
                crowd = self._things[whole.true_classes] & (whole.true_numbers == 0)
                quality.add_pairs(whole.pairs, whole.true_classes, whole.classes, crowd)
                quality.images += 1

    def end_sequence(self) -> None:
        """No window holds frames from before and from after this call."""
        self._last.clear()

    def of_windows(self) -> List[float]:
        """Return VPQ^k for each of WINDOWS; NaN where no sequence has so many frames."""
        return [mean_of_defined(quality.pq()) for quality in self.qualities]

    def vpq(self) -> float:
        """Return the mean of `of_windows`; NaN where one is."""
        return float(np.mean(self.of_windows()))

    def of_kind(self, *, things: bool) -> float:
        """Return VPQ of the classes of things, or of stuff."""
        chosen = self._of_things if things else ~self._of_things
        return float(np.mean([mean_of_defined(quality.pq()[chosen]) for quality in self.qualities]))

    def per_class(self) -> np.ndarray:
        """Return (C,) float64: the mean over WINDOWS of each class; NaN where a window has none of it."""
        return np.mean([quality.pq() for quality in self.qualities], axis=0)


def _together(frames: Sequence[FrameCounts]) -> FrameCounts:
    """Return frames as one, in which segments of one class and number are one."""
    if len(frames) == 1:
        return frames[0]
    true_keys, rows = _unique([keys_of(frame.true_classes, frame.true_numbers) for frame in frames])
    keys, columns = _unique([keys_of(frame.classes, frame.numbers) for frame in frames])
    pairs = np.zeros((len(true_keys), len(keys)), np.int64)
    for frame, row, column in zip(frames, rows, columns):
        pairs[np.ix_(row, column)] += frame.pairs
    (true_classes, true_numbers), (classes, numbers) = from_keys(true_keys), from_keys(keys)
    return FrameCounts(true_classes, true_numbers, classes, numbers, pairs)


def _unique(keys: List[np.ndarray]):
    """Return the keys of all frames, ascending, and where those of each frame are among them."""
    every = np.unique(np.concatenate(keys))
    return every, [np.searchsorted(every, each) for each in keys]
