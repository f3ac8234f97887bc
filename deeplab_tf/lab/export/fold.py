"""Fold batch normalization, image normalization and padding into convolutions: the same function with fewer nodes."""

import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, RELUS, Network, Node

NO_PADDING = ((0, 0), (0, 0))

Nodes = dict[str, Node]


def fold(network: Network) -> Network:
    """Return the network with everything folded that can be; weights are computed in float64 and returned as float32.

    Raises:
        DeepLabError: padding that cannot be folded.
    """
    nodes = {node.name: node for node in network.nodes}
    for name in list(nodes):
        node = nodes[name]
        if node.op == "pad":
            _fold_pad(nodes, node)
        elif node.op == "affine" and not _fold_backward(nodes, node):
            _fold_forward(nodes, node)
    return network.with_nodes(_in_float32(node) for node in nodes.values())


def _fold_pad(nodes: Nodes, pad: Node) -> None:
    """Make padding that of the convolution or, where no value is negative, of the max pooling that reads it."""
    source = nodes[pad.inputs[0]]
    for node in _consumers(nodes, pad.name):
        fits = node.op in CONVOLUTIONS or node.op == "max_pool" and source.op in RELUS
        if not fits or node.attributes["padding"] != NO_PADDING:
            raise DeepLabError(
                f"The padding {pad.name} cannot be exported: it must come before an unpadded convolution or pooling."
            )
        nodes[node.name] = node._replace(attributes={**node.attributes, "padding": pad.attributes["padding"]})
    _remove(nodes, pad)


def _fold_backward(nodes: Nodes, affine: Node) -> bool:
    """Fold into the convolutions whose result, or sum of results, is scaled; return whether there are such."""
    if not _scalable(nodes, affine.inputs[0], affine.name):
        return False
    _scale(nodes, affine.inputs[0], affine.weights["scale"], affine.weights["shift"])
    _remove(nodes, affine)
    return True


def _scalable(nodes: Nodes, name: str, reader: str) -> bool:
    node = nodes[name]
    if [consumer.name for consumer in _consumers(nodes, name) if name in consumer.reads] != [reader]:
        return False
    return node.op in CONVOLUTIONS or node.op == "add" and all(_scalable(nodes, part, name) for part in node.inputs)


def _scale(nodes: Nodes, name: str, scale, shift) -> None:
    node = nodes[name]
    if node.op == "add":
        for i, part in enumerate(node.inputs):
            _scale(nodes, part, scale, shift if i == 0 else 0 * shift)
        return
    per_channel = scale if node.op == "conv" else scale[:, None]
    weights = {"kernel": node.weights["kernel"] * per_channel, "bias": node.weights["bias"] * scale + shift}
    nodes[name] = node._replace(weights=weights)


def _fold_forward(nodes: Nodes, affine: Node) -> None:
    """Fold the scale into the convolutions that read the result, where only such do.

    x * scale + shift = scale * (x + shift / scale): zeros around the image stay zeros.
    """
    consumers = []
    for node in _consumers(nodes, affine.name):
        consumers += _consumers(nodes, node.name) if node.op == "pad" else [node]
    if not consumers or any(node.op != "conv" for node in consumers):
        return
    scale, shift = affine.weights["scale"], affine.weights["shift"]
    for node in consumers:
        kernel = node.weights["kernel"] * scale[:, None]
        nodes[node.name] = node._replace(weights={**node.weights, "kernel": kernel})
    nodes[affine.name] = affine._replace(weights={"shift": shift / scale})


def _consumers(nodes: Nodes, name: str) -> list[Node]:
    return [node for node in nodes.values() if name in node.inputs]


def _remove(nodes: Nodes, gone: Node) -> None:
    """Remove a node; its readers read its input instead."""
    for node in _consumers(nodes, gone.name):
        inputs = tuple(gone.inputs[0] if name == gone.name else name for name in node.inputs)
        nodes[node.name] = node._replace(inputs=inputs)
    del nodes[gone.name]


def _in_float32(node: Node) -> Node:
    return node._replace(weights={key: _float32(value) for key, value in node.weights.items()})


def _float32(value):
    return value.astype(np.float32) if isinstance(value, np.ndarray) else tf.cast(value, tf.float32)
