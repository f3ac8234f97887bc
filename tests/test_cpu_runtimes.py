"""OpenVINO and LiteRT run a network that TensorFlow and ONNX Runtime run, in float and with the same INT8 ranges."""

import importlib.abc
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core import processor
from deeplab_tf.core.bundle import new_bundle, open_bundle, seal
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.deploy import runtimes
from deeplab_tf.deploy.runtimes import _fastest, litert, open_runtime, openvino
from deeplab_tf.deploy.runtimes._fastest import Timed, choose
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize, tflite
from deeplab_tf.lab.export.nodes import Network, Node

pytest.importorskip("openvino")
pytest.importorskip("ai_edge_litert")
SIZE, CLASSES = (16, 24), 4


def conv(name, source, channels, out, *, kernel=3, op="conv", stride=1, rate=1):
    rng = np.random.default_rng(len(name) * 100 + channels)
    shape = (kernel, kernel, channels, 1 if op == "depthwise" else out)
    weights = {
        "kernel": rng.normal(0, 0.5 / kernel, shape).astype(np.float32),
        "bias": rng.normal(0, 0.3, out).astype(np.float32),
    }
    return Node(name, op, (source,), {"stride": stride, "rate": rate, "padding": "same"}, weights)


NETWORK = Network(
    (
        Node("image", "input"),
        Node(
            "centered",
            "affine",
            ("image",),
            {},
            {"scale": np.full(3, 1 / 64, np.float32), "shift": np.full(3, -2, np.float32)},
        ),
        conv("first", "centered", 3, 8, stride=2),
        Node("first_out", "hard_swish", ("first",)),
        conv("wide", "first_out", 8, 16, kernel=1),
        Node("wide_out", "relu6", ("wide",)),
        conv("deep", "wide_out", 16, 16, op="depthwise", rate=2),
        Node("deep_out", "relu", ("deep",)),
        Node("mean", "mean", ("deep_out",)),
        conv("gate", "mean", 16, 16, kernel=1),
        Node("gate_out", "hard_sigmoid", ("gate",)),
        Node("gated", "multiply", ("deep_out", "gate_out")),
        conv("narrow", "gated", 16, 8, kernel=1),
        Node("sum", "add", ("first_out", "narrow")),
        conv("half", "sum", 8, 8, stride=2),
        Node("half_out", "relu", ("half",)),
        Node("up", "upsample", ("half_out", "sum"), {"factor": 2}),
        Node("joined", "concat", ("up", "deep_out")),
        conv("scores", "joined", 24, CLASSES, kernel=1),
        Node("logits", "upsample", ("scores", "image"), {"factor": 2}),
    )
)


def frames(count=3):
    return np.random.default_rng(1).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)


def tensors(network, ranges=None):
    return graph.run(network, tf.constant(frames().astype(np.float32)), ranges=ranges)


@pytest.fixture(scope="module")
def plan():
    measured = {name: float(tf.reduce_max(tf.abs(tensor))) for name, tensor in tensors(NETWORK).items()}
    return quantize.make_plan(NETWORK, measured)


@pytest.fixture(scope="module")
def bundle(plan, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("cpu") / "bundle")
    floats = onnx_model.onnx_model(NETWORK, SIZE)
    with new_bundle(path) as part:
        onnx_model.save(floats, part + "/model.onnx")
        onnx_model.save(qdq.for_tensorrt(floats, NETWORK, plan), part + "/model_int8.onnx")
        tflite.write_float16(NETWORK, SIZE, part + "/model_float16.tflite")
        tflite.write_int8(NETWORK, SIZE, plan, part + "/model_int8.tflite")
        classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate("abcd")]
        info = {"classes": classes, "size": list(SIZE), "label_stride": 1, "output": "logits"}
        seal(part, {**info, "precision": ["float32", "int8"]})
    return open_bundle(path)


def logits(bundle, name, precision, **options):
    with open_runtime(bundle, name, precision, **options) as runtime:
        found = []
        for frame in frames():
            runtime.upload(frame)
            runtime.run()
            found.append(runtime.download()["logits"])
        return np.stack(found)


@pytest.mark.parametrize("name, precision, limit", [("openvino", "float32", 1e-4), ("litert", "float16", 0.01)])
def test_floats_equal_tensorflows(bundle, name, precision, limit):
    expected = tensors(NETWORK)["logits"].numpy()
    np.testing.assert_allclose(logits(bundle, name, precision, threads=1), expected, atol=limit * expected.std())


