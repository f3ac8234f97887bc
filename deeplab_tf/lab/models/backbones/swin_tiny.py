"""Swin-T (Liu et al., ICCV 2021, arXiv:2103.14030): attention within windows that shift from block to block.

As in its authors' code for segmentation, the features of each stage end with a normalization of their own. Unlike
there, the mergings before `res3` and `res5` begin one position outside the map: so feature i of a stage of stride s
lies within 4.5 pixels of pixel s * i, where upsampling puts it, and not half a stride away.
"""

from functools import partial

import keras
import numpy as np
from keras import layers

from deeplab_tf.lab.models.attention_layers import SpaceToDepth, WindowAttention
from deeplab_tf.lab.models.backbones._transformer import (
    NORMALIZATION,
    block,
    check_options,
    head_channels,
    layer_norm,
    linear,
)
from deeplab_tf.lab.models.backbones._transformer_weights import Tensors

__all__ = ["NORMALIZATION", "PRETRAINED", "STAGES", "build", "load_pretrained"]

PRETRAINED = {"from": "github.com/microsoft/Swin-Transformer, or timm"}

STAGES = (("res2", 2, 3, None), ("res3", 2, 6, 1), ("res4", 6, 12, 0), ("res5", 2, 24, 1))
"""Of each stage: its blocks, its heads, and the positions outside the map at which the merging before it begins."""
WINDOW = 7
PATCH = 4
EPSILON = 1e-5
HEAD_CHANNELS = 32


def build(image, *, width: float = 1.0, output_stride: int = 32, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage: `res2` (stride 4), `res3` (8), `res4` (16) and `res5` (32).

    Args:
        image: (B, H, W, 3) tensor, normalized.
        width: multiplies the channels of a head, 32 (rounded to a multiple of 8).
        momentum: unused; there is no batch normalization.

    Raises:
        DeepLabError: for an output stride other than 32, or a multi-grid.
    """
    check_options("swin_tiny", stride=32, output_stride=output_stride, multi_grid=multi_grid)
    dim, features = head_channels(HEAD_CHANNELS, width), {}
    x = layers.ZeroPadding2D(((0, PATCH - 1), (0, PATCH - 1)), name="conv1_pad")(image)
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    options = {"strides": PATCH, "kernel_initializer": initializer, "name": "conv1_conv"}
    x = layers.Conv2D(STAGES[0][2] * dim, PATCH, **options)(x)  # (B, H/4, W/4, 96)
    x = layer_norm(x, name="conv1", epsilon=EPSILON)
    for stage, blocks, heads, before in STAGES:
        if before is not None:
            x = SpaceToDepth(before, name=f"{stage}_merge")(x)
            x = layer_norm(x, name=f"{stage}_merge", epsilon=EPSILON)
            x = linear(x, heads * dim, name=f"{stage}_merge", use_bias=False)
        for i in range(blocks):
            attend = partial(_attend, heads=heads, shift=WINDOW // 2 * (i % 2))
            x = block(x, attend, epsilon=EPSILON, name=f"{stage}_block{i + 1}")
        features[stage] = layer_norm(x, name=stage, epsilon=EPSILON)
    return features


def _attend(x, name, *, heads, shift):
    x = linear(x, 3 * x.shape[-1], name=f"{name}_qkv", use_bias=False)
    return WindowAttention(heads, WINDOW, shift, name=f"{name}_heads")(x)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load a PyTorch file of its authors, or of timm, into the layers of `build` at width 1; the normalizations of
    `res2`, `res3` and `res4` keep their weights.

    Raises:
        DeepLabError: the file holds other tensors than such a network has.
    """
    tensors = Tensors(path, without=("head.", "relative_position_index", "attn_mask"))
    values = {"conv1_conv": tensors.conv("patch_embed.proj"), "conv1_norm": tensors.norm("patch_embed.norm")}
    later = "layers.3.downsample.norm.weight" in tensors  # where timm has had the mergings since 2023
    for i, (stage, blocks, _, before) in enumerate(STAGES):
        if before is not None:
            values.update(_merging(tensors, f"layers.{i if later else i - 1}.downsample", stage))
        for j in range(blocks):
            theirs, ours = f"layers.{i}.blocks.{j}", f"{stage}_block{j + 1}"
            values.update(tensors.block(theirs, ours))
            kernel, bias = tensors.linear(f"{theirs}.attn.qkv")
            values[f"{ours}_attention_qkv_conv"] = [kernel]
            values[f"{ours}_attention_heads"] = [bias, tensors.take(f"{theirs}.attn.relative_position_bias_table")]
    values["res5_norm"] = tensors.norm("norm")
    tensors.set(model, values)


def _merging(tensors, theirs, stage):
    """Return the weights of a merging, whose four positions have another order there: the first column first."""

    def reorder(values):
        return np.concatenate([np.split(values, 4)[i] for i in (0, 2, 1, 3)])

    kernel = reorder(tensors.take(f"{theirs}.reduction.weight").T)
    norm = [reorder(values) for values in tensors.norm(f"{theirs}.norm")]
    return {f"{stage}_merge_norm": norm, f"{stage}_merge_conv": [kernel[None, None]]}
