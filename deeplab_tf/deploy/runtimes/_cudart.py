"""The CUDA calls that an engine needs, through ctypes: device, memory, pinned memory, copies, one stream.

`open_cuda` takes CUDA's runtime library or, if there is none (TensorRT's wheel links it statically), the driver, which
is there wherever a GPU works. Every return code is checked.
"""

import ctypes
import glob
import os
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple, Type

import numpy as np

from deeplab_tf.core.errors import DeepLabError

RUNTIME_NAMES = ("libcudart.so", "libcudart.so.10.2", "libcudart.so.11.0", "libcudart.so.12", "libcudart.so.13")
DRIVER_NAME = "libcuda.so.1"

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_MAJOR, _MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, Minor; the driver's numbers are the same
_PROPERTIES_BYTES = 16384  # cudaDeviceProp grows with every CUDA (about 1 KiB now); the name always comes first


class Gpu(NamedTuple):
    """The GPU as it is now."""

    name: str
    capability: Tuple[int, int]  # compute capability, such as (8, 7)
    free: int  # bytes
    total: int  # bytes; on a Jetson shared with the CPU


class Cuda:
    """One of CUDA's libraries; a subclass names its calls. Addresses and streams are integers, sizes bytes.

    Args:
        library: from ctypes.CDLL.
    """

    _ATTRIBUTE = _MEMORY = _ALLOCATE = _FREE = _ALLOCATE_HOST = _FREE_HOST = _FREE_STREAM = _WAIT = ""

    def __init__(self, library):
        self._library = library

    def _call(self, name, *arguments):
        code = getattr(self._library, name)(*arguments)
        if code:
            hint = " Its memory is full: stop other programs, or convert a smaller network." if code == 2 else ""
            raise DeepLabError(f"CUDA: {name} failed with error {code}: {self._error_text(code)}.{hint}")

    def _error_text(self, code: int) -> str:
        raise NotImplementedError

    def _new(self, name, *arguments) -> int:
        pointer = ctypes.c_void_p()
        self._call(name, ctypes.byref(pointer), *arguments)
        return pointer.value or 0

    def gpu(self) -> Gpu:
        """Return the current device."""
        raise NotImplementedError

    def _gpu(self, device, name: bytes) -> Gpu:
        value, capability = ctypes.c_int(), []
        for attribute in (_MAJOR, _MINOR):
            self._call(self._ATTRIBUTE, ctypes.byref(value), ctypes.c_int(attribute), device)
            capability.append(value.value)
        return Gpu(name.decode(), (capability[0], capability[1]), *self.memory())

    def memory(self) -> Tuple[int, int]:
        """Return free and total bytes of the device's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call(self._MEMORY, ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """Return the address of new memory on the device."""
        return self._new(self._ALLOCATE, ctypes.c_size_t(size))

    def free(self, address: int) -> None:
        """Free memory of `allocate`."""
        self._call(self._FREE, ctypes.c_void_p(address))

    def allocate_host(self, size: int) -> int:
        """Return the address of new pinned memory, from which the GPU copies directly."""
        return self._new(self._ALLOCATE_HOST, ctypes.c_size_t(size), ctypes.c_uint(0))

    def free_host(self, address: int) -> None:
        """Free memory of `allocate_host`."""
        self._call(self._FREE_HOST, ctypes.c_void_p(address))

    def new_stream(self) -> int:
        """Return a new queue of work on the device."""
        raise NotImplementedError

    def free_stream(self, stream: int) -> None:
        """Destroy a stream of `new_stream`."""
        self._call(self._FREE_STREAM, ctypes.c_void_p(stream))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Queue a copy to the device."""
        raise NotImplementedError

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Queue a copy to the host."""
        raise NotImplementedError

    def wait(self, stream: int) -> None:
        """Return when all that was queued is done."""
        self._call(self._WAIT, ctypes.c_void_p(stream))


class CudaRuntime(Cuda):
    """CUDA's runtime API, on the current device."""

    _ATTRIBUTE, _MEMORY = "cudaDeviceGetAttribute", "cudaMemGetInfo"
    _ALLOCATE, _FREE, _ALLOCATE_HOST, _FREE_HOST = "cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost"
    _FREE_STREAM, _WAIT = "cudaStreamDestroy", "cudaStreamSynchronize"

    def __init__(self, library):
        super().__init__(library)
        library.cudaGetErrorString.restype = ctypes.c_char_p

    def _error_text(self, code):
        return (self._library.cudaGetErrorString(code) or b"unknown error").decode()

    def gpu(self):
        device, properties = ctypes.c_int(), ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDevice", ctypes.byref(device))
        self._call("cudaGetDeviceProperties", properties, device)
        return self._gpu(device, properties.value)

    def new_stream(self):
        return self._new("cudaStreamCreate")

    def to_device(self, device, host, size, stream):
        self._copy(device, host, size, _TO_DEVICE, stream)

    def to_host(self, host, device, size, stream):
        self._copy(host, device, size, _TO_HOST, stream)

    def _copy(self, target, source, size, kind, stream):
        target, source, stream = (ctypes.c_void_p(address) for address in (target, source, stream))
        self._call("cudaMemcpyAsync", target, source, ctypes.c_size_t(size), ctypes.c_int(kind), stream)


