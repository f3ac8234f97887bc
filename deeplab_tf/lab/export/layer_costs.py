"""Count the layers of a network for `deeplab_tf.deploy.budget`: kernels with their multiply-adds and values moved."""

import math

import keras

from deeplab_tf.deploy.budget.workload import Layer
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, RELUS, Network, Node
from deeplab_tf.lab.export.shapes import network_shapes
from deeplab_tf.lab.models.registry import build_network


def network_layers(network: Network, size: tuple[int, int]) -> list[Layer]:
    """Return the layers for one image, fused as TensorRT fuses.

    A convolution includes the ReLU after it (also a ReLU6), and the residual sum of which it is the last branch; hard
    swish is a kernel of its own. A concatenation costs nothing: its parts are written to their places.

    Args:
        network: with its head.
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


def model_layers(model: keras.Model, size: tuple[int, int]) -> list[Layer]:
    """Return the layers of a Keras network with labels as its output."""
    return network_layers(with_head(read_network(model)), size)


def recipe_layers(model: dict, size: tuple[int, int], classes: int) -> list[Layer]:
    """Return the layers of the network of a recipe's `model` section, with labels as its output."""
    return model_layers(build_network(model, classes, auxiliary=False), size)


def _layer(node, shapes, reads, writes):
    height, width, channels = shapes[node.name]
    weights = sum(value.size for value in node.weights.values())
    if node.op == "linear_attention":  # matrix products, with what a position costs
        dim = node.attributes["dim"]
        return Layer(node.name, "conv1x1", height * width * channels * (2 * dim + 1), 0, reads, writes)
    if node.op in ("attention", "window_attention"):
        products = 2 * channels * attended_pairs(node, (height, width))
        return Layer(node.name, "conv1x1", products, weights, reads, writes)
    if node.op not in CONVOLUTIONS:
        return Layer(node.name, "other", 0, weights, reads, writes)
    rows, columns, inputs = node.weights["kernel"].shape[:3]
    each = rows * columns * (1 if node.op == "depthwise" else inputs)
    kind = "depthwise" if node.op == "depthwise" else "conv1x1" if rows * columns == 1 else "conv"
    return Layer(node.name, kind, height * width * channels * each, weights, reads, writes)


def attended_pairs(node: Node, size: tuple[int, int]) -> int:
    """Return how many pairs of a query and a key an attention compares, each over all channels, on a map of a size."""
    if node.op == "attention":
        return (size[0] * size[1]) ** 2
    window = node.attributes["window"]
    return math.prod(-(-side // window) for side in size) * window**4


def _fused(network):
    """Return the nodes that run as part of a convolution -> its name, in order."""
    found: dict[str, str] = {}
    for node in network.nodes:
        if node.op in (*RELUS, "add"):
            candidates = [found.get(name, name) for name in reversed(node.inputs) if len(network.consumers(name)) == 1]
            convolutions = [name for name in candidates if network[name].op in CONVOLUTIONS]
            if convolutions:
                found[node.name] = convolutions[0]
    return found
