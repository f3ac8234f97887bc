"""Whether a network is as often right as it is confident: reliability and the expected calibration error."""

from typing import Any, Dict

import numpy as np

from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.metrics import none_if_nan

BINS = 15


class Reliability:
    """Counts pixels by confidence, the probability of the predicted class, in BINS of equal width from 0 to 1.

    The expected calibration error (ECE) is the mean over all pixels of the difference between the share that is right
    and the mean confidence in their bin (Guo et al., ICML 2017).

    Attributes:
        pixels, right, confidence: (BINS,) how many pixels, how many of them are right, and the sum of confidences.
    """

    def __init__(self):
        self.pixels, self.right = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        self.confidence = np.zeros(BINS)

    def update(self, truth: np.ndarray, label_map: np.ndarray, confidence: np.ndarray) -> None:
        """Count one image: (H, W) uint8 true and predicted ids, and float32 confidence; ignored pixels do not count."""
        scored = truth != IGNORE_LABEL
        values = confidence[scored].astype(np.float64)
        bins = np.clip((values * BINS).astype(np.intp), 0, BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.right += np.bincount(bins[(truth == label_map)[scored]], minlength=BINS)
        self.confidence += np.bincount(bins, values, minlength=BINS)

    def merge(self, other: "Reliability") -> None:
        """Add the counts of other images."""
        self.pixels += other.pixels
        self.right += other.right
        self.confidence += other.confidence

    def ece(self) -> float:
        """Return the expected calibration error, 0 to 1; NaN without pixels."""
        total = self.pixels.sum()
        return float(np.abs(self.right - self.confidence).sum() / total) if total else float("nan")

    def report(self) -> Dict[str, Any]:
        """Return `ece`, and `calibration_bins`: `low`, `high`, `pixels`, and the `accuracy` and mean `confidence` of
        those with pixels."""
        rows = []
        for i in np.flatnonzero(self.pixels):
            count = self.pixels[i]
            row = {"low": i / BINS, "high": (i + 1) / BINS, "pixels": int(count)}
            row.update(accuracy=float(self.right[i] / count), confidence=float(self.confidence[i] / count))
            rows.append(row)
        return {"ece": none_if_nan(self.ece()), "calibration_bins": rows}
