"""Fakes of TensorRT and of CUDA's libraries, for machines without a GPU.

FakeTensorRT is a module `tensorrt` of a chosen version that lacks what that version lacks: an unknown name is an
AttributeError, to read or to set. Its engines run the ONNX model in ONNX Runtime, on memory that FakeCudart or
FakeDriver calls the GPU's and which is the host's. tests/test_tensorrt.py holds the fake 8.5.3 to the real module where
that can be imported.
"""

import ctypes
import enum
import importlib.machinery
import json
import types

import numpy as np


class Strict:
    """Refuses attributes that are not declared in NAMES."""

    NAMES = ()

    def __setattr__(self, name, value):
        if name not in self.NAMES and not name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        object.__setattr__(self, name, value)


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class FakeILogger:
    Severity = Severity


class FakeParserError:
    def __str__(self):
        return "In node 3 (parseGraph): UNSUPPORTED_NODE: No importer registered for op: Sparkle"


class DataType(enum.Enum):
    FLOAT, HALF, INT32 = range(3)


class FakeHostMemory(bytes):
    pass


class FakeTensorRT(types.ModuleType):
    """The module.

    Attributes:
        calls: what was called, in order, as (name, arguments).
        trouble: "", "no driver", "unsupported node", "cublas", "no memory": what goes wrong.
    """

    def __init__(self, version):
        super().__init__("tensorrt")
        self.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
        self.__version__ = version
        self.number = tuple(int(part) for part in version.split(".")[:3])
        self.calls, self.trouble = [], ""
        self.ILogger, self.DataType = FakeILogger, DataType
        flags = ["FP16", "INT8"] if self.number < (11,) else []
        flags.append("GPU_FALLBACK")
        self.DeviceType = enum.IntEnum("DeviceType", {"GPU": 0, "DLA": 1})
        self.dla_cores = 0
        self.BuilderFlag = enum.IntEnum("BuilderFlag", {name: i for i, name in enumerate(flags + ["TF32"])})
        kinds = {"EXPLICIT_BATCH": 0} if self.number < (11,) else {}
        if self.number >= (10,):
            kinds["STRONGLY_TYPED"] = 1
        self.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", kinds)
        if self.number >= (8, 4, 1):
            self.MemoryPoolType = enum.IntEnum("MemoryPoolType", {"WORKSPACE": 0})
        if self.number >= (8, 5, 1):
            self.TensorIOMode = enum.IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
        if self.number < (11,):
            self.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (), {})
        self.OnnxParser = lambda network, logger: FakeParser(self, network)

    def Builder(self, logger):
        if self.trouble == "no driver":
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeBuilder(self, logger)

    def Runtime(self, logger):
        return FakeRuntime(self, logger)

    def called(self, name):
        """The arguments of every call of a name."""
        return [arguments for called, arguments in self.calls if called == name]


class FakeParser(Strict):
    def __init__(self, trt, network):
        self._trt, self._network = trt, network

    def parse(self, model, path=None):
        if self._trt.trouble == "unsupported node":
            return False
        self._network._model = bytes(model)
        return True

    @property
    def num_errors(self):
        return 1

    def get_error(self, index):
        return FakeParserError()


class FakeNetwork(Strict):
    pass


class FakeTimingCache(Strict):
    def __init__(self, data):
        self._data = data

    def serialize(self):
        return FakeHostMemory(self._data)


class FakeConfig(Strict):
    """Common to all versions; `config_class` adds the rest."""

    def __init__(self, trt):
        self._trt, self._flags, self._timings, self._calibrator, self._workspace = trt, [], None, None, None

    def set_flag(self, flag):
        self._flags.append(flag.name)
        self._trt.calls.append(("set_flag", flag.name))

    def set_tactic_sources(self, tactic_sources):
        self._trt.calls.append(("set_tactic_sources", tactic_sources))
        return True

    def create_timing_cache(self, serialized_timing_cache):
        self._trt.calls.append(("create_timing_cache", bytes(serialized_timing_cache)))
        data = bytes(serialized_timing_cache)
        return FakeTimingCache(data) if data == b"" or data.startswith(b"timings") else None

    def set_timing_cache(self, cache, ignore_mismatch):
        if cache._data not in (b"", self._stamp()):
            return False
        self._timings = cache
        return True

    def get_timing_cache(self):
        return self._timings

    def _stamp(self):
        return f"timings of {self._trt.__version__}".encode()


