"""The estimate beside ONNX Runtime's own times: the layer of each operation, and sums."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from deeplab_tf.cli import group
from deeplab_tf.deploy.budget import roofline
from deeplab_tf.deploy.budget.devices import Device, Efficiency
from deeplab_tf.deploy.budget.workload import Layer, to_rows
from deeplab_tf.lab.export import layer_times, peak_performance
from deeplab_tf.lab.export.this_machine import this_machine


def node(kind, inputs, name, **attributes):
    return helper.make_node(kind, inputs, [name], name, **attributes)


@pytest.fixture
def model():
    """Two convolutions whose sum goes through a ReLU, then max pooling; one Q/DQ pair in between."""
    rng = np.random.default_rng(0)
    weights = {
        f"{name}/kernel": rng.normal(size=(8, channels, 3, 3)).astype(np.float32)
        for name, channels in (("first", 3), ("second", 8))
    }
    weights.update({"first_relu/scale": np.float32(0.1), "first_relu/zero": np.uint8(0)})
    nodes = [
        node("Transpose", ["image"], "turned", perm=[0, 3, 1, 2]),
        node("Conv", ["turned", "first/kernel"], "first", pads=[1] * 4),
        node("Relu", ["first"], "first_relu"),
        node("QuantizeLinear", ["first_relu", "first_relu/scale", "first_relu/zero"], "first_relu/quantized"),
        node(
            "DequantizeLinear",
            ["first_relu/quantized", "first_relu/scale", "first_relu/zero"],
            "first_relu/dequantized",
        ),
        node("Conv", ["first_relu/dequantized", "second/kernel"], "second", pads=[1] * 4),
        node("Add", ["first_relu/dequantized", "second"], "sum"),
        node("Relu", ["sum"], "sum_relu"),
        node("MaxPool", ["sum_relu"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 16, 16, 3])]
    ends += [helper.make_tensor_value_info("pool", TensorProto.FLOAT, [1, 8, 8, 8])]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


LAYERS = [
    Layer("first", "conv", 16 * 16 * 8 * 27, 216, 16 * 16 * 3, 16 * 16 * 8),
    Layer("second", "conv", 16 * 16 * 8 * 72, 576, 2 * 16 * 16 * 8, 16 * 16 * 8),
    Layer("pool", "other", 0, 0, 16 * 16 * 8, 8 * 8 * 8),
]


def test_layer_of_each_operation(model):
    expected = dict.fromkeys(["first", "first_relu", "first_relu/quantized", "first_relu/dequantized"], "first")
    expected.update(dict.fromkeys(["second", "sum", "sum_relu"], "second"), pool="pool")  # a sum: of its last branch
    assert layer_times.layer_of(model.graph, [layer.name for layer in LAYERS]) == expected  # the transpose: of none


def test_every_layer_is_measured(model, tmp_path):
    onnx.save(model, tmp_path / "model.onnx")
    measured, elsewhere, fastest = layer_times.measured_layers(
        str(tmp_path / "model.onnx"), ["first", "second", "pool"], threads=1, runs=3
    )
    assert set(measured) == {"first", "second", "pool"} and min(measured.values()) >= 0 and elsewhere >= 0
    assert fastest > 0


def test_prediction_by_hand(monkeypatch):
    device, efficiency = (
        Device("x", {"float32": 1e9}, 1e9, "measured"),
        Efficiency(conv=0.5, conv1x1=1, depthwise=1, memory=0.25, launch=1e-3),
    )
    monkeypatch.setattr(layer_times, "this_machine", lambda *args, **options: (device, efficiency))
    times = {"first": 2.0, "second": 1.5, "pool": 0.5}
    monkeypatch.setattr(layer_times, "measured_layers", lambda *args, **options: (times, 0.25, 4.5))
    found = layer_times.check("m", LAYERS, "float32", threads=1)
    # first: 2 * 16*16*8*27 operations at half of 1e9/s = 0.221 ms; bytes: 4 * 3032 / 0.25e9 = 0.0485 ms; launch: 1 ms
    first = 1 + max(4 * 16 * 16 * 8 * 27 / 1e6, 4 * (216 + 768 + 2048) / 0.25e6)
    assert found["layers"][0]["predicted_ms"] == pytest.approx(first) and first == pytest.approx(1.2211840)
    # pool computes nothing: 4 bytes of 2048 + 512 values at a quarter of 1e9/s
    assert found["kinds"]["other"] == {"predicted_ms": pytest.approx(1 + 4 * 2560 / 0.25e6), "measured_ms": 0.5}
    assert (
        found["kinds"]["conv"]["measured_ms"] == 3.5 and found["measured_ms"] == 4.25 and found["fastest_run_ms"] == 4.5
    )
    assert found["predicted_ms"] == pytest.approx(
        sum(1e3 * c.seconds for c in roofline.estimate(LAYERS, device, "float32", efficiency))
    )
    assert layer_times.cells(found)[-1][:3] == ["all", f"{found['predicted_ms']:.1f}", "4.2"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_this_machine(precision):
    device, efficiency = this_machine(precision, 1, small=True)
    assert device.peak[precision] > 1e6 and device.bandwidth > 1e6
    assert all(value > 0 for value in efficiency)


def test_peaks_are_the_best_of_all_libraries(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "tools" / "benchmark" / "sides"))
    import machine_peaks

    monkeypatch.setattr(machine_peaks, "in_tensorflow", lambda threads, shape, seconds: [2.0 + len(shape), 7.0])
    rates = {"float32": 4.0, "int8": 9.0}
    monkeypatch.setattr(peak_performance, "_product", lambda threads, shape, precision, seconds: rates[precision])
    monkeypatch.setattr(peak_performance, "_convolution", lambda threads, shape, seconds: 11.0)
    monkeypatch.setattr(peak_performance, "copy_bandwidth", lambda threads, **options: 3.0)
    assert machine_peaks.measure(1, 1.0, False) == {"float32": 5.0, "bfloat16": 7.0, "int8": 11.0, "memory": 3.0}


def test_command_measures_a_bundle(tmp_path, monkeypatch):
    import tiny_bundle

    bundle = tiny_bundle.write_bundle(tmp_path / "b")
    tiny_bundle.rewrite_info(bundle.path, layers=to_rows(LAYERS))
    row = {"predicted_ms": 2.0, "measured_ms": 4.0}
    one = {"threads": 1, "kinds": {"conv": row}, "elsewhere_ms": 1.0, "predicted_ms": 2.0, "measured_ms": 5.0}
    one.update(
        peak=1e9,
        bandwidth=1e9,
        efficiency={"memory": 0.5},
        layers=[{"name": layer.name, "measured_ms": 1.0} for layer in LAYERS],
    )
    monkeypatch.setattr(layer_times, "check", lambda path, layers, precision, **options: dict(one, precision=precision))
    options = ["--measure", "--figure", str(tmp_path / "roofline.png"), "--json", str(tmp_path / "a.json")]
    result = CliRunner().invoke(group, ["budget", str(bundle.path), *options])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "a.json").read_text())["this_machine"]
    assert (
        found["float32"]["precision"] == "float32"
        and "This machine, float32" in result.output
        and "0.50" in result.output
    )
    assert (tmp_path / "roofline.png").stat().st_size > 10000
    assert CliRunner().invoke(group, ["budget", "recipe.yaml", "--measure"]).exit_code == 2
    both = CliRunner().invoke(
        group, ["budget", str(bundle.path), "--measure", "--device", "jetson-nano", "--figure", "a.png"]
    )
    assert both.exit_code == 2 and "--figure needs --device or --measure" in both.output
