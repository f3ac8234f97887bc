"""ResNet-50 (He et al., CVPR 2016) with atrous convolutions for the last strides (Chen et al., arXiv:1706.05587).

A stage's stride is in its first 1x1 convolution, as in keras.applications, whose weights fit.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from deeplab_tf.lab.models.blocks import batch_norm, bn_relu, conv


class ResNetStage(NamedTuple):
    """A row of He et al.'s table 1."""

    name: str
    blocks: int
    channels: int  # of the 3x3 convolutions; the stage's output has four times as many
    stride: int


STAGES = (
    ResNetStage("res2", blocks=3, channels=64, stride=1),
    ResNetStage("res3", blocks=4, channels=128, stride=2),
    ResNetStage("res4", blocks=6, channels=256, stride=2),
    ResNetStage("res5", blocks=3, channels=512, stride=2),
)

NORMALIZATION = {"mean": (123.68, 116.779, 103.939), "std": (58.393, 57.12, 57.375)}
"""Of RGB pixels 0..255 (ImageNet's statistics)."""

PRETRAINED = {
    "file": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "url": "https://storage.googleapis.com/tensorflow/keras-applications/resnet/",
    "md5": "4d473c1dd8becc155b73f8504c6f6626",
}


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage.

    Args:
        image: (B, H, W, 3) tensor, normalized.
        width: multiplies every number of channels (rounded to a multiple of 8).
        output_stride: stride of `res5`, in input pixels: 8, 16 or 32; strides beyond it become dilation.
        multi_grid: multiplies the dilation of each block of `res5` (arXiv:1706.05587, section 3.3).
        momentum: of the running statistics of batch normalization.

    Returns:
        `res2` (stride 4), `res3` (8), `res4` (16) and `res5` (32), each with at most output_stride.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = conv(x, _channels(64, width), 7, strides=2, padding="valid", name="conv1_conv")  # (B, H/2, W/2, 64)
    x = bn_relu(x, name="conv1", momentum=momentum)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)  # (B, H/4, W/4, 64)
    features, stride, rate = {}, 4, 1
    for stage in STAGES:
        dilated = stride * stage.stride > output_stride
        if dilated:
            rate *= stage.stride
        else:
            stride *= stage.stride
        for block in range(stage.blocks):
            x = _bottleneck(
                x,
                _channels(stage.channels, width),
                stride=stage.stride if block == 0 and not dilated else 1,
                # The first block too: its stride would come before its 3x3, which would read the thinned map.
                rate=rate * (multi_grid[block] if stage.name == "res5" else 1),
                project=block == 0,
                momentum=momentum,
                name=f"{stage.name}_block{block + 1}",
            )
        features[stage.name] = x
    return features


def _bottleneck(x, channels, *, stride, rate, project, momentum, name):
    shortcut = x
    if project:
        shortcut = conv(x, 4 * channels, 1, strides=stride, name=f"{name}_0_conv")
        shortcut = batch_norm(shortcut, name=f"{name}_0_bn", momentum=momentum)
    x = bn_relu(conv(x, channels, 1, strides=stride, name=f"{name}_1_conv"), name=f"{name}_1", momentum=momentum)
    x = bn_relu(conv(x, channels, 3, dilation_rate=rate, name=f"{name}_2_conv"), name=f"{name}_2", momentum=momentum)
    x = conv(x, 4 * channels, 1, name=f"{name}_3_conv")
    x = batch_norm(x, name=f"{name}_3_bn", momentum=momentum, zero=True)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _channels(channels: int, width: float) -> int:
    return max(8, int(channels * width + 4) // 8 * 8)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1."""
    source = keras.applications.ResNet50(include_top=False, weights=None)
    source.load_weights(path)
    copy_weights(model, source)


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy the weights of a keras.applications ResNet50 without its top, layer by layer.

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
