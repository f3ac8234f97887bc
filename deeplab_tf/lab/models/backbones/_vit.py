"""Plain Vision Transformers (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929; Touvron et al., ICML 2021): attention of
every patch of 16x16 pixels to every other one.

All features have stride 16. As Transformers are used for segmentation, `res2` to `res5` are those of each quarter of
the blocks, each with a normalization of its own, and finer strides are upsampled. There is no class token. Patches
begin 8 pixels outside the image, so that patch i is centered on pixel 16 * i, where upsampling puts it.
"""

from functools import partial

import keras
from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.attention_layers import Attention, PositionEmbedding
from deeplab_tf.lab.models.backbones._transformer import block, check_options, head_channels, layer_norm, linear
from deeplab_tf.lab.models.backbones._transformer_weights import Tensors
from deeplab_tf.lab.models.custom_layers import Upsample

PRETRAINED = {"from": "github.com/facebookresearch/deit"}
PATCH = 16
GRID = (14, 14)
"""Patches of an image of 224x224, as published."""
BLOCKS = 12
EPSILON = 1e-6
HEAD_CHANNELS = 64
STAGES = (("res2", 4), ("res3", 2), ("res4", 1), ("res5", 1))
"""With the factor of upsampling."""


def build(image, heads: int, *, name: str, width: float, output_stride: int, multi_grid) -> dict:
    """Return the features of every stage: `res2` (stride 4), `res3` (8), `res4` and `res5` (16).

    Args:
        image: (B, H, W, 3) tensor, normalized.
        heads: of each attention.
        name: the backbone's.
        width: multiplies the channels of a head, 64 (rounded to a multiple of 8).

    Raises:
        DeepLabError: for an output stride other than 16, or a multi-grid.
    """
    check_options(name, stride=PATCH, output_stride=output_stride, multi_grid=multi_grid)
    before = PATCH // 2
    x = layers.ZeroPadding2D(((before, PATCH - 1), (before, PATCH - 1)), name="conv1_pad")(image)
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    options = {"strides": PATCH, "kernel_initializer": initializer, "name": "conv1_conv"}
    x = layers.Conv2D(heads * head_channels(HEAD_CHANNELS, width), PATCH, **options)(x)  # (B, H/16 + 1, W/16 + 1, C)
    x, features = PositionEmbedding(GRID, name="conv1_position")(x), {}
    for stage, factor in STAGES:
        for i in range(BLOCKS // len(STAGES)):
            x = block(x, partial(_attend, heads=heads), epsilon=EPSILON, name=f"{stage}_block{i + 1}")
        y = layer_norm(x, name=stage, epsilon=EPSILON)
        features[stage] = y if factor == 1 else Upsample(factor, name=f"{stage}_upsample")(y)
    return features


def _attend(x, name, *, heads):
    return Attention(heads, name=f"{name}_heads")(linear(x, 3 * x.shape[-1], name=f"{name}_qkv"))


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load a PyTorch file of DeiT, for 224x224, into the layers of `build` at width 1; the normalizations of `res2`,
    `res3` and `res4` keep their weights. Class token and classifier are left out.

    Raises:
        DeepLabError: the file holds other tensors than such a network has, or is for another size.
    """
    tensors = Tensors(path, without=("cls_token", "head."))
    positions = tensors.take("pos_embed")[0, 1:]  # without that of the class token
    if len(positions) != GRID[0] * GRID[1]:
        raise DeepLabError(
            f"{path} has an embedding of {len(positions)} patches; expected {GRID[0] * GRID[1]}, of a network for "
            "224x224 without distillation."
        )
    values = {"conv1_conv": tensors.conv("patch_embed.proj"), "conv1_position": [positions.reshape(*GRID, -1)]}
    each = BLOCKS // len(STAGES)
    for i in range(BLOCKS):
        theirs, ours = f"blocks.{i}", f"{STAGES[i // each][0]}_block{i % each + 1}"
        values.update(tensors.block(theirs, ours))
        values[f"{ours}_attention_qkv_conv"] = tensors.linear(f"{theirs}.attn.qkv")
    values["res5_norm"] = tensors.norm("norm")
    tensors.set(model, values)
