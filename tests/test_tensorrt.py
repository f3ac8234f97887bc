"""The TensorRT runtime against fakes of four versions, and its names and signatures against the real 8.5.3 where that
can be imported."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from fake_tensorrt import FakeCudart, FakeDriver, FakeTensorRT

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import _cudart, _engines, _tensorrt_build, open_runtime, tensorrt

ROOT = Path(__file__).parent.parent
NANO = {"name": "NVIDIA Tegra X1", "capability": (5, 3), "free": 1500 << 20, "total": 4 << 30}


class Machine:
    """A machine with a fake GPU and a fake TensorRT; `said` is the lines that the runtime said."""

    def __init__(self, monkeypatch, version="8.5.3.1", **gpu):
        self.patch, self.said, self.library = monkeypatch, [], FakeCudart(**gpu)
        self.trt = self.install(version)
        monkeypatch.setattr(_cudart, "_load", lambda name: self.library if name == "libcudart.so" else None)
        monkeypatch.delenv(_tensorrt_build.OWN_KERNELS_VARIABLE, raising=False)

    def install(self, version):
        self.trt = FakeTensorRT(version)
        self.patch.setitem(sys.modules, "tensorrt", self.trt)
        return self.trt

    def build(self, bundle, precision="int8", **options):
        return tensorrt.build(bundle, precision, say=self.said.append, **options)

    def load(self, bundle, precision="int8", **options):
        return tensorrt.load(bundle, precision, say=self.said.append, **options)


@pytest.fixture
def machine(monkeypatch):
    return lambda version="8.5.3.1", **gpu: Machine(monkeypatch, version, **gpu)


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle.write_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("version", ["8.2.1.8", "8.4.1.5", "8.5.3.1", "8.6.2.3", "10.3.0", "11.1.0"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_every_version_runs_the_network(machine, bundle, version, precision):
    here = machine(version)
    image = tiny_bundle.frame(1)
    with here.load(bundle, precision) as runtime:
        labels = runtime(image)
        again = runtime(tiny_bundle.frame(2))
    assert runtime.precision == precision and labels.dtype == np.uint8
    if precision == "float32":
        np.testing.assert_array_equal(labels, tiny_bundle.expected_scores(image).argmax(-1))
    assert not np.array_equal(labels, again), "the first result must not lie in the buffer of the second"
    assert here.library.held == {} and here.library.streams == 0, "close frees everything"


def test_logits_come_back_as_they_are(machine, tmp_path):
    here = machine()
    with here.load(tiny_bundle.write_bundle(tmp_path / "b", "logits"), "float32") as runtime:
        runtime.upload(tiny_bundle.frame())
        runtime.run()
        logits = runtime.download()["logits"]
    np.testing.assert_allclose(logits, tiny_bundle.expected_scores(tiny_bundle.frame()), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "version, network, workspace, execute",
    [
        ("8.2.1.8", 1, "max_workspace_size", "execute_async_v2"),
        ("8.4.1.5", 1, "set_memory_pool_limit", "execute_async_v2"),
        ("8.5.3.1", 1, "set_memory_pool_limit", "execute_async_v3"),
        ("10.3.0", 0, "set_memory_pool_limit", "execute_async_v3"),
        ("11.1.0", 2, "set_memory_pool_limit", "execute_async_v3"),
    ],
)
def test_each_version_is_called_by_its_own_names(machine, bundle, version, network, workspace, execute):
    here = machine(version)
    here.load(bundle, "int8")(tiny_bundle.frame())
    assert here.trt.called("create_network") == [network]
    other = {"max_workspace_size", "set_memory_pool_limit"} - {workspace}
    assert len(here.trt.called(workspace)) == 1 and not here.trt.called(other.pop())
    assert len(here.trt.called(execute)) == 1
    assert here.trt.called("build_serialized_network") == [[] if version == "11.1.0" else ["FP16", "INT8"]]


@pytest.mark.parametrize("precision, flags", [("int8", ["FP16", "INT8"]), ("float16", ["FP16"]), ("float32", [])])
def test_precision_flags(machine, bundle, precision, flags):
    here = machine()
    assert here.build(bundle, precision)["precision"] == precision
    assert here.trt.called("build_serialized_network") == [flags]


def test_a_pascal_card_runs_int8_with_the_rest_in_float32(machine, bundle):
    here = machine(name="GTX 1080", capability=(6, 1))  # 64 times slower in float16 than in float32
    assert here.build(bundle, "int8")["precision"] == "int8"
    assert here.trt.called("build_serialized_network") == [["INT8"]]


def test_int8_on_a_nano_becomes_float16(machine, bundle):
    here = machine("8.2.1.8", **NANO)
    built = here.build(bundle, "int8")
    assert built["precision"] == "float16" and built["path"].endswith("float16.engine")
    (line,) = [line for line in here.said if "int8" in line]
    assert line == "NVIDIA Tegra X1 (compute capability 5.3) has no fast int8: float16 instead."
    with open(built["path"], "rb") as file:
        assert not _tensorrt_build.is_quantized(file.read()), (
            "from the float model: a GPU without INT8 takes no Q/DQ nodes"
        )


def test_strict_refuses_another_precision(machine, bundle):
    here = machine("8.2.1.8", **NANO)
    with pytest.raises(DeepLabError, match="no fast int8: refused because of --strict"):
        here.build(bundle, "int8", strict=True)
    assert here.build(bundle, "float16", strict=True)["precision"] == "float16"


@pytest.mark.parametrize(
    "capability, int8, float16",
    [
        ((5, 3), False, True),  # Nano
        ((6, 0), False, True),
        ((6, 1), True, False),
        ((6, 2), False, True),  # TX2
        ((7, 0), True, True),
        ((7, 2), True, True),  # Xavier
        ((8, 7), True, True),  # Orin
        ((12, 0), True, True),
    ],
)
def test_what_gpus_have(capability, int8, float16):
    assert _engines.has_precision("int8", capability) == int8
    assert _engines.has_precision("float16", capability) == float16
    assert _engines.has_precision("float32", capability)


def test_workspace_follows_free_memory(machine, bundle):
    here = machine("8.2.1.8", **NANO)
    here.build(bundle, "float16")
    assert here.trt.called("max_workspace_size") == [375 << 20]  # a quarter of 1500 MB
    assert _engines.workspace(80 << 30) == 4 << 30 and _engines.workspace(0) == 16 << 20


def test_an_engine_that_fits_is_used_again(machine, bundle):
    here = machine()
    first, second = here.build(bundle), here.build(bundle)
    assert not first["reused"] and second["reused"] and second["seconds"] == 0.0 and first["seconds"] > 0
    assert first["path"] == second["path"] and len(here.trt.called("build_serialized_network")) == 1
    record = _engines.read_record(first["path"])
    assert (
        record["facts"]["TensorRT"] == "8.5.3.1"
        and record["facts"]["gpu"] == "Orin"
        and record["facts"]["precision"] == "int8"
    )
    assert (
        record["facts"]["compute_capability"] == "8.7" and record["facts"]["model"] == bundle.digests["model_int8.onnx"]
    )
    assert here.build(bundle, rebuild=True)["reused"] is False
    assert "asked for" in here.said[-1]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"facts": 3}',
        b'{"facts": {}, "sha256": 1}',
        b'{"facts": {}, "sha256": "a"}',
        b"[" * 9999,
        b"\xff",
    ],
)
def test_an_engine_whose_description_is_damaged_is_built_again(machine, tmp_path, damage):
    here = machine()
    bundle = tiny_bundle.write_bundle(tmp_path / "bundle")
    path = Path(here.build(bundle)["path"])
    path.with_name(path.name + ".json").write_bytes(damage)
    path.with_name("timing.cache").write_bytes(b"\0damaged")
    assert not here.build(bundle)["reused"] and here.build(bundle)["reused"]


def test_stale_engines_are_rebuilt_with_a_reason(machine, tmp_path, monkeypatch):
    here = machine()
    bundle = tiny_bundle.write_bundle(tmp_path / "bundle")
    path = here.build(bundle)["path"]
    assert "none is built yet" in here.said[-1]

    with open(path, "ab") as file:
        file.write(b"x")
    assert not here.build(bundle)["reused"] and "it has been changed" in here.said[-1]

    os.unlink(path)
    assert not here.build(bundle)["reused"] and "it is missing" in here.said[-1]

    here.install("8.6.1.6")
    assert not here.build(bundle)["reused"] and "TensorRT was 8.5.3.1 and is 8.6.1.6" in here.said[-1]

    here.library.name = "Xavier"
    assert not here.build(bundle)["reused"] and "the GPU was Orin and is Xavier" in here.said[-1]

    engines = tmp_path / "engines"
    os.rename(bundle.engines, engines)
    other = tiny_bundle.write_bundle(tmp_path / "bundle", seed=9)
    os.rename(engines, other.engines)
    assert not here.build(other)["reused"] and "the model is another one" in here.said[-1]
    assert here.build(other)["reused"]


def test_a_broken_description_is_no_description(machine, bundle):
    here = machine()
    path = here.build(bundle)["path"]
    Path(path + ".json").write_text('{"facts": 3')
    assert not here.build(bundle)["reused"]


def test_a_failed_build_leaves_no_engine(machine, bundle):
    here = machine()
    here.trt.trouble = "no memory"
    with pytest.raises(DeepLabError, match="could not build the int8 engine: Error Code 10: out of memory"):
        here.build(bundle)
    assert not os.path.exists(bundle.engines)


def test_implicit_int8_reads_the_calibration_cache(machine, bundle):
    here = machine("10.3.0")
    built = here.build(bundle, "int8", implicit=True)
    assert built["path"].endswith("int8_implicit.engine")
    with open(built["path"], "rb") as file:
        header, _, model = file.read().partition(b"\n")
    assert json.loads(header)["cache"] == "TRT-100300-EntropyCalibration2\nimage: 40008081\n"
    assert not _tensorrt_build.is_quantized(model)
    assert not here.build(bundle, "int8")["reused"], "explicit and implicit are two engines"
    assert here.build(bundle, "int8", implicit=True)["reused"]


@pytest.mark.parametrize(
    "found, header", [((8, 2, 1), b"TRT-8201-"), ((8, 5, 3), b"TRT-8503-"), ((10, 3, 0), b"TRT-100300-")]
)
def test_the_cache_has_the_header_that_the_version_looks_for(found, header):
    cache = _tensorrt_build.with_header(b"TRT-8600-EntropyCalibration2\na: 3c010a14\n", found)
    assert cache == header + b"EntropyCalibration2\na: 3c010a14\n"


@pytest.mark.parametrize(
    "precision, options, wish", [("float16", {}, "float16"), ("int8", {"implicit": True}, "implicit int8")]
)
def test_tensorrt_11_refuses_what_it_cannot_do(machine, bundle, precision, options, wish):
    with pytest.raises(
        DeepLabError, match=f"TensorRT 11.1.0 takes all types from the network and cannot make {wish} of it"
    ):
        machine("11.1.0").build(bundle, precision, **options)


def test_timings_are_kept_from_build_to_build(machine, bundle):
    here = machine()
    here.build(bundle, "float32")
    here.build(bundle, "float16")
    assert here.trt.called("create_timing_cache") == [b"", b"timings of 8.5.3.1"]


def test_timings_of_another_version_are_dropped(machine, bundle):
    here = machine()
    path = here.build(bundle, "float32")["path"]
    Path(path).with_name("timing.cache").write_bytes(b"timings of 8.0.0")
    here.build(bundle, "float16")
    assert here.trt.called("create_timing_cache")[1:] == [b"timings of 8.0.0", b""]
    assert Path(path).with_name("timing.cache").read_bytes() == b"timings of 8.5.3.1"


def test_own_kernels(machine, bundle, monkeypatch):
    here = machine()
    here.build(bundle, "float32")
    assert here.trt.called("set_tactic_sources") == []
    here.build(bundle, "float16", own_kernels=True)
    monkeypatch.setenv(_tensorrt_build.OWN_KERNELS_VARIABLE, "1")
    here.build(bundle, "int8")
    assert here.trt.called("set_tactic_sources") == [0, 0]


def test_a_dla_takes_the_calibration_cache_and_leaves_the_rest_to_the_gpu(machine, bundle, monkeypatch):
    """Not run on a device: the calls that TensorRT's documentation asks for."""
    here = machine("8.5.3.1")
    here.trt.dla_cores = 2
    monkeypatch.setenv(_tensorrt_build.DLA_VARIABLE, "1")
    runtime = here.load(bundle, "int8")
    runtime.close()
    assert runtime.path.endswith("int8_implicit_dla1.engine")
    assert here.trt.called("DLA_core") == [1] and here.trt.called("Runtime.DLA_core") == [1]
    assert here.trt.called("default_device_type") == [here.trt.DeviceType.DLA]
    assert here.trt.called("build_serialized_network") == [["FP16", "GPU_FALLBACK", "INT8"]]
    monkeypatch.delenv(_tensorrt_build.DLA_VARIABLE)
    assert here.build(bundle, "int8")["path"].endswith("int8.engine")
    assert here.trt.called("default_device_type") == [here.trt.DeviceType.DLA], "once, for the first engine"


