"""Takes channels out of a network: what is left is an ordinary, smaller model."""

import keras
import numpy as np
from keras import layers

from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.pruning.units import DENSE, Wiring


def without(model: keras.Model, wiring: Wiring, keep: np.ndarray) -> keras.Model:
    """A new model without some units, with the weights of those that stay.

    A unit that was zero at every pixel of every image leaves no trace: the function stays the same.

    Args:
        model: functional.
        wiring: its units.
        keep: (units,) bool.
    """
    smaller = set_channels(model, kept_channels(model, wiring, keep))
    for layer in model.layers:
        if layer.weights:
            smaller.get_layer(layer.name).set_weights(_cut(layer, wiring, keep))
    return smaller


def kept_channels(model: keras.Model, wiring: Wiring, keep: np.ndarray) -> dict[str, int]:
    """How many channels each layer that makes units puts out, for those that lose some."""
    makers = [layer for layer in model.layers if isinstance(layer, DENSE)]
    kept = {layer.name: keep[wiring.makes[layer.name]] for layer in makers}
    return {name: int(stays.sum()) for name, stays in kept.items() if not stays.all()}


def _cut(layer, wiring, keep):
    """The layer's weights without those of the units that go."""
    reads, makes = keep[wiring.reads[layer.name]], keep[wiring.makes[layer.name]]
    if isinstance(layer, DENSE):
        kernel, *bias = layer.get_weights()
        return [kernel[..., reads, :][..., makes], *(values[makes] for values in bias)]
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel, *bias = layer.get_weights()
        return [kernel[:, :, reads], *(values[reads] for values in bias)]
    return [values[..., reads] for values in layer.get_weights()]
