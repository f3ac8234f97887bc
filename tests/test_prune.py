"""Pruning: which channels are coupled, how important they are, and that the result is an ordinary, smaller network."""

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
from deeplab_tf.lab.config import resolve
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.export.layer_costs import model_layers, recipe_layers
from deeplab_tf.lab.models.blocks import batch_norm, conv_bn
from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.pruning.channel_graph import ChannelGraph, ChannelGroup, read_channel_graph
from deeplab_tf.lab.pruning.importance import loss_importance, scale_importance
from deeplab_tf.lab.pruning.rounds import PruningOptions, prune
from deeplab_tf.lab.pruning.search import PrunedLayers, Unreachable, choose_units
from deeplab_tf.lab.pruning.statistics import measure_statistics
from deeplab_tf.lab.pruning.surgery import remove_units
from deeplab_tf.lab.pruning.target import GmacTarget
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training.initial_weights import load_initial_weights

STAGE = ("stem_conv", "second", "project")


def network():
    """A residual block, an inverted one with a gate, a branch and a concatenation: each way to couple channels."""

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
def graph(model):
    return read_channel_graph(model)


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(np.random.default_rng(6), 3, 16, 16)


def test_channels_are_coupled_as_in_the_graph(graph):
    sizes = {found.layers: len(found.units) for found in graph.groups}
    assert sizes == {
        STAGE: 16,  # what both sums add
        ("first_conv",): 24,
        ("expand", "excite"): 32,  # the gate's product
        ("squeeze",): 8,
        ("branch_conv",): 8,  # behind the stage in the concatenation, and none of it
        ("fuse_conv",): 16,
    }
    np.testing.assert_array_equal(graph.reads["fuse_conv"], [*graph.writes["stem_conv"], *graph.writes["branch_conv"]])
    assert graph.num_units == 3 + 16 + 24 + 32 + 8 + 8 + 16 + 3, "and the image's and the logits', which stay"


def test_a_residual_stage_is_one_group():
    from deeplab_tf.lab.models.backbones import resnet50

    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(3, 1, name="logits_conv")(resnet50.build(image, width=0.125)["res5"])
    groups = {found.layers: len(found.units) for found in read_channel_graph(keras.Model(image, {"logits": x})).groups}
    ends = [makers for makers in groups if len(makers) > 1]
    assert (
        ends[0] == ("res2_block1_0_conv", "res2_block1_3_conv", "res2_block2_3_conv", "res2_block3_3_conv")
        and groups[ends[0]] == 32
    )
    assert [len(makers) for makers in ends] == [1 + blocks for blocks in (3, 4, 6, 3)]
    assert len(groups) == 1 + 2 * 16 + 4, "the stem, two inside each of 16 blocks, and what each stage puts out"


def test_a_layer_that_cannot_be_followed_is_named():
    image = keras.Input((4, 4, 8))
    x = layers.Reshape((2, 8, 8), name="turned")(layers.Conv2D(8, 1, name="a")(image))
    with pytest.raises(DeepLabError, match="The layer turned is a Reshape, through which channels cannot be followed"):
        read_channel_graph(keras.Model(image, {"logits": x}))


def gate(model, names, channel, value):
    """Multiplies a channel behind batch normalizations."""
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
def test_importance_is_the_slope_of_the_loss_along_a_gate(model, graph, images, maker, norms):
    """Against a difference quotient with gates at batch normalization; ours is computed at the kernels that read."""
    importance = loss_importance(model, graph, [(images, 1.0)], squares)[graph.writes[maker]]
    channel, slopes = int(importance.argmax()), []
    for value in (1.005, 0.995 / 1.005, 1 / 0.995):
        gate(model, norms, channel, value)
        slopes.append(float(squares(model(images, training=False), 1.0)))
    assert abs(slopes[0] - slopes[1]) / 0.01 == pytest.approx(importance[channel], rel=0.05) and importance[channel] > 0


def test_changes_of_batches_do_not_cancel(model, graph, images):
    one, other = (loss_importance(model, graph, [(part, 1.0)], squares) for part in (images[:1], images[1:]))
    both = loss_importance(model, graph, [(images[:1], 1.0), (images[1:], 1.0)], squares)
    np.testing.assert_allclose(both, np.sqrt((one**2 + other**2) / 2), rtol=1e-4, atol=1e-9)


def test_scales_are_relative_to_their_layer(model, graph):
    gammas = np.abs(model.get_layer("first_bn").gamma.numpy())
    np.testing.assert_allclose(
        scale_importance(model, graph)[graph.writes["first_conv"]], gammas / gammas.mean(), rtol=1e-6
    )