@pytest.mark.parametrize("name, share", [("openvino", 0.9), ("litert", 0.7)])
def test_int8_is_the_network_of_the_plan(bundle, plan, name, share):
    """TensorFlow's fake quantization in float32 is the reference: it and the runtimes round a half in other ways.

    What is not INT8 is bfloat16 in OpenVINO where the processor has it.
    """
    expected = tensors(quantize.with_quantized_weights(NETWORK, plan), plan.all_ranges)["logits"].numpy()
    exact = tensors(NETWORK)["logits"].numpy()
    found = logits(bundle, name, "int8", threads=1)
    error, rounding = (np.sqrt(np.mean((each - expected) ** 2)) for each in (found, exact))
    assert error < share * rounding, "nearer to the INT8 network than the float network is"
    assert np.mean(found.argmax(-1) == expected.argmax(-1)) > 0.95


RELUS = Network(
    (
        *NETWORK.nodes[:2],
        conv("first", "centered", 3, 16, stride=2),
        Node("first_out", "relu", ("first",)),
        Node("pool", "max_pool", ("first_out",), {"size": 3, "stride": 2, "padding": "same"}),
        conv("in", "pool", 16, 16, kernel=1),
        Node("in_out", "relu", ("in",)),
        conv("own", "in_out", 16, 16, op="depthwise", rate=2),
        Node("sum", "add", ("pool", "own")),
        Node("sum_out", "relu", ("sum",)),
        Node("up", "upsample", ("sum_out", "first_out"), {"factor": 2}),
        Node("joined", "concat", ("up", "first_out")),
        conv("last", "joined", 32, 16),
        Node("last_out", "relu", ("last",)),
        conv("scores", "last_out", 16, CLASSES, kernel=1),
        Node("logits", "upsample", ("scores", "image"), {"factor": 2}),
    )
)


def test_litert_rounds_as_onnx_runtime_does(tmp_path):
    """Of a network of convolutions, ReLUs, sums, pooling and upsampling every INT8 value is the same.

    The upsampling makes many exact halves, which LiteRT's own would round upward.
    """
    from ai_edge_litert.interpreter import Interpreter
    from onnxruntime import InferenceSession

    measured = {name: float(tf.reduce_max(tf.abs(tensor))) for name, tensor in tensors(RELUS).items()}
    plan = quantize.make_plan(RELUS, measured)
    made = qdq.for_cpu(onnx_model.onnx_model(RELUS, SIZE), RELUS, plan)
    tflite.write_int8(RELUS, SIZE, plan, tmp_path / "model.tflite")
    session, lite = InferenceSession(made.SerializeToString()), Interpreter(str(tmp_path / "model.tflite"))
    lite.allocate_tensors()
    for frame in frames(8):
        (expected,) = session.run(None, {"image": frame[None].astype(np.float32)})
        lite.set_tensor(lite.get_input_details()[0]["index"], frame[None])
        lite.invoke()
        found = lite.get_tensor(lite.get_output_details()[0]["index"])
        np.testing.assert_allclose(found, expected, atol=1e-5)  # one step of "last_out" is above 0.001


