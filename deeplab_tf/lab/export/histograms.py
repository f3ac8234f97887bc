"""Histograms of the magnitudes of a network's tensors, collected on real images in one pass."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.nodes import Network

BINS = 2048


class Histogram:
    """The magnitudes of one tensor in BINS equal bins from 0 to a power of two, which doubles when larger values come.

    Attributes:
        counts: (BINS,) int64.
        exponent: the bins end at 2 ** exponent.
        largest: the largest magnitude.
    """

    def __init__(self):
        self.counts = np.zeros(BINS, np.int64)
        self.exponent: int | None = None
        self.largest = 0.0

    def add(self, counts: np.ndarray, exponent: int, largest: float) -> None:
        """Add counts in BINS bins from 0 to 2 ** exponent."""
        self.largest = max(self.largest, float(largest))
        before = exponent if self.exponent is None else self.exponent
        self.exponent = max(before, exponent)
        self.counts = _widened(self.counts, self.exponent - before)
        self.counts = self.counts + _widened(np.asarray(counts, np.int64), self.exponent - exponent)

    def edges(self) -> np.ndarray:
        """Return the (BINS + 1,) edges of the bins."""
        return np.linspace(0, 2.0 ** (self.exponent or 0), BINS + 1)


def _widened(counts, doublings):
    for _ in range(min(doublings, 11)):
        counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
    return counts


def collect_histograms(network: Network, frames: Iterable[np.ndarray]) -> dict[str, Histogram]:
    """Return the histogram of every tensor of a network.

    Args:
        network: with its head.
        frames: (H, W, 3) uint8 RGB, all at the network's size.

    Raises:
        DeepLabError: there are no frames, or a tensor is not finite.
    """
    names = [node.name for node in network.nodes if node.op not in ("input", "argmax")]
    histograms = {name: Histogram() for name in names}
    function = None
    for frame in frames:
        function = function or _statistics(network, names, frame.shape)
        counts, exponents, largest = (part.numpy() for part in function(frame[None].astype(np.float32)))
        if not np.isfinite(largest).all():
            name = names[int(np.argmin(np.isfinite(largest)))]
            raise DeepLabError(f"The tensor {name} is not finite; this network cannot be quantized.")
        for row, name in enumerate(names):
            histograms[name].add(counts[row], int(exponents[row]), largest[row])
    if function is None:
        raise DeepLabError("Calibration needs real images and got none; name a folder of them with --images.")
    return histograms


def _statistics(network, names, shape):
    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32)], jit_compile=False)
    def statistics(image):
        tensors = graph.run(network, image, target="tensorflow")
        rows = [_magnitudes(tensors[name]) for name in names]
        return tuple(tf.stack(column) for column in zip(*rows))

    return statistics


def _magnitudes(x):
    """Return counts, exponent and largest value of a tensor; counts every second position each way, for speed."""
    largest = tf.reduce_max(tf.abs(x))
    x = tf.where(tf.math.is_finite(x), x, 0.0)  # `collect_histograms` refuses the others
    exponent = tf.math.ceil(tf.math.log(tf.maximum(tf.reduce_max(tf.abs(x)), 1e-6)) / np.log(2.0).astype(np.float32))
    top = tf.pow(2.0, exponent)
    scaled = tf.abs(x[:, ::2, ::2]) * (BINS / top)
    index = tf.minimum(tf.cast(scaled, tf.int32), BINS - 1)
    counts = tf.math.bincount(tf.reshape(index, [-1]), minlength=BINS, maxlength=BINS)
    return counts, tf.cast(exponent, tf.int32), largest
