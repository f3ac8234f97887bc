"""ONNX Runtime, TensorFlow and TF-TRT on a bundle whose labels are known by hand, and what all runtimes share."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from fake_tensorrt import FakeCudart, FakeDriver

from deeplab_tf.core.bundle import new_bundle, open_bundle, seal
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import megabytes
from deeplab_tf.core.predictor import softmax
from deeplab_tf.deploy.runtimes import (
    _cudart,
    _engines,
    _tf_trt_convert,
    available,
    by_priority,
    litert,
    module,
    names,
    onnx,
    open_runtime,
    openvino,
    saved_model,
    tf_trt,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("labels") / "bundle", saved_model=True)


@pytest.fixture(scope="module")
def logits_bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("logits") / "bundle", "logits", saved_model=True)


FLOAT = [("onnx", "float32"), ("saved_model", "float32")]


@pytest.mark.parametrize("name, precision", FLOAT)
def test_labels_equal_the_convolution_by_hand(bundle, name, precision):
    with open_runtime(bundle, name, precision) as runtime:
        for seed in range(3):
            frame = tiny_bundle.frame(seed)
            labels = runtime(frame)
            assert labels.shape == (3, 4) and labels.dtype == np.uint8
            np.testing.assert_array_equal(labels, tiny_bundle.expected_scores(frame).argmax(-1))
    assert (runtime.name, runtime.precision, runtime.label_stride, runtime.gives_probabilities) == (
        name,
        precision,
        2,
        False,
    )


FOUR = [{"name": name, "color": [0, 0, 0]} for name in "abcd"]


@pytest.mark.parametrize("name", ["onnx", "saved_model"])
@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"classes": FOUR},
            "gives logits of 1x3x4x3, and bundle.json describes 1x3x4x4 .size, label_stride, 4 classes",
        ),
        ({"classes": FOUR[:2]}, "logits of 1x3x4x3, and bundle.json describes 1x3x4x2"),
        ({"label_stride": 4}, "logits of 1x3x4x3, and bundle.json describes 1x2x2x3"),
        ({"output": "labels"}, "gives logits, and bundle.json promises labels"),
        ({"instances": True}, "gives logits, and bundle.json promises center"),
    ],
)
def test_a_network_that_is_not_as_described(logits_bundle, name, changes, message, tmp_path):
    shutil.copytree(logits_bundle.path, tmp_path / "bundle")
    tiny_bundle.rewrite_info(tmp_path / "bundle", **changes)
    with pytest.raises(DeepLabError, match=message):
        open_runtime(open_bundle(tmp_path / "bundle"), name, "float32")


def test_a_network_that_takes_another_size(logits_bundle, tmp_path):
    shutil.copytree(logits_bundle.path, tmp_path / "bundle")
    tiny_bundle.rewrite_info(tmp_path / "bundle", size=[8, 8])
    with pytest.raises(DeepLabError, match="model.onnx takes 1x6x8x3, and bundle.json describes 1x8x8x3 .size"):
        open_runtime(open_bundle(tmp_path / "bundle"), "onnx", "float32")


@pytest.mark.parametrize("name, precision", FLOAT)
def test_a_label_without_a_class_is_an_error(bundle, name, precision, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "bundle")
    tiny_bundle.rewrite_info(tmp_path / "bundle", classes=tiny_bundle.INFO["classes"][:2])
    message = "gives the label 2, and its class table has 2 classes, 0 to 1"
    with open_runtime(open_bundle(tmp_path / "bundle"), name, precision) as runtime:  # noqa: SIM117
        with pytest.raises(DeepLabError, match=message):
            for seed in range(5):
                runtime(tiny_bundle.frame(seed))


@pytest.mark.parametrize("name, precision", FLOAT)
def test_scores_are_probabilities(logits_bundle, name, precision):
    frame = tiny_bundle.frame(4)
    logits = tiny_bundle.expected_scores(frame)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    with open_runtime(logits_bundle, name, precision) as runtime:
        probabilities = np.moveaxis(softmax(runtime.predict(frame).logits), 0, -1)
        np.testing.assert_allclose(probabilities, powers / powers.sum(-1, keepdims=True), atol=1e-3)
        np.testing.assert_array_equal(runtime(frame), logits.argmax(-1))


def test_int8_on_a_cpu_takes_the_file_for_it(bundle):
    frame = tiny_bundle.frame(5)
    with open_runtime(bundle, "onnx") as runtime:
        assert runtime.precision == "int8" and runtime.provider == "CPUExecutionProvider"
        assert onnx.build(bundle, "int8")["path"].endswith("model_int8_cpu.onnx")
        # uint8 with scale 1 holds a frame exactly; int8 would have halved it
        np.testing.assert_array_equal(runtime(frame), tiny_bundle.expected_scores(frame).argmax(-1))


@pytest.mark.parametrize("name", ["onnx", "saved_model"])
def test_results_do_not_change_with_the_next_frame(bundle, name):
    with open_runtime(bundle, name, "float32") as runtime:
        first = runtime(tiny_bundle.frame(1))
        kept = first.copy()
        runtime(tiny_bundle.frame(2))
        np.testing.assert_array_equal(first, kept)


def test_runtimes_without_engines_build_nothing(bundle):
    for name, file in (("onnx", "model.onnx"), ("saved_model", "saved_model")):
        built = module(name).build(bundle, "float32")
        assert (
            built["path"] == bundle.file(file)
            and built["seconds"] == 0.0
            and built["reused"]
            and built["precision"] == "float32"
        )
        assert built["megabytes"] == pytest.approx(megabytes(built["path"])) and built["megabytes"] > 0
    assert not os.path.exists(bundle.engines)


def test_every_runtime_has_the_same_parts():
    assert names() == ["litert", "onnx", "openvino", "saved_model", "tensorrt", "tf_trt"]
    assert by_priority() == ["tensorrt", "tf_trt", "onnx", "openvino", "litert", "saved_model"]
    for name in names():
        runtime = module(name)
        assert set(runtime.PRECISIONS) <= set(_engines.PRECISIONS) and callable(runtime.missing)
        assert list(runtime.PRECISIONS) == [each for each in _engines.PRECISIONS if each in runtime.PRECISIONS]
        assert isinstance(runtime.PRIORITY, int) and isinstance(runtime.PACKAGE, str)
        for function in (runtime.build, runtime.load):
            wanted = {"strict", "say"} | ({"rebuild"} if function is runtime.build else set())
            assert wanted <= set(function.__kwdefaults__), f"{name}.{function.__name__}"


def test_on_a_machine_without_a_gpu(monkeypatch, bundle):
    monkeypatch.setattr(_cudart, "_load", lambda name: None)
    monkeypatch.setattr(openvino, "missing", lambda: "not here")
    monkeypatch.setattr(litert, "missing", lambda: "not here")
    assert list(available()) == ["onnx", "saved_model"]
    with open_runtime(bundle) as runtime:
        assert runtime.name == "onnx"
    with pytest.raises(DeepLabError, match="The runtime tensorrt does not work here"):
        open_runtime(bundle, "tensorrt")


def test_wrong_names_say_what_was_meant(bundle):
    with pytest.raises(DeepLabError, match="Did you mean 'tensorrt'"):
        open_runtime(bundle, "tensort")
    with pytest.raises(DeepLabError, match="has no precision 'int4'. Did you mean 'int8'"):
        open_runtime(bundle, "onnx", "int4")
    with pytest.raises(DeepLabError, match="has no provider 'CPUProvider'. Did you mean 'CPUExecutionProvider'"):
        open_runtime(bundle, "onnx", providers=["CPUProvider"])


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 6, 3), np.uint8), np.zeros((6, 8, 3), np.float32), np.zeros((6, 8), np.uint8)]
)
def test_a_frame_of_another_kind_is_refused(bundle, frame):
    with open_runtime(bundle, "onnx") as runtime, pytest.raises(
        DeepLabError, match="Expected a uint8 RGB frame of 6x8"
    ):
        runtime(frame)


def test_broken_models_are_refused_in_one_sentence(tmp_path):
    with new_bundle(tmp_path / "b") as part:
        os.mkdir(part + "/saved_model")
        for name in ("model.onnx", "saved_model/saved_model.pb"):
            with open(part + "/" + name, "wb") as file:
                file.write(b"not a model")
        seal(part, tiny_bundle.INFO)
    for name, message in (
        ("onnx", "ONNX Runtime .* cannot load .*model.onnx"),
        ("saved_model", "TensorFlow .* cannot load"),
    ):
        with pytest.raises(DeepLabError, match=message):
            open_runtime(open_bundle(tmp_path / "b"), name, "float32")
    with pytest.raises(DeepLabError, match="has no model_int8_cpu.onnx. Convert the run again with --int8"):
        open_runtime(open_bundle(tmp_path / "b"), "onnx", "int8")


# ONNX Runtime


def test_threads(bundle):
    assert open_runtime(bundle, "onnx", threads=1).threads == 1
    assert open_runtime(bundle, "onnx").threads == onnx.physical_cores()


# Each lane calls with a thread of its own, and `each` - 1 threads of the session are common: lanes + each - 1 =
# threads.
@pytest.mark.parametrize("threads, lanes, each", [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (5, 4, 2), (8, 4, 5)])
def test_lanes_share_the_threads_and_give_the_same_labels(bundle, threads, lanes, each):
    with open_runtime(bundle, "onnx", threads=threads) as runtime:
        opened = runtime.lanes()
        assert (len(opened), [lane.threads for lane in opened]) == (lanes, [each] * lanes)
        assert opened[0] is runtime
        frames = [tiny_bundle.frame(seed) for seed in range(lanes)]
        for lane, frame in zip(opened, frames):
            lane.upload(frame)
        for lane in reversed(opened):  # each has its own frame until it runs
            lane.run()
        for lane, frame in zip(opened, frames):
            np.testing.assert_array_equal(lane.download()["labels"], runtime(frame))


def test_lanes_hold_the_weights_once(bundle, monkeypatch):
    alive, open_session = weakref.WeakSet(), onnx.session

    def counted(*arguments, **options):
        assert not alive, "the session before is gone when the next one is opened"
        opened = open_session(*arguments, **options)
        alive.add(opened)
        return opened

    monkeypatch.setattr(onnx, "session", counted)
    with open_runtime(bundle, "onnx", threads=4) as runtime:
        lanes = runtime.lanes()
        assert len(lanes) == 4 and len(alive) == 1
        frame = tiny_bundle.frame(1)
        for lane in lanes[1:]:
            lane.close()
        assert len(runtime.lanes()) == 4 and len(alive) == 1, "once more, of the same session"
        np.testing.assert_array_equal(runtime(frame), tiny_bundle.expected_scores(frame).argmax(-1))


def test_lanes_of_tensorflow_share_the_loaded_function(bundle, monkeypatch):
    monkeypatch.setattr(saved_model, "physical_cores", lambda: 3)
    with open_runtime(bundle, "saved_model") as runtime:
        lanes = runtime.lanes()
        assert len(lanes) == 3 and all(lane._function is runtime._function for lane in lanes)
        frames = [tiny_bundle.frame(seed) for seed in range(3)]
        for lane, frame in zip(lanes, frames):
            lane.upload(frame)
        for lane in reversed(lanes):
            lane.run()
        for lane, frame in zip(lanes, frames):
            np.testing.assert_array_equal(lane.download()["labels"], tiny_bundle.expected_scores(frame).argmax(-1))


def test_a_session_takes_a_file_or_its_contents(bundle, tmp_path):
    path, image = bundle.file("model.onnx"), tiny_bundle.frame(3)[None].astype(np.float32)
    contents = Path(path).read_bytes()
    expected = tiny_bundle.expected_scores(tiny_bundle.frame(3)).argmax(-1)
    for model in (path, contents):
        opened = onnx.session(model, threads=1, profile=str(tmp_path / "profile"))
        assert opened.get_session_options().intra_op_num_threads == 1 and opened.get_providers() == [onnx.CPU]
        np.testing.assert_array_equal(opened.run(None, {"image": image})[0][0], expected)
        assert Path(opened.end_profiling()).parent == tmp_path
    with pytest.raises(DeepLabError, match="cannot load the model"):
        onnx.session(contents[:50])


def test_two_hyperthreads_are_one_core(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 4}, raising=False)
    siblings = {0: "0,4", 1: "1,5", 4: "0,4"}
    for cpu, text in siblings.items():
        (tmp_path / str(cpu)).write_text(text + "\n")
    plain_open = open

    def redirected(path, *rest, **options):
        return plain_open(tmp_path / path.split("/cpu/cpu")[1].split("/")[0], *rest, **options)

    monkeypatch.setattr("builtins.open", redirected)
    assert onnx.physical_cores() == 2


def test_an_onnx_runtime_that_cannot_be_loaded(monkeypatch, bundle):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert "ONNX Runtime cannot be loaded" in onnx.missing()
    with pytest.raises(DeepLabError, match="ONNX Runtime cannot be loaded"):
        onnx.load(bundle)


class FakeGpuOnnxRuntime:
    """onnxruntime built for CUDA and TensorRT, of which `working` start; remembers the files that it loaded."""

    def __init__(self, working):
        import onnxruntime

        self.real, self.working, self.loaded = onnxruntime, working, []
        self.SessionOptions, self.GraphOptimizationLevel = (
            onnxruntime.SessionOptions,
            onnxruntime.GraphOptimizationLevel,
        )
        self.__version__ = onnxruntime.__version__

    def get_available_providers(self):
        return list(onnx.PROVIDERS)

    def InferenceSession(self, path, options, providers):
        self.loaded.append((os.path.basename(path), dict(providers)))
        session = self.real.InferenceSession(path, options, providers=[onnx.CPU])
        here = [name for name, _ in providers if name in self.working]
        same = {name: getattr(session, name) for name in ("get_inputs", "get_outputs", "run")}
        return types.SimpleNamespace(get_providers=lambda: here, **same)


def test_on_a_gpu_the_int8_file_is_tensorrts(monkeypatch, tmp_path):
    fake = FakeGpuOnnxRuntime(onnx.PROVIDERS)
    monkeypatch.setattr(onnx, "_onnxruntime", lambda: fake)
    bundle = tiny_bundle.write_bundle(tmp_path / "b")
    assert onnx.load(bundle, "int8").provider == "TensorrtExecutionProvider"
    ((file, providers),) = fake.loaded
    assert file == "model_int8.onnx" and providers["TensorrtExecutionProvider"]["trt_int8_enable"] == "True"
    assert providers["TensorrtExecutionProvider"]["trt_engine_cache_path"].startswith(bundle.engines)
    open_bundle(bundle.path)


def test_a_gpu_that_does_not_start_is_reported(monkeypatch, tmp_path):
    fake, said = FakeGpuOnnxRuntime([onnx.CPU]), []
    monkeypatch.setattr(onnx, "_onnxruntime", lambda: fake)
    bundle = tiny_bundle.write_bundle(tmp_path / "b")
    runtime = onnx.load(bundle, "int8", providers=["CUDAExecutionProvider", onnx.CPU], say=said.append)
    assert runtime.provider == onnx.CPU and fake.loaded[-1][0] == "model_int8_cpu.onnx"
    assert said == ["ONNX Runtime could not start CUDAExecutionProvider here: CPUExecutionProvider instead."]
    with pytest.raises(DeepLabError, match="could not start CUDAExecutionProvider"):
        onnx.load(bundle, "int8", providers=["CUDAExecutionProvider", onnx.CPU], strict=True)


# TF-TRT


class FakeConverter:
    """TrtGraphConverterV2 without a GPU: saves a graph with one TRTEngineOp, built or not; `mode` is the precision that
    it makes."""

    def __init__(self, source, precision, workspace, calibrating, mode=None, built=True, engines=1):
        self.source, self.workspace, self.calibrating, self.frames = source, workspace, calibrating, []
        self.mode, self.built, self.engines = mode or _tf_trt_convert._MODES[precision], built, engines

    def convert(self, calibration_input_fn=None):
        assert (calibration_input_fn is not None) == self.calibrating
        self.frames = [image for (image,) in calibration_input_fn()] if self.calibrating else []

    def build(self, input_fn):
        (self.inputs,) = list(input_fn())

    def save(self, folder):
        from tensorflow.core.protobuf import saved_model_pb2

        os.makedirs(folder + "/assets")
        model = saved_model_pb2.SavedModel()
        graph = model.meta_graphs.add()
        graph.signature_def["serving_default"].outputs["labels"].name = "call:0"
        call = graph.graph_def.node.add(name="call", op="PartitionedCall")
        call.attr["f"].func.name = "network"
        graph.graph_def.node.add(name="restore", op="RestoreV2")  # not part of what runs
        function = graph.graph_def.library.function.add()
        function.signature.name = "network"
        function.node_def.add(name="image", op="Identity")
        function.node_def.add(name="pixels", op="Cast")
        for i in range(self.engines):
            engine = function.node_def.add(name=f"TRTEngineOp_0_{i}", op="TRTEngineOp")
            engine.attr["precision_mode"].s = self.mode.encode()
            with open(folder + f"/assets/trt-serialized-engine.TRTEngineOp_0_{i}", "wb") as file:
                file.write(b"engine" if self.built else b"")
        with open(folder + "/saved_model.pb", "wb") as file:
            file.write(model.SerializeToString())


@pytest.fixture
def gpu(monkeypatch):
    """A fake GPU; gpu.made are the converters, gpu.fault what they do wrong, gpu.said what was said."""
    here = types.SimpleNamespace(library=FakeCudart(), made=[], fault={}, said=[])

    def converter(source, precision, workspace, *, calibrating):
        here.made.append(FakeConverter(source, precision, workspace, calibrating, **here.fault))
        return here.made[-1]

    monkeypatch.setattr(_cudart, "_load", lambda name: here.library if name == "libcudart.so" else None)
    monkeypatch.setattr(_tf_trt_convert, "versions", lambda: {"TensorFlow": "2.11.0", "TensorRT": "8.5.2"})
    monkeypatch.setattr(_tf_trt_convert, "_converter", converter)
    return here


@pytest.fixture
def own_bundle(bundle, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "own")
    return open_bundle(tmp_path / "own")


@pytest.mark.parametrize("precision, source", [("int8", "int8"), ("float16", "float"), ("float32", "float")])
def test_tf_trt_builds_each_precision_from_its_graph(gpu, own_bundle, precision, source):
    built = tf_trt.build(own_bundle, precision, say=gpu.said.append)
    (converter,) = gpu.made
    assert converter.source == own_bundle.file("tf_trt/" + source) and not converter.calibrating
    assert converter.inputs[0].shape == (1, 6, 8, 3) and converter.inputs[0].dtype == np.uint8
    assert converter.workspace == (6 << 30) // 4
    assert (built["precision"], built["reused"], built["engines"], built["outside"]) == (
        precision,
        False,
        1,
        {"Cast": 1},
    )
    again = tf_trt.build(own_bundle, precision, say=gpu.said.append)
    assert again["reused"] and again["engines"] == 1 and len(gpu.made) == 1
    open_bundle(own_bundle.path)  # engines are not part of what its digests cover


def test_tf_trt_rebuilds_what_is_stale(gpu, own_bundle, monkeypatch):
    path = tf_trt.build(own_bundle, "int8", say=gpu.said.append)["path"]
    assert path.endswith("orin-sm87-tensorflow-2.11.0-tensorrt-8.5.2/tf_trt_int8")
    monkeypatch.setattr(_tf_trt_convert, "versions", lambda: {"TensorFlow": "2.16.1", "TensorRT": "8.6.2"})
    assert not tf_trt.build(own_bundle, "int8", say=gpu.said.append)["reused"]
    assert "TensorFlow was 2.11.0 and is 2.16.1" in gpu.said[-1]


@pytest.mark.parametrize(
    "fault, message",
    [
        ({"built": False}, "did not build TRTEngineOp_0_0, one of 1 int8 engines: it would run in TensorFlow"),
        ({"mode": "FP16"}, "made the engine TRTEngineOp_0_0 in FP16, not in INT8"),
        ({"engines": 0}, "took nothing of the graph into an engine"),
    ],
)
def test_tf_trt_falls_back_loudly(gpu, own_bundle, fault, message):
    gpu.fault = fault
    with pytest.raises(DeepLabError, match=message):
        tf_trt.build(own_bundle, "int8", say=gpu.said.append)
    assert not any(files for _, _, files in os.walk(own_bundle.engines)), "nothing is left of it"


def test_tf_trt_calibrates_on_the_gpu_where_asked(gpu, own_bundle):
    with pytest.raises(DeepLabError, match="calibration needs images"):
        tf_trt.build(own_bundle, "int8", calibrate_on_gpu=True, say=gpu.said.append)
    frames = [tiny_bundle.frame(i) for i in range(3)]
    built = tf_trt.build(own_bundle, "int8", calibrate_on_gpu=True, images=frames, say=gpu.said.append)
    (converter,) = gpu.made
    assert converter.source == own_bundle.file("tf_trt/float")
    assert [image.shape for image in converter.frames] == [(1, 6, 8, 3)] * 3
    assert built["path"].endswith("tf_trt_int8_calibrated_here")


def test_tf_trt_on_a_nano(gpu, own_bundle):
    gpu.library = FakeCudart("NVIDIA Tegra X1", (5, 3))
    assert tf_trt.build(own_bundle, "int8", say=gpu.said.append)["precision"] == "float16"
    assert "has no fast int8: float16 instead." in gpu.said[0]
    with pytest.raises(DeepLabError, match="refused"):
        tf_trt.build(own_bundle, "int8", strict=True, say=gpu.said.append)


def test_tf_trt_runs_what_was_converted(gpu, own_bundle, monkeypatch):
    def convert(source, path, precision, **options):
        shutil.copytree(source, path)
        return {"seconds": 1.0, "engines": 1, "outside": {}}

    monkeypatch.setattr(_tf_trt_convert, "convert", convert)
    frame = tiny_bundle.frame(3)
    with tf_trt.load(own_bundle, "float32", say=gpu.said.append) as runtime:
        np.testing.assert_array_equal(runtime(frame), tiny_bundle.expected_scores(frame).argmax(-1))
        assert (runtime.name, runtime.precision) == ("tf_trt", "float32")


def test_inputs_of_a_saved_model(bundle, tmp_path):
    import tensorflow as tf

    assert _tf_trt_convert.image_input(bundle.file("saved_model")) == ("image", (1, 6, 8, 3), np.uint8)
    serve = tf.function(lambda image: {"x": image}, input_signature=[tf.TensorSpec((None, 6, 8, 3), tf.uint8, "image")])
    tf.saved_model.save(tf.Module(), str(tmp_path / "open"), signatures={"serving_default": serve})
    with pytest.raises(DeepLabError, match="expected an image of a fixed shape"):
        _tf_trt_convert.image_input(str(tmp_path / "open"))
    with pytest.raises(DeepLabError, match="There is no SavedModel"):
        tf_trt.build_saved_model(str(tmp_path), str(tmp_path / "out"), "int8")


@pytest.mark.parametrize(
    "package, said", [("tensorflow-2.5.0", "2.5"), ("tensorflow_cpu-2.18.1", "2.18"), ("tensorflow-2.21.0", "2.21")]
)
def test_tf_trt_names_the_versions_that_have_it(tmp_path, monkeypatch, package, said):
    (tmp_path / (package + ".dist-info")).mkdir()
    monkeypatch.setattr(
        tf_trt.importlib.util,
        "find_spec",
        lambda n: types.SimpleNamespace(origin=str(tmp_path / "tensorflow" / "x.py")),
    )
    reason = tf_trt.missing()
    assert (
        reason.startswith(f"TensorFlow {said} is installed.")
        and "up to 2.17" in reason
        and "2.7, 2.11, 2.16, 2.17" in reason
    )


def test_tf_trt_missing_without_a_library_and_without_a_gpu(monkeypatch):
    monkeypatch.setattr(_cudart, "_load", lambda name: None)
    assert "needs an NVIDIA GPU" in tf_trt.missing()
    monkeypatch.setattr(_cudart, "_load", {"libcuda.so.1": FakeDriver()}.get)
    reason = tf_trt.missing()  # PyPI's TensorFlow 2.17 has TF-TRT, without TensorRT's library
    assert reason is None or reason.startswith(
        "TensorFlow 2.17.1 has TF-TRT, but finds no TensorRT library: it wants 8.6.1"
    )


def test_memory_as_needed_without_a_gpu():
    saved_model.memory_as_needed()


REAL_TF_TRT = """
import sys, types
import tiny_bundle
from tensorflow.python.compiler.tensorrt import trt_convert
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import megabytes
from deeplab_tf.deploy.runtimes import _tf_trt_convert, tf_trt
trt_convert.array_ops = types.SimpleNamespace(zeros=lambda shape: types.SimpleNamespace(device="/device:GPU:0"))
trt_convert.TrtGraphConverterV2.build = lambda self, input_fn: None  # what needs a GPU
print(_tf_trt_convert.versions(), tf_trt._not_enabled())
for precision, quantized in (("float16", False), ("int8", True), ("int8", False)):
    source = sys.argv[1] + "/{}{}".format(precision, quantized)
    tiny_bundle.write_saved_model(source, quantized=quantized)
    try:
        _tf_trt_convert.convert(source, sys.argv[1] + "/out", precision, workspace=1 << 26)
    except DeepLabError as error:
        print(error)
