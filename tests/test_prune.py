"""Pruning: which channels stand or fall together, what they are worth, and that what is left is an ordinary, smaller
network."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import yaml
from click.testing import CliRunner
from keras import layers

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.budget.workload import macs, parameters
from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.models.layers import Upsample, batch_norm, conv_bn
from deeplab_tf.lab.pruning.importance import by_loss, by_scale
from deeplab_tf.lab.pruning.search import Costs, Unreachable, choose
from deeplab_tf.lab.pruning.statistics import measure_statistics
from deeplab_tf.lab.pruning.surgery import without
from deeplab_tf.lab.pruning.units import Group, Wiring, read_units

STAGE = ("stem_conv", "second", "project")


def network():
    """A residual block, an inverted one with a gate, a branch and a concatenation: each way in which channels are
    tied."""

    def conv(x, filters, name, kernel=1, **options):
        return layers.Conv2D(filters, kernel, padding="same", use_bias=False, name=name, **options)(x)

    image = keras.Input((16, 16, 3), name="image")
    x = layers.AveragePooling2D(2, name="half")(image)
    stage = conv_bn(x, 16, 3, name="stem")
    x = conv_bn(stage, 24, 3, name="first")
    x = batch_norm(conv(x, 16, "second", 3), name="second_bn")
    stage = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([stage, x]))
    x = layers.ReLU(name="expand_relu")(batch_norm(conv(stage, 32, "expand"), name="expand_bn"))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(name="depthwise_relu")(batch_norm(x, name="depthwise_bn"))
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    gate = layers.Conv2D(8, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(32, 1, activation="sigmoid", name="excite")(gate)
    x = conv(layers.Multiply(name="gated")([x, gate]), 16, "project")
    stage = layers.Add(name="sum2")([stage, batch_norm(x, name="project_bn")])
    branch = conv_bn(layers.ReLU(name="sum2_relu")(stage), 8, 3, name="branch")
    x = conv_bn(layers.Concatenate(name="both")([stage, branch]), 16, 1, name="fuse")
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Conv2D(3, 1, name="logits_conv")(x)
    return keras.Model(image, {"logits": Upsample(2, name="logits")([x, image])})


@pytest.fixture(scope="module")
def model(randomize, make_images):
    keras.utils.set_random_seed(3)
    return randomize(network(), make_images(np.random.default_rng(5), 4, 16, 16))


@pytest.fixture(scope="module")
def wiring(model):
    return read_units(model)


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(np.random.default_rng(6), 3, 16, 16)


def test_channels_are_tied_as_the_graph_ties_them(wiring):
    sizes = {found.makers: len(found.units) for found in wiring.groups}
    assert sizes == {
        STAGE: 16,  # what both sums add
        ("first_conv",): 24,
        ("expand", "excite"): 32,  # the gate's product
        ("squeeze",): 8,
        ("branch_conv",): 8,  # behind the stage in the concatenation, and none of it
        ("fuse_conv",): 16,
    }
    np.testing.assert_array_equal(wiring.reads["fuse_conv"], [*wiring.makes["stem_conv"], *wiring.makes["branch_conv"]])
    assert wiring.count == 3 + 16 + 24 + 32 + 8 + 8 + 16 + 3, "and the image's and the logits', which stay"


def test_a_residual_stage_of_resnet50_is_one_group():
    from deeplab_tf.lab.models.backbones import resnet50

    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(3, 1, name="logits_conv")(resnet50.build(image, width=0.125)["res5"])
    groups = {found.makers: len(found.units) for found in read_units(keras.Model(image, {"logits": x})).groups}
    ends = [makers for makers in groups if len(makers) > 1]
    assert (
        ends[0] == ("res2_block1_0_conv", "res2_block1_3_conv", "res2_block2_3_conv", "res2_block3_3_conv")
        and groups[ends[0]] == 32
    )
    assert [len(makers) for makers in ends] == [1 + blocks for blocks in (3, 4, 6, 3)]
    assert len(groups) == 1 + 2 * 16 + 4, "the stem, two inside each of 16 blocks, and what each stage puts out"


def test_what_cannot_be_followed_is_named():
    image = keras.Input((4, 4, 8))
    x = layers.Reshape((2, 8, 8), name="turned")(layers.Conv2D(8, 1, name="a")(image))
    with pytest.raises(DeepLabError, match="The layer turned is a Reshape, through which channels cannot be followed"):
        read_units(keras.Model(image, {"logits": x}))


def gate(model, names, channel, value):
    """Multiplies a channel behind batch normalisations."""
    for name in names:
        layer = model.get_layer(name)
        for variable in (layer.gamma, layer.beta):
            variable.assign(tf.tensor_scatter_nd_update(variable.value, [[channel]], [variable[channel] * value]))


def squares(outputs, truth):
    return tf.reduce_mean((tf.cast(outputs["logits"], tf.float64) - truth) ** 2)


@pytest.mark.parametrize(
    "maker, norms",
    [("first_conv", ["first_bn"]), ("stem_conv", ["stem_bn", "second_bn", "project_bn"]), ("expand", ["depthwise_bn"])],
)
def test_worth_is_the_slope_of_the_loss_along_a_gate(model, wiring, images, maker, norms):
    """Against a difference quotient, with gates at batch normalisation, while ours is computed at the kernels that
    read."""
    worth = by_loss(model, wiring, [(images, 1.0)], squares)[wiring.makes[maker]]
    channel, slopes = int(worth.argmax()), []
    for value in (1.005, 0.995 / 1.005, 1 / 0.995):
        gate(model, norms, channel, value)
        slopes.append(float(squares(model(images, training=False), 1.0)))
    assert abs(slopes[0] - slopes[1]) / 0.01 == pytest.approx(worth[channel], rel=0.05) and worth[channel] > 0


def test_changes_of_several_batches_do_not_cancel(model, wiring, images):
    one, other = (by_loss(model, wiring, [(part, 1.0)], squares) for part in (images[:1], images[1:]))
    both = by_loss(model, wiring, [(images[:1], 1.0), (images[1:], 1.0)], squares)
    np.testing.assert_allclose(both, np.sqrt((one**2 + other**2) / 2), rtol=1e-4, atol=1e-9)


def test_scales_are_relative_to_their_layer(model, wiring):
    gammas = np.abs(model.get_layer("first_bn").gamma.numpy())
    np.testing.assert_allclose(by_scale(model, wiring)[wiring.makes["first_conv"]], gammas / gammas.mean(), rtol=1e-6)


@pytest.fixture(scope="module")
def with_zeros(model, images):
    """A copy in which some channels of a stage, of the inverted block and of a plain layer are zero wherever they
    go."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for channel in (0, 5, 15):
        gate(copy, ["stem_bn", "second_bn", "project_bn"], channel, 0.0)
    for channel in (2, 3):
        gate(copy, ["first_bn"], channel, 0.0)
        gate(copy, ["depthwise_bn"], channel, 0.0)
    return copy


