"""Write the operations of Transformers as ONNX, with channels first, as the convolutions around them are."""

import numpy as np
from onnx import helper, numpy_helper

from deeplab_tf.lab.export.nodes import Node
from deeplab_tf.lab.export.shapes import Shape
from deeplab_tf.lab.models.attention_layers import bias_by_position, resized_embedding, window_mask, window_shifts
from deeplab_tf.lab.models.custom_layers import LinearAttention


class GraphWriter:
    """Collects the nodes and constants of an ONNX graph."""

    def __init__(self):
        self.nodes: list = []
        self.constants: list = []

    def add(self, kind: str, inputs: list[str], name: str, **attributes) -> str:
        """Add an operation; return the name of its result."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, values) -> str:
        """Add a constant; return its name."""
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def integers(self, name: str, values) -> str:
        """Add a constant of int64."""
        return self.constant(name, np.array(values, np.int64))

    def floats(self, name: str, values) -> str:
        """Add a constant of float32."""
        return self.constant(name, np.asarray(values, np.float32))

    def reshape(self, x: str, name: str, shape) -> str:
        """Add a reshape."""
        return self.add("Reshape", [x, self.integers(f"{name}/of", shape)], name)

    def slice(self, x: str, name: str, *, starts, ends, axes) -> str:
        """Add a slice."""
        bounds = {"starts": starts, "ends": ends, "axes": axes}
        return self.add("Slice", [x, *(self.integers(f"{name}/{end}", values) for end, values in bounds.items())], name)


def write(writer: GraphWriter, node: Node, x: str, name: str, before: Shape, after: Shape) -> bool:
    """Write a node with one input `x` as the tensor `name`; return whether it is one of a Transformer.

    Args:
        before, after: (H, W, C) of input and result.
    """
    write_node = _WRITERS.get(node.op)
    if write_node:
        write_node(writer, node, x, name, before, after)
    return write_node is not None


def _linear_attention(writer, node, x, name, _, after):
    """A head is (dim, N)."""
    dim, (height, width, channels) = node.attributes["dim"], after
    count = height * width
    tokens = writer.reshape(x, f"{name}/tokens", (1, channels // dim, 3 * dim, count))
    parts = ("queries", "keys", "values")
    queries, keys, values = (
        writer.slice(tokens, f"{name}/{part}", starts=[i * dim], ends=[(i + 1) * dim], axes=[2])
        for i, part in enumerate(parts)
    )
    queries, keys = (writer.add("Relu", [part], f"{part}/relu") for part in (queries, keys))
    keys = writer.add("Mul", [keys, writer.floats(f"{name}/share", 1 / count)], f"{name}/keys/mean")
    turned = writer.add("Transpose", [keys], f"{name}/keys/turned", perm=(0, 1, 3, 2))  # (1, heads, N, dim)
    summed = writer.add("MatMul", [values, turned], f"{name}/summed")  # (1, heads, dim, dim)
    over = writer.add("MatMul", [summed, queries], f"{name}/over")
    total = writer.add("ReduceSum", [turned, writer.integers(f"{name}/positions", [2])], f"{name}/total", keepdims=1)
    under = writer.add("MatMul", [total, queries], f"{name}/under")  # (1, heads, 1, N)
    epsilon = writer.floats(f"{name}/epsilon", LinearAttention.EPSILON)
    under = writer.add("Add", [under, epsilon], f"{name}/under/positive")
    quotient = writer.add("Div", [over, under], f"{name}/quotient")
    writer.reshape(quotient, name, (1, channels, height, width))


def _attention(writer, node, x, name, _, after):
    heads, (height, width, channels) = node.attributes["heads"], after
    count = height * width
    tokens = writer.reshape(x, f"{name}/tokens", (1, 3 * heads, channels // heads, count))
    queries, keys, values = _parts(writer, tokens, name, heads)
    queries = _scaled(writer, queries, channels // heads)
    queries = writer.add("Transpose", [queries], f"{queries}/turned", perm=(0, 1, 3, 2))
    scores = writer.add("MatMul", [queries, keys], f"{name}/scores")  # (1, heads, N, N): of each query its keys
    weights = writer.add("Softmax", [scores], f"{name}/weights", axis=-1)
    weights = writer.add("Transpose", [weights], f"{name}/weights/turned", perm=(0, 1, 3, 2))
    made = writer.add("MatMul", [values, weights], f"{name}/attended")  # (1, heads, C / heads, N)
    writer.reshape(made, name, (1, channels, height, width))


def _window_attention(writer, node, x, name, _, after):
    heads, window, (height, width, channels) = node.attributes["heads"], node.attributes["window"], after
    padded = [-(-side // window) * window for side in (height, width)]
    shifts, dim, size = window_shifts(padded, window, node.attributes["shift"]), channels // heads, window * window
    rows, columns = (side // window for side in padded)
    count = rows * columns
    if padded != [height, width]:
        ends = writer.integers(f"{name}/pads", (0, 0, 0, 0, 0, 0, padded[0] - height, padded[1] - width))
        x = writer.add("Pad", [x, ends], f"{name}/padded")
    bias = writer.floats(f"{name}/bias", node.weights["bias"].reshape(-1, 1, 1))
    x = _roll(writer, writer.add("Add", [x, bias], f"{name}/biased"), f"{name}/shifted", padded, shifts)
    x = writer.reshape(x, f"{name}/windows", (3 * heads, dim, rows, window, columns, window))
    x = writer.add("Transpose", [x], f"{name}/windows/turned", perm=(0, 2, 4, 3, 5, 1))
    tokens = writer.reshape(x, f"{name}/tokens", (1, 3 * heads, count * size, dim))
    parts = (
        writer.reshape(part, f"{part}/windows", (1, heads * count, size, dim))
        for part in _parts(writer, tokens, name, heads)
    )
    queries, keys, values = parts
    keys = writer.add("Transpose", [keys], f"{keys}/turned", perm=(0, 1, 3, 2))
    scores = writer.add("MatMul", [_scaled(writer, queries, dim), keys], f"{name}/scores")
    scores = writer.reshape(scores, f"{name}/scores/windows", (1, heads, count, size * size))
    relative = bias_by_position(node.weights["relative_bias"], window)[None, :, None]
    scores = writer.add("Add", [scores, writer.floats(f"{name}/relative_bias", relative)], f"{name}/scores/biased")
    if any(shifts):
        mask = writer.floats(f"{name}/mask", window_mask(padded, window, shifts)[None, None])
        scores = writer.add("Add", [scores, mask], f"{name}/scores/masked")
    scores = writer.reshape(scores, f"{name}/scores/heads", (1, heads * count, size, size))
    weights = writer.add("Softmax", [scores], f"{name}/weights", axis=-1)
    made = writer.add("MatMul", [weights, values], f"{name}/attended")  # (1, heads * windows, size, dim)
    made = writer.reshape(made, f"{name}/attended/windows", (heads, rows, columns, window, window, dim))
    made = writer.add("Transpose", [made], f"{name}/attended/turned", perm=(0, 5, 1, 3, 2, 4))
    crop, back = padded != [height, width], [-each for each in shifts]
    last = f"{name}/rows" if any(back) or crop else name
    made = writer.reshape(made, last, (1, channels, *padded))
    made = _roll(writer, made, f"{name}/back" if crop else name, padded, back)
    if crop:
        writer.slice(made, name, starts=(0, 0), ends=(height, width), axes=(2, 3))


def _parts(writer, tokens, name, heads):
    """Slice queries, keys and values."""
    return [
        writer.slice(tokens, f"{name}/{part}", starts=[i * heads], ends=[(i + 1) * heads], axes=[1])
        for i, part in enumerate(("queries", "keys", "values"))
    ]


def _scaled(writer, queries, dim):
    return writer.add("Mul", [queries, writer.floats(f"{queries}/scale", dim**-0.5)], f"{queries}/scaled")


def _roll(writer, x, name, sides, shifts):
    """As `attention_layers._roll`; the result is called `name` if anything is shifted."""
    moved = [(axis, side, shift % side) for axis, side, shift in zip((2, 3), sides, shifts) if shift]
    for i, (axis, side, start) in enumerate(moved):
        made = name if i == len(moved) - 1 else f"{name}/axis{axis}"
        after = writer.slice(x, f"{made}/after", starts=[start], ends=[side], axes=[axis])
        before = writer.slice(x, f"{made}/before", starts=[0], ends=[start], axes=[axis])
        x = writer.add("Concat", [after, before], made, axis=axis)
    return x


def _layer_norm(writer, node, x, name, *_):
    mean = writer.add("ReduceMean", [x], f"{name}/mean", axes=[1], keepdims=1)
    centered = writer.add("Sub", [x, mean], f"{name}/centered")
    squares = writer.add("Mul", [centered, centered], f"{name}/squares")
    variance = writer.add("ReduceMean", [squares], f"{name}/variance", axes=[1], keepdims=1)
    epsilon = writer.floats(f"{name}/epsilon", node.attributes["epsilon"])
    deviation = writer.add("Sqrt", [writer.add("Add", [variance, epsilon], f"{name}/positive")], f"{name}/deviation")
    x = writer.add("Div", [centered, deviation], f"{name}/normalized")
    gamma, beta = (
        writer.floats(f"{name}/{role}", node.weights[key].reshape(-1, 1, 1))
        for role, key in (("gamma", "scale"), ("beta", "shift"))
    )
    writer.add("Add", [writer.add("Mul", [x, gamma], f"{name}/scaled"), beta], name)


def _gelu(writer, node, x, name, *_):
    """x (1 + erf(x / sqrt(2))) / 2, in the order that ONNX Runtime fuses."""
    root, one, half = (
        writer.floats(f"{name}/{key}", value) for key, value in (("root", 2**0.5), ("one", 1), ("half", 0.5))
    )
    erf = writer.add("Erf", [writer.add("Div", [x, root], f"{name}/over_root")], f"{name}/erf")
    product = writer.add("Mul", [x, writer.add("Add", [erf, one], f"{name}/plus_one")], f"{name}/twice")
    writer.add("Mul", [product, half], name)


def _position(writer, node, x, name, before, _):
    embedding = resized_embedding(node.weights["embedding"], before[:2]).transpose(2, 0, 1)
    writer.add("Add", [x, writer.floats(f"{name}/embedding", embedding[None])], name)


def _space_to_depth(writer, node, x, name, before, _):
    first = node.attributes["before"]
    last = [(side + first) % 2 for side in before[:2]]
    if first or any(last):
        pads = writer.integers(f"{name}/pads", (0, 0, first, first, 0, 0, *last))
        x = writer.add("Pad", [x, pads], f"{name}/padded")
    writer.add("SpaceToDepth", [x], name, blocksize=2)


_WRITERS = {
    "linear_attention": _linear_attention,
    "attention": _attention,
    "window_attention": _window_attention,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "position": _position,
    "space_to_depth": _space_to_depth,
}
