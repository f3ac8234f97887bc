"""The roofline of a device with every layer of a network on it, as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from deeplab_tf.budget.devices import GAINS, best_precision, find
from deeplab_tf.budget.estimate import expected
from deeplab_tf.budget.layers import KINDS, Layer
from deeplab_tf.evaluation.figures import pixels
from deeplab_tf.frames import write_image

_COLORS = {"conv": "#1f5fa8", "conv1x1": "#e08a1e", "depthwise": "#2f9e62", "other": "#888888"}


def write_roofline(path: str, layers: Sequence[Layer], device: str, title: str) -> None:
    """Writes a PNG: operations a byte across, operations a second up; a layer's area is its expected share of the time.

    The line is what the maker's figures allow. Layers that compute nothing are left out.
    """
    found = find(device)
    precision = best_precision(found)
    peak, bandwidth = found.peak[precision], found.bandwidth
    costs = [cost for cost in expected(layers, found, precision) if cost.layer.macs]
    whole = sum(cost.seconds for cost in expected(layers, found, precision))
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    across = np.logspace(-1, 4, 200)
    axes.plot(across, np.minimum(peak, across * bandwidth), color="0.3", label="peak and bandwidth")
    axes.plot(across, np.minimum(peak, across * bandwidth * GAINS[found.gains].memory), color="0.7", linestyle=":", label="as measured")
    for kind, name in KINDS.items():
        some = [cost for cost in costs if cost.layer.kind == kind]
        if some:
            x = [2 * cost.layer.macs / cost.layer.traffic(precision) for cost in some]
            y = [2 * cost.layer.macs / cost.seconds for cost in some]
            area = [10 + 3000 * cost.seconds / whole for cost in some]
            axes.scatter(x, y, area, color=_COLORS[kind], alpha=0.6, label=name)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="operations a second, expected")
    axes.set(title=f"{title} on a {found.title} in {precision}: {1 / whole:.1f} frames/s expected")
    for handle in axes.legend(loc="lower right").legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40])
    write_image(path, pixels(figure))
