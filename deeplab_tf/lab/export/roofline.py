"""The roofline of a device with every layer of a network on it, as a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy.budget.devices import GAINS, best_precision, find
from deeplab_tf.deploy.budget.estimate import expected
from deeplab_tf.deploy.budget.layers import KINDS, Layer
from deeplab_tf.lab.evaluation.figures import pixels

_COLORS = {"conv": "#1f5fa8", "conv1x1": "#e08a1e", "depthwise": "#2f9e62", "other": "#888888"}


class Roof(NamedTuple):
    """What a picture is drawn under: operations and bytes a second, the share of the bytes that layers are seen to get,
    and what it is."""

    peak: float
    bandwidth: float
    memory: float
    precision: str
    title: str


def write_roofline(path: str, layers: Sequence[Layer], device: str, title: str) -> None:
    """Writes a PNG: operations a byte across, operations a second up; a layer's area is its expected share of the time.

    The line is what the maker's figures allow. Layers that compute nothing are left out.
    """
    found = find(device)
    precision = best_precision(found)
    seconds = {cost.layer.name: cost.seconds for cost in expected(layers, found, precision)}
    of = f"{title} on a {found.title} in {precision}: {1 / sum(seconds.values()):.1f} frames/s expected"
    roof = Roof(found.peak[precision], found.bandwidth, GAINS[found.gains].memory, precision, of)
    _draw(path, layers, seconds, roof, "expected")


def write_measured_roofline(path: str, layers: Sequence[Layer], found: dict, precision: str, title: str) -> None:
    """The same for this machine, with the times that layers took; `found` is from `layer_times.check`."""
    seconds = {row["name"]: row["measured_ms"] / 1e3 for row in found["layers"]}
    of = f"{title} on this machine in {precision}: {1e3 / found['measured_ms']:.1f} frames/s measured"
    _draw(
        path,
        layers,
        seconds,
        Roof(found["peak"], found["bandwidth"], found["gains"]["memory"], precision, of),
        "measured",
    )


def _draw(path, layers, seconds, roof, how):
    whole = sum(seconds.values())
    drawn = [layer for layer in layers if layer.macs and seconds[layer.name] > 0]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    across = np.logspace(-1, 4, 200)
    axes.plot(across, np.minimum(roof.peak, across * roof.bandwidth), color="0.3", label="peak and bandwidth")
    axes.plot(
        across,
        np.minimum(roof.peak, across * roof.bandwidth * roof.memory),
        color="0.7",
        linestyle=":",
        label="as measured",
    )
    for kind, name in KINDS.items():
        some = [layer for layer in drawn if layer.kind == kind]
        if some:
            x = [2 * layer.macs / layer.traffic(roof.precision) for layer in some]
            y = [2 * layer.macs / seconds[layer.name] for layer in some]
            area = [10 + 3000 * seconds[layer.name] / whole for layer in some]
            axes.scatter(x, y, area, color=_COLORS[kind], alpha=0.6, label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="operations a byte", ylabel=f"operations a second, {how}", title=roof.title
    )
    for handle in axes.legend(loc="lower right").legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    write_image(path, pixels(figure))
