"""Networks with other numbers of channels: a recipe's `model.channels`, which `prune` writes."""

import keras
from keras import layers

from deeplab_tf.core.errors import DeepLabError, did_you_mean


def set_channels(model: keras.Model, channels: dict[str, int]) -> keras.Model:
    """Return a model of the same layers, some of them with another number of output channels, all with new weights.

    Args:
        model: a functional model.
        channels: output channels of layers (convolutions, but not depthwise ones, and dense layers), by name. What lies
            behind, such as batch normalization and depthwise convolutions, follows its input.

    Raises:
        DeepLabError: a layer that does not exist or has no such number, or numbers that do not fit together.
    """
    known = {layer.name: _key(layer) for layer in model.layers if _key(layer)}
    for name, count in channels.items():
        if name not in known:
            raise DeepLabError(
                f"model.channels names {name}, which is no convolution of this network. {did_you_mean(name, known)}"
            )
        if count < 1:
            raise DeepLabError(f"model.channels must be greater than 0. Got {count} for {name} instead.")

    def copy(layer):
        config = layer.get_config()
        if layer.name in channels:
            config[known[layer.name]] = channels[layer.name]
        return layer.__class__.from_config(config)

    try:
        return keras.models.clone_model(model, clone_function=copy)
    except ValueError as error:  # from Keras, where shapes do not fit
        reason = str(error).splitlines()[0]
        raise DeepLabError(
            f"The numbers in model.channels do not fit together; take all of a run's config.yaml. Keras says: {reason}"
        ) from error


def _key(layer):
    """Return the key of a layer's config that holds its output channels; None where it has no number of its own."""
    if isinstance(layer, layers.Conv2D):
        return "filters"
    return "units" if isinstance(layer, layers.Dense) else None
