"""Inverted residual blocks (Sandler et al., CVPR 2018, section 3.3), the blocks of MobileNetV3 and EfficientNet-Lite.

Strided convolutions pad both sides alike, so that feature i of a stride-s map is centered on pixel s * i, as in
`resnet50`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.blocks import BATCH_NORM_EPSILON, activate, batch_norm, conv, depthwise_conv


class Block(NamedTuple):
    """One inverted residual block.

    Attributes:
        kernel: side of the depthwise convolution.
        expansion: channels inside, at width 1; None keeps those of the input, without an expanding convolution.
        channels: of its output, at width 1.
        activation: see `activate`.
        squeeze: adds a squeeze-and-excitation gate behind the depthwise convolution.
    """

    kernel: int
    expansion: int | None
    channels: int
    stride: int = 1
    activation: str = "relu"
    squeeze: bool = False


def check_multi_grid(multi_grid, backbone: str) -> None:
    """Raise DeepLabError for a multi-grid: the convolution that it would dilate is the one with the stride here."""
    if tuple(multi_grid) != (1, 1, 1):
        raise DeepLabError(
            f"The backbone {backbone} takes no multi-grid; set model.multi_grid to [1, 1, 1]. Got "
            f"{list(multi_grid)} instead."
        )


def scaled(channels: float, width: float = 1.0) -> int:
    """Return channels * width as a multiple of 8 that is not below nine tenths of it, as all MobileNets round."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def stem(image, channels: int, *, activation: str, momentum: float, epsilon: float = BATCH_NORM_EPSILON):
    """Convolve 3x3 with stride 2."""
    x = layers.ZeroPadding2D(1, name="conv1_pad")(image)
    x = conv(x, channels, 3, strides=2, padding="valid", name="conv1_conv")  # (B, H/2, W/2, channels)
    return activate(batch_norm(x, name="conv1_bn", momentum=momentum, epsilon=epsilon), activation, name="conv1_out")


def stages(
    x,
    blocks: Sequence[Block],
    *,
    width: float,
    output_stride: int,
    momentum: float,
    epsilon: float = BATCH_NORM_EPSILON,
) -> dict:
    """Apply blocks behind a stem, and return the features of every stage.

    Args:
        x: (B, H/2, W/2, *) tensor.
        blocks: each of stride 2 begins a stage.
        width: multiplies the channels of every block.
        output_stride: strides beyond it become dilation.
        momentum, epsilon: of batch normalization.

    Returns:
        By name the output of each stage's last block: `res1` at stride 2, `res2` at 4, `res3` at 8, ..., at most
        output_stride.
    """
    features, level, stride, rate, count = {"res1": x}, 1, 2, 1, 0
    for block in blocks:
        dilated = stride * block.stride > output_stride
        level, count = (level + 1, 1) if block.stride == 2 else (level, count + 1)
        own = 1 if dilated else block.stride
        norm = {"momentum": momentum, "epsilon": epsilon}
        x = inverted_residual(x, block, stride=own, rate=rate, width=width, norm=norm, name=f"res{level}_block{count}")
        # From the next block on: the depthwise convolution that would have had the stride still reads the denser map.
        stride, rate = (stride, rate * block.stride) if dilated else (stride * block.stride, rate)
        features[f"res{level}"] = x
    return features


def inverted_residual(x, block: Block, *, stride: int, rate: int, width: float, norm: dict, name: str):
    """Expand by 1x1, convolve depthwise, project by 1x1 without activation; add the input where shapes are equal."""
    shortcut, channels = x, scaled(block.channels, width)
    residual = block.stride == 1 and channels == x.shape[-1]
    if block.expansion is not None:
        expansion = scaled(block.expansion, width)
        x = pointwise(x, expansion, name=f"{name}_1", activation=block.activation, **norm)
    depthwise = {"name": f"{name}_2_depthwise", "padding": "valid" if stride > 1 else "same"}
    if stride > 1:
        x = layers.ZeroPadding2D(block.kernel // 2, name=f"{name}_2_pad")(x)
    x = depthwise_conv(x, block.kernel, strides=stride, dilation_rate=rate, **depthwise)
    x = activate(batch_norm(x, name=f"{name}_2_bn", **norm), block.activation, name=f"{name}_2_out")
    if block.squeeze:
        x = squeeze_excite(x, name=f"{name}_squeeze")
    x = pointwise(x, channels, name=f"{name}_3", zero=residual, **norm)
    return layers.Add(name=f"{name}_add")([shortcut, x]) if residual else x


def pointwise(x, channels: int, *, name: str, activation: str | None = None, **norm):
    """Convolve 1x1, normalize and, where one is named, activate; `norm`: the options of `batch_norm`."""
    x = conv(x, channels, 1, name=f"{name}_conv")
    x = batch_norm(x, name=f"{name}_bn", **norm)
    return activate(x, activation, name=f"{name}_out") if activation else x


def squeeze_excite(x, *, name: str):
    """Multiply channels by a gate of 0 to 1 from the image's mean (Hu et al., CVPR 2018), in MobileNetV3's form: a
    quarter of the channels inside, and a hard sigmoid."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)  # (B, 1, 1, C)
    options = {"activation": "relu", "kernel_initializer": "he_normal", "name": f"{name}_1_conv"}
    gate = layers.Conv2D(scaled(channels / 4), 1, **options)(gate)
    gate = layers.Conv2D(channels, 1, name=f"{name}_2_conv")(gate)
    gate = layers.Activation("hard_sigmoid", name=f"{name}_gate")(gate)
    return layers.Multiply(name=f"{name}_multiply")([x, gate])
