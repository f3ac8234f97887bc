"""A diagram of a network's architecture, read off the built model."""

import re

import keras
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.layer_graph import layer_inputs

_PARTS = (
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
"""Patterns of layers' names, and the part of the network that a layer belongs to."""
_ASIDE = ("decoder_low_level", "auxiliary", "auxiliary_logits", "logits_low")
"""Parts that are drawn below the main line."""
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
    """Draw the parts of a network as boxes with output shape and parameters, and arrows between them.

    Args:
        model: a network of this folder.
        size: height, width of the image for which shapes are printed.
    """
    shapes, parts, edges = _shapes(model, size), _parts(model), _edges(model)
    layers: dict[str, list] = {}
    for layer in model.layers:
        layers.setdefault(parts[layer.name], []).append(layer)
    places, aside = _place(list(layers), edges)
    columns, rows = 1 + max(x for x, _ in places.values()), 2 * max(y for _, y in places.values()) + 1
    figure = Figure(figsize=(1.4 * columns, 0.9 * (rows + 1)), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(-rows / 2 - 0.9, rows / 2 + 0.1))
    axes.axis("off")
    for a, b in edges:
        _arrow(axes, places[a], places[b], aside)
    for name, members in layers.items():
        height, width, channels = shapes[members[-1].name]
        parameters = sum(layer.count_params() for layer in members)
        _box(axes, places[name], name, f"{height} x {width} x {channels}", _count(parameters))
    axes.set_title(
        f"{model.name}: {model.count_params() / 1e6:.1f} M parameters, {size[0]}x{size[1]} (height x width x channels)"
    )
    FigureCanvasAgg(figure)
    return figure


def _part_of(name: str) -> str:
    for pattern, part in _PARTS:
        match = re.search(pattern, name)
        if match:
            return match.expand(part)
    return name


def _parts(model) -> dict[str, str]:
    """Return the part that each layer belongs to; Dropout, of which inference has nothing, belongs to its input's."""
    parts: dict[str, str] = {}
    for name, inputs in layer_inputs(model).items():
        dropout = isinstance(model.get_layer(name), keras.layers.Dropout)
        parts[name] = parts[inputs[0].name] if dropout else _part_of(name)
    return parts


def _edges(model) -> list[tuple[str, str]]:
    """Return which part feeds which. An `Upsample` reads only the size of its reference, which is no edge."""
    parts, edges = _parts(model), set()
    for name, inputs in layer_inputs(model).items():
        read = inputs[:1] if isinstance(model.get_layer(name), Upsample) else inputs
        edges |= {(parts[layer.name], parts[name]) for layer in read}
    return sorted((a, b) for a, b in edges if a != b)


def _shapes(model, size):
    """Return (height, width, channels) of each layer's output by its name, for one image of `size`."""
    outputs = {layer.name: layer.output for layer in model.layers}
    inner = keras.Model(model.input, outputs)
    spec = keras.KerasTensor((1, *size, 3))
    return {name: tuple(tensor.shape[1:]) for name, tensor in inner.compute_output_spec(spec).items()}


def _place(names, edges):
    """Return (column, row) of each part, by the longest path from the image, and the row of those drawn below."""
    column = dict.fromkeys(names, 0)
    for _ in names:
        for a, b in edges:
            column[b] = max(column[b], column[a] + 1)
    places = {}
    for x in range(max(column.values()) + 1):
        inside = [name for name in names if column[name] == x and name not in _ASIDE]
        inside.sort(key=lambda name: name.startswith("instance"))  # below the semantic branch
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
    """Draw from the right edge of a box to the left edge of another; to and from the row `aside` around a corner."""
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