def test_a_tflite_file_is_reproducible_and_in_int8(plan, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    paths = [str(tmp_path / name) for name in ("a.tflite", "b.tflite")]
    for path in paths:
        tflite.write_int8(NETWORK, SIZE, plan, path)
    first, second = (Path(path).read_bytes() for path in paths)
    assert first == second
    opened = Interpreter(paths[0])
    kernels = {}
    for each in opened.get_tensor_details():
        scales = each["quantization_parameters"]["scales"]
        if each["dtype"] is np.int8 and len(scales) > 1:
            kernels[tuple(sorted(scales.tolist()))] = each
    wanted = [node for node in NETWORK.nodes if quantize.is_quantized(node, plan) and node.name != "scores"]
    for node in wanted:
        assert tuple(sorted(quantize.quantized_kernel(node, plan)[1].tolist())) in kernels, node.name
    activations = {
        float(each["quantization"][0]) for each in opened.get_tensor_details() if each["quantization"][0] > 0
    }
    assert {float(quantize.step(limit)) for limit in plan.ranges.values()} <= activations


@pytest.mark.parametrize("count", [1, 3])
def test_lanes_of_openvino_have_frames_of_their_own(bundle, count):
    with open_runtime(bundle, "openvino", "float32", threads=count) as runtime:
        alone = [runtime.predict(frame).label_map for frame in frames()]
        lanes = runtime.lanes()
        assert len(lanes) == count and lanes[0] is runtime
        for lane, frame in zip(lanes, frames()):
            lane.upload(frame)
        for lane in reversed(lanes):
            lane.run()
        for lane, label_map in zip(lanes, alone):
            np.testing.assert_array_equal(lane.download()["logits"].argmax(-1), label_map)


def test_openvino_gives_up_int8_where_it_saturates(bundle, monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: ["AVX", "AVX2"])
    said = []
    with open_runtime(bundle, "openvino", "int8", say=said.append) as runtime:
        assert runtime.precision == "float32"
    assert said == ["OpenVINO's INT8 saturates on a processor without VNNI: float32 instead."]
    with pytest.raises(DeepLabError, match="take the runtime onnx"):
        open_runtime(bundle, "openvino", "int8", strict=True)


@pytest.mark.parametrize("module, package", [(openvino, "openvino"), (litert, "ai_edge_litert")])
def test_without_the_package_one_sentence_says_how_to_install_it(module, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert f"pip install {package.replace('_', '-')}" in module.missing()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install {package.replace('_', '-')}" in module.missing()


def test_an_unknown_device_is_named(bundle):
    with pytest.raises(DeepLabError, match="This OpenVINO has no device 'CPV'. Did you mean 'CPU'?"):
        open_runtime(bundle, "openvino", device="CPV")


@pytest.mark.parametrize("name, file", [("openvino", "model.onnx"), ("litert", "model_float16.tflite")])
def test_a_damaged_file_is_one_sentence(bundle, tmp_path, name, file):
    path = str(tmp_path / "bundle")
    with new_bundle(path) as part:
        with open(part + "/" + file, "wb") as out:
            out.write(b"no network")
        seal(part, {key: value for key, value in bundle.info.items() if key not in ("files", "sha256")})
    with pytest.raises(DeepLabError, match="cannot load"):
        open_runtime(open_bundle(path), name)


def test_of_runtimes_that_are_as_fast_the_smallest_is_chosen():
    timed = [Timed("a", 10.0, 300.0), Timed("b", 10.2, 100.0), Timed("c", 10.4, 50.0), Timed("d", 99.0, 1.0)]
    assert choose(timed).runtime == "b", "c is 4 % slower, which is more than TIE"
    assert choose(timed[:1]).runtime == "a"


@pytest.fixture
def own_bundle(bundle, tmp_path):
    shutil.copytree(bundle.path, str(tmp_path / "bundle"))
    return open_bundle(str(tmp_path / "bundle"))


def test_auto_takes_the_fastest_and_remembers_it(own_bundle, monkeypatch, capsys):
    monkeypatch.delenv("DEEPLAB_TF_RUNTIME", raising=False)
    seconds = {"openvino": 0.004, "litert": 0.002}
    asked = []

    def time_of(opened, frame, duration):
        asked.append(opened.name)
        return seconds[opened.name]

    monkeypatch.setattr(_fastest, "_time", time_of)

    def chosen(**options):
        asked.clear()
        with open_runtime(own_bundle, live=True, **options) as runtime:
            return runtime.name, runtime.precision, bool(asked)

    assert chosen() == ("litert", "int8", True), "ONNX Runtime has no INT8 file in this bundle"
    assert "Runtime: litert, 2.0 ms for a frame, the fastest here (openvino 4.0)." in capsys.readouterr().err
    seconds["openvino"] = 0.001
    assert chosen() == ("litert", "int8", False), "kept"
    assert capsys.readouterr().err.startswith("Runtime: litert, the fastest here when it was measured (")
    assert chosen(threads=1) == ("openvino", "int8", True), "for other options it may be another"
    versions = dict(_fastest.device.versions(), openvino="1.0")
    monkeypatch.setattr(_fastest.device, "versions", lambda: versions)
    assert chosen() == ("openvino", "int8", True), "of other versions, too"
    (path,) = Path(own_bundle.engines).glob("cpu-*/fastest.json")
    path.write_text("{")
    assert chosen() == ("openvino", "int8", True), "a damaged file is measured again"
    monkeypatch.setenv("DEEPLAB_TF_RUNTIME", "litert")
    assert chosen() == ("litert", "int8", False)
    assert chosen(name="openvino") == ("openvino", "int8", False)


def test_floats_compete_with_floats(own_bundle, monkeypatch):
    monkeypatch.delenv("DEEPLAB_TF_RUNTIME", raising=False)
    asked = []
    monkeypatch.setattr(_fastest, "fastest", lambda bundle, rivals, module, **options: asked.append(rivals))
    open_runtime(own_bundle, "auto", "float32", live=True).close()
    assert asked == [{"onnx": "float32", "openvino": "float32"}]
    assert open_runtime(own_bundle, "auto", "float16", live=True).name == "litert" and len(asked) == 1, "one alone"
    open_runtime(own_bundle).close()
    assert len(asked) == 1, "only a live video is timed: elsewhere labels must not depend on a clock"


def test_a_float_bundle_stays_in_float32(monkeypatch):
    found = {"onnx": ["float32"], "openvino": ["float32"], "litert": ["float16"]}
    monkeypatch.setattr(runtimes, "precisions", lambda bundle, name: found[name])
    assert runtimes._rivals(None, None, list(found)) == {"onnx": "float32", "openvino": "float32"}


def test_a_runtime_that_breaks_is_left_out_and_said(own_bundle, monkeypatch, capsys):
    monkeypatch.delenv("DEEPLAB_TF_RUNTIME", raising=False)
    monkeypatch.setattr(_fastest, "SECONDS", 0.0)

    def broken(*_, **__):
        raise RuntimeError("undefined symbol")

    monkeypatch.setattr(openvino, "load", broken)
    with open_runtime(own_bundle, live=True) as runtime:
        assert runtime.name == "litert"
    assert "Left out: openvino (undefined symbol)." in capsys.readouterr().err


def test_a_wrong_name_in_the_environment_is_refused(own_bundle, monkeypatch):
    monkeypatch.setenv("DEEPLAB_TF_RUNTIME", "onxx")
    with pytest.raises(WrongCall, match="DEEPLAB_TF_RUNTIME: there is no runtime 'onxx'. Did you mean 'onnx'"):
        open_runtime(own_bundle, live=True)


def test_a_runtime_in_the_environment_that_is_not_here_is_said(own_bundle, monkeypatch):
    said = []
    monkeypatch.setenv("DEEPLAB_TF_RUNTIME", "litert")
    monkeypatch.setattr(litert, "missing", lambda: "not here")
    with open_runtime(own_bundle, live=True, say=said.append) as runtime:
        assert runtime.name == "onnx"
    assert said == ["DEEPLAB_TF_RUNTIME: litert cannot run this bundle here; onnx instead."]


def test_float16_is_taken_where_it_is_asked_for(own_bundle):
    for precision, expected in ((None, "onnx"), ("float32", "onnx"), ("float16", "litert"), ("int8", "openvino")):
        with open_runtime(own_bundle, precision=precision) as runtime:
            assert runtime.name == expected and precision in (None, runtime.precision), precision


@pytest.mark.parametrize("module, package", [(openvino, "openvino"), (litert, "ai_edge_litert.interpreter")])
def test_a_package_that_breaks_when_it_is_imported_is_missing(own_bundle, module, package, monkeypatch):
    class Broken(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == package:
                raise ValueError("numpy.dtype size changed")

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "cannot be loaded: numpy.dtype size changed" in module.missing()


def test_openvino_without_devices_is_one_sentence(bundle, monkeypatch):
    def broken():
        raise RuntimeError("no plugins.xml")

    monkeypatch.setattr(openvino, "_openvino", lambda: SimpleNamespace(Core=broken))
    with pytest.raises(DeepLabError, match="OpenVINO cannot list its devices: no plugins.xml"):
        openvino.load(bundle)


def test_a_bundle_that_cannot_be_written_to_is_measured_each_time(own_bundle, monkeypatch):
    monkeypatch.delenv("DEEPLAB_TF_RUNTIME", raising=False)

    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(_fastest, "write_json", refused)
    monkeypatch.setattr(_fastest, "SECONDS", 0.0)
    for _ in range(2):
        assert open_runtime(own_bundle, live=True).name in ("openvino", "litert")
    assert not list(Path(own_bundle.engines).glob("*/*"))
