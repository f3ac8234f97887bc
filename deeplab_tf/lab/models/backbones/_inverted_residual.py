"""What MobileNetV3 and EfficientNet-Lite are made of: inverted residual blocks (Sandler et al., CVPR 2018, section
3.3).

Strided convolutions pad alike on both sides, so that feature i of a stride-s map looks at pixel s * i, as in
`resnet50`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.layers import DepthwiseConv2D, batch_norm, kernel_initializer


class Block(NamedTuple):
    """One inverted residual block.

    Attributes:
        kernel: side of the depthwise convolution.
        expansion: channels that it works on, at width 1; None: those of its input, without a convolution that widens.
        channels: that it puts out, at width 1.
        activation: see `activate`.
        squeeze: whether a squeeze-and-excitation gate stands behind the depthwise convolution.
    """

    kernel: int
    expansion: int | None
    channels: int
    stride: int = 1
    activation: str = "relu"
    squeeze: bool = False


def check_multi_grid(multi_grid, backbone: str) -> None:
    """Raises DeepLabError for a multi-grid: the stride of these blocks stands in the very convolution that it would
    dilate."""
    if tuple(multi_grid) != (1, 1, 1):
        raise DeepLabError(
            f"The backbone {backbone} takes no multi-grid; set model.multi_grid to [1, 1, 1]. Got "
            f"{list(multi_grid)} instead."
        )


def widened(channels: float, width: float = 1.0) -> int:
    """So many channels times a width, as a multiple of 8, but not below nine tenths of it: the rounding of all
    MobileNets."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def stem(image, channels: int, *, activation: str, momentum: float):
    """A 3x3 convolution of stride 2."""
    x = layers.ZeroPadding2D(1, name="conv1_pad")(image)
    options = {"use_bias": False, "kernel_initializer": kernel_initializer(), "name": "conv1_conv"}
    x = layers.Conv2D(channels, 3, strides=2, **options)(x)  # (B, H/2, W/2, channels)
    return activate(batch_norm(x, name="conv1_bn", momentum=momentum), activation, name="conv1_out")


def stages(x, blocks: Sequence[Block], *, width: float, output_stride: int, momentum: float) -> dict:
    """Blocks behind a stem, and the features of every stage.

    Args:
        x: (B, H/2, W/2, *) tensor.
        blocks: each of stride 2 begins a stage.
        width: multiplies the channels of every block.
        output_stride: strides beyond it become dilation.
        momentum: of the running statistics of batch normalisation.

    Returns:
        By name the output of each stage's last block: `res2` at stride 4, `res3` at 8, ..., each stride bounded by
            output_stride.
    """
    features, level, stride, rate, count = {}, 1, 2, 1, 0
    for block in blocks:
        dilated = stride * block.stride > output_stride
        level, count = (level + 1, 1) if block.stride == 2 else (level, count + 1)
        options = {"stride": 1 if dilated else block.stride, "rate": rate, "width": width, "momentum": momentum}
        x = inverted_residual(x, block, name=f"res{level}_block{count}", **options)
        # Only behind this block: its depthwise convolution, in which the stride would stand, still reads the map before
        # it.
        stride, rate = (stride, rate * block.stride) if dilated else (stride * block.stride, rate)
        features[f"res{level}"] = x
    return {name: feature for name, feature in features.items() if name != "res1"}


def inverted_residual(x, block: Block, *, stride: int, rate: int, width: float, momentum: float, name: str):
    """1x1 to more channels, depthwise, 1x1 to few channels without activation; added to its input where both have one
    shape."""
    shortcut, channels = x, widened(block.channels, width)
    residual = block.stride == 1 and channels == x.shape[-1]
    if block.expansion is not None:
        x = conv(x, widened(block.expansion, width), name=f"{name}_1", activation=block.activation, momentum=momentum)
    x = _depthwise(x, block.kernel, stride=stride, rate=rate, name=f"{name}_2")
    x = activate(batch_norm(x, name=f"{name}_2_bn", momentum=momentum), block.activation, name=f"{name}_2_out")
    if block.squeeze:
        x = squeeze_excite(x, name=f"{name}_squeeze")
    x = conv(x, channels, name=f"{name}_3", momentum=momentum, zero=residual)
    return layers.Add(name=f"{name}_add")([shortcut, x]) if residual else x


def conv(x, channels: int, *, name: str, momentum: float, activation: str | None = None, zero: bool = False):
    """1x1 convolution, batch normalisation and, where one is named, an activation; `zero`: see `batch_norm`."""
    x = layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=kernel_initializer(), name=f"{name}_conv")(x)
    x = batch_norm(x, name=f"{name}_bn", momentum=momentum, zero=zero)
    return activate(x, activation, name=f"{name}_out") if activation else x


def _depthwise(x, kernel, *, stride, rate, name):
    if stride > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return DepthwiseConv2D(
        kernel,
        strides=stride,
        dilation_rate=rate,
        padding="valid" if stride > 1 else "same",
        use_bias=False,
        depthwise_initializer=kernel_initializer(),
        name=f"{name}_depthwise",
    )(x)


def squeeze_excite(x, *, name: str):
    """Channels times a gate of 0 to 1 made from the image's mean (Hu et al., CVPR 2018), as MobileNetV3 has it: a
    quarter of the channels inside, and a sigmoid of straight lines."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)  # (B, 1, 1, C)
    gate = layers.Conv2D(
        widened(channels / 4), 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_1_conv"
    )(gate)
    gate = layers.Conv2D(channels, 1, name=f"{name}_2_conv")(gate)
    gate = layers.Activation("hard_sigmoid", name=f"{name}_gate")(gate)
    return layers.Multiply(name=f"{name}_multiply")([x, gate])


def activate(x, activation: str, *, name: str):
    """`relu`, `relu6` (at most 6), or `hard_swish`: x * relu6(x + 3) / 6 (Howard et al., ICCV 2019, section 5.2)."""
    if activation == "hard_swish":
        return layers.Activation("hard_silu", name=name)(x)
    return layers.ReLU(6.0 if activation == "relu6" else None, name=name)(x)
