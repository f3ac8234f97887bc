"""Calibration methods: functions from the histogram of a tensor to its range; `core.calibration` has their names."""

import sys

import numpy as np

from deeplab_tf.lab.export.histograms import Histogram
from deeplab_tf.lab.export.quantize import LEVELS

PERCENTILE = 99.99


def tensor_ranges(histograms: dict[str, Histogram], method: str) -> dict[str, float]:
    """Return the range of every tensor by a method of `core.calibration.METHODS`."""
    range_of = getattr(sys.modules[__name__], method.replace("-", "_"))
    return {name: range_of(histogram) for name, histogram in histograms.items()}


def min_max(histogram: Histogram) -> float:
    """Return the largest magnitude: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """Return the magnitude below which PERCENTILE percent of the values are."""
    cumulative = np.cumsum(histogram.counts)
    bin_index = int(np.searchsorted(cumulative, cumulative[-1] * PERCENTILE / 100))
    return min(float(histogram.edges()[bin_index + 1]), histogram.largest)


def entropy(histogram: Histogram) -> float:
    """Return the range with the least relative entropy between values and quantized values (Migacz, GTC 2017, "8-bit
    Inference with TensorRT").

    Zeros, of which a ReLU makes many, are exact with any range and not counted.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    used = int(np.max(np.flatnonzero(histogram.counts), initial=0)) + 1
    if used <= LEVELS + 1:
        return histogram.largest
    candidates = np.unique(np.append(np.arange(LEVELS + 1, used, 8), used))
    costs = [_relative_entropy(counts, int(end)) for end in candidates]
    return min(float(histogram.edges()[candidates[int(np.argmin(costs))]]), histogram.largest)


def _relative_entropy(counts, end):
    """Between the counts, clipped at `end` bins, and the same spread evenly over the bins of each of 128 levels."""
    reference = counts[:end].copy()
    reference[-1] += counts[end:].sum()
    level = np.arange(end) * (LEVELS + 1) // end
    present = counts[:end] > 0
    sums = np.bincount(level, weights=counts[:end], minlength=LEVELS + 1)
    sizes = np.bincount(level, weights=present, minlength=LEVELS + 1)
    rounded = np.where(present, (sums / np.maximum(sizes, 1))[level], 0)
    p, q = reference / reference.sum(), rounded / max(rounded.sum(), 1e-12)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))))