@pytest.mark.parametrize(
    "value, precision, message",
    [
        ("2", "int8", "no DLA core 2: this machine has 2"),
        ("0", "float32", "A DLA runs int8 and float16"),
        ("both", "int8", "0 or 1; got 'both'"),
    ],
)
def test_a_dla_that_cannot_be(machine, bundle, monkeypatch, value, precision, message):
    here = machine()
    here.trt.dla_cores = 2
    monkeypatch.setenv(_tensorrt_build.DLA_VARIABLE, value)
    with pytest.raises(DeepLabError, match=message):
        here.build(bundle, precision)


def test_a_broken_cublas_is_left_out(machine, bundle):
    here = machine()
    here.trt.trouble = "cublas"
    assert here.build(bundle)["precision"] == "int8"
    assert here.trt.called("set_tactic_sources") == [0] and "own kernels only" in here.said[-1]


def test_parser_errors_are_reported(machine, bundle):
    here = machine()
    here.trt.trouble = "unsupported node"
    with pytest.raises(
        DeepLabError, match="cannot read the ONNX model: In node 3 .*No importer registered for op: Sparkle"
    ):
        here.build(bundle)


def test_without_a_driver_the_builder_is_null(machine, bundle):
    here = machine()
    here.trt.trouble = "no driver"
    with pytest.raises(DeepLabError, match="finds no working GPU: CUDA initialization failure with error: 35"):
        here.build(bundle)


