"""The cost of a network beside a count of its ONNX file, and estimates beside published figures."""

import json

import keras
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.budget import references, roofline
from deeplab_tf.deploy.budget.devices import DEVICES, Device, best_precision, find
from deeplab_tf.deploy.budget.summary import on_device
from deeplab_tf.deploy.budget.workload import Layer, convolution, from_rows, macs, parameters, to_rows, traffic

SMALL = {"width": 0.125, "aspp_channels": 16, "decoder_channels": 16}
SIZE = (96, 160)


def call(*arguments):
    return CliRunner().invoke(group, ["budget", *map(str, arguments)])


def estimated_fps(published):
    return roofline.fps(
        roofline.estimate(published.network(published.size), find(published.device), published.precision)
    )


@pytest.mark.parametrize("published", references.FITTED, ids=lambda each: f"{each.device} {each.network.__name__}")
def test_estimate_was_fitted_on(published):
    assert estimated_fps(published) == pytest.approx(published.fps, rel=0.01)


@pytest.mark.parametrize(
    "published", references.HELD_OUT, ids=lambda each: f"{each.network.__name__} {each.size} {each.precision}"
)
def test_estimate_is_within_30_percent_of(published):
    assert estimated_fps(published) == pytest.approx(published.fps, rel=0.3)


def test_reference_networks_have_their_published_sizes():
    # torchvision: ResNet-50 4.09 GMAC and 25.6 million parameters at 224x224
    layers = references.resnet50((224, 224))
    assert macs(layers) / 1e9 == pytest.approx(4.09, rel=0.01)
    assert parameters(layers) / 1e6 == pytest.approx(25.5, rel=0.01)


def test_convolution_by_hand():
    # 3 x 5 input of 4 channels, 3x3, stride 2, 8 out: 2 x 3 x 8 = 48 values of 36 multiply-adds; 36 * 8 weights and 8
    # biases
    layer = convolution("a", (3, 5), 4, 8, 3, stride=2)
    assert layer == Layer("a", "conv", 48 * 36, 36 * 8 + 8, 3 * 5 * 4, 48)
    assert convolution("a", (3, 5), 4, 8, 1, skip=True).reads == 3 * 5 * 4 + 3 * 5 * 8, "of both branches"
    assert layer.traffic("float16") == 2 * (296 + 60 + 48)


def test_layer_takes_the_longer_of_compute_and_memory_time():
    device = Device("x", {"float16": 100.0, "int8": 200.0}, 10.0, "maxwell")
    layers = [Layer("heavy", "conv", 500, 0, 10, 10), Layer("light", "other", 0, 0, 10, 10)]
    # heavy: 1000 operations at 100/s; light: 40 bytes at 10/s
    assert [cost.seconds for cost in roofline.upper_bound(layers, device, "float16")] == [10.0, 4.0]
    assert roofline.fps(roofline.upper_bound(layers, device, "float16")) == pytest.approx(1 / 14)
    assert best_precision(device) == "int8"


