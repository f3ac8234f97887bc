"""The importance of units to a trained network."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from deeplab_tf.lab.pruning.channel_graph import DENSE, ChannelGraph


def scale_importance(model: keras.Model, graph: ChannelGraph) -> np.ndarray:
    """Return |gamma| of each unit's batch normalizations, relative to each layer's mean (Liu et al., ICCV 2017).

    A layer without batch normalization behind it counts by the norms of its kernels. The result is (units,) float64.
    """
    total, count = np.zeros(graph.num_units), np.zeros(graph.num_units)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            _add(total, count, graph.writes[layer.name], np.abs(layer.gamma.numpy()))
    for layer in model.layers:
        if isinstance(layer, DENSE) and not count[graph.writes[layer.name]].all():
            kernel = layer.get_weights()[0]
            _add(total, count, graph.writes[layer.name], np.sqrt((kernel**2).sum(axis=tuple(range(kernel.ndim - 1)))))
    return total / np.maximum(count, 1)


def _add(total, count, units, values):
    np.add.at(total, units, values / max(values.mean(), 1e-12))
    np.add.at(count, units, 1)


def loss_importance(model: keras.Model, graph: ChannelGraph, batches: Iterable, loss: Callable) -> np.ndarray:
    """Return the change of the loss without each unit, to first order (Molchanov et al., CVPR 2019, eq. 8).

    That is the effect of closing a gate in front of every layer that reads the unit: kernel times gradient, summed over
    those layers. With a batch normalization between a unit and its reader it equals gamma times its gradient plus beta
    times its gradient, as in eq. 8; counted at the reader, it also holds for units that several layers write and
    several read. Changes are squared, so that those of different images do not cancel, and averaged over the batches.
    The result is the root, (units,) float64.

    Args:
        model: functional.
        graph: its units.
        batches: (images, truth).
        loss: (outputs of the model, truth) -> a scalar tensor.
    """
    readers = [layer for layer in model.layers if isinstance(layer, DENSE)]
    kernels = [layer.kernel for layer in readers]
    total, count = np.zeros(graph.num_units), 0
    for images, truth in batches:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([kernel.value for kernel in kernels])
            value = loss(model(tf.cast(images, tf.float32), training=False), truth)
        gradients = tape.gradient(value, [kernel.value for kernel in kernels])
        change = np.zeros(graph.num_units)
        for layer, kernel, gradient in zip(readers, kernels, gradients):
            product = kernel.numpy() * gradient.numpy()
            np.add.at(change, graph.reads[layer.name], product.sum(axis=(*range(product.ndim - 2), -1)))
        total, count = total + change**2, count + 1
    return np.sqrt(total / count)
