"""ResNet (He et al., CVPR 2016) with atrous convolutions for the last strides (Chen et al., arXiv:1706.05587)."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from deeplab_tf.lab.models.blocks import batch_norm, bn_relu, conv

NORMALIZATION = {"mean": (123.68, 116.779, 103.939), "std": (58.393, 57.12, 57.375)}
"""Of RGB pixels 0..255 (ImageNet's statistics)."""


class Stage(NamedTuple):
    """A stage of He et al.'s table 1."""

    name: str
    blocks: int
    channels: int  # of the 3x3 convolutions; a stage of bottlenecks returns four times as many
    stride: int


def stages(*blocks: int) -> tuple[Stage, ...]:
    """Return the four stages of a network with these numbers of blocks."""
    rows = zip(("res2", "res3", "res4", "res5"), blocks, (64, 128, 256, 512), (1, 2, 2, 2))
    return tuple(Stage(*row) for row in rows)


def build(
    image, table: tuple[Stage, ...], block: Callable, *, width: float, output_stride: int, multi_grid, momentum: float
) -> dict:
    """Return the features of every stage.

    Args:
        image: (B, H, W, 3) tensor, normalized.
        table: the stages.
        block: `bottleneck` or `basic`.
        width: multiplies every number of channels (rounded to a multiple of 8).
        output_stride: stride of `res5`, in input pixels: 8, 16 or 32; strides beyond it become dilation.
        multi_grid: multiplies the dilation of each block of `res5` (arXiv:1706.05587, section 3.3).
        momentum: of the running statistics of batch normalization.

    Returns:
        `res1` (stride 2), `res2` (4), `res3` (8), `res4` (16) and `res5` (32), each with at most output_stride.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = conv(x, _channels(64, width), 7, strides=2, padding="valid", name="conv1_conv")  # (B, H/2, W/2, 64)
    x = bn_relu(x, name="conv1", momentum=momentum)
    features, stride, rate = {"res1": x}, 4, 1
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)  # (B, H/4, W/4, 64)
    for stage in table:
        dilated, before = stride * stage.stride > output_stride, rate
        if dilated:
            rate *= stage.stride
        else:
            stride *= stage.stride
        for number in range(stage.blocks):
            x = block(
                x,
                _channels(stage.channels, width),
                stride=stage.stride if number == 0 and not dilated else 1,
                rate=rate * (multi_grid[number] if stage.name == "res5" else 1),
                before=before if number == 0 else None,
                momentum=momentum,
                name=f"{stage.name}_block{number + 1}",
            )
        features[stage.name] = x
    return features


def bottleneck(x, channels, *, stride, rate, before, momentum, name):
    """Convolve 1x1, 3x3 and 1x1 to four times the channels. The stride is in the first 1x1, as in keras.applications,
    whose weights fit: the 3x3 of a first block reads features behind the stride, so it has the new dilation."""
    shortcut = x if before is None else _projected(x, 4 * channels, stride, momentum, name)
    x = bn_relu(conv(x, channels, 1, strides=stride, name=f"{name}_1_conv"), name=f"{name}_1", momentum=momentum)
    x = bn_relu(conv(x, channels, 3, dilation_rate=rate, name=f"{name}_2_conv"), name=f"{name}_2", momentum=momentum)
    return _sum(shortcut, conv(x, 4 * channels, 1, name=f"{name}_3_conv"), momentum, name, last=3)


def basic(x, channels, *, stride, rate, before, momentum, name):
    """Convolve 3x3 twice. The first convolution has the stride and pads both sides alike. In the first block of a stage
    it reads the features before the stride, so it keeps the dilation of the stage before."""
    same = stride == 1 and x.shape[-1] == channels
    shortcut = x if before is None or same else _projected(x, channels, stride, momentum, name)
    if stride > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_1_pad")(x)
        x = conv(x, channels, 3, strides=stride, padding="valid", name=f"{name}_1_conv")
    else:
        x = conv(x, channels, 3, dilation_rate=before or rate, name=f"{name}_1_conv")
    x = bn_relu(x, name=f"{name}_1", momentum=momentum)
    return _sum(shortcut, conv(x, channels, 3, dilation_rate=rate, name=f"{name}_2_conv"), momentum, name, last=2)


def _projected(x, channels, stride, momentum, name):
    x = conv(x, channels, 1, strides=stride, name=f"{name}_0_conv")
    return batch_norm(x, name=f"{name}_0_bn", momentum=momentum)


def _sum(shortcut, x, momentum, name, last):
    x = batch_norm(x, name=f"{name}_{last}_bn", momentum=momentum, zero=True)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _channels(channels: int, width: float) -> int:
    return max(8, int(channels * width + 4) // 8 * 8)


def published(name: str, md5: str) -> dict:
    """Return where keras.applications' file of a network's weights is."""
    return {
        "file": f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "url": "https://storage.googleapis.com/tensorflow/keras-applications/resnet/",
        "md5": md5,
    }


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy the weights of a keras.applications ResNet50 or ResNet101 without its top, layer by layer.

    Its convolutions have a bias, which is taken off the running mean of the batch normalization behind it: the same
    function. Its input is BGR without division by the standard deviation, which changes the first kernel.
    """
    for layer in source.layers:
        if not isinstance(layer, layers.Conv2D):
            continue
        name = layer.name if layer.name == "conv1_conv" else layer.name.replace("conv", "res", 1)
        kernel, bias = (weight.numpy() for weight in layer.weights)
        if name == "conv1_conv":
            kernel = kernel[:, :, ::-1] * np.reshape(NORMALIZATION["std"], (1, 1, 3, 1))
        model.get_layer(name).set_weights([kernel])
        gamma, beta, mean, variance = (w.numpy() for w in source.get_layer(layer.name.replace("_conv", "_bn")).weights)
        model.get_layer(name.replace("_conv", "_bn")).set_weights([gamma, beta, mean - bias, variance])