def onnx_macs(model):
    """Multiply-adds of the convolutions of an ONNX model, from its inferred shapes and its weights alone."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    kernels = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return sum(
        int(np.prod(shapes[n.output[0]])) * int(np.prod(kernels[n.input[1]][1:]))
        for n in graph.node
        if n.op_type == "Conv"
    )


@pytest.mark.parametrize("name", ["deeplab_v3_plus", "panoptic_deeplab"])
@pytest.mark.parametrize("separable", [True, False])
def test_multiply_adds_equal_onnx(name, separable):
    from deeplab_tf.lab.export.head import with_head
    from deeplab_tf.lab.export.layer_costs import network_layers
    from deeplab_tf.lab.export.network import read_network
    from deeplab_tf.lab.export.onnx_model import onnx_model
    from deeplab_tf.lab.models.registry import load_network

    keras.utils.set_random_seed(0)
    model = load_network(name)(5, separable=separable, **SMALL)
    network = with_head(read_network(model), label_stride=4)
    layers = network_layers(network, SIZE)
    assert macs(layers) == pytest.approx(onnx_macs(onnx_model(network, SIZE)), rel=0.01)
    assert len({layer.name for layer in layers}) == len(layers)
    trained = sum(v.numpy().size for v in model.trainable_variables if v.path.endswith(("kernel", "bias")))
    assert parameters(layers) == pytest.approx(trained, rel=0.05), "batch normalization became biases"


def test_fusion_of_a_residual_block():
    """The first block of res2 at 8 x 16 positions: 1x1, 3x3, 1x1 with the residual sum, and the skip's 1x1."""
    from deeplab_tf.lab.export.layer_costs import network_layers
    from deeplab_tf.lab.export.network import read_network
    from deeplab_tf.lab.models.deeplab_v3_plus import deeplab_v3_plus

    layers = {layer.name: layer for layer in network_layers(read_network(deeplab_v3_plus(5, **SMALL)), (32, 64))}
    block = {name: layer for name, layer in layers.items() if name.startswith("res2_block1")}
    assert len(block) == 4 and all("relu" not in name and "add" not in name for name in block)
    both = [layer.reads // (8 * 16) for layer in block.values()]
    # width 0.125: 8 channels in and inside, 32 out; the sum's convolution reads its 8 and the other branch's 32
    assert sorted(both) == [8, 8, 8, 40]
    assert all(layer.writes in (8 * 8 * 16, 32 * 8 * 16) for layer in block.values())


def test_rows_survive_json():
    layers = references.fcn_resnet18((64, 64))
    assert from_rows(json.loads(json.dumps(to_rows(layers)))) == layers
    assert traffic(layers, "int8") * 4 == traffic(layers, "float32")


def test_target_exceeds_a_nano_8_or_15_times(tmp_path):
    factors = []
    for separable in ("false", "true"):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            f"data: {{name: cityscapes, root: x, size: [512, 1024]}}\nmodel: {{separable: {separable}}}\n"
        )
        result = call(recipe, "--device", "jetson-nano", "--fps", 25, "--json", tmp_path / "a.json")
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / "a.json").read_text())
        row = report["devices"]["jetson-nano"]
        assert not row["meets_target"] and row["estimated_fps"] < row["upper_bound_fps"] < 5
        # 25 frames/s times two operations a multiply-add, over 0.472 TFLOPS
        assert row["needed"] == pytest.approx(25 * 2 * report["gmac"] / 472)
        factors.append(row["needed"])
        assert f"{row['needed']:.1f} times the peak of a Jetson Nano in float16" in result.output
    assert 14 < factors[0] < 16 and 7 < factors[1] < 9


def test_suggestions_and_figure(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {name: cityscapes, root: x, size: [512, 1024]}\nmodel: {width: 0.25}\n")
    options = [
        "--device",
        "jetson-nano",
        "--suggest",
        "--figure",
        tmp_path / "roofline.png",
        "--json",
        tmp_path / "a.json",
    ]
    result = call(recipe, *options)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "a.json").read_text())["suggestions"]
    assert [row["changes"]["output_stride"] for row in rows] == [16, 32]
    assert rows[1]["estimated_fps"] > rows[0]["estimated_fps"] and rows[1]["gmac"] < rows[0]["gmac"]
    assert (tmp_path / "roofline.png").stat().st_size > 10000


@pytest.mark.parametrize(
    "data, options, classes, assumed",
    [
        ("name: camvid, root: x", [], 11, False),
        ("name: cityscapes, root: x", [], 19, False),
        ("name: folder, root: x, classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [9, 9, 9]}]", [], 2, False),
        ("name: records, root: x", [], 19, True),
        ("name: records, root: x", ["--classes", 5], 5, False),
        ("name: camvid, root: x", ["--classes", 5], 5, False),
    ],
)
def test_the_dataset_gives_the_number_of_classes(tmp_path, data, options, classes, assumed):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{{data}, size: [64, 64]}}\nmodel: {SMALL}\n".replace("'", ""))
    result = call(recipe, *options, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())["classes"] == classes
    assert ("19 classes assumed" in result.stderr) == assumed


