"""Measure the running statistics of batch normalization again: after pruning, inputs have another mean and variance."""

from collections.abc import Iterable

import keras
import tensorflow as tf
from keras import layers


def measure_statistics(model: keras.Model, batches: Iterable) -> None:
    """Replace running means and variances by their averages over some batches (Wu and Johnson, arXiv:2105.07576).

    Args:
        model: its weights stay; dropout is off meanwhile.
        batches: (images, truth).
    """
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    dropouts = [layer for layer in model.layers if isinstance(layer, layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    for layer in dropouts:
        layer.rate = 0.0
    for done, (images, _) in enumerate(batches):
        for layer in norms:
            layer.momentum = done / (done + 1)  # so that each batch counts alike
        model(tf.cast(images, tf.float32), training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
    for layer, rate in zip(dropouts, rates):
        layer.rate = rate