def config_class(number):
    class Config(FakeConfig):
        NAMES = (("max_workspace_size",) if number < (10,) else ()) + (("int8_calibrator",) if number < (11,) else ())
        NAMES += ("default_device_type", "DLA_core")

        if number >= (8, 4, 1):

            def set_memory_pool_limit(self, pool, pool_size):
                self._trt.calls.append(("set_memory_pool_limit", (pool.name, pool_size)))

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if not name.startswith("_"):
                self._trt.calls.append((name, value))

    return Config


class FakeBuilder(Strict):
    def __init__(self, trt, logger):
        self._trt, self._logger = trt, logger

    @property
    def num_DLA_cores(self):
        return self._trt.dla_cores

    def create_network(self, flags=0):
        self._trt.calls.append(("create_network", flags))
        return FakeNetwork()

    def create_builder_config(self):
        return config_class(self._trt.number)(self._trt)

    def build_serialized_network(self, network, config):
        trt = self._trt
        trt.calls.append(("build_serialized_network", sorted(config._flags)))
        own_kernels = any(sources == 0 for sources in trt.called("set_tactic_sources"))
        if trt.trouble == "no memory" or (trt.trouble == "cublas" and not own_kernels):
            cublas = "Error Code 3: API Usage Error (Unable to create cuBLAS handle)"
            self._logger.log(Severity.ERROR, cublas if trt.trouble == "cublas" else "Error Code 10: out of memory")
            return None
        self._logger.log(Severity.WARNING, "a warning that is of no use to anybody")
        config._timings = FakeTimingCache(config._stamp())
        header = {"version": trt.__version__, "flags": sorted(config._flags)}
        calibrator = getattr(config, "int8_calibrator", None)
        if calibrator is not None:
            header["cache"] = calibrator.read_calibration_cache().decode()
        return FakeHostMemory(json.dumps(header).encode() + b"\n" + network._model)


class FakeRuntime(Strict):
    NAMES = ("DLA_core",)

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "DLA_core":
            self._trt.calls.append(("Runtime.DLA_core", value))

    def __init__(self, trt, logger):
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine):
        header, _, model = bytes(serialized_engine).partition(b"\n")
        if json.loads(header.decode())["version"] != self._trt.__version__:
            self._logger.log(Severity.ERROR, "Serialization error: version tag does not match")
            return None
        named, numbered = self._trt.number >= (8, 5, 1), self._trt.number < (10,)
        kinds = (FakeEngine,) + ((NamedTensors,) if named else ()) + ((NumberedBindings,) if numbered else ())
        return type("Engine", kinds[::-1], {})(self._trt, model)


class FakeEngine(Strict):
    def __init__(self, trt, model):
        import onnxruntime

        self._trt = trt
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._ports = [(port, True) for port in self._session.get_inputs()] + [
            (port, False) for port in self._session.get_outputs()
        ]

    def create_execution_context(self):
        if self._trt.trouble == "no context":
            return None
        named, numbered = self._trt.number >= (8, 5, 1), self._trt.number < (10,)
        kinds = (FakeContext,) + ((NamedContext,) if named else ()) + ((NumberedContext,) if numbered else ())
        return type("Context", kinds[::-1], {})(self)

    def _port(self, name):
        return next(port for port in self._ports if port[0].name == name)

    def _kind(self, port):
        return {"tensor(float)": DataType.FLOAT, "tensor(int32)": DataType.INT32}[port.type]


class NamedTensors:
    @property
    def num_io_tensors(self):
        return len(self._ports)

    def get_tensor_name(self, index):
        return self._ports[index][0].name

    def get_tensor_mode(self, name):
        modes = self._trt.TensorIOMode
        return modes.INPUT if self._port(name)[1] else modes.OUTPUT

    def get_tensor_shape(self, name):
        return self._port(name)[0].shape

    def get_tensor_dtype(self, name):
        return self._kind(self._port(name)[0])


class NumberedBindings:
    @property
    def num_bindings(self):
        return len(self._ports)

    def get_binding_name(self, index):
        return self._ports[index][0].name

    def binding_is_input(self, index):
        return self._ports[index][1]

    def get_binding_shape(self, index):
        return self._ports[index][0].shape

    def get_binding_dtype(self, index):
        return self._kind(self._ports[index][0])


class FakeContext(Strict):
    def __init__(self, engine):
        self._engine, self._addresses = engine, {}

    def _execute(self, addresses):
        if self._engine._trt.trouble == "illegal access":
            return False
        taken, given = {}, {}
        for port, is_input in self._engine._ports:
            kind = {"tensor(float)": np.float32, "tensor(int32)": np.int32}[port.type]
            size = int(np.prod(port.shape)) * np.dtype(kind).itemsize
            array = np.frombuffer((ctypes.c_char * size).from_address(addresses[port.name]), kind).reshape(port.shape)
            (taken if is_input else given)[port.name] = array
        for name, result in zip(given, self._engine._session.run(list(given), taken)):
            np.copyto(given[name], result)
        return True