@pytest.mark.parametrize(
    "trouble, message", [("no context", "has no memory to run"), ("illegal access", "could not run the engine")]
)
def test_failures_while_running(machine, bundle, trouble, message):
    here = machine()
    here.build(bundle)
    here.trt.trouble = trouble
    with pytest.raises(DeepLabError, match=message):
        here.load(bundle)(tiny_bundle.frame())


def test_an_engine_of_another_version_is_not_loaded(machine, bundle):
    here = machine()
    path = here.build(bundle)["path"]
    here.install("8.6.1.6")
    with pytest.raises(DeepLabError, match="cannot load the engine: Serialization error"):
        tensorrt.TensorRTRuntime(bundle, "int8", path)


def test_an_engine_of_another_size_is_refused(machine, bundle, tmp_path):
    here = machine()
    path = here.build(tiny_bundle.write_bundle(tmp_path / "other", size=(4, 4)))["path"]
    with pytest.raises(DeepLabError, match="expected one image of 6x8"):
        tensorrt.TensorRTRuntime(bundle, "int8", path)
    assert here.library.held == {}


def test_a_tensorrt_that_is_too_old(machine, bundle):
    with pytest.raises(DeepLabError, match="TensorRT 8.0.1.6 is installed; this needs 8.2 or newer"):
        machine("8.0.1.6").build(bundle)