"""


def test_real_tf_trt_and_its_silent_failures(tmp_path):
    python, settings = ROOT / ".venv-tftrt" / "bin" / "python", ROOT / ".venv-tftrt" / "env.sh"
    if not (ROOT / ".venv-tftrt" / "ready").exists():
        pytest.skip("no TF-TRT: make .venv-tftrt with tools/environments/tf_trt.sh")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = ["bash", "-c", '. "$0"; exec "$@"', str(settings), str(python), "-c", REAL_TF_TRT, str(tmp_path)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, check=False)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    versions, float16, int8, no_ranges = result.stdout.decode().splitlines()
    assert versions == "{'TensorFlow': '2.14.1', 'TensorRT': '8.5.3'} None"
    assert "did not build TRTEngineOp_000_000, one of 1 float16 engines" in float16
    assert "did not build TRTEngineOp_001_000, one of 1 int8 engines" in int8
    assert "made the engine TRTEngineOp_002_000 in FP16, not in INT8" in no_ranges


PYTHON_3_6 = """
import json, sys
import numpy as np
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.deploy.runtimes import open_runtime
bundle, frame = open_bundle(sys.argv[1]), np.load(sys.argv[2])
for name, precision in (("onnx", "int8"), ("onnx", "float32"), ("saved_model", "float32")):
    print(json.dumps(open_runtime(bundle, name, precision)(frame).tolist()))
