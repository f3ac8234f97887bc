"""Remove units from a network; what is left is an ordinary, smaller model."""

import keras
import numpy as np
from keras import layers

from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.pruning.channel_graph import DENSE, ChannelGraph


def remove_units(model: keras.Model, graph: ChannelGraph, keep: np.ndarray) -> keras.Model:
    """Return a new model without some units, with the weights of the others.

    Removing units that are zero at every pixel of every image does not change the function.

    Args:
        model: functional.
        graph: its units.
        keep: (units,) bool.
    """
    smaller = set_channels(model, kept_channels(model, graph, keep))
    for layer in model.layers:
        if layer.weights:
            smaller.get_layer(layer.name).set_weights(_kept_weights(layer, graph, keep))
    return smaller


def kept_channels(model: keras.Model, graph: ChannelGraph, keep: np.ndarray) -> dict[str, int]:
    """Return the number of output channels of each dense layer that loses some."""
    kept = {layer.name: keep[graph.writes[layer.name]] for layer in model.layers if isinstance(layer, DENSE)}
    return {name: int(stays.sum()) for name, stays in kept.items() if not stays.all()}


def _kept_weights(layer, graph, keep):
    reads, writes = keep[graph.reads[layer.name]], keep[graph.writes[layer.name]]
    if isinstance(layer, DENSE):
        kernel, *bias = layer.get_weights()
        return [kernel[..., reads, :][..., writes], *(values[writes] for values in bias)]
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel, *bias = layer.get_weights()
        return [kernel[:, :, reads], *(values[reads] for values in bias)]
    return [values[..., reads] for values in layer.get_weights()]