def test_models_and_precisions_that_do_not_go_together(machine, tmp_path, bundle):
    here = machine()
    for name, precision, message in (
        ("model.onnx", "int8", "needs a model with Q/DQ nodes"),
        ("model_int8.onnx", "float16", "The model has Q/DQ nodes, which mean int8"),
        ("no.onnx", "float16", "There is no file"),
    ):
        with pytest.raises(DeepLabError, match=message):
            tensorrt.build_engine(
                os.path.join(bundle.path, name), str(tmp_path / "e.engine"), precision, say=here.said.append
            )


def test_missing_says_what_is_missing(machine, monkeypatch):
    here = machine()
    assert "no NVIDIA driver" in tensorrt.missing()
    driver = FakeDriver()
    monkeypatch.setattr(_cudart, "_load", {"libcuda.so.1": driver}.get)
    assert tensorrt.missing() is None
    monkeypatch.setattr(driver, "cuDeviceGetCount", lambda count: 100)
    assert "finds no GPU" in tensorrt.missing()
    here.patch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "is not installed" in tensorrt.missing()


def test_open_runtime_takes_it_first(machine, bundle, monkeypatch):
    here = machine()
    libraries = {"libcuda.so.1": FakeDriver(), "libcudart.so": here.library}
    monkeypatch.setattr(_cudart, "_load", libraries.get)
    with open_runtime(bundle, say=here.said.append) as runtime:
        assert (runtime.name, runtime.precision) == ("tensorrt", "int8")


