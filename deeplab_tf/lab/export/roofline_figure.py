"""Draw the roofline of a device with every layer of a network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy.budget.devices import EFFICIENCIES, best_precision, find
from deeplab_tf.deploy.budget.roofline import estimate
from deeplab_tf.deploy.budget.workload import KINDS, Layer
from deeplab_tf.lab.evaluation.figures import pixels

_COLORS = {"conv": "#1f5fa8", "conv1x1": "#e08a1e", "depthwise": "#2f9e62", "other": "#888888"}


class Roof(NamedTuple):
    """What the figure shows: operations/s, bytes/s, the fraction of the bytes/s attained, and how times were found."""

    peak: float
    bandwidth: float
    memory: float
    precision: str
    how: str


def write_roofline(path: str, layers: Sequence[Layer], device: str, title: str) -> None:
    """Write a PNG with operations/s over operations per byte; a layer's area is its share of the estimated time.

    Layers that compute nothing are left out.
    """
    found = find(device)
    precision = best_precision(found)
    seconds = {time.layer.name: time.seconds for time in estimate(layers, found, precision)}
    roof = Roof(found.peak[precision], found.bandwidth, EFFICIENCIES[found.efficiency].memory, precision, "estimated")
    _draw(path, layers, seconds, roof, f"{title} on a {found.title}", sum(seconds.values()))


def write_measured_roofline(path: str, layers: Sequence[Layer], found: dict, precision: str, title: str) -> None:
    """Write the same for this machine, with measured times; `found` is of `layer_times.check`."""
    seconds = {row["name"]: row["measured_ms"] / 1e3 for row in found["layers"]}
    roof = Roof(found["peak"], found["bandwidth"], found["efficiency"]["memory"], precision, "measured")
    _draw(path, layers, seconds, roof, f"{title} on this machine", found["measured_ms"] / 1e3)


def _draw(path, layers, seconds, roof: Roof, title, frame_seconds):
    total = sum(seconds.values())
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    across = np.logspace(-1, 4, 200)
    axes.plot(across, np.minimum(roof.peak, across * roof.bandwidth), color="0.3", label="peak and bandwidth")
    attained = np.minimum(roof.peak, across * roof.bandwidth * roof.memory)
    axes.plot(across, attained, color="0.7", linestyle=":", label="bandwidth attained")
    for kind, name in KINDS.items():
        some = [layer for layer in layers if layer.kind == kind and layer.macs and seconds[layer.name] > 0]
        if some:
            x = [2 * layer.macs / layer.traffic(roof.precision) for layer in some]
            y = [2 * layer.macs / seconds[layer.name] for layer in some]
            area = [10 + 3000 * seconds[layer.name] / total for layer in some]
            axes.scatter(x, y, area, color=_COLORS[kind], alpha=0.6, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations per byte",
        ylabel=f"operations/s, {roof.how}",
        title=f"{title} in {roof.precision}: {1 / frame_seconds:.1f} frames/s {roof.how}",
    )
    for handle in axes.legend(loc="lower right").legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40])
    write_image(path, pixels(figure))
