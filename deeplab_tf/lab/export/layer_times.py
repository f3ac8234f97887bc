"""The estimate of `budget` held against this machine: ONNX Runtime's own time of every layer of a bundle, beside what
the roofline says.

The device is this machine: its measured peak and bandwidth. Its shares are measured on layers of their own (one
convolution, one 1x1 convolution, one depthwise convolution, one sum), not on the network that is predicted.
"""

import json
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from deeplab_tf.deploy.budget import estimate
from deeplab_tf.deploy.budget.devices import Device, Gains
from deeplab_tf.deploy.budget.layers import KINDS, Layer
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import peaks


def check(
    path: str, layers: Sequence[Layer], precision: str, *, threads: int, runs: int = 10, small: bool = False
) -> dict:
    """What is predicted and what is measured, by kind of layer and in all.

    Args:
        path: the ONNX file that runs here.
        layers: of `budget`, by the names in the file.
        precision: "float32" or "int8".
        runs: of the network; the median of each layer counts.
        small: tiny peaks, for a test of the program.

    Returns:
        `threads`, `peak`, `bandwidth`, `gains`; `kinds`: by kind `predicted_ms` and `measured_ms`; `layers`: the same
        for every layer;
        `elsewhere_ms`: measured in operations that belong to no layer, such as transposing; `predicted_ms`,
            `measured_ms`,
        `fastest_run_ms`: the whole.
    """
    device, gains = this_machine(precision, threads, small=small)
    predicted = {cost.layer.name: 1e3 * cost.seconds for cost in estimate.expected(layers, device, precision, gains)}
    measured, elsewhere, whole = measured_layers(path, [layer.name for layer in layers], threads=threads, runs=runs)
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "predicted_ms": predicted[layer.name],
            "measured_ms": measured.get(layer.name, 0.0),
        }
        for layer in layers
    ]
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    return {
        "threads": threads,
        "peak": device.peak[precision],
        "bandwidth": device.bandwidth,
        "gains": dict(gains._asdict()),
        "kinds": {
            kind: {key: sum(row[key] for row in some) for key in ("predicted_ms", "measured_ms")}
            for kind, some in kinds.items()
            if some
        },
        "layers": rows,
        "elsewhere_ms": elsewhere,
        "predicted_ms": sum(predicted.values()),
        "measured_ms": sum(measured.values()) + elsewhere,
        "fastest_run_ms": whole,
    }