# CUDA


@pytest.mark.parametrize("kind, library", [(_cudart.CudaRuntime, FakeCudart), (_cudart.CudaDriver, FakeDriver)])
def test_both_cuda_libraries_do_the_same(kind, library):
    cuda = kind(library())
    assert cuda.gpu() == _cudart.Gpu("Orin", (8, 7), 6 << 30, 8 << 30)
    stream, device, host = cuda.new_stream(), cuda.allocate(16), cuda.allocate_host(16)
    array = _cudart.array_at(host, (2, 2), np.float32)
    array[:] = [[1, 2], [3, 4]]
    cuda.to_device(device, host, 16, stream)
    array[:] = 0
    cuda.to_host(host, device, 16, stream)
    cuda.wait(stream)
    assert array.tolist() == [[1, 2], [3, 4]]
    cuda.free(device)
    cuda.free_host(host)
    cuda.free_stream(stream)
    assert cuda._library.held == {} and cuda._library.streams == 0


def test_cuda_errors_are_reported(machine, bundle):
    here = machine()
    here.build(bundle)
    here.library.fails["cudaMalloc"] = 2
    with pytest.raises(DeepLabError, match="cudaMalloc failed with error 2: out of memory. Its memory is full"):
        here.load(bundle)
    here.library.fails = {"cudaHostAlloc": 2}
    with pytest.raises(DeepLabError, match="cudaHostAlloc failed"):
        here.load(bundle)
    assert here.library.held == {}, "what was taken before the failure is given back"


def test_the_driver_stands_in_for_a_missing_or_unfit_runtime_library(monkeypatch):
    monkeypatch.setattr(_cudart, "_load", {"libcuda.so.1": FakeDriver()}.get)
    assert isinstance(_cudart.open_cuda(), _cudart.CudaDriver)
    too_new = FakeCudart()
    too_new.fails["cudaMemGetInfo"] = 35
    monkeypatch.setattr(_cudart, "_load", {"libcudart.so.13": too_new, "libcuda.so.1": FakeDriver()}.get)
    assert isinstance(_cudart.open_cuda(), _cudart.CudaDriver)
    monkeypatch.setattr(_cudart, "_load", {"libcudart.so.12": too_new, "libcudart.so.13": too_new}.get)
    with pytest.raises(
        DeepLabError, match=r"here. libcudart.so.12: CUDA: cudaMemGetInfo failed with error 35: driver too old\.$"
    ):
        _cudart.open_cuda()
    monkeypatch.setattr(_cudart, "_load", lambda name: None)
    with pytest.raises(DeepLabError, match="There is no NVIDIA driver"):
        _cudart.open_cuda()