class NamedContext:
    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        self._engine._trt.calls.append(("execute_async_v3", stream_handle))
        return self._execute(self._addresses)


class NumberedContext:
    def execute_async_v2(self, bindings, stream_handle):
        self._engine._trt.calls.append(("execute_async_v2", stream_handle))
        return self._execute({port.name: address for (port, _), address in zip(self._engine._ports, bindings)})


class Function:
    """A C function: can be called, and has a type of result that can be set."""

    def __init__(self, body):
        self.body, self.restype = body, None

    def __call__(self, *arguments):
        return self.body(*arguments)


class FakeMemory:
    """What a GPU's memory is here: buffers on the host.

    Attributes:
        held: address -> buffer of all that was not freed.
        fails: name of a function -> the error code that it returns.
    """

    def __init__(self, name="Orin", capability=(8, 7), free=6 << 30, total=8 << 30):
        self.name, self.capability, self.free_bytes, self.total = name, capability, free, total
        self.held, self.fails, self.streams = {}, {}, 0

    def __getattr__(self, name):
        body = getattr(type(self), "do_" + name, None)
        if body is None:
            raise AttributeError(f"there is no {name} in this library")
        function = Function(lambda *arguments: self.fails.get(name) or body(self, *arguments) or 0)
        if name == "cudaGetErrorString":
            function = Function(lambda code: {2: b"out of memory", 35: b"driver too old"}.get(code, b"some error"))
        self.__dict__[name] = function
        return function

    def allocate(self, pointer, size):
        buffer = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(buffer)
        self.held[ctypes.addressof(buffer)] = buffer

    def release(self, address):
        del self.held[address.value]

    def measure(self, free, total):
        free._obj.value, total._obj.value = self.free_bytes, self.total

    def attribute(self, value, which, device):
        value._obj.value = self.capability[which.value - 75]

    def open_stream(self, stream, *flags):
        self.streams += 1
        stream._obj.value = 4096 + self.streams

    def close_stream(self, stream):
        self.streams -= 1

    def nothing(self, *arguments):
        pass


class FakeCudart(FakeMemory):
    """libcudart."""

    do_cudaGetErrorString = do_cudaStreamSynchronize = FakeMemory.nothing
    do_cudaMalloc = FakeMemory.allocate
    do_cudaFree = do_cudaFreeHost = FakeMemory.release
    do_cudaMemGetInfo = FakeMemory.measure
    do_cudaDeviceGetAttribute = FakeMemory.attribute
    do_cudaStreamCreate, do_cudaStreamDestroy = FakeMemory.open_stream, FakeMemory.close_stream

    def do_cudaHostAlloc(self, pointer, size, flags):
        self.allocate(pointer, size)

    def do_cudaGetDevice(self, device):
        device._obj.value = 0

    def do_cudaGetDeviceProperties(self, properties, device):
        properties.value = self.name.encode()

    def do_cudaMemcpyAsync(self, target, source, size, kind, stream):
        ctypes.memmove(target.value, source.value, size.value)


class FakeDriver(FakeMemory):
    """libcuda."""

    do_cuInit = do_cuDeviceGet = do_cuDevicePrimaryCtxRetain = do_cuCtxSetCurrent = do_cuStreamSynchronize = (
        FakeMemory.nothing
    )
    do_cuMemAlloc_v2 = FakeMemory.allocate
    do_cuMemFree_v2 = do_cuMemFreeHost = FakeMemory.release
    do_cuMemGetInfo_v2 = FakeMemory.measure
    do_cuDeviceGetAttribute = FakeMemory.attribute
    do_cuStreamCreate, do_cuStreamDestroy_v2 = FakeMemory.open_stream, FakeMemory.close_stream

    def do_cuDeviceGetCount(self, count):
        count._obj.value = 1

    def do_cuMemHostAlloc(self, pointer, size, flags):
        self.allocate(pointer, size)

    def do_cuDeviceGetName(self, name, length, device):
        name.value = self.name.encode()

    def do_cuMemcpyHtoDAsync_v2(self, device, host, size, stream):
        ctypes.memmove(device.value, host.value, size.value)

    def do_cuMemcpyDtoHAsync_v2(self, host, device, size, stream):
        ctypes.memmove(host.value, device.value, size.value)

    def do_cuGetErrorString(self, code, text):
        text._obj.value = b"some error"