def this_machine(precision: str, threads: int, *, small: bool = False) -> tuple[Device, Gains]:
    """This machine as a device of `budget`, and the shares of its peak and bandwidth that single layers get in ONNX
    Runtime.

    The share of the bandwidth exceeds 1 where maps as large as a network's stay in the cache.
    """
    seconds, side = (0.01, 8) if small else (0.5, 64)
    peak = peaks.in_onnx_runtime(threads, precision, seconds=seconds, small=small)
    device = Device("this machine", {precision: peak}, peaks.copying(threads, seconds=seconds, small=small), "measured")
    trials = {
        "conv": _Trial(precision, side // 2, 256, 256, 3),
        "conv1x1": _Trial(precision, side // 2, 256, 1024, 1),
        "depthwise": _Trial(precision, side, 256, 256, 3, depthwise=True),
    }
    start = max(_Trial(precision, 1, 8, 8, 1).seconds(threads, seconds), 0.5e-6)  # times come in whole microseconds
    shares = {}
    for kind, trial in trials.items():
        computing = max(trial.seconds(threads, seconds) - start, 1e-9)
        shares[kind] = 2 * trial.macs / computing / device.peak[precision]
    memory = _sum_bytes(precision, threads, seconds, 2 * side) / device.bandwidth
    return device, Gains(memory=memory, start=start, **shares)


class _Trial:
    """One convolution with its ReLU, as an ONNX model."""

    def __init__(self, precision, side, channels, out, kernel, *, depthwise=False):
        rng = np.random.default_rng(0)
        each = 1 if depthwise else channels
        self.shape, self.made = [1, channels, side, 2 * side], [1, out, side, 2 * side]
        self.integers = precision == "int8"
        self.macs = 2 * side * side * out * each * kernel * kernel
        constants = {
            "w": rng.integers(-127, 128, (out, each, kernel, kernel)).astype(np.int8 if self.integers else np.float32),
            **({"one": np.float32(1), "zero": np.uint8(0)} if self.integers else {}),
            **({"scales": np.full(out, 1e-4, np.float32), "zeros": np.zeros(out, np.int8)} if self.integers else {}),
        }
        options = {"pads": [kernel // 2] * 4, "group": channels if depthwise else 1}
        if self.integers:
            nodes = [
                helper.make_node(
                    "QLinearConv",
                    ["x", "one", "zero", "w", "scales", "zeros", "one", "zero"],
                    ["y"],
                    "trial",
                    **options,
                )
            ]
        else:
            nodes = [
                helper.make_node("Conv", ["x", "w"], ["c"], "trial", **options),
                helper.make_node("Relu", ["c"], ["y"], "relu"),
            ]
        kind = TensorProto.UINT8 if self.integers else TensorProto.FLOAT
        self.model = peaks.one_input_model(nodes, (kind, self.shape), (kind, self.made), constants)

    def seconds(self, threads, seconds):
        """ONNX Runtime's own time of the convolution, without the transposes around it."""
        x = np.random.default_rng(1).integers(0, 100, self.shape).astype(np.uint8 if self.integers else np.float32)
        times = _profile(self.model.SerializeToString(), {"x": x}, threads, runs=3 if seconds < 0.1 else 15)
        return 1e-3 * sum(min(ms) for name, ms in times.items() if name and not name.startswith(_AROUND))


_AROUND = ("Transpose", "Reorder")
"""How ONNX Runtime names what changes the order in memory: once around a network, twice around one layer alone."""


def _sum_bytes(precision, threads, seconds, side):
    """Bytes a second of a sum of two maps, both read and one written."""
    shape = [1, 256, side, side]
    if precision == "int8":
        kind, dtype, width = TensorProto.UINT8, np.uint8, 1
        inputs = ["x", "one", "zero", "other", "one", "zero", "one", "zero"]
        node = helper.make_node("QLinearAdd", inputs, ["y"], "trial", domain="com.microsoft")
    else:
        kind, dtype, width = TensorProto.FLOAT, np.float32, 4
        node = helper.make_node("Add", ["x", "other"], ["y"], "trial")
    constants = {"other": np.ones(shape, dtype), **({"one": np.float32(1), "zero": np.uint8(0)} if width == 1 else {})}
    model = peaks.one_input_model([node], (kind, shape), (kind, shape), constants)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    run = session(model.SerializeToString(), threads=threads)
    x = np.ones(shape, dtype)
    return 3 * width * x.size / peaks.least(lambda: run.run(None, {"x": x}), seconds)


def measured_layers(
    path: str, names: Sequence[str], *, threads: int, runs: int
) -> tuple[dict[str, float], float, float]:
    """Milliseconds of each layer, those of operations that belong to none, and those of the fastest whole run.

    An operation belongs to the layer whose name it has, or else to that of the operation whose result it goes on with.
    """
    model = onnx.load(path)
    owners = layer_of(model.graph, names)
    (source,) = model.graph.input
    shape = [dimension.dim_value for dimension in source.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    times = _profile(path, {source.name: x}, threads, runs)
    whole = min(times.pop("", [0.0]))
    measured, elsewhere = {}, 0.0
    for name, ms in times.items():
        owner = owners.get(_original(name, owners))
        if owner is None:
            elsewhere += float(np.median(ms))
        else:
            measured[owner] = measured.get(owner, 0.0) + float(np.median(ms))
    return measured, elsewhere, whole


def layer_of(graph: onnx.GraphProto, names: Sequence[str]) -> dict[str, str]:
    """By operation the layer that it belongs to."""
    known, owners, of_tensor = set(names), {}, {}
    for node in graph.node:
        own = node.name.split("/")[0]
        own = own[: -len("_inner")] if own.endswith("_inner") else own  # what stood under the name of an output
        sources = [of_tensor[name] for name in node.input if name in of_tensor]
        owner = own if own in known else sources[-1] if sources else None
        if owner:
            owners[node.name] = owner
            of_tensor.update(dict.fromkeys(node.output, owner))
    return owners


def _original(name, owners):
    """The longest name of an operation of the file that a name of ONNX Runtime begins with: it appends to what it
    replaces."""
    while name and name not in owners:
        name = name[:-1]
    return name


def _profile(model, feeds, threads, runs):
    """By operation the milliseconds of each run but the first; "" has those of whole runs."""
    with tempfile.TemporaryDirectory() as folder:
        profiled = session(model, threads=threads, profile=os.path.join(folder, "ort"))
        for _ in range(runs + 1):
            profiled.run(None, feeds)
        with open(profiled.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    times: dict[str, list[float]] = {}
    for event in events:
        name = event.get("name", "")
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times.setdefault(name[: -len("_kernel_time")], []).append(event["dur"] / 1e3)
        elif name == "model_run":
            times.setdefault("", []).append(event["dur"] / 1e3)
    return {name: ms[1:] if len(ms) > 1 else ms for name, ms in times.items()}


def cells(found: dict) -> list[list[str]]:
    """Of the table: kind, predicted, measured, their ratio."""
    made = [["kind of layer", "predicted ms", "measured ms", "predicted / measured"]]
    rows = [(KINDS[kind], row["predicted_ms"], row["measured_ms"]) for kind, row in found["kinds"].items()]
    rows += [
        ("transposes and other work of ONNX Runtime", 0.0, found["elsewhere_ms"]),
        ("all", found["predicted_ms"], found["measured_ms"]),
    ]
    for name, predicted, measured in rows:
        ratio = f"{predicted / measured:.2f}" if measured and predicted else "-"
        made.append([name, f"{predicted:.1f}", f"{measured:.1f}", ratio])
    return made
