"""The running statistics of batch normalisation, measured anew: behind channels that have gone, inputs have another
mean and variance."""

from collections.abc import Iterable

import keras
import tensorflow as tf
from keras import layers


def measure_statistics(model: keras.Model, batches: Iterable) -> None:
    """Replaces the running means and variances of a network by their averages over some batches (Wu and Johnson,
    arXiv:2105.07576).

    Args:
        model: its weights stay; nothing is dropped out meanwhile.
        batches: (images, truth).
    """
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    dropouts = [layer for layer in model.layers if isinstance(layer, layers.Dropout)]
    before = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    for layer in dropouts:
        layer.rate = 0.0
    for done, (images, _) in enumerate(batches):
        for layer in norms:
            layer.momentum = done / (done + 1)  # so that each batch counts alike
        model(tf.cast(images, tf.float32), training=True)
    for layer, momentum in zip(norms, before[0]):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, before[1]):
        layer.rate = rate
