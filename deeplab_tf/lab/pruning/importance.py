"""What a unit is worth to a trained network."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from deeplab_tf.lab.pruning.units import DENSE, Wiring


def by_scale(model: keras.Model, wiring: Wiring) -> np.ndarray:
    """(units,) float64: |gamma| of the unit's batch normalisations, relative to the mean of each layer (Liu et al.,
    ICCV 2017).

    A layer without batch normalisation behind it counts by the norms of its kernels.
    """
    total, count = np.zeros(wiring.count), np.zeros(wiring.count)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            _add(total, count, wiring.makes[layer.name], np.abs(layer.gamma.numpy()))
    for layer in model.layers:
        if isinstance(layer, DENSE) and not count[wiring.makes[layer.name]].all():
            kernel = layer.get_weights()[0]
            _add(total, count, wiring.makes[layer.name], np.sqrt((kernel**2).sum(axis=tuple(range(kernel.ndim - 1)))))
    return total / np.maximum(count, 1)


def _add(total, count, units, values):
    np.add.at(total, units, values / max(values.mean(), 1e-12))
    np.add.at(count, units, 1)


def by_loss(model: keras.Model, wiring: Wiring, batches: Iterable, loss: Callable) -> np.ndarray:
    """(units,) float64: by how much the loss changes when the unit is taken away, to first order (Molchanov et al.,
    CVPR 2019, eq. 8).

    The change is that of a gate in front of everything that reads the unit, closed: the sum over those layers of kernel
    times gradient. Between a unit and its reader there are functions for which this is gamma times its gradient plus
    beta times its gradient, as in the paper; counted at the reader it also holds for units that several layers make and
    several read. Changes are squared, so that those of different images do not cancel, and averaged over the batches;
    the root makes them changes of the loss again.

    Args:
        batches: (images, truth).
        loss: (outputs of the model, truth) -> a scalar tensor.
    """
    readers = [layer for layer in model.layers if isinstance(layer, DENSE)]
    kernels = [layer.kernel for layer in readers]
    total, count = np.zeros(wiring.count), 0
    for images, truth in batches:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([kernel.value for kernel in kernels])
            value = loss(model(tf.cast(images, tf.float32), training=False), truth)
        change = np.zeros(wiring.count)
        for layer, kernel, gradient in zip(
            readers, kernels, tape.gradient(value, [kernel.value for kernel in kernels])
        ):
            product = kernel.numpy() * gradient.numpy()
            np.add.at(change, wiring.reads[layer.name], product.sum(axis=(*range(product.ndim - 2), -1)))
        total, count = total + change**2, count + 1
    return np.sqrt(total / count)
