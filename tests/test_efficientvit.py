"""EfficientViT: attention of linear cost, its sizes, files made in the published form, and every path to a device."""

import exports
import keras
import numpy as np
import pytest
import tensorflow as tf
from test_efficientnet_lite import write_archive

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import resolve
from deeplab_tf.lab.models import custom_layers, pretrained
from deeplab_tf.lab.models.efficientvit import efficientvit
from deeplab_tf.lab.pruning.channel_graph import read_channel_graph
from deeplab_tf.lab.training.optimizers import Muon

SIZE = (65, 97)


@pytest.fixture(scope="module")
def model(randomize, make_images):
    """As published: with hard swish."""
    return exports.make(randomize, make_images, "efficientvit", activation="hard_swish")


@pytest.mark.parametrize("variant, millions", [("b0", 0.7), ("b1", 4.8)])
def test_sizes_are_the_published_ones(variant, millions):
    """Cai et al., Cityscapes: 0.7 and 4.8 million parameters."""
    trainable = efficientvit(19, variant=variant).trainable_weights
    assert round(sum(int(np.prod(weight.shape)) for weight in trainable) / 1e6, 1) == millions


def test_linear_attention_equals_its_quadratic_form(rng):
    """Each position by itself: sum_j relu(q_i).relu(k_j) v_j / (sum_j relu(q_i).relu(k_j) + N epsilon)."""
    heads, dim, height, width = 2, 4, 3, 5
    x = rng.normal(size=(2, height, width, heads * 3 * dim)).astype(np.float32)
    got = custom_layers.LinearAttention(dim)(x).numpy()
    tokens = x.reshape(2, height * width, heads, 3, dim)
    queries, keys = np.maximum(tokens[..., 0, :], 0), np.maximum(tokens[..., 1, :], 0)
    weights = np.einsum("bihd,bjhd->bhij", queries, keys)
    expected = np.einsum("bhij,bjhd->bihd", weights, tokens[..., 2, :])
    expected /= np.moveaxis(weights.sum(3), 1, 2)[..., None] + height * width * custom_layers.LinearAttention.EPSILON
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)


def test_its_sums_stay_in_the_range_of_float16(rng):
    """8,192 positions of values around 8: plain sums of their products, 8 * 8 * 8,192, would exceed 65,504."""
    x = np.abs(rng.normal(8, 1, (1, 64, 128, 3 * 16))).astype(np.float32)
    half = custom_layers.linear_attention(tf.constant(x, tf.float16), 16)
    np.testing.assert_allclose(half, custom_layers.linear_attention(tf.constant(x), 16), rtol=0.02)


def test_a_block_diagonal_convolution_is_a_grouped_one(rng):
    layer = custom_layers.BlockDiagonalConv(4)
    x = rng.normal(size=(2, 3, 5, 12)).astype(np.float32)
    got = layer(x).numpy()
    kernel = layer.kernel.numpy()
    expected = np.concatenate([x[..., 4 * g : 4 * g + 4] @ kernel[g] for g in range(3)], axis=-1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_muon_makes_each_block_orthogonal_by_itself(rng):
    optimizer = Muon(learning_rate=0.1)
    blocks = tf.constant(rng.normal(size=(3, 4, 4)).astype(np.float32))
    got = optimizer.zeropower_via_newtonschulz5(blocks, 6)
    for block, given in zip(got, blocks):
        np.testing.assert_allclose(block, optimizer.zeropower_via_newtonschulz5(given[None, None], 6)[0, 0], atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "hard_swish"])
def test_every_export_equals_keras(randomize, make_images, rng, activation):
    model = exports.make(randomize, make_images, "efficientvit", activation=activation)
    exports.check_exports(model, make_images(rng, 4, *SIZE).round(), int8_error=0.8)


def test_attention_reaches_everywhere(model, make_images, rng):
    """A pixel of a corner changes features of the opposite one, from the first attention on and not before."""
    image = make_images(rng, 1, 128, 128)
    other = image.copy()
    other[0, 0, 0] = 255 - other[0, 0, 0]
    for name, reached in (("res4_block1_3_bn", False), ("res4_block2_add", True)):
        part = keras.Model(model.input, model.get_layer(name).output)
        change = np.abs(part(other, training=False) - part(image, training=False))[0, -1, -1].max()
        assert (change > 0) == reached, name


