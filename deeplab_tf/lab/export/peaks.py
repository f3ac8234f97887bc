"""What this machine's processor can do at most, measured: matrix products in three precisions, and copying memory.

The peak of a precision is the best of several shapes and programs: what anything here has been seen to reach, not what
the maker says.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deeplab_tf.deploy.runtimes.onnx import session


class Problems(NamedTuple):
    """What is timed.

    Attributes:
        products: of matrices: rows, what is summed over, columns.
        convolutions: of integers: height, width, channels in and out, kernel.
        copied: bytes that are read, and as many written.
    """

    products: tuple
    convolutions: tuple
    copied: int


LARGE = Problems(
    (
        (1024, 1024, 1024),
        (2048, 2304, 256),
        (512, 4096, 512),
    ),  # the second is a 3x3 convolution of 256 channels at 32x64
    ((32, 64, 512, 3), (32, 64, 256, 3), (64, 128, 256, 1)),
    256 * 2**20,  # more than any cache
)
SMALL = Problems(((64, 64, 64),), ((8, 8, 16, 3),), 2**16)
"""For a test of the program; the figures mean nothing."""


class Peaks(NamedTuple):
    """Operations a second (a multiply-add is two), and bytes a second that are read or written; None where nothing
    could measure it."""

    float32: float
    bfloat16: float | None
    int8: float
    memory: float


def measure(threads: int, *, seconds: float = 1.0, small: bool = False) -> Peaks:
    """Takes about fifteen times `seconds`. The least of many repetitions counts.

    Args:
        threads: of everything; TensorFlow takes them only if it has not begun before.
        small: tiny problems, for a test of the program.
    """
    floats, brains = zip(*(_tensorflow(threads, shape, seconds) for shape in (SMALL if small else LARGE).products))
    in_onnx = {
        precision: in_onnx_runtime(threads, precision, seconds=seconds, small=small)
        for precision in ("float32", "int8")
    }
    return Peaks(
        max(in_onnx["float32"], *floats), max(brains), in_onnx["int8"], copying(threads, seconds=seconds, small=small)
    )


def in_onnx_runtime(threads: int, precision: str, *, seconds: float = 1.0, small: bool = False) -> float:
    """Operations a second of "float32" or "int8" in ONNX Runtime."""
    problems = SMALL if small else LARGE
    rates = [_product(threads, shape, precision, seconds) for shape in problems.products]
    if precision == "int8":
        rates += [_convolution(threads, shape, seconds) for shape in problems.convolutions]
    return max(rates)


def copying(threads: int, *, seconds: float = 1.0, small: bool = False) -> float:
    """Bytes a second, read and written, that all threads together copy."""
    size = (SMALL if small else LARGE).copied
    source, target = np.ones(size // 8), np.zeros(size // 8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads)))

    def run():
        workers = [threading.Thread(target=np.copyto, args=part) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return 2 * size / least(run, seconds)


def least(run: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest of the repetitions that fit, three at least, after one that does not count."""
    run()
    found, end = [], time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def one_input_model(
    nodes: list, source: tuple[int, list[int]], target: tuple[int, list[int]], constants: dict
) -> onnx.ModelProto:
    """A model from `x` to `y`, each given as its type and shape."""
    ends = [helper.make_tensor_value_info(name, *each) for name, each in (("x", source), ("y", target))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "peak", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _product(threads, shape, precision, seconds):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    integers = precision == "int8"
    kind = TensorProto.UINT8 if integers else TensorProto.FLOAT
    weights = rng.integers(-127, 128, (inner, columns)).astype(np.int8 if integers else np.float32)
    x = rng.integers(0, 128, (rows, inner)).astype(np.uint8 if integers else np.float32)
    node = helper.make_node("MatMulInteger" if integers else "MatMul", ["x", "w"], ["y"])
    ends = (kind, [rows, inner]), (TensorProto.INT32 if integers else kind, [rows, columns])
    run = session(one_input_model([node], *ends, {"w": weights}).SerializeToString(), threads=threads)
    return 2 * rows * inner * columns / least(lambda: run.run(None, {"x": x}), seconds)


def _convolution(threads, shape, seconds):
    """Of 8-bit integers, with channels first around it as ONNX wants it: ONNX Runtime transposes once in and once
    out."""
    height, width, channels, kernel = shape
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-127, 128, (channels, channels, kernel, kernel)).astype(np.int8),
        "one": np.float32(1),
        "zero": np.uint8(0),
        "scales": np.full(channels, 1e-4, np.float32),
        "zeros": np.zeros(channels, np.int8),
    }
    inputs = ["x", "one", "zero", "w", "scales", "zeros", "one", "zero"]
    node = helper.make_node("QLinearConv", inputs, ["y"], pads=[kernel // 2] * 4)
    ends = TensorProto.UINT8, [1, channels, height, width]
    run = session(one_input_model([node], ends, ends, constants).SerializeToString(), threads=threads)
    x = rng.integers(0, 128, ends[1]).astype(np.uint8)
    return 2 * height * width * (channels * kernel) ** 2 / least(lambda: run.run(None, {"x": x}), seconds)


def _tensorflow(threads, shape, seconds):
    """TensorFlow's float32 and bfloat16; oneDNN is behind both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        pass  # it has begun already, with the threads that it was given then
    rows, inner, columns = shape
    operations = 2 * rows * inner * columns
    product = tf.function(tf.matmul, jit_compile=False)
    rates = []
    for kind in (tf.float32, tf.bfloat16):
        a, b = (tf.cast(tf.random.stateless_normal(sides, [0, 1]), kind) for sides in ((rows, inner), (inner, columns)))
        rates.append(operations / least(lambda a=a, b=b: product(a, b).numpy(), seconds))
    return rates