def test_channels_that_are_zero_leave_no_trace(with_zeros, images):
    wiring = read_units(with_zeros)
    worth = by_loss(with_zeros, wiring, [(images, 1.0)], squares)
    gone = [
        *wiring.makes["stem_conv"][[0, 5, 15]],
        *wiring.makes["first_conv"][[2, 3]],
        *wiring.makes["expand"][[2, 3]],
    ]
    np.testing.assert_array_equal(worth[gone], 0)
    keep = np.ones(wiring.count, bool)
    keep[gone] = False
    smaller = without(with_zeros, wiring, keep)
    assert {layer.name: layer.filters for layer in smaller.layers if isinstance(layer, layers.Conv2D)} == {
        **dict.fromkeys(STAGE, 13),
        "first_conv": 22,
        "expand": 30,
        "excite": 30,
        "squeeze": 8,
        "branch_conv": 8,
        "fuse_conv": 16,
        "logits_conv": 3,
    }
    assert smaller.get_layer("depthwise_bn").gamma.shape == (30,) and smaller.get_layer("depthwise").kernel.shape == (
        3,
        3,
        30,
        1,
    )
    expected = with_zeros(images, training=False)["logits"].numpy()
    np.testing.assert_allclose(
        smaller(images, training=False)["logits"].numpy(), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_statistics_are_averages_over_the_batches(model, images, wiring):
    copy = without(model, wiring, np.ones(wiring.count, bool))
    stem = keras.Model(copy.input, copy.get_layer("stem_conv").output)
    parts = [images[:2], images[1:]]
    expected = np.mean([stem(part).numpy().mean(axis=(0, 1, 2)) for part in parts], axis=0)
    measure_statistics(copy, [(part, None) for part in parts])
    np.testing.assert_allclose(copy.get_layer("stem_bn").moving_mean.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert copy.get_layer("stem_bn").momentum == 0.99 and copy.get_layer("dropout").rate == 0.5


def two_groups():
    wiring = Wiring({}, {}, (Group(("a",), np.arange(24)), Group(("b",), np.arange(24, 40))), 40)
    worth = np.concatenate([np.arange(24)[::-1], np.full(16, 3.0)]).astype(float)
    return wiring, worth


@pytest.mark.parametrize(
    "target, kept",
    [
        (40, (24, 16)),
        (39, (24, 8)),  # eight of b are worth 24, the last eight of a 0 + 1 + ... + 7 = 28
        (31, (16, 8)),  # b has come down to eight and stays
        (20, (8, 8)),
    ],
)
def test_the_cheapest_eight_go_first(target, kept):
    wiring, worth = two_groups()
    keep = choose(wiring, worth, lambda counts: float(counts.sum()), target)
    assert (keep[:24].sum(), keep[24:].sum()) == kept
    assert keep[: kept[0]].all(), "of a group the least important go"


def test_what_is_saved_counts_too():
    wiring, worth = two_groups()
    keep = choose(
        wiring, worth, lambda counts: float(counts @ [2, 1]), 63
    )  # a channel of a saves twice as much: 28 / 16 < 24 / 8
    assert (keep[:24].sum(), keep[24:].sum()) == (16, 16)
    with pytest.raises(Unreachable) as caught:
        choose(wiring, worth, lambda counts: float(counts.sum()), 15)
    assert caught.value.args[0] == 16


@pytest.mark.parametrize(
    "channels, message",
    [
        (
            {"frist_conv": 8},
            "model.channels names frist_conv, which is no convolution of this network. Did you mean 'first_conv'?",
        ),
        ({"depthwise": 8}, "model.channels names depthwise, which is no convolution"),
        ({"first_conv": 0}, "model.channels must be greater than 0. Got 0 for first_conv instead."),
        ({"second": 8}, "The numbers in model.channels do not fit together"),
    ],
)
def test_wrong_channels_get_a_sentence(model, channels, message):
    with pytest.raises(DeepLabError) as caught:
        set_channels(model, channels)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_with_instances_is_pruned_by_all_its_losses(tmp_path, monkeypatch):
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.export.layer_costs import model_layers
    from deeplab_tf.lab.models.recipe import build_network
    from deeplab_tf.lab.pruning.prune import Way, prune
    from deeplab_tf.lab.pruning.target import Target

    tiny.use_backbone(monkeypatch)
    config = resolve(tiny.recipe(tiny.write_data(tmp_path, train=4, val=1, instances=True), instances=True))
    model, split, said = build_network(config.model, 3), open_split(config.data, "train"), []
    most = 0.6 * macs(model_layers(model, (64, 64))) / 1e9
    smaller = prune(model, config, split, Target((64, 64), gmac=most), Way(rounds=1, images=4), said.append)
    assert (
        list(smaller.output) == ["logits", "center", "offset"] and macs(model_layers(smaller, (64, 64))) / 1e9 <= most
    )
    assert said[0].startswith("round 1 of 1: ")
    (tmp_path / "images" / "train" / "frame_2.png").write_bytes(b"")
    with pytest.raises(DeepLabError, match="frame_2.png"):
        prune(model, config, split, Target((64, 64), gmac=most), Way("scale", 1, 4), said.append)


def call(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """A trained run pruned to 60 % of its multiply-adds by the command: its folder, the report, what was printed."""
    folder = tmp_path_factory.mktemp("pruned")
    options = [
        "--gmac",
        0.16,
        "--size",
        "512x1024",
        "--rounds",
        2,
        "--images",
        8,
        "--out",
        folder / "run",
        "--json",
        folder / "a.json",
    ]
    result = call("prune", tiny.trained_run(), *options)
    assert result.exit_code == 0, (result.output, result.exception)
    return folder / "run", json.loads((folder / "a.json").read_text()), result.output


def test_a_pruned_run_is_an_ordinary_run(pruned, monkeypatch, tmp_path):
    """Its network, its recipe and the table agree; it can be scored, and trained on."""
    from deeplab_tf.lab.export.layer_costs import model_layers, recipe_layers
    from deeplab_tf.lab.models.recipe import build_network
    from deeplab_tf.lab.runs.keras_runtime import open_run
    from deeplab_tf.lab.training.start import fill

    run, report, output = pruned
    runtime = open_run(run)
    found = model_layers(runtime.model, (512, 1024))
    assert macs(found) / 1e9 == report["gmac"][1] <= 0.16 < report["gmac"][0]
    assert parameters(found) == report["parameters"][1] < report["parameters"][0]
    assert all(after % 8 == 0 or after == before for before, after in report["channels"].values())
    assert report["miou"][0] > 0.85 and "expected frames/s, jetson-nano float16" in output
    assert sum(row["gmac"][1] for row in report["stages"]) == pytest.approx(report["gmac"][1])

    tiny.use_backbone(monkeypatch)
    assert recipe_layers(runtime.config.model, (512, 1024), 3) == found
    built = build_network(runtime.config.model, 3)
    fill(built, runtime.config.model, runtime.table)
    frame = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(frame)["logits"], runtime.model(frame)["logits"])
    assert call("evaluate", run, "--out", tmp_path / "report").exit_code == 0


def test_it_is_fine_tuned_by_its_own_recipe_and_its_teacher(pruned, monkeypatch, tmp_path):
    tiny.use_backbone(monkeypatch)
    run, report, _ = pruned
    words = report["command"].split()
    assert (
        words[:3] == ["deeplab-tf", "train", str(run / "config.yaml")]
        and f"distillation.run={tiny.trained_run()}" in words
    )
    settings = [
        "training.steps=6",
        "training.validate_every=6",
        "training.save_steps=[]",
        "optimizer.learning_rate=0.002",
    ]
    result = call(*words[1:-1], tmp_path / "tuned", *(word for setting in settings for word in ("--set", setting)))
    assert result.exit_code == 0, (result.output, result.exception)
    rows = [json.loads(line) for line in (tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] < 0.5, "it starts from the pruned weights: ln 3 would be guessing"
    assert rows[-1]["val"]["miou"] > 0.85
    config = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert config["model"]["weights"] == str(run) and config["model"]["channels"]


@pytest.mark.parametrize(
    "options, code, message",
    [
        (
            ["--gmac", 0.0001],
            1,
            "0.00 billion multiply-adds at 64x64 cannot be reached: with 8 channels a layer it would still be",
        ),
        (["--gmac", 99], 1, "so the target is met; there is nothing to prune."),
        (
            ["--device", "jetson-nano", "--fps", 10],
            1,
            "frames/s on jetson-nano in float16 at 64x64, so the target is met",
        ),
        ([], 2, "either --gmac, or --device with --fps"),
        (["--gmac", 1, "--device", "jetson-nano"], 2, "either --gmac, or --device with --fps"),
        (["--device", "jetson-nano"], 2, "--device and --fps go together"),
        (["--device", "jetson-nanno", "--fps", 10], 2, "Did you mean 'jetson-nano'"),
        (["--gmac", 1, "--by", "los"], 2, "Did you mean 'loss'"),
        (["--gmac", 1, "--out", "."], 1, ". is there already; name another folder with --out."),
    ],
)
def test_what_cannot_be_done_is_said(options, code, message, tmp_path):
    result = call("prune", tiny.trained_run(), "--by", "scale", "--out", tmp_path / "out", *options)
    assert result.exit_code == code and message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists() and "round 1" not in result.output, "before any work"


def test_costs_of_any_counts_are_those_of_the_network():
    model = keras.models.load_model(tiny.trained_run() / "best.keras", compile=False)
    wiring = read_units(model)
    keep = np.ones(wiring.count, bool)
    for index, found in enumerate(wiring.groups):
        keep[found.units[: index % 3]] = False
    from deeplab_tf.lab.export.layer_costs import model_layers

    counts = np.array([keep[found.units].sum() for found in wiring.groups])
    assert Costs(model, wiring, (96, 64)).layers(counts) == model_layers(without(model, wiring, keep), (96, 64))
