"""Ranges of a network's tensors, measured on real images: once, for every export.

One pass over the images keeps a histogram of magnitudes for every tensor; the methods read their ranges from it.
"""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.nodes import Network
from deeplab_tf.lab.export.quantize import LEVELS

BINS = 2048
PERCENTILE = 99.99


class Histogram:
    """Of the magnitudes of one tensor: BINS equal bins from 0 to a power of two, which doubles when larger values
    come."""

    def __init__(self):
        self.counts = np.zeros(BINS, np.int64)
        self.exponent: int | None = None
        self.largest = 0.0

    def add(self, counts: np.ndarray, exponent: int, largest: float) -> None:
        """Adds counts in BINS bins from 0 to 2 ** exponent."""
        self.largest = max(self.largest, float(largest))
        if self.exponent is None:
            self.exponent = exponent
        top = max(self.exponent, exponent)
        self.counts = _widened(self.counts, top - self.exponent) + _widened(
            np.asarray(counts, np.int64), top - exponent
        )
        self.exponent = top

    def edges(self) -> np.ndarray:
        """(BINS + 1,) the borders of the bins."""
        return np.linspace(0, 2.0**self.exponent, BINS + 1)


def _widened(counts, doublings):
    for _ in range(min(doublings, 11)):
        counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
    return counts


def measure(network: Network, frames: Iterable[np.ndarray]) -> dict[str, Histogram]:
    """The histogram of every tensor of a network.

    Args:
        network: with its head.
        frames: (H, W, 3) uint8 RGB, all of one size, as the network will get them.

    Raises:
        DeepLabError: there are no frames, or a tensor is not finite.
    """
    wanted = [node.name for node in network.nodes if node.op not in ("input", "argmax")]
    histograms = {name: Histogram() for name in wanted}
    function = None
    for frame in frames:
        function = function or _statistics(network, wanted, frame.shape)
        counts, exponents, largest = (part.numpy() for part in function(frame[None].astype(np.float32)))
        if not np.isfinite(largest).all():
            raise DeepLabError(
                f"The tensor {wanted[int(np.argmin(np.isfinite(largest)))]} is not finite; this network cannot be "
                "quantized."
            )
        for row, name in enumerate(wanted):
            histograms[name].add(counts[row], int(exponents[row]), largest[row])
    if function is None:
        raise DeepLabError("Calibration needs real images and got none; name a folder of them with --images.")
    return histograms


def _statistics(network, wanted, shape):
    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32)], jit_compile=False)
    def statistics(image):
        tensors = graph.run(network, image, target="tensorflow")
        rows = [_magnitudes(tensors[name]) for name in wanted]
        return tuple(tf.stack(column) for column in zip(*rows))

    return statistics


def _magnitudes(x):
    """Counts, exponent and largest value of one tensor; counted at every second position each way, for speed."""
    largest = tf.reduce_max(tf.abs(x))
    x = tf.where(tf.math.is_finite(x), x, 0.0)  # counted as nothing: `measure` refuses them
    exponent = tf.math.ceil(tf.math.log(tf.maximum(tf.reduce_max(tf.abs(x)), 1e-6)) / np.log(2.0).astype(np.float32))
    top = tf.pow(2.0, exponent)
    scaled = tf.abs(x[:, ::2, ::2]) * (BINS / top)
    index = tf.minimum(tf.cast(scaled, tf.int32), BINS - 1)
    return (
        tf.math.bincount(tf.reshape(index, [-1]), minlength=BINS, maxlength=BINS),
        tf.cast(exponent, tf.int32),
        largest,
    )


def min_max(histogram: Histogram) -> float:
    """The largest magnitude that was seen: nothing is cut off."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """Where PERCENTILE percent of the values lie below."""
    cumulative = np.cumsum(histogram.counts)
    bin_index = int(np.searchsorted(cumulative, cumulative[-1] * PERCENTILE / 100))
    return min(float(histogram.edges()[bin_index + 1]), histogram.largest)


def entropy(histogram: Histogram) -> float:
    """The range with the least relative entropy between the values and their rounded counterparts (Migacz, GTC 2017,
    "8-bit inference").

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
    """Between the counts, those beyond `end` bins put into the last, and the same spread evenly over each of 128
    levels' own bins."""
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


METHODS: dict[str, Callable[[Histogram], float]] = {"min-max": min_max, "percentile": percentile, "entropy": entropy}


def ranges(histograms: dict[str, Histogram], method: str) -> dict[str, float]:
    """The range of every tensor by a method of METHODS."""
    return {name: METHODS[method](histogram) for name, histogram in histograms.items()}
