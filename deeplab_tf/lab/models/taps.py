"""Taps of convolutions that read no pixel at the size that a network is trained at.

On a feature map of 12 rows the upper and lower taps of a 3x3 kernel with dilation 12 read padding at every position. No
gradient reaches them: in training they keep the random weights that they began with, and at a larger size, where they
do read pixels, they add noise to the features. So they begin at zero, and stay there: the network that is scored and
exported is the one that was trained.
"""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers

from deeplab_tf.core.guard import expand
from deeplab_tf.lab.models.encoder import in_backbone
from deeplab_tf.lab.models.layer_graph import layer_inputs


def unreached_taps(model: keras.Model, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return, by layer, which taps of a kernel read padding only, for images of `size`: (kh, kw) bool.

    Layers without such taps are left out. A `ZeroPadding2D` in front of a convolution counts as padding.
    """
    convolutions = [layer for layer in model.operations if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)]
    feeds, found = layer_inputs(model), {}
    sources = [feeds[layer.name][0] for layer in convolutions]
    padded = [source if isinstance(source, layers.ZeroPadding2D) else None for source in sources]
    maps = [(pad or layer).input for pad, layer in zip(padded, convolutions)]
    image = keras.KerasTensor((1, *size, 3), model.inputs[0].dtype)
    shapes = keras.Model(model.inputs, maps).compute_output_spec(image)
    for layer, pad, features in zip(convolutions, padded, shapes):
        before = [(0, 0), (0, 0)] if pad is None else pad.padding
        reached = [_reached(layer, axis, features.shape[1 + axis], before[axis]) for axis in (0, 1)]
        taps = ~np.logical_and.outer(*reached)
        if taps.any():
            found[layer.name] = taps
    return found


def _reached(layer, axis, side, before):
    """Return which taps along one axis read at least one of `side` features, at any position: (k,) bool."""
    kernel, stride, rate = (values[axis] for values in (layer.kernel_size, layer.strides, layer.dilation_rate))
    extent, padded = (kernel - 1) * rate + 1, side + sum(before)
    start = before[0]
    if layer.padding == "same":
        count = -(-padded // stride)
        start += max((count - 1) * stride + extent - padded, 0) // 2
    else:
        count = (padded - extent) // stride + 1
    read = np.arange(count) * stride + np.arange(kernel)[:, None] * rate - start
    return ((read >= 0) & (read < side)).any(axis=1)


def clear_unreached_taps(
    model: keras.Model, size: tuple[int, int], *, keep: Callable[[str], bool] = lambda name: False
) -> list[str]:
    """Set the weights of unreached taps to zero.

    Args:
        size: height, width of the images in training.
        keep: whether a layer, by its name, is left as it is, because its weights were trained elsewhere.

    Returns:
        The names of the layers in which some of these weights were not zero, in the model's order.
    """
    changed = []
    for name, taps in unreached_taps(model, size).items():
        kernel = model.get_layer(name).kernel
        values = kernel.numpy()
        if not keep(name) and values[taps].any():
            values[taps] = 0
            kernel.assign(values)
            changed.append(name)
    return changed


def clear_untrained(model: keras.Model, section: dict, size: tuple[int, int]) -> list[str]:
    """Set to zero the taps that a training on images of `size` cannot reach, and that come from no other training.

    Args:
        section: the recipe's `model` section. Published weights keep the backbone's taps; a run's keep all, also where
            that run is no longer there.

    Returns:
        As `clear_unreached_taps` does.
    """
    weights = str(section["weights"])
    if weights == "none":
        return clear_unreached_taps(model, size)
    if weights == "imagenet" or Path(expand(weights)).is_file():
        return clear_unreached_taps(model, size, keep=in_backbone)
    return []


def describe(layers_cleared: list[str], size: tuple[int, int]) -> str:
    """Return the line that says which layers' taps were set to zero."""
    more = f" and {len(layers_cleared) - 3} more" if len(layers_cleared) > 3 else ""
    return (
        f"At the training size of {size[0]}x{size[1]} some taps of {', '.join(layers_cleared[:3])}{more} read only "
        "padding and cannot learn; they are zero."
    )
