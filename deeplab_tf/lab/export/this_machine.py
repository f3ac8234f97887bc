"""Measure this machine as a device of `budget`: peak, bandwidth and the efficiency of layers in ONNX Runtime."""

import json
import os

import numpy as np
from onnx import TensorProto, helper

from deeplab_tf.core.files import temporary_folder
from deeplab_tf.deploy.budget.devices import Device, Efficiency
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import peak_performance
from deeplab_tf.lab.export.peak_performance import int8_convolution, one_input_model

_AROUND = ("Transpose", "Reorder")
"""ONNX Runtime's operations that change the memory layout: once around a network, twice around one layer alone."""


def this_machine(precision: str, threads: int, *, small: bool = False) -> tuple[Device, Efficiency]:
    """Return this machine's peak and bandwidth, and the fractions of them that single layers attain.

    The fraction of the bandwidth exceeds 1 where maps as large as a network's stay in the cache.

    Args:
        precision: "float32" or "int8".
        small: tiny layers, for tests of the program.
    """
    seconds, side = (0.01, 8) if small else (0.5, 64)
    peak = peak_performance.in_onnx_runtime(threads, precision, seconds=seconds, small=small)
    bandwidth = peak_performance.copy_bandwidth(threads, seconds=seconds, small=small)
    trials = {
        "conv": _Trial(precision, side // 2, 256, 256, 3),
        "conv1x1": _Trial(precision, side // 2, 256, 1024, 1),
        "depthwise": _Trial(precision, side, 256, 256, 3, depthwise=True),
    }
    launch = max(_Trial(precision, 1, 8, 8, 1).seconds(threads, seconds), 0.5e-6)  # times come in whole microseconds
    fractions = {}
    for kind, trial in trials.items():
        compute = max(trial.seconds(threads, seconds) - launch, 1e-9)
        fractions[kind] = 2 * trial.macs / compute / peak
    memory = _sum_bandwidth(precision, threads, seconds, 2 * side) / bandwidth
    device = Device("this machine", {precision: peak}, bandwidth, "measured")
    return device, Efficiency(memory=memory, launch=launch, **fractions)


class _Trial:
    """One convolution with its ReLU, as an ONNX model."""

    def __init__(self, precision, side, channels, out, kernel, *, depthwise=False):
        each = 1 if depthwise else channels
        self.shape, made = [1, channels, side, 2 * side], [1, out, side, 2 * side]
        self.int8 = precision == "int8"
        self.macs = 2 * side * side * out * each * kernel * kernel
        weights = np.random.default_rng(0).integers(-127, 128, (out, each, kernel, kernel))
        options = {"pads": [kernel // 2] * 4, "group": channels if depthwise else 1}
        constants: dict
        if self.int8:
            node, constants = int8_convolution(weights.astype(np.int8), "trial", **options)
            nodes = [node]
        else:
            constants = {"w": weights.astype(np.float32)}
            nodes = [
                helper.make_node("Conv", ["x", "w"], ["c"], "trial", **options),
                helper.make_node("Relu", ["c"], ["y"], "relu"),
            ]
        kind = TensorProto.UINT8 if self.int8 else TensorProto.FLOAT
        self.model = one_input_model(nodes, (kind, self.shape), (kind, made), constants)

    def seconds(self, threads: int, seconds: float) -> float:
        """Return ONNX Runtime's own time of the convolution, without the transposes around it."""
        x = np.random.default_rng(1).integers(0, 100, self.shape).astype(np.uint8 if self.int8 else np.float32)
        times = profile(self.model.SerializeToString(), {"x": x}, threads, runs=3 if seconds < 0.1 else 15)
        return 1e-3 * sum(min(ms) for name, ms in times.items() if name and not name.startswith(_AROUND))


def _sum_bandwidth(precision, threads, seconds, side):
    """Bytes/s of a sum of two maps, both read and one written."""
    shape = [1, 256, side, side]
    dtype: type[np.generic]
    if precision == "int8":
        kind, dtype = TensorProto.UINT8, np.uint8
        inputs = ["x", "one", "zero", "other", "one", "zero", "one", "zero"]
        node = helper.make_node("QLinearAdd", inputs, ["y"], "trial", domain="com.microsoft")
        constants = {"one": np.float32(1), "zero": np.uint8(0)}
    else:
        kind, dtype = TensorProto.FLOAT, np.float32
        node = helper.make_node("Add", ["x", "other"], ["y"], "trial")
        constants = {}
    x = np.ones(shape, dtype)
    model = one_input_model([node], (kind, shape), (kind, shape), {"other": x, **constants})
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    run = session(model.SerializeToString(), threads=threads)
    return 3 * x.nbytes / peak_performance.fastest(lambda: run.run(None, {"x": x}), seconds)


def profile(model: str | bytes, feeds: dict, threads: int, runs: int) -> dict[str, list[float]]:
    """Return the milliseconds of each run but the first, by operation; "" has those of whole runs."""
    with temporary_folder("profile") as folder:
        profiled = session(model, threads=threads, profile=os.path.join(folder, "ort"))
        for _ in range(runs + 1):
            profiled.run(None, feeds)
        with open(profiled.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    times: dict[str, list[float]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times.setdefault(name.removesuffix("_kernel_time"), []).append(event["dur"] / 1e3)
        elif name == "model_run":
            times.setdefault("", []).append(event["dur"] / 1e3)
    return {name: ms[1:] if len(ms) > 1 else ms for name, ms in times.items()}
