"""The dozen CUDA calls that an engine needs, through ctypes: device, memory, pinned memory, copies, one stream. Nothing
to compile.

`open_cuda` takes CUDA's runtime library, and where there is none (TensorRT's own wheel has it inside) the driver's,
which is there wherever a GPU works. Both offer the same methods, and every return code is checked.
"""

import ctypes
import glob
import os
import sys
from typing import List, NamedTuple, Optional, Tuple

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


class CudaRuntime:
    """CUDA's runtime API. Addresses and streams are integers, sizes bytes."""

    def __init__(self, library):
        """
        Args:
            library: what ctypes.CDLL returns, or anything with the same functions.
        """
        self._library = library
        self._library.cudaGetErrorString.restype = ctypes.c_char_p

    def _call(self, name, *arguments):
        code = getattr(self._library, name)(*arguments)
        if code:
            text = (self._library.cudaGetErrorString(code) or b"unknown error").decode()
            raise DeepLabError(f"CUDA: {name} failed with error {code}: {text}.{_hint(code)}")

    def gpu(self) -> Gpu:
        """The current device."""
        device, value = ctypes.c_int(), ctypes.c_int()
        self._call("cudaGetDevice", ctypes.byref(device))
        capability = []
        for attribute in (_MAJOR, _MINOR):
            self._call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), device)
            capability.append(value.value)
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, device)
        return Gpu(properties.value.decode(), (capability[0], capability[1]), *self.memory())

    def memory(self) -> Tuple[int, int]:
        """Free and all bytes of the device's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def free(self, address: int) -> None:
        """Gives back what `allocate` gave."""
        self._call("cudaFree", ctypes.c_void_p(address))

    def allocate_host(self, size: int) -> int:
        """The address of `size` bytes of pinned memory, from which the GPU copies without a detour."""
        pointer = ctypes.c_void_p()
        self._call("cudaHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), ctypes.c_uint(0))
        return pointer.value

    def free_host(self, address: int) -> None:
        """Gives back what `allocate_host` gave."""
        self._call("cudaFreeHost", ctypes.c_void_p(address))

    def new_stream(self) -> int:
        """A queue of work on the device."""
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        return stream.value

    def free_stream(self, stream: int) -> None:
        """Gives back what `new_stream` gave."""
        self._call("cudaStreamDestroy", ctypes.c_void_p(stream))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Queues a copy to the device."""
        self._copy(device, host, size, _TO_DEVICE, stream)

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Queues a copy to the host."""
        self._copy(host, device, size, _TO_HOST, stream)

    def _copy(self, target, source, size, kind, stream):
        target, source, stream = (ctypes.c_void_p(address) for address in (target, source, stream))
        self._call("cudaMemcpyAsync", target, source, ctypes.c_size_t(size), ctypes.c_int(kind), stream)

    def wait(self, stream: int) -> None:
        """Returns when all that was queued is done."""
        self._call("cudaStreamSynchronize", ctypes.c_void_p(stream))


class CudaDriver:
    """The same through the driver's API, on device 0 and in its primary context, which TensorRT uses too."""

    def __init__(self, library):
        """As `CudaRuntime`."""
        self._library = library
        self._check("cuInit", library.cuInit(ctypes.c_uint(0)))
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._check("cuDeviceGet", library.cuDeviceGet(ctypes.byref(self._device), ctypes.c_int(0)))
        self._check(
            "cuDevicePrimaryCtxRetain", library.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), self._device)
        )

    def _check(self, name, code):
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            raise DeepLabError(
                "CUDA: {} failed with error {}: {}.{}".format(
                    name, code, (text.value or b"unknown").decode(), _hint(code)
                )
            )

    def _call(self, name, *arguments):
        self._check(
            "cuCtxSetCurrent", self._library.cuCtxSetCurrent(self._context)
        )  # a context is current in one thread only
        self._check(name, getattr(self._library, name)(*arguments))

    def gpu(self) -> Gpu:
        """The device."""
        value, capability = ctypes.c_int(), []
        for attribute in (_MAJOR, _MINOR):
            self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), self._device)
            capability.append(value.value)
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, ctypes.c_int(len(name)), self._device)
        return Gpu(name.value.decode(), (capability[0], capability[1]), *self.memory())

    def memory(self) -> Tuple[int, int]:
        """Free and all bytes of the device's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """The address of `size` bytes on the device."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def free(self, address: int) -> None:
        """Gives back what `allocate` gave."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def allocate_host(self, size: int) -> int:
        """The address of `size` bytes of pinned memory."""
        pointer = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), ctypes.c_uint(0))
        return pointer.value

    def free_host(self, address: int) -> None:
        """Gives back what `allocate_host` gave."""
        self._call("cuMemFreeHost", ctypes.c_void_p(address))

    def new_stream(self) -> int:
        """A queue of work on the device."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        return stream.value

    def free_stream(self, stream: int) -> None:
        """Gives back what `new_stream` gave."""
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Queues a copy to the device."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(device),
            ctypes.c_void_p(host),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Queues a copy to the host."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(host),
            ctypes.c_uint64(device),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def wait(self, stream: int) -> None:
        """Returns when all that was queued is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))


def open_cuda():
    """A `CudaRuntime` or `CudaDriver` that works here. Raises DeepLabError, saying what was tried, where neither
    does."""
    reasons = {}  # what was said -> by which library first: CUDA is often there in several copies that say the same
    for kind, names in ((CudaRuntime, runtime_libraries()), (CudaDriver, [DRIVER_NAME])):
        for name in names:
            library = _load(name)
            if library is None:
                continue
            try:
                cuda = kind(library)
                cuda.memory()  # a runtime that is newer than the driver fails at its first call
                return cuda
            except (DeepLabError, AttributeError) as error:
                reasons.setdefault(str(error), name)
    tried = " ".join(f"{name}: {reason}" for reason, name in reasons.items())
    raise DeepLabError(
        "CUDA does not work here. {}".format(tried or gpu_missing() or "Its runtime library (libcudart) is not found.")
    )


def runtime_libraries() -> List[str]:
    """Where CUDA's runtime library may be: names for the loader's own search, then files beside pip packages and under
    /usr/local."""
    found = list(RUNTIME_NAMES)
    for folder in sys.path:
        for part in (("cuda_runtime", "lib"), ("cu*", "lib")):
            found += sorted(glob.glob(os.path.join(folder or ".", "nvidia", *(part + ("libcudart.so.*",)))))
    return found + sorted(glob.glob("/usr/local/cuda*/lib64/libcudart.so"))


def gpu_missing() -> Optional[str]:
    """None where there is an NVIDIA GPU with its driver, else one sentence. Looks at the driver only."""
    library = _load(DRIVER_NAME)
    if library is None:
        return f"There is no NVIDIA driver ({DRIVER_NAME} is not found)."
    count = ctypes.c_int()
    if library.cuInit(ctypes.c_uint(0)) or library.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return "The NVIDIA driver finds no GPU."
    return None


def array_at(address: int, shape, dtype) -> np.ndarray:
    """Memory on the host as an array. It must outlive the array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


def _load(name):
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _hint(code):
    return " Its memory is full: stop other programs, or convert a smaller network." if code == 2 else ""