def test_a_dataset_of_ones_own_gives_its_number_of_classes(tmp_path):
    """The file's table has four classes; a folder that is not there leaves the assumption, which the report names."""
    (tmp_path / "mine.py").write_text(
        "from deeplab_tf.core.errors import DeepLabError\n"
        "from deeplab_tf.core.labels import Label, LabelTable\n"
        "from deeplab_tf.lab.data.split import Split\n"
        "def open_split(split, *, root: str):\n"
        "    if root == 'gone':\n"
        "        raise DeepLabError('There is no folder gone.')\n"
        "    opened = Split()\n"
        "    opened.table = LabelTable(Label(i, str(i), (i, i, i), False) for i in range(4))\n"
        "    return opened\n"
    )
    recipe = tmp_path / "recipe.yaml"
    for root, classes, warnings in (("here", 4, 0), ("gone", 19, 1)):
        data = f"{{name: {tmp_path / 'mine.py'}, root: {root}, size: [64, 64]}}"
        recipe.write_text(f"data: {data}\nmodel: {SMALL}\n".replace("'", ""))
        result = call(recipe, "--json", tmp_path / "a.json")
        assert result.exit_code == 0, result.output
        report = json.loads((tmp_path / "a.json").read_text())
        assert report["classes"] == classes and len(report["warnings"]) == warnings
        assert all(line in result.stderr and "There is no folder gone" in line for line in report["warnings"])


def test_a_run_is_its_recipe_with_its_own_classes(tmp_path):
    run = tmp_path / "trained"
    run.mkdir()
    (run / "config.yaml").write_text(f"data: {{name: cityscapes, root: x, size: [64, 64]}}\nmodel: {SMALL}\n")
    (run / "classes.json").write_text(json.dumps([{"name": str(i), "color": [i, i, i]} for i in range(7)]))
    result = call(run, "--device", "orin-nano", "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["network"] == "trained" and report["classes"] == 7 and report["size"] == [64, 64]
    assert call(run, "--classes", "3").exit_code == 2
    (run / "classes.json").unlink()
    assert call(run).exit_code == 1 and "trained/classes.json" in call(run).output


def test_bundle(tmp_path):
    import tiny_bundle

    made = tiny_bundle.write_bundle(tmp_path / "b")
    assert "convert the run again" in call(made.path).stderr
    layers = references.fcn_resnet18((64, 64))
    tiny_bundle.rewrite_info(made.path, layers=to_rows(layers))
    result = call(made.path, "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "a.json").read_text())
    assert set(report["devices"]) == set(DEVICES) and report["parameters"] == parameters(layers)
    assert report["classes"] == 3
    assert report["devices"]["orin-nano"] == on_device(layers, "orin-nano", 25.0)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["nowhere"], 1, "nowhere does not exist"),
        (["."], 1, "a run or a bundle, but . is a folder without"),
        (["nowhere", "--device", "jetson-nanno"], 2, "Did you mean 'jetson-nano'?"),
        (["nowhere", "--device", "orin"], 2, "'orin-nano' or 'orin-nx' or 'agx-orin'"),
        (["nowhere", "--picture", "a.png"], 2, "--figure"),
        (["nowhere", "--suggest"], 2, "--suggest needs --device"),
        (["nowhere", "--fps", "0"], 2, "0"),
    ],
)
def test_wrong_calls(arguments, code, message):
    result = call(*arguments)
    assert result.exit_code == code and message in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    "name, meant",
    [
        ("nano", r"'jetson-nano' or 'orin-nano'\?"),
        ("jetson-orin-nano", r"mean 'orin-nano'\?"),
        ("Jetson Xavier NX", r"mean 'xavier-nx'\?"),
        ("orin", r"mean 'orin-nano' or 'orin-nx' or 'agx-orin'\?"),
        ("jetson-orin", r"mean 'orin-nano' or 'orin-nx' or 'agx-orin'\?"),
        ("jetson-orin-nx-16gb", r"mean 'orin-nx'\?"),
        ("orin nano 8gb", r"mean 'orin-nano'\?"),
        ("jetson_orin_nano_super", r"mean 'orin-nano'\?"),
        ("orinnano", r"mean 'orin-nano'\?"),
        ("AGX Orin 64GB", r"mean 'agx-orin'\?"),
        ("jetson-agx-orin-devkit", r"mean 'agx-orin'\?"),
        ("jetson-agx", r"mean 'agx-xavier' or 'agx-orin'\?"),
        ("jetson nano 4gb", r"mean 'jetson-nano'\?"),
        ("jetson-tx1", r"mean 'jetson-tx2'\?"),
        ("rtx4090", "agx-orin, agx-xavier"),
    ],
)
def test_unknown_device_gets_a_hint(name, meant):
    with pytest.raises(DeepLabError, match=f"'{name}'.*{meant}"):
        find(name)