def in_published_form(model, *, segments=True):
    """The tensors of the authors' file of a network, by their names, with what this one holds; batch normalization
    within an attending stage as biases. Names and order of model/efficientvit/backbone.py and seg.py of their code."""
    layers = {layer.name: layer for layer in model.layers if layer.weights}

    def conv(theirs, ours, norm=True):
        kernel = layers[f"{ours}_conv" if f"{ours}_conv" in layers else f"{ours}_depthwise"].get_weights()[0]
        depthwise = f"{ours}_conv" not in layers
        made = {f"{theirs}.conv.weight": kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)}
        if f"{ours}_bn" in layers:
            gamma, beta, mean, variance = layers[f"{ours}_bn"].get_weights()
            epsilon = layers[f"{ours}_bn"].epsilon
            if norm:
                values = gamma, beta, mean, variance + np.float32(epsilon - 1e-5)
                made.update(
                    zip((f"{theirs}.norm.{p}" for p in ("weight", "bias", "running_mean", "running_var")), values)
                )
                made[f"{theirs}.norm.num_batches_tracked"] = np.zeros((1,), np.float32)
            else:
                scale = gamma / np.sqrt(variance + epsilon)
                key = f"{theirs}.conv.weight"
                made[key] = made[key] * scale[:, None, None, None]
                made[f"{theirs}.conv.bias"] = beta - mean * scale
        return made

    def mbconv(theirs, ours, fewer=False):
        return {
            **conv(f"{theirs}.inverted_conv", f"{ours}_1", not fewer),
            **conv(f"{theirs}.depth_conv", f"{ours}_2", not fewer),
            **conv(f"{theirs}.point_conv", f"{ours}_3"),
        }

    stem = "backbone.input_stem.op_list"
    made = conv(f"{stem}.0", "conv1")
    made.update(conv(f"{stem}.1.main.depth_conv", "res1_block1_2"))
    made.update(conv(f"{stem}.1.main.point_conv", "res1_block1_3"))
    for stage, blocks in enumerate((2, 2, 3, 3)):
        for block in range(blocks):
            theirs, ours = f"backbone.stages.{stage}.op_list.{block}", f"res{stage + 2}_block{block + 1}"
            if stage < 2 or block == 0:
                made.update(mbconv(f"{theirs}.main", ours, stage > 1))
                continue
            context = f"{theirs}.context_module.main"
            made.update(conv(f"{context}.qkv", f"{ours}_attention_qkv"))
            near = layers[f"{ours}_attention_near_depthwise"].get_weights()[0]
            made[f"{context}.aggreg.0.0.weight"] = near.transpose(2, 3, 0, 1)
            group = layers[f"{ours}_attention_near_conv"].get_weights()[0]  # (groups, in, out)
            made[f"{context}.aggreg.0.1.weight"] = group.transpose(0, 2, 1).reshape(-1, group.shape[1], 1, 1)
            made.update(conv(f"{context}.proj", f"{ours}_attention_project"))
            made.update(mbconv(f"{theirs}.local_module.main", ours, True))
    if segments:
        made.update(conv("head.input_ops.0.op_list.0", "decoder_res5"))
        made.update(conv("head.input_ops.1.op_list.0", "decoder_res4"))
        made.update(conv("head.input_ops.2", "decoder_res3"))
        made.update(mbconv("head.middle.op_list.0.main", "decoder_block1"))
        made.update(conv("head.output_ops.0.op_list.0", "decoder_last"))
        kernel, bias = layers["logits_conv"].get_weights()
        made["head.output_ops.0.op_list.1.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        made["head.output_ops.0.op_list.1.conv.bias"] = bias
    else:
        made["head.op_list.0.conv.weight"] = np.zeros((4, 4, 1, 1), np.float32)
    return {name: np.ascontiguousarray(value) for name, value in made.items()}


def test_a_file_made_in_the_published_form_gives_the_same_network(model, make_images, rng, tmp_path):
    path = write_archive(tmp_path / "b0.pt", {"state_dict": in_published_form(model)})
    own, image = efficientvit(5, activation="hard_swish"), make_images(rng, 1, *SIZE)
    pretrained.load_network_weights(own, "efficientvit", str(path))
    expected = model(image, training=False)["logits"]
    np.testing.assert_allclose(own(image, training=False)["logits"], expected, atol=1e-4 * np.abs(expected).max())


def test_of_a_file_made_for_an_image_classifier_the_backbone_is_taken(model, tmp_path):
    path = write_archive(tmp_path / "b0.pt", {"state_dict": in_published_form(model, segments=False)})
    own = efficientvit(3, activation="hard_swish")
    before = own.get_layer("decoder_last_conv").kernel.numpy()
    pretrained.load_network_weights(own, "efficientvit", str(path))
    np.testing.assert_array_equal(own.get_layer("conv1_conv").kernel, model.get_layer("conv1_conv").kernel)
    np.testing.assert_array_equal(own.get_layer("decoder_last_conv").kernel, before)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda tensors: tensors.pop("backbone.input_stem.op_list.0.conv.weight"), "has no backbone.input_stem"),
        (lambda tensors: tensors.update({"backbone.more": np.zeros(1, np.float32)}), "has backbone.more, which"),
        (
            lambda tensors: tensors.update({"head.input_ops.2.conv.weight": np.zeros((8, 32, 1, 1), np.float32)}),
            "for decoder_res3_conv, whose shape is",
        ),
    ],
)
def test_a_file_of_another_network_is_refused(model, tmp_path, change, sentence):
    tensors = in_published_form(model)
    change(tensors)
    path = write_archive(tmp_path / "b0.pt", {"state_dict": tensors})
    with pytest.raises(DeepLabError, match=sentence):
        pretrained.load_network_weights(efficientvit(5, activation="hard_swish"), "efficientvit", str(path))


def test_it_is_a_recipe_like_any_other(tmp_path):
    data = {"name": "cityscapes", "root": str(tmp_path), "size": [64, 128]}
    config = resolve({"data": data, "model": {"name": "efficientvit", "variant": "b1"}})
    assert config.model["variant"] == "b1" and "backbone" not in config.model
    with pytest.raises(DeepLabError, match="backbone"):
        resolve({"data": data, "model": {"name": "efficientvit", "backbone": "resnet50"}})


def test_what_cannot_be_had_is_said(model, tmp_path):
    path = write_archive(tmp_path / "b0.pt", {"state_dict": in_published_form(model)})
    with pytest.raises(DeepLabError, match="trained with hard swish; set model.activation to hard_swish"):
        pretrained.load_network_weights(efficientvit(5), "efficientvit", str(path))
    with pytest.raises(DeepLabError, match="a file that the authors of efficientvit publish"):
        pretrained.load_network_weights(model, "efficientvit", "imagenet")
    with pytest.raises(DeepLabError, match="BlockDiagonalConv, through which channels cannot be followed"):
        read_channel_graph(model)
