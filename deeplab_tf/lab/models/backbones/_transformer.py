"""What the Transformers share: their layers, and what they cannot do."""

import keras
from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.backbones._inverted_residual import check_multi_grid

NORMALIZATION = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
"""Of RGB pixels 0..255 (ImageNet's statistics)."""


def check_options(backbone: str, *, stride: int, output_stride: int, multi_grid) -> None:
    """Raise DeepLabError for an output stride other than the network's own, or a multi-grid."""
    check_multi_grid(multi_grid, backbone)
    if output_stride != stride:
        raise DeepLabError(
            f"The backbone {backbone} has an output stride of {stride} and no other; set model.output_stride to "
            f"{stride}. Got {output_stride} instead."
        )


def head_channels(channels: int, width: float) -> int:
    """Return the channels of an attention head, `channels` times the width, as a multiple of 8."""
    return max(8, int(channels * width + 4) // 8 * 8)


def linear(x, channels: int, *, name: str, use_bias: bool = True):
    """Convolve 1x1 at each position."""
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Conv2D(channels, 1, use_bias=use_bias, kernel_initializer=initializer, name=f"{name}_conv")(x)


def layer_norm(x, *, name: str, epsilon: float):
    """Normalize each position over its channels (Ba et al., 2016)."""
    return layers.LayerNormalization(epsilon=epsilon, name=f"{name}_norm")(x)


def block(x, attend, *, epsilon: float, name: str):
    """Add attention and then two 1x1 convolutions with a GELU between them, each behind a normalization.

    Args:
        attend: a function from normalized features and a name to those that were attended to, of the same channels.
    """
    channels = x.shape[-1]
    y = attend(layer_norm(x, name=f"{name}_1", epsilon=epsilon), f"{name}_attention")
    x = layers.Add(name=f"{name}_attention_add")([x, linear(y, channels, name=f"{name}_attention_project")])
    y = linear(layer_norm(x, name=f"{name}_2", epsilon=epsilon), 4 * channels, name=f"{name}_2")
    y = layers.Activation("gelu", name=f"{name}_2_gelu")(y)
    return layers.Add(name=f"{name}_add")([x, linear(y, channels, name=f"{name}_3")])
