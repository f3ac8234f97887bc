"""Measure the peak performance of this machine's processor in ONNX Runtime, and its memory bandwidth.

A peak is the best of several shapes on this machine, not the maker's figure.
"""

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
        products: matrix products: rows, inner dimension, columns.
        convolutions: in INT8: height, width, channels in and out, kernel.
        copied: bytes that are read, and as many written.
    """

    products: tuple
    convolutions: tuple
    copied: int


LARGE = Problems(
    # the second product is a 3x3 convolution of 256 channels at 32x64
    ((1024, 1024, 1024), (2048, 2304, 256), (512, 4096, 512)),
    ((32, 64, 512, 3), (32, 64, 256, 3), (64, 128, 256, 1)),
    256 * 2**20,  # more than any cache
)
SMALL = Problems(((64, 64, 64),), ((8, 8, 16, 3),), 2**16)


def problems(small: bool) -> Problems:
    """Return what is timed: for figures, or small for tests of the program."""
    return SMALL if small else LARGE


def in_onnx_runtime(threads: int, precision: str, *, seconds: float = 1.0, small: bool = False) -> float:
    """Return the operations/s of "float32" or "int8" in ONNX Runtime."""
    rates = [_product(threads, shape, precision, seconds) for shape in problems(small).products]
    if precision == "int8":
        rates += [_convolution(threads, shape, seconds) for shape in problems(small).convolutions]
    return max(rates)


def copy_bandwidth(threads: int, *, seconds: float = 1.0, small: bool = False) -> float:
    """Return the bytes/s, read and written, that all threads together copy."""
    size = problems(small).copied
    source, target = np.ones(size // 8), np.zeros(size // 8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads)))

    def run():
        workers = [threading.Thread(target=np.copyto, args=part) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return 2 * size / fastest(run, seconds)


def fastest(run: Callable[[], object], seconds: float) -> float:
    """Return the seconds of the fastest of the repetitions that fit, at least three, after one that does not count."""
    run()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def one_input_model(
    nodes: list, source: tuple[int, list[int]], target: tuple[int, list[int]], constants: dict
) -> onnx.ModelProto:
    """Return a model from `x` to `y`, each given by its type and shape."""
    ends = [helper.make_tensor_value_info(name, *each) for name, each in (("x", source), ("y", target))]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "peak", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def int8_convolution(kernel: np.ndarray, name: str = "", **attributes) -> tuple[onnx.NodeProto, dict]:
    """Return a QLinearConv of an int8 kernel (O, I, h, w) from `x` to `y`, uint8, and its constants."""
    out = kernel.shape[0]
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": kernel,
        "scales": np.full(out, 1e-4, np.float32),
        "zeros": np.zeros(out, np.int8),
    }
    inputs = ["x", "one", "zero", "w", "scales", "zeros", "one", "zero"]
    return helper.make_node("QLinearConv", inputs, ["y"], name, **attributes), constants


def _product(threads, shape, precision, seconds):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    int8 = precision == "int8"
    kind = TensorProto.UINT8 if int8 else TensorProto.FLOAT
    weights = rng.integers(-127, 128, (inner, columns)).astype(np.int8 if int8 else np.float32)
    x = rng.integers(0, 128, (rows, inner)).astype(np.uint8 if int8 else np.float32)
    node = helper.make_node("MatMulInteger" if int8 else "MatMul", ["x", "w"], ["y"])
    ends = (kind, [rows, inner]), (TensorProto.INT32 if int8 else kind, [rows, columns])
    run = session(one_input_model([node], *ends, {"w": weights}).SerializeToString(), threads=threads)
    return 2 * rows * inner * columns / fastest(lambda: run.run(None, {"x": x}), seconds)


def _convolution(threads, shape, seconds):
    """In INT8 with channels first, as in ONNX: ONNX Runtime transposes once in and once out."""
    height, width, channels, side = shape
    rng = np.random.default_rng(0)
    kernel = rng.integers(-127, 128, (channels, channels, side, side)).astype(np.int8)
    node, constants = int8_convolution(kernel, pads=[side // 2] * 4)
    ends = TensorProto.UINT8, [1, channels, height, width]
    run = session(one_input_model([node], ends, ends, constants).SerializeToString(), threads=threads)
    x = rng.integers(0, 128, ends[1]).astype(np.uint8)
    return 2 * height * width * (channels * side) ** 2 / fastest(lambda: run.run(None, {"x": x}), seconds)
