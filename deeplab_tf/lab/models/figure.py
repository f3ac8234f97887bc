"""The architecture as a picture, read off a built model: nothing in it is drawn by hand, so it cannot be out of
date."""

import re

import keras
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from deeplab_tf.lab.models.layers import Upsample

_GROUPS = (
    (r"^image$", "image"),
    (r"^normalization|^conv1|^pool1", "stem"),
    (r"^(res\d)", r"\1"),
    (r"^((?:instance_)?aspp_(?:1x1|rate\d+|mean))", r"\1"),
    (r"^((?:instance_)?aspp)_(?:concat|project)", r"\1_project"),
    (r"^((?:instance_)?decoder_res\d)", r"\1"),
    (r"^(decoder_low_level|decoder_\d|decoder_head)", r"\1"),
    (r"^decoder_(?:upsample|concat)", "upsample + concat"),
    (r"^(center|offset|auxiliary|logits_low|logits)", r"\1"),
)
"""Beginnings of layers' names, and the part of the network that a layer belongs to."""
_ASIDE = ("decoder_low_level", "auxiliary", "auxiliary_logits", "logits_low")
_COLORS = {
    "image": "#e8e8e8",
    "stem": "#c9dcf2",
    "res": "#9fc3ea",
    "aspp": "#f6cf9a",
    "upsample": "#d9d2ec",
    "decoder": "#bfe3bf",
    "logits": "#f2b8b8",
    "center": "#f2b8b8",
    "offset": "#f2b8b8",
    "instance_aspp": "#f6cf9a",
    "instance_decoder": "#bfe3bf",
}


def architecture_figure(model: keras.Model, size: tuple[int, int]) -> Figure:
    """Boxes for the parts of the network, with output shape and parameters, and an arrow wherever one part feeds
    another.

    Args:
        model: a network of this folder.
        size: height, width of the image for which the shapes are printed.
    """
    shapes = _shapes(model, size)
    names = _names(model)
    groups = {}
    for layer in model.layers:
        groups.setdefault(names[layer.name], []).append(layer)
    edges = sorted({(a, b) for a, b in _edges(model, names) if a != b})
    places, aside = _place(list(groups), edges)
    columns, rows = 1 + max(x for x, _ in places.values()), 2 * max(y for _, y in places.values()) + 1
    figure = Figure(figsize=(1.4 * columns, 0.9 * (rows + 1)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(-rows / 2 - 0.9, rows / 2 + 0.1))
    axes.axis("off")
    for a, b in edges:
        _arrow(axes, places[a], places[b], aside)
    for name, members in groups.items():
        height, width, channels = shapes[members[-1].name]
        parameters = sum(layer.count_params() for layer in members)
        _box(axes, places[name], name, f"{height} x {width} x {channels}", _count(parameters))
    axes.set_title(
        f"{model.name}: {model.count_params() / 1e6:.1f} M parameters, {size[0]}x{size[1]} (height x width x channels)"
    )
    FigureCanvasAgg(figure)
    return figure


def _group_of(name: str) -> str:
    for pattern, group in _GROUPS:
        match = re.search(pattern, name)
        if match:
            return match.expand(group)
    return name


def _names(model) -> dict:
    """Layer name -> the part that it belongs to. Dropout, of which nothing is left in use, belongs to what it reads."""
    names = {}
    for layer in model.layers:
        parents = [parent.operation.name for parent in layer._inbound_nodes[0].parent_nodes]
        names[layer.name] = names[parents[0]] if isinstance(layer, keras.layers.Dropout) else _group_of(layer.name)
    return names


def _edges(model, names):
    for layer in model.layers:
        for node in layer._inbound_nodes:
            read = (
                node.parent_nodes[:1] if isinstance(layer, Upsample) else node.parent_nodes
            )  # of its reference the size alone
            for parent in read:
                yield names[parent.operation.name], names[layer.name]


def _shapes(model, size):
    """Layer name -> (height, width, channels) of its output, for one image of `size`."""
    outputs = {layer.name: layer.output for layer in model.layers}
    inner = keras.Model(model.input, outputs)
    spec = keras.KerasTensor((1, *size, 3))
    return {name: tuple(tensor.shape[1:]) for name, tensor in inner.compute_output_spec(spec).items()}


def _place(names, edges):
    """Column: the longest way from the image. Row: parts of one column stand under each other; what leaves the main
    line stands below.

    Returns:
        By name (column, row), and the row of what stands below.
    """
    column = dict.fromkeys(names, 0)
    for _ in names:
        for a, b in edges:
            column[b] = max(column[b], column[a] + 1)
    places = {}
    for x in range(max(column.values()) + 1):
        inside = [name for name in names if column[name] == x and name not in _ASIDE]
        inside.sort(key=lambda name: name.startswith("instance"))  # under the classes' own
        places.update({name: (x, (len(inside) - 1) / 2 - i) for i, name in enumerate(inside)})
    aside = min(y for _, y in places.values()) - 0.9
    places.update({name: (column[name], aside) for name in names if name in _ASIDE})
    return places, aside


def _box(axes, place, name, shape, parameters):
    x, y = place
    color = next((c for prefix, c in _COLORS.items() if name.startswith(prefix)), "#ffffff")
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.4, y - 0.36), 0.8, 0.72, boxstyle="round,pad=0.02", facecolor=color, edgecolor="0.35", zorder=2
        )
    )
    fontsize = 8 if len(name) < 17 else 6
    axes.text(x, y + 0.17, name.replace("_", " "), ha="center", va="center", fontsize=fontsize, weight="bold", zorder=3)
    axes.text(x, y - 0.06, shape, ha="center", va="center", fontsize=7, zorder=3)
    axes.text(x, y - 0.24, parameters, ha="center", va="center", fontsize=6.5, color="0.3", zorder=3)


def _arrow(axes, start, end, aside):
    """From the right edge of a box to the left edge of another; to and from the row `aside`, along its row and then
    straight up or down."""
    tail, tip, style = (start[0] + 0.43, start[1]), (end[0] - 0.43, end[1]), "arc3"
    if start[1] == aside != end[1]:
        tip, style = (end[0], end[1] - 0.39), "angle,angleA=0,angleB=90,rad=4"
    elif end[1] == aside != start[1]:
        tail, style = (start[0], start[1] - 0.39), "angle,angleA=90,angleB=0,rad=4"
    arrow = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 0, "shrinkB": 0, "connectionstyle": style}
    axes.annotate("", xy=tip, xytext=tail, arrowprops=arrow, zorder=1)


def _count(parameters: int) -> str:
    if parameters == 0:
        return "no weights"
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e5 else f"{parameters / 1e3:.1f} k"
