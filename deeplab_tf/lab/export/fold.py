"""Batch normalisation, image normalisation and padding moved into the convolutions beside them: the same function with
fewer nodes."""

import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, RELUS, Network, Node

NO_PADDING = ((0, 0), (0, 0))


def fold(network: Network) -> Network:
    """Folds what can be folded. Weights are computed in float64 and given as float32."""
    nodes = {node.name: node for node in network.nodes}
    for name in [node.name for node in network.nodes]:
        node = nodes[name]
        if node.op == "pad":
            _fold_pad(nodes, node)
        elif node.op == "affine" and not _fold_into_what_comes_before(nodes, node):
            _fold_into_what_comes_after(nodes, node)
    return network._replace(nodes=tuple(_in_float32(node) for node in nodes.values()))


def _fold_pad(nodes, pad):
    """Zeros around a convolution's input are its padding; around a maximum of values that are not negative they change
    nothing."""
    source = nodes[pad.inputs[0]]
    for node in _consumers(nodes, pad.name):
        fits = node.op in CONVOLUTIONS or node.op == "max_pool" and source.op in RELUS
        if not fits or node.attributes["padding"] != NO_PADDING:
            raise DeepLabError(
                f"The padding {pad.name} does not stand before an unpadded convolution or pooling, and cannot be "
                "exported."
            )
        nodes[node.name] = node._replace(attributes={**node.attributes, "padding": pad.attributes["padding"]})
    _bypass(nodes, pad)


def _fold_into_what_comes_before(nodes, affine):
    scale, shift = affine.weights["scale"], affine.weights["shift"]
    if not _scalable(nodes, affine.inputs[0], affine.name):
        return False
    _scale(nodes, affine.inputs[0], scale, shift)
    _bypass(nodes, affine)
    return True


def _scalable(nodes, name, reader):
    """Whether a tensor that only `reader` reads comes from convolutions, directly or as a sum of some."""
    node = nodes[name]
    if [consumer.name for consumer in _consumers(nodes, name)] != [reader]:
        return False
    return node.op in CONVOLUTIONS or node.op == "add" and all(_scalable(nodes, part, name) for part in node.inputs)


def _scale(nodes, name, scale, shift):
    node = nodes[name]
    if node.op == "add":
        for i, part in enumerate(node.inputs):
            _scale(nodes, part, scale, shift if i == 0 else 0 * shift)
        return
    per_channel = scale if node.op == "conv" else scale[:, None]
    weights = {"kernel": node.weights["kernel"] * per_channel, "bias": node.weights["bias"] * scale + shift}
    nodes[name] = node._replace(weights=weights)


def _fold_into_what_comes_after(nodes, affine):
    """x * scale + shift = scale * (x + shift / scale): the scale goes into the kernels, and zeros around the image stay
    zeros."""
    consumers = _consumers(nodes, affine.name)
    if any(node.op == "pad" for node in consumers):
        consumers = [
            after for node in consumers for after in (_consumers(nodes, node.name) if node.op == "pad" else [node])
        ]
    if not consumers or any(node.op != "conv" for node in consumers):
        return
    scale, shift = affine.weights["scale"], affine.weights["shift"]
    for node in consumers:
        kernel = node.weights["kernel"] * scale[:, None]
        nodes[node.name] = node._replace(weights={**node.weights, "kernel": kernel})
    nodes[affine.name] = affine._replace(weights={"shift": shift / scale})


def _consumers(nodes, name) -> list[Node]:
    return [node for node in nodes.values() if name in node.inputs]


def _bypass(nodes, gone):
    """Takes a node out; its readers read its input."""
    for node in _consumers(nodes, gone.name):
        inputs = tuple(gone.inputs[0] if name == gone.name else name for name in node.inputs)
        nodes[node.name] = node._replace(inputs=inputs)
    del nodes[gone.name]


def _in_float32(node):
    return node._replace(weights={key: _float32(value) for key, value in node.weights.items()})


def _float32(value):
    return value.astype(np.float32) if isinstance(value, np.ndarray) else tf.cast(value, tf.float32)