"""


def test_the_oldest_versions_run_it_too(bundle, tmp_path):
    """Python 3.6, ONNX Runtime 1.10, TensorFlow 2.6."""
    python = ROOT / ".venv-py36" / "bin" / "python"
    if not (ROOT / ".venv-py36" / "ready").exists():
        pytest.skip("no Python 3.6: make .venv-py36 with tools/environments/jetson.sh")
    np.save(tmp_path / "frame.npy", tiny_bundle.frame(6))
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    command = [str(python), "-c", PYTHON_3_6, bundle.path, str(tmp_path / "frame.npy")]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, check=False)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    expected = tiny_bundle.expected_scores(tiny_bundle.frame(6)).argmax(-1).tolist()
    assert [json.loads(line) for line in result.stdout.decode().splitlines()] == [expected] * 3


@pytest.mark.parametrize("call", [["--runtime", "onnx", "--precision", "float16"], ["--runtimes", "onnx:float16"]])
def test_precision_that_the_runtime_lacks_is_a_wrong_call(tmp_path, call):
    from click_runner import CliRunner

    from deeplab_tf.cli import group

    command = "compare" if call[0] == "--runtimes" else "stream"
    bundle = tiny_bundle.write_bundle(tmp_path / "bundle").path
    result = CliRunner().invoke(group, [command, bundle, "--source", "sample://", *call])
    assert result.exit_code == 2
    assert result.stderr.endswith("The runtime onnx has no precision 'float16'. Did you mean 'float32'?\n")