class CudaDriver(Cuda):
    """CUDA's driver API, on device 0 and in its primary context, which TensorRT uses too."""

    _ATTRIBUTE, _MEMORY = "cuDeviceGetAttribute", "cuMemGetInfo_v2"
    _ALLOCATE, _FREE, _ALLOCATE_HOST, _FREE_HOST = "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost"
    _FREE_STREAM, _WAIT = "cuStreamDestroy_v2", "cuStreamSynchronize"

    def __init__(self, library):
        super().__init__(library)
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        super()._call("cuInit", ctypes.c_uint(0))
        super()._call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(0))
        super()._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def _call(self, name, *arguments):
        super()._call("cuCtxSetCurrent", self._context)  # a context is current in one thread only
        super()._call(name, *arguments)

    def _error_text(self, code):
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return (text.value or b"unknown error").decode()

    def gpu(self):
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, ctypes.c_int(len(name)), self._device)
        return self._gpu(self._device, name.value)

    def new_stream(self):
        return self._new("cuStreamCreate", ctypes.c_uint(0))

    def to_device(self, device, host, size, stream):
        device, host, stream = (ctypes.c_void_p(address) for address in (device, host, stream))
        self._call("cuMemcpyHtoDAsync_v2", device, host, ctypes.c_size_t(size), stream)

    def to_host(self, host, device, size, stream):
        host, device, stream = (ctypes.c_void_p(address) for address in (host, device, stream))
        self._call("cuMemcpyDtoHAsync_v2", host, device, ctypes.c_size_t(size), stream)


def open_cuda() -> Cuda:
    """Return a `CudaRuntime` or `CudaDriver` that works here. Raises DeepLabError, with what was tried, if none."""
    reasons: Dict[str, str] = {}  # error -> the first library that gave it: CUDA is often installed in several copies
    libraries: List[Tuple[Type[Cuda], List[str]]] = [(CudaRuntime, runtime_libraries()), (CudaDriver, [DRIVER_NAME])]
    for kind, names in libraries:
        for name in names:
            library = _load(name)
            if library is None:
                continue
            try:
                cuda = kind(library)
                cuda.memory()  # a runtime newer than the driver fails at its first call
                return cuda
            except (DeepLabError, AttributeError) as error:
                reasons.setdefault(str(error), name)
    tried = " ".join(f"{name}: {reason}" for reason, name in reasons.items())
    problem = tried or gpu_missing() or "Its runtime library (libcudart) is not found."
    raise DeepLabError(f"CUDA does not work here. {problem}")


def runtime_libraries() -> List[str]:
    """Return where CUDA's runtime library may be: names for the loader, then files of pip packages, then /usr/local."""
    found = list(RUNTIME_NAMES)
    for folder in sys.path:
        for part in (("cuda_runtime", "lib"), ("cu*", "lib")):
            found += sorted(glob.glob(os.path.join(folder or ".", "nvidia", *(part + ("libcudart.so.*",)))))
    return found + sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so"))


def gpu_missing() -> Optional[str]:
    """Return None if there is an NVIDIA GPU with its driver, else one sentence. Asks the driver only."""
    library = _load(DRIVER_NAME)
    if library is None:
        return f"There is no NVIDIA driver ({DRIVER_NAME} is not found)."
    count = ctypes.c_int()
    if library.cuInit(ctypes.c_uint(0)) or library.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return "The NVIDIA driver finds no GPU."
    return None


def array_at(address: int, shape, dtype) -> np.ndarray:
    """Return host memory as an array. The memory must outlive the array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(memoryview((ctypes.c_char * size).from_address(address)), dtype).reshape(shape)


def _load(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