def test_runtime_libraries_of_pip_packages_are_found(tmp_path, monkeypatch):
    places = [
        tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.12",
        tmp_path / "nvidia" / "cu13" / "lib" / "libcudart.so.13",
    ]
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert set(map(str, places)) <= set(_cudart.runtime_libraries())


# The real module

CLASSES_OF = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "timings": "ITimingCache",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "_runtime": "Runtime",
    "flags": "NetworkDefinitionCreationFlag",
}
"""Names of variables in the runtime's sources -> the class of TensorRT that they hold."""

NOT_IN_8_5 = {("NetworkDefinitionCreationFlag", "STRONGLY_TYPED")}

SIGNATURES = {
    "Builder.create_network": "flags: int",
    "Builder.build_serialized_network": "network: tensorrt.tensorrt.INetworkDefinition, "
    "config: tensorrt.tensorrt.IBuilderConfig",
    "OnnxParser.__init__": "network: tensorrt.tensorrt.INetworkDefinition, logger: tensorrt.tensorrt.ILogger",
    "OnnxParser.parse": "model: buffer, path: str = None) -> bool",
    "IBuilderConfig.set_memory_pool_limit": "pool: tensorrt.tensorrt.MemoryPoolType, pool_size: int",
    "IBuilderConfig.create_timing_cache": "serialized_timing_cache: buffer) -> tensorrt.tensorrt.ITimingCache",
    "IBuilderConfig.set_timing_cache": "cache: tensorrt.tensorrt.ITimingCache, ignore_mismatch: bool) -> bool",
    "IBuilderConfig.set_tactic_sources": "tactic_sources: int",
    "Runtime.deserialize_cuda_engine": "serialized_engine: buffer",
    "IExecutionContext.execute_async_v2": "bindings: List[int], stream_handle: int",
    "IExecutionContext.execute_async_v3": "stream_handle: int) -> bool",
    "IExecutionContext.set_tensor_address": "name: str, memory: int) -> bool",
}
"""What each function that is called with arguments must say of itself."""


