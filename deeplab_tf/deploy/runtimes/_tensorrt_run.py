"""A loaded TensorRT plan (8.2 to 11), its inputs and outputs in pinned memory and on the GPU, and one stream.

Inputs and outputs are named tensors from 8.5 on, and numbered bindings until 9.
"""

from typing import List, NamedTuple, Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes._cudart import array_at
from deeplab_tf.deploy.runtimes._tensorrt_build import logger, reasons

_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}
"""As trt.nptype, which fails with NumPy 1.24 and newer in TensorRT before 8.6."""


class Tensor(NamedTuple):
    """One input or output."""

    name: str
    is_input: bool
    host: np.ndarray  # in pinned memory
    pinned: int  # address of `host`
    device: int  # address on the GPU


class Engine:
    """Runs a TensorRT plan.

    Attributes:
        inputs, outputs: lists of `Tensor`.
    """

    def __init__(self, trt, cuda, plan: bytes, *, dla: Optional[int] = None):
        """
        Args:
            trt: the module tensorrt.
            cuda: from `open_cuda`.
            plan: from `build_plan`, on this GPU and with this TensorRT.
            dla: the DLA core that it was built for.
        Raises:
            DeepLabError: TensorRT cannot load it, or there is no memory for it.
        """
        self._cuda, self._stream = cuda, None
        self._tensors: List[Tensor] = []
        log = logger(trt)
        del log.errors[:]
        self._log = log
        self._runtime = self._made(lambda: trt.Runtime(log), "finds no working GPU")
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine = self._made(lambda: self._runtime.deserialize_cuda_engine(plan), "cannot load the engine")
        self._context = self._made(self._engine.create_execution_context, "has no memory to run the engine")
        self._named = hasattr(self._engine, "num_io_tensors")
        try:
            self._stream = cuda.new_stream()
            count = self._engine.num_io_tensors if self._named else self._engine.num_bindings
            for index in range(count):
                self._tensors.append(self._tensor(trt, index))
        except DeepLabError:
            self.close()
            raise
        self.inputs = [tensor for tensor in self._tensors if tensor.is_input]
        self.outputs = [tensor for tensor in self._tensors if not tensor.is_input]
        if self._named:
            for tensor in self._tensors:
                self._context.set_tensor_address(tensor.name, tensor.device)

    def _made(self, make, problem):
        try:
            made = make()
        except TypeError:  # what a null pointer becomes on its way to Python
            made = None
        if made is None:
            raise DeepLabError(f"TensorRT {problem}{reasons(self._log)}")
        return made

    def _tensor(self, trt, index):
        name, is_input, shape, kind = self._described(trt, index)
        if kind not in _TYPES or any(side < 0 for side in shape):
            raise DeepLabError(
                f"The engine's {name} is {kind} {shape}; expected a fixed shape and one of {', '.join(_TYPES)}."
            )
        dtype = np.dtype(_TYPES[kind])
        size = int(np.prod(shape)) * dtype.itemsize
        device = self._cuda.allocate(size)
        try:
            pinned = self._cuda.allocate_host(size)
        except DeepLabError:
            self._cuda.free(device)
            raise
        return Tensor(name, is_input, array_at(pinned, shape, dtype), pinned, device)

    def _described(self, trt, index):
        engine = self._engine
        if self._named:
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            return name, is_input, tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
        name, is_input = engine.get_binding_name(index), engine.binding_is_input(index)
        return name, is_input, tuple(engine.get_binding_shape(index)), engine.get_binding_dtype(index).name

    def upload(self) -> None:
        """Copy every input's `host` to the GPU, and wait."""
        for tensor in self.inputs:
            self._cuda.to_device(tensor.device, tensor.pinned, tensor.host.nbytes, self._stream)
        self._cuda.wait(self._stream)

    def run(self) -> None:
        """Run the network on what was uploaded, and wait. Raises DeepLabError if TensorRT fails."""
        if self._named:
            done = self._context.execute_async_v3(self._stream)
        else:
            done = self._context.execute_async_v2([tensor.device for tensor in self._tensors], self._stream)
        if not done:
            raise DeepLabError(f"TensorRT could not run the engine{reasons(self._log)}")
        self._cuda.wait(self._stream)

    def download(self) -> None:
        """Copy every output to its `host`, and wait."""
        for tensor in self.outputs:
            self._cuda.to_host(tensor.pinned, tensor.device, tensor.host.nbytes, self._stream)
        self._cuda.wait(self._stream)

    def close(self) -> None:
        """Free everything, the arrays of `host` included."""
        self._context = self._engine = self._runtime = None  # in this order
        for tensor in self._tensors:
            self._cuda.free(tensor.device)
            self._cuda.free_host(tensor.pinned)
        self._tensors = self.inputs = self.outputs = []
        if self._stream is not None:
            self._cuda.free_stream(self._stream)
            self._stream = None
