"""A network's nodes as the layers of `deeplab_tf.deploy.budget`: what runs as one kernel, with its multiply-adds and
the numbers that it moves."""

import math

import keras

from deeplab_tf.deploy.budget.layers import Layer
from deeplab_tf.lab.export.network import read_network, with_head
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, RELUS, Network, Node
from deeplab_tf.lab.models.registry import build_network

Shape = tuple[int, int, int]


def network_layers(network: Network, size: tuple[int, int]) -> list[Layer]:
    """The layers for one image, fused as TensorRT fuses.

    A convolution takes along the ReLU behind it (a limit of 6 too), and the residual sum that it is the last branch of;
    hard swish is a kernel of its own. A concatenation costs nothing: its parts are written where they belong.

    Args:
        network: folded, with its head.
        size: height, width of the image.
    """
    shapes = network_shapes(network, size)
    fused = _fused(network)
    layers = []
    for node in network.nodes:
        if node.op in ("input", "concat") or node.name in fused:
            continue
        chain = [node.name] + [name for name, into in fused.items() if into == node.name]
        own = {name for part in chain for name in network[part].inputs if name not in chain and part != node.name}
        reads = sum(math.prod(shapes[name]) for name in (*node.inputs[: 1 if node.op == "upsample" else None], *own))
        layers.append(_layer(node, shapes, reads, math.prod(shapes[chain[-1]])))
    return layers


def network_shapes(network: Network, size: tuple[int, int]) -> dict[str, Shape]:
    """Height, width and channels of every tensor."""
    shapes: dict[str, Shape] = {}
    for node in network.nodes:
        shapes[node.name] = _shape(node, [shapes[name] for name in node.inputs], size)
    return shapes


def _layer(node, shapes, reads, writes):
    height, width, channels = shapes[node.name]
    weights = sum(value.size for value in node.weights.values())
    if node.op not in CONVOLUTIONS:
        return Layer(node.name, "other", 0, weights, reads, writes)
    rows, columns, inputs = node.weights["kernel"].shape[:3]
    each = rows * columns * (1 if node.op == "depthwise" else inputs)
    kind = "depthwise" if node.op == "depthwise" else "conv1x1" if rows * columns == 1 else "conv"
    return Layer(node.name, kind, height * width * channels * each, weights, reads, writes)


def _fused(network):
    """Nodes that run as a part of a convolution -> its name, in order."""
    found: dict[str, str] = {}
    for node in network.nodes:
        if node.op not in (*RELUS, "add"):
            continue
        candidates = [found.get(name, name) for name in reversed(node.inputs) if len(network.consumers(name)) == 1]
        taken = [name for name in candidates if network[name].op in CONVOLUTIONS]
        if taken:
            found[node.name] = taken[0]
    return found


def _shape(node: Node, inputs: list[Shape], size) -> Shape:
    if node.op == "input":
        return (*size, 3)
    if node.op in (*CONVOLUTIONS, "max_pool", "avg_pool"):
        return _windows(node, inputs[0])
    if node.op in ("add", "multiply"):
        return tuple(max(sides) for sides in zip(*inputs))
    if node.op == "concat":
        return (*inputs[0][:2], sum(shape[2] for shape in inputs))
    if node.op == "mean":
        return (1, 1, inputs[0][2])
    if node.op == "upsample":
        return (*inputs[1][:2], inputs[0][2])
    return (*inputs[0][:2], 1) if node.op == "argmax" else inputs[0]


def _windows(node, shape):
    padding, stride = node.attributes["padding"], node.attributes["stride"]
    channels = node.weights["kernel"].shape[3] if node.op == "conv" else shape[2]
    if padding == "same":
        return (-(-shape[0] // stride), -(-shape[1] // stride), channels)
    sides = []
    for axis in (0, 1):
        kernel = node.weights["kernel"].shape[axis] if node.op in CONVOLUTIONS else node.attributes["size"]
        reach = node.attributes.get("rate", 1) * (kernel - 1) + 1
        sides.append((shape[axis] + sum(padding[axis]) - reach) // stride + 1)
    return (*sides, channels)


def recipe_layers(model: dict, size: tuple[int, int], classes: int) -> list[Layer]:
    """The layers of the network that a recipe's `model` section describes, with labels as its output."""
    return model_layers(build_network(model, classes, auxiliary=False), size)


def model_layers(model: keras.Model, size: tuple[int, int]) -> list[Layer]:
    """The layers of a Keras network with labels as its output."""
    return network_layers(with_head(read_network(model)), size)


class SmallerNetworks:
    """Changes to a recipe's `model` section that make its network cheaper, each with the layers that come out; built
    one by one."""

    WIDTHS = (1.0, 0.75, 0.5, 0.375, 0.25)
    CHANNELS = {1.0: 256, 0.75: 192, 0.5: 128, 0.375: 96, 0.25: 64}
    """Of pyramid and decoder, by width."""

    def __init__(self, model: dict, size: tuple[int, int], classes: int):
        self._model, self._size, self._classes = (
            {**model, "channels": None},
            size,
            classes,
        )  # else widths would change nothing
        choices = [(width, stride) for width in self.WIDTHS if width <= model["width"] for stride in (16, 32)]
        self._changes = [self._change(width, stride) for width, stride in choices]

    def _change(self, width, stride):
        channels = self.CHANNELS[width]
        changes = {
            "width": width,
            "output_stride": stride,
            "separable": True,
            "aspp_channels": channels,
            "decoder_channels": channels,
        }
        return {key: value for key, value in changes.items() if key in self._model}

    def __len__(self):
        return len(self._changes)

    def __iter__(self):
        for changes in self._changes:
            yield changes, recipe_layers({**self._model, **changes}, self._size, self._classes)
