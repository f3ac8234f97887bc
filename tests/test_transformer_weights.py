"""Files of the forms in which Transformers' weights are published, made here: read safely, each tensor once, at its
place. Names of Swin's and DeiT's code, and of timm's."""

import keras
import numpy as np
import pytest
from test_efficientnet_lite import write_archive

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.backbones import swin_tiny, vit_tiny
from deeplab_tf.lab.models.pretrained import load_backbone_weights

WIDTH = 0.125
"""Swin: heads of 8 channels, 24 at stride 4. ViT: 3 heads of 8."""


def make_block(rng, name, channels):
    shapes = {f"norm{i}.{part}": (channels,) for i in (1, 2) for part in ("weight", "bias")}
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for layer, (out, into) in linear.items():
        shapes.update({f"{layer}.weight": (out * channels, into * channels), f"{layer}.bias": (out * channels,)})
    return {f"{name}.{part}": values(rng, *shape) for part, shape in shapes.items()}


def values(rng, *shape):
    return rng.normal(0, 0.2, shape).astype(np.float32)


def norm(rng, name, channels):
    return {f"{name}.weight": values(rng, channels), f"{name}.bias": values(rng, channels)}


def swin_file(rng, later=False):
    made = {"patch_embed.proj.weight": values(rng, 24, 3, 4, 4), "patch_embed.proj.bias": values(rng, 24)}
    made.update(norm(rng, "patch_embed.norm", 24))
    for i, (blocks, heads) in enumerate(((2, 3), (2, 6), (6, 12), (2, 24))):
        for j in range(blocks):
            name = f"layers.{i}.blocks.{j}"
            made.update(make_block(rng, name, 8 * heads))
            made[f"{name}.attn.relative_position_bias_table"] = values(rng, 169, heads)
            made[f"{name}.attn.relative_position_index"] = np.zeros((49, 49), np.float32)
            if j % 2 and not later:
                made[f"{name}.attn_mask"] = np.zeros((4, 49, 49), np.float32)
        if i < 3:
            name = f"layers.{i + later}.downsample"
            made.update(norm(rng, f"{name}.norm", 32 * heads))
            made[f"{name}.reduction.weight"] = values(rng, 16 * heads, 32 * heads)
    made.update(norm(rng, "norm", 192))
    head = "head.fc" if later else "head"
    return {**made, f"{head}.weight": values(rng, 10, 192), f"{head}.bias": values(rng, 10)}


def vit_file(rng, patches=196):
    made = {"cls_token": values(rng, 1, 1, 24), "pos_embed": values(rng, 1, 1 + patches, 24)}
    made.update({"patch_embed.proj.weight": values(rng, 24, 3, 16, 16), "patch_embed.proj.bias": values(rng, 24)})
    for i in range(12):
        made.update(make_block(rng, f"blocks.{i}", 24))
    return {**made, **norm(rng, "norm", 24), "head.weight": values(rng, 10, 24), "head.bias": values(rng, 10)}


def backbone(module):
    image = keras.Input((None, None, 3))
    return keras.Model(image, module.build(image, width=WIDTH))


def load(module, name, folder, tensors):
    model = backbone(module)
    load_backbone_weights(model, name, str(write_archive(folder / "weights.pth", {"model": tensors})))
    return {variable.path: variable.numpy() for variable in model.weights}


def check_all_used(loaded, tensors, unused, ours):
    """All numbers of the file, but for what is left out, and no others are in the network: the same multiset."""
    wanted = [value for name, value in tensors.items() if not any(part in name for part in unused)]
    kept = [value for path, value in loaded.items() if path.split("/")[0] not in ours]
    assert sorted(float(value.sum(dtype=np.float64)) for value in wanted) == pytest.approx(
        sorted(float(value.sum(dtype=np.float64)) for value in kept), abs=1e-4
    )
    assert sum(value.size for value in wanted) == sum(value.size for value in kept)


@pytest.mark.parametrize("later", [False, True], ids=["authors", "timm"])
def test_a_file_of_swins_form(rng, tmp_path, later):
    tensors = swin_file(rng, later)
    loaded = load(swin_tiny, "swin_tiny", tmp_path, tensors)
    check_all_used(loaded, tensors, ("head", "index", "mask"), {"res2_norm", "res3_norm", "res4_norm"})
    theirs = "layers.2.blocks.5"
    qkv = loaded["res4_block6_attention_qkv_conv/kernel"][0, 0]
    np.testing.assert_array_equal(qkv, tensors[f"{theirs}.attn.qkv.weight"].T)
    np.testing.assert_array_equal(loaded["res4_block6_attention_heads/bias"], tensors[f"{theirs}.attn.qkv.bias"])
    # Their merging stacks x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]; here rows come last.
    stacked = tensors[f"layers.{0 + later}.downsample.norm.weight"].reshape(2, 2, 24)  # column, row
    np.testing.assert_array_equal(loaded["res3_merge_norm/gamma"].reshape(2, 2, 24), stacked.transpose(1, 0, 2))


def test_a_file_of_deits_form(rng, tmp_path):
    tensors = vit_file(rng)
    loaded = load(vit_tiny, "vit_tiny", tmp_path, tensors)
    positions = tensors["pos_embed"][0]
    tensors["pos_embed"] = positions[1:]
    check_all_used(loaded, tensors, ("head", "cls"), {"res2_norm", "res3_norm", "res4_norm"})
    np.testing.assert_array_equal(loaded["conv1_position/embedding"][2, 3], positions[1 + 2 * 14 + 3])
    np.testing.assert_array_equal(loaded["res3_block2_2_conv/kernel"][0, 0], tensors["blocks.4.mlp.fc1.weight"].T)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda t: t.pop("blocks.3.norm1.weight"), "has no blocks.3.norm1.weight"),
        (lambda t: t.update({"dist_token": np.zeros((1, 1, 24), np.float32)}), "has dist_token, which"),
        (lambda t: t.update({"pos_embed": np.zeros((1, 577, 24), np.float32)}), "of 576 patches; expected 196"),
        (lambda t: t.update({"norm.bias": np.zeros(23, np.float32)}), "for res5_norm, whose shape is"),
    ],
)
def test_a_file_of_another_network_is_refused(rng, tmp_path, change, sentence):
    tensors = vit_file(rng)
    change(tensors)
    with pytest.raises(DeepLabError, match=sentence):
        load(vit_tiny, "vit_tiny", tmp_path, tensors)


def test_imagenet_names_where_the_files_are():
    with pytest.raises(DeepLabError, match="PyTorch files of github.com/microsoft/Swin-Transformer"):
        load_backbone_weights(backbone(swin_tiny), "swin_tiny", "imagenet")