def names_used():
    """(class or "", attribute) of every name of TensorRT in the runtime's two files; "" for those of the module."""
    found = set()
    for name in ("_tensorrt_build.py", "_tensorrt_run.py"):
        tree = ast.parse((ROOT / "deeplab_tf" / "deploy" / "runtimes" / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                owner = node.value
                variable = (
                    owner.id
                    if isinstance(owner, ast.Name)
                    else owner.attr
                    if isinstance(owner, ast.Attribute)
                    else None
                )
                if variable == "trt" and not node.attr.startswith("__"):
                    found.add(("", node.attr))
                elif variable in CLASSES_OF:
                    found.add((CLASSES_OF[variable], node.attr))
                elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
                    found.add((owner.attr, node.attr))
    return found


def test_names_are_found_in_the_sources():
    found = names_used()
    assert {
        ("", "Builder"),
        ("IBuilderConfig", "max_workspace_size"),
        ("IExecutionContext", "execute_async_v2"),
    } <= found
    assert {("BuilderFlag", "FP16"), ("ICudaEngine", "get_binding_dtype"), ("ITimingCache", "serialize")} <= found


@pytest.fixture(scope="module")
def real():
    """real(source) runs Python with the real TensorRT and returns what it prints as JSON."""
    python = os.environ.get("DEEPLAB_TF_TENSORRT_PYTHON") or str(ROOT / ".venv-tftrt" / "bin" / "python")
    if not os.path.exists(python):
        pytest.skip(
            "no real TensorRT: set DEEPLAB_TF_TENSORRT_PYTHON, or make .venv-tftrt with tools/environments/tf_trt.sh"
        )
    settings = Path(python).parent.parent / "env.sh"
    shell = ('. "$0" && ' if settings.exists() else "") + 'exec "$@"'

    def run(source, *, module=True):
        command = [
            "bash",
            "-c",
            shell,
            str(settings),
            python,
            "-c",
            ("import tensorrt as trt\n" if module else "") + source,
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, check=False)
        assert result.returncode == 0, result.stderr.decode()[-2000:]
        return json.loads(result.stdout.decode().splitlines()[-1])

    if not run(
        "import importlib.util, json; print(json.dumps(importlib.util.find_spec('tensorrt') is not None))", module=False
    ):
        pytest.skip(f"{python} has no tensorrt")
    return run


def test_every_name_exists_in_the_real_module(real):
    source = (
        "import json\nprint(json.dumps([[c, n] for c, n in {!r} if not hasattr(getattr(trt, c) if c else trt, n)]))"
    )
    absent = {tuple(pair) for pair in real(source.format(sorted(names_used())))}
    assert absent == NOT_IN_8_5


def test_signatures_are_those_of_the_real_module(real):
    source = (
        "import json, operator\n"
        "print(json.dumps({name: [trt.__version__, operator.attrgetter(name)(trt).__doc__] "
        f"for name in {sorted(SIGNATURES)!r}}}))"
    )
    for name, (version, text) in real(source).items():
        assert version == "8.5.3.1" and SIGNATURES[name] in text, f"{name}: {text.strip().splitlines()[0]}"


def test_the_fake_has_nothing_that_the_real_module_lacks(real):
    fake = FakeTensorRT("8.5.3.1")
    builder = fake.Builder(None)
    plan = json.dumps({"version": "8.5.3.1"}).encode() + b"\n" + tiny_bundle.onnx_model()
    engine = fake.Runtime(None).deserialize_cuda_engine(plan)
    objects = {
        "Builder": builder,
        "IBuilderConfig": builder.create_builder_config(),
        "OnnxParser": fake.OnnxParser(None, None),
        "ITimingCache": builder.create_builder_config().create_timing_cache(b""),
        "Runtime": fake.Runtime(None),
        "ICudaEngine": engine,
        "IExecutionContext": engine.create_execution_context(),
    }
    names = [
        [kind, name]
        for kind, thing in objects.items()
        for name in dir(thing)
        if not name.startswith("_") and name != "NAMES"
    ]
    names += [[kind, name] for kind in ("IBuilderConfig", "Runtime") for name in objects[kind].NAMES]
    for kind in (
        fake.BuilderFlag,
        fake.NetworkDefinitionCreationFlag,
        fake.MemoryPoolType,
        fake.TensorIOMode,
        fake.DataType,
        fake.DeviceType,
    ):
        names += [[kind.__name__, member.name] for member in kind]
    assert len(names) > 40
    source = f"import json\nprint(json.dumps([[c, n] for c, n in {names!r} if not hasattr(getattr(trt, c), n)]))"
    assert real(source) == []


def test_the_real_module_without_a_gpu_is_refused_in_one_sentence(real):
    source = (
        "import json\nfrom deeplab_tf.core.errors import DeepLabError\nfrom deeplab_tf.deploy.runtimes import "
        "_tensorrt_build as b\n"
        "order = b.EngineSpec(b'', 'float16', True, 1 << 24)\n"
        "try: b.build_plan(trt, order)\nexcept DeepLabError as error: print(json.dumps(str(error)))"
    )
    assert real(source).startswith("TensorRT 8.5.3.1 finds no working GPU")


def test_the_real_module_takes_our_calibrator(real):
    source = (
        "import json\nfrom deeplab_tf.deploy.runtimes import _tensorrt_build as b\n"
        "reader = b._calibrator(trt, b'abc')\n"
        "print(json.dumps([isinstance(reader, trt.IInt8EntropyCalibrator2), "
        "reader.read_calibration_cache().decode(), b.version(trt)]))"
    )
    assert real(source) == [True, "abc", [8, 5, 3]]
