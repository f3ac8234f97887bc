"""EfficientViT for segmentation (Cai et al., ICCV 2023, arXiv:2205.14756): inverted residual blocks, and ReLU attention
of linear cost from stride 16 on. It has no backbone of its own choosing; its stages are named like those of one.
"""

from typing import Annotated, Literal, NamedTuple

import keras
from keras import layers

from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.backbones._inverted_residual import Block, inverted_residual, pointwise
from deeplab_tf.lab.models.blocks import activate, batch_norm, conv, depthwise_conv, normalize, output_head
from deeplab_tf.lab.models.custom_layers import BlockDiagonalConv, LinearAttention, Upsample
from deeplab_tf.lab.models.efficientvit_weights import load_efficientvit_weights as load_pretrained
from deeplab_tf.lab.models.encoder import dtype_policy

__all__ = ["NORMALIZATION", "VARIANTS", "efficientvit", "load_pretrained"]

NORMALIZATION = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
EXPANSION = 4
"""Of the inverted residual blocks."""


class Variant(NamedTuple):
    """A column of Cai et al.'s table of networks.

    Attributes:
        stem: channels at stride 2, and its blocks.
        stages: channels and blocks at strides 4, 8, 16 and 32; the last two attend.
        head_dim: channels of a head of attention.
        head: channels of the segmentation head, and its blocks.
    """

    stem: tuple[int, int]
    stages: tuple[tuple[int, int], ...]
    head_dim: int
    head: tuple[int, int]


VARIANTS = {
    "b0": Variant((8, 1), ((16, 2), (32, 2), (64, 2), (128, 2)), 16, (32, 1)),
    "b1": Variant((16, 1), ((32, 2), (64, 3), (128, 3), (256, 4)), 16, (64, 3)),
    "b2": Variant((24, 1), ((48, 3), (96, 4), (192, 4), (384, 6)), 32, (96, 3)),
}


def efficientvit(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    variant: Annotated[Literal["b0", "b1", "b2"], "the size of the network"] = "b0",
    activation: Annotated[
        Literal["relu", "hard_swish"], "`hard_swish` as published; `relu` is faster in INT8 on a CPU"
    ] = "relu",
    dropout: arguments.Dropout = 0.0,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build an EfficientViT-Seg.

    Strided convolutions pad both sides alike, and upsampling is bilinear; the publication's is bicubic. Sums over
    positions are means, so that they stay in float16's range.

    Args:
        num_classes, size, precision: as in `deeplab_v3_plus`; the others are described where they are annotated.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32.
    """
    rows, block = VARIANTS[variant], _Blocks(activation, batch_norm_momentum)
    with dtype_policy(precision):
        image = keras.Input((*size, 3), name="image")
        x, blocks = normalize(image, **NORMALIZATION), rows.stem[1]
        x = block.stem(x, rows.stem[0])  # (B, H/2, W/2, 8)
        for i in range(blocks):
            x = block.residual(x, rows.stem[0], expansion=1, name=f"res1_block{i + 1}")
        features = {}
        for stage, (channels, blocks) in zip(("res2", "res3", "res4", "res5"), rows.stages):
            attends = stage in ("res4", "res5")
            x = block.residual(x, channels, stride=2, name=f"{stage}_block1")
            for i in range(2, blocks + 1 + attends):  # a stage that attends has its blocks behind the strided one
                if attends:
                    x = block.attention(x, rows.head_dim, name=f"{stage}_block{i}_attention")
                x = block.residual(x, channels, name=f"{stage}_block{i}")
            features[stage] = x
        x = _joined(features, rows.head[0], batch_norm_momentum)  # (B, H/8, W/8, 32)
        for i in range(rows.head[1]):
            x = block.residual(x, rows.head[0], name=f"decoder_block{i + 1}")
        channels = EXPANSION * rows.head[0]
        x = pointwise(x, channels, name="decoder_last", activation=activation, momentum=batch_norm_momentum)
        x = layers.Dropout(dropout, name="decoder_dropout")(x)
        outputs = {"logits": output_head(x, image, 8, num_classes, name="logits")}
    return keras.Model(image, outputs, name="efficientvit")


def _joined(features, channels, momentum):
    """Project the last three stages to the same channels, and add them at stride 8, from coarse to fine: the same sum
    as of each upsampled by itself, and each has a convolution of its own to be added to."""
    total = None
    for stage in ("res5", "res4", "res3"):
        part = pointwise(features[stage], channels, name=f"decoder_{stage}", momentum=momentum)
        if total is not None:
            total = Upsample(2, name=f"decoder_{stage}_upsample")([total, part])
            part = layers.Add(name=f"decoder_{stage}_add")([total, part])
        total = part
    return total


class _Blocks:
    """The blocks of one network: an activation, and the momentum of batch normalization."""

    def __init__(self, activation: str, momentum: float):
        self.activation, self.momentum = activation, momentum

    def stem(self, x, channels):
        x = layers.ZeroPadding2D(1, name="conv1_pad")(x)
        x = conv(x, channels, 3, strides=2, padding="valid", name="conv1_conv")
        return activate(batch_norm(x, name="conv1_bn", momentum=self.momentum), self.activation, name="conv1_out")

    def residual(self, x, channels, *, name, stride=1, expansion=EXPANSION):
        """An inverted residual block of a 3x3 kernel; without expansion, a depthwise separable one."""
        inner = None if expansion == 1 else expansion * x.shape[-1]
        block = Block(3, inner, channels, stride, self.activation)
        norm = {"momentum": self.momentum}
        return inverted_residual(x, block, stride=stride, rate=1, width=1.0, norm=norm, name=name)

    def attention(self, x, head_dim, *, name):
        """Attend at two scales: positions by themselves, and with the 5x5 around them (section 3.1, multi-scale)."""
        channels = x.shape[-1]
        tokens = conv(x, 3 * channels, 1, name=f"{name}_qkv_conv")  # of each head queries, keys and values
        near = depthwise_conv(tokens, 5, name=f"{name}_near_depthwise")
        near = BlockDiagonalConv(head_dim, name=f"{name}_near_conv")(near)
        both = layers.Concatenate(name=f"{name}_concat")([tokens, near])  # (B, h, w, 6 * C)
        y = LinearAttention(head_dim, dtype="float32", name=f"{name}_heads")(both)  # (B, h, w, 2 * C)
        y = pointwise(y, channels, name=f"{name}_project", zero=True, momentum=self.momentum)
        return layers.Add(name=f"{name}_add")([x, y])
