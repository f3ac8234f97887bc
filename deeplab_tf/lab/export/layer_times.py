"""Validate the estimate of `budget` on this machine: ONNX Runtime's own time of every layer beside the roofline's.

Peak, bandwidth and efficiency are measured on single layers, not on the network that is predicted.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from deeplab_tf.deploy.budget import roofline
from deeplab_tf.deploy.budget.workload import KINDS, Layer
from deeplab_tf.lab.export.this_machine import profile, this_machine


def check(
    path: str, layers: Sequence[Layer], precision: str, *, threads: int, runs: int = 10, small: bool = False
) -> dict:
    """Return predicted and measured times, by kind of layer and in all.

    Args:
        path: the ONNX file to run.
        layers: of `budget`, with the names in the file.
        precision: "float32" or "int8".
        runs: of the network; the median of each layer counts.
        small: tiny layers to measure the machine on, for tests of the program.

    Returns:
        threads, peak, bandwidth, efficiency; kinds: predicted_ms and measured_ms by kind; layers: the same of each
        layer; elsewhere_ms: measured in operations of no layer, such as transposes; predicted_ms, measured_ms,
        fastest_run_ms: of the whole network.
    """
    device, efficiency = this_machine(precision, threads, small=small)
    times = roofline.estimate(layers, device, precision, efficiency)
    predicted = {time.layer.name: 1e3 * time.seconds for time in times}
    measured, elsewhere, fastest = measured_layers(path, list(predicted), threads=threads, runs=runs)
    rows = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "predicted_ms": predicted[layer.name],
            "measured_ms": measured.get(layer.name, 0.0),
        }
        for layer in layers
    ]
    return {
        "threads": threads,
        "peak": device.peak[precision],
        "bandwidth": device.bandwidth,
        "efficiency": dict(efficiency._asdict()),
        "kinds": _by_kind(rows),
        "layers": rows,
        "elsewhere_ms": elsewhere,
        "predicted_ms": sum(predicted.values()),
        "measured_ms": sum(measured.values()) + elsewhere,
        "fastest_run_ms": fastest,
    }


def _by_kind(rows):
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    keys = ("predicted_ms", "measured_ms")
    return {kind: {key: sum(row[key] for row in some) for key in keys} for kind, some in kinds.items() if some}


def measured_layers(
    path: str, names: Sequence[str], *, threads: int, runs: int
) -> tuple[dict[str, float], float, float]:
    """Return the milliseconds of each layer, of operations of no layer, and of the fastest run."""
    graph = onnx.load(path).graph
    owners = layer_of(graph, names)
    (source,) = graph.input
    shape = [dimension.dim_value for dimension in source.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    times = profile(path, {source.name: x}, threads, runs)
    fastest = min(times.pop("", [0.0]))
    measured: dict[str, float] = {}
    elsewhere = 0.0
    for name, ms in times.items():
        owner = owners.get(_original(name, owners))
        if owner is None:
            elsewhere += float(np.median(ms))
        else:
            measured[owner] = measured.get(owner, 0.0) + float(np.median(ms))
    return measured, elsewhere, fastest


def layer_of(graph: onnx.GraphProto, names: Sequence[str]) -> dict[str, str]:
    """Return the layer of each operation: that of its name, or else of the operation that makes its last input."""
    known, owners = set(names), {}
    of_tensor: dict[str, str] = {}
    for node in graph.node:
        own = node.name.split("/")[0].removesuffix("_inner")  # an output has the name of the layer
        sources = [of_tensor[name] for name in node.input if name in of_tensor]
        owner = own if own in known else sources[-1] if sources else None
        if owner:
            owners[node.name] = owner
            of_tensor.update(dict.fromkeys(node.output, owner))
    return owners


def _original(name, owners):
    """Return the longest name of an operation in the file that begins a name of ONNX Runtime, which appends to it."""
    while name and name not in owners:
        name = name[:-1]
    return name


def cells(found: dict) -> list[list[str]]:
    """Return the rows of the table: kind, predicted, measured, their ratio."""
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