@pytest.fixture(scope="module")
def with_zeros(model, images):
    """A copy in which some channels of a stage, of the inverted block and of a plain layer are zero everywhere."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for channel in (0, 5, 15):
        gate(copy, ["stem_bn", "second_bn", "project_bn"], channel, 0.0)
    for channel in (2, 3):
        gate(copy, ["first_bn"], channel, 0.0)
        gate(copy, ["depthwise_bn"], channel, 0.0)
    return copy


def test_channels_that_are_zero_leave_no_trace(with_zeros, images):
    graph = read_channel_graph(with_zeros)
    importance = loss_importance(with_zeros, graph, [(images, 1.0)], squares)
    gone = [
        *graph.writes["stem_conv"][[0, 5, 15]],
        *graph.writes["first_conv"][[2, 3]],
        *graph.writes["expand"][[2, 3]],
    ]
    np.testing.assert_array_equal(importance[gone], 0)
    keep = np.ones(graph.num_units, bool)
    keep[gone] = False
    smaller = remove_units(with_zeros, graph, keep)
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


def test_statistics_are_averages_over_the_batches(model, images, graph):
    copy = remove_units(model, graph, np.ones(graph.num_units, bool))
    stem = keras.Model(copy.input, copy.get_layer("stem_conv").output)
    parts = [images[:2], images[1:]]
    expected = np.mean([stem(part).numpy().mean(axis=(0, 1, 2)) for part in parts], axis=0)
    measure_statistics(copy, [(part, None) for part in parts])
    np.testing.assert_allclose(copy.get_layer("stem_bn").moving_mean.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert copy.get_layer("stem_bn").momentum == 0.99 and copy.get_layer("dropout").rate == 0.5


def two_groups():
    graph = ChannelGraph({}, {}, (ChannelGroup(("a",), np.arange(24)), ChannelGroup(("b",), np.arange(24, 40))), 40)
    importance = np.concatenate([np.arange(24)[::-1], np.full(16, 3.0)]).astype(float)
    return graph, importance


@pytest.mark.parametrize(
    "target, kept",
    [
        (40, (24, 16)),
        (39, (24, 8)),  # eight of b weigh 24, the last eight of a 0 + 1 + ... + 7 = 28
        (31, (16, 8)),  # b has come down to eight and stays
        (20, (8, 8)),
    ],
)
def test_the_least_important_eight_go_first(target, kept):
    graph, importance = two_groups()
    keep = choose_units(graph, importance, lambda counts: float(counts.sum()), target)
    assert (keep[:24].sum(), keep[24:].sum()) == kept
    assert keep[: kept[0]].all(), "of a group the least important go"


def test_importance_is_weighed_against_cost():
    graph, importance = two_groups()
    # a channel of a saves twice as much: 28 / 16 < 24 / 8
    keep = choose_units(graph, importance, lambda counts: float(counts @ [2, 1]), 63)
    assert (keep[:24].sum(), keep[24:].sum()) == (16, 16)


def test_an_unreachable_limit_comes_with_the_smallest_cost():
    graph, importance = two_groups()
    with pytest.raises(Unreachable) as caught:
        choose_units(graph, importance, lambda counts: float(counts.sum()), 15)
    assert caught.value.args[0] == 16


@pytest.mark.parametrize(
    "channels, facts",
    [
        ({"frist_conv": 8}, ["frist_conv", "Did you mean 'first_conv'?"]),
        ({"depthwise": 8}, ["depthwise", "no convolution"]),
        ({"first_conv": 0}, ["first_conv", "Got 0"]),
        ({"second": 8}, ["do not fit together"]),
    ],
)
def test_wrong_channels_get_a_sentence(model, channels, facts):
    with pytest.raises(DeepLabError, match="model.channels") as caught:
        set_channels(model, channels)
    assert all(fact in str(caught.value) for fact in facts) and "\n" not in str(caught.value)


@pytest.fixture
def panoptic(tmp_path, monkeypatch):
    """prune(options): a new panoptic network, pruned to 60 % of its multiply-adds; and what was said."""
    tiny.use_backbone(monkeypatch)
    config = resolve(tiny.recipe(tiny.write_data(tmp_path, train=4, val=1, instances=True), instances=True))
    model, split, said = build_network(config.model, 3), open_split(config.data, "train"), []
    target = GmacTarget((64, 64), 0.6 * macs(model_layers(model, (64, 64))) / 1e9)
    return lambda options: (prune(model, config, split, target, options, said.append), target, said)


def test_a_panoptic_network_is_pruned_by_all_its_losses(panoptic):
    smaller, target, said = panoptic(PruningOptions(rounds=1, images=4))
    assert list(smaller.output) == ["logits", "center", "offset"]
    assert macs(model_layers(smaller, (64, 64))) / 1e9 <= target.gmac
    assert said[0].startswith("round 1 of 1: ")


def test_a_bad_image_is_named(panoptic, tmp_path):
    (tmp_path / "images" / "train" / "frame_2.png").write_bytes(b"")
    with pytest.raises(DeepLabError, match="frame_2.png"):
        panoptic(PruningOptions("scale", rounds=1, images=4))


def call(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """A trained run pruned to 60 % of its multiply-adds by the command: its folder, the report, what was printed."""
    folder = tmp_path_factory.mktemp("pruned")
    options = ["--gmac", 0.16, "--size", "512x1024", "--rounds", 2, "--images", 8]
    options += ["--out", folder / "run", "--json", folder / "a.json"]
    result = call("prune", tiny.trained_run(), *options)
    assert result.exit_code == 0, (result.output, result.exception)
    return folder / "run", json.loads((folder / "a.json").read_text()), result.output


def test_the_report_is_that_of_the_pruned_network(pruned):
    run, report, _ = pruned
    found = model_layers(open_run(run).model, (512, 1024))
    assert macs(found) / 1e9 == report["gmac"][1] <= 0.16 < report["gmac"][0]
    assert parameters(found) == report["parameters"][1] < report["parameters"][0]
    assert sum(row["gmac"][1] for row in report["stages"]) == pytest.approx(report["gmac"][1])


def test_channels_are_kept_in_multiples_of_eight(pruned):
    assert all(after % 8 == 0 or after == before for before, after in pruned[1]["channels"].values())


def test_scores_and_speed_are_shown(pruned):
    _, report, output = pruned
    assert report["miou"][0] > 0.85 and f"{report['miou'][1]:.4f}" in output
    assert "estimated frames/s, jetson-nano float16" in output


def test_the_recipe_describes_the_pruned_network_and_starts_from_it(pruned, monkeypatch):
    tiny.use_backbone(monkeypatch)
    runtime = open_run(pruned[0])
    section = runtime.config.model
    assert recipe_layers(section, (512, 1024), 3) == model_layers(runtime.model, (512, 1024))
    built = build_network(section, 3)
    load_initial_weights(built, section, runtime.table)
    frame = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(built(frame)["logits"], runtime.model(frame)["logits"])


def test_a_pruned_run_is_evaluated_as_any_other(pruned, tmp_path):
    assert call("evaluate", pruned[0], "--out", tmp_path / "report").exit_code == 0


def test_a_pruned_run_is_fine_tuned_by_its_recipe(pruned, monkeypatch, tmp_path):
    tiny.use_backbone(monkeypatch)
    run, report, _ = pruned
    words = report["command"].split()
    assert words[:3] == ["deeplab-tf", "train", str(run / "config.yaml")]
    assert f"distillation.run={tiny.trained_run()}" in words
    settings = {"steps": 6, "validate_every": 6, "save_steps": "[]"}
    changes = [f"training.{key}={value}" for key, value in settings.items()] + ["optimizer.learning_rate=0.002"]
    result = call(*words[1:-1], tmp_path / "tuned", *(word for change in changes for word in ("--set", change)))
    assert result.exit_code == 0, (result.output, result.exception)
    rows = [json.loads(line) for line in (tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] < 0.5, "it starts from the pruned weights: ln 3 would be guessing"
    assert rows[-1]["val"]["miou"] > 0.85
    config = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert config["model"]["weights"] == str(run) and config["model"]["channels"]


@pytest.mark.parametrize(
    "options, code, facts",
    [
        (["--gmac", 0.0001], 1, ["0.00 billion multiply-adds at 64x64", "cannot be reached"]),
        (["--gmac", 99], 1, ["the target is met"]),
        (["--device", "jetson-nano", "--fps", 10], 1, ["jetson-nano in float16 at 64x64", "the target is met"]),
        ([], 2, ["--gmac", "--device", "--fps"]),
        (["--gmac", 1, "--device", "jetson-nano"], 2, ["--gmac", "--device", "--fps"]),
        (["--device", "jetson-nano"], 2, ["--device and --fps go together"]),
        (["--device", "jetson-nanno", "--fps", 10], 2, ["Did you mean 'jetson-nano'"]),
        (["--gmac", 1, "--by", "los"], 2, ["Did you mean 'loss'"]),
        (["--gmac", 1, "--out", "."], 2, [". exists", "--out"]),
    ],
)
def test_wrong_calls_get_a_sentence_before_any_work(options, code, facts, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").touch()
    monkeypatch.chdir(tmp_path / "here")
    result = call("prune", tiny.trained_run(), "--by", "scale", "--out", tmp_path / "out", *options)
    assert result.exit_code == code and "Traceback" not in result.output
    assert all(fact in result.output for fact in facts), result.output
    assert not (tmp_path / "out").exists() and "round 1" not in result.output


def test_layers_of_any_counts_are_those_of_the_network():
    model = keras.models.load_model(tiny.trained_run() / "best.keras", compile=False)
    graph = read_channel_graph(model)
    keep = np.ones(graph.num_units, bool)
    for index, found in enumerate(graph.groups):
        keep[found.units[: index % 3]] = False
    counts = np.array([keep[found.units].sum() for found in graph.groups])
    expected = model_layers(remove_units(model, graph, keep), (96, 64))
    assert PrunedLayers(model, graph, (96, 64)).layers(counts) == expected
