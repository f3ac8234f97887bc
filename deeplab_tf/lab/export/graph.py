"""Write a network as TensorFlow operations: for a SavedModel of TensorFlow 2.6 or newer, and for TF-TRT."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from deeplab_tf.lab.export.nodes import Network, Node
from deeplab_tf.lab.models.attention_layers import global_attention, resized_embedding, space_to_depth, window_attention
from deeplab_tf.lab.models.custom_layers import linear_attention, upsample

Tensors = dict[str, tf.Tensor]

_OUTPUT = "output_"

LOGITS = "scores"
"""Name of the operation with the logits in every frozen graph."""


def run(
    network: Network, image: tf.Tensor, *, target: str = "tensorflow", ranges: Mapping[str, float] | None = None
) -> Tensors:
    """Return every tensor of the network, by name.

    Args:
        image: (B, H, W, 3) float32 RGB, 0..255.
        target: the operations to write; all compute the same.
            "tensorflow": atrous convolutions as SpaceToBatch, convolution and BatchToSpace, because TensorFlow 2.6
            computes a depthwise one wrongly if it is one operation.
            "tf_trt": atrous convolutions as one operation, resizing with align_corners: what TF-TRT converts.
            "litert": atrous convolutions as one operation, resizing of quantized tensors in float and rounded.
        ranges: largest magnitude by tensor; those tensors are fake-quantized as in TensorRT: symmetric, 255 levels,
            scale = range / 127.
    """
    tensors: Tensors = {}
    quantizers = {name: _fake_quantize(limit) for name, limit in (ranges or {}).items()}
    for node in network.nodes:
        quantize = quantizers.get(node.name, _identity)
        # TensorRT needs a range for the padded input of an operation, too.
        around = quantizers.get(node.inputs[0], _identity) if node.inputs and target != "tensorflow" else _identity
        with tf.name_scope(node.name):
            if node.op == "input":
                tensors[node.name] = quantize(image)
            else:
                inputs = [tensors[name] for name in node.inputs]
                limit = (ranges or {}).get(node.name)
                made = _EMITTERS[node.op](node, *inputs, target=target, quantize=quantize, around=around, limit=limit)
                tensors[node.name] = quantize(made)
    return tensors


def frozen_graph(
    network: Network,
    size: tuple[int, int],
    *,
    target: str = "tensorflow",
    ranges: Mapping[str, float] | None = None,
    rewrite: Callable[[Network], Network] | None = None,
) -> tf.Graph:
    """Return the network as a graph of constants for one image of one size, from a placeholder `image` to its outputs.

    Image and labels are uint8.

    Args:
        network: with its head.
        size: height, width.
        target, ranges: see `run`.
        rewrite: called within the graph; returns the network to write, whose weights may be tensors of the graph.
    """
    graph = tf.Graph()
    with graph.as_default():
        network = rewrite(network) if rewrite else network
        image = tf.compat.v1.placeholder(tf.uint8, (1, *size, 3), name="image")
        tensors = run(network, tf.cast(image, tf.float32, name="image_float"), target=target, ranges=ranges)
        tf.identity(tensors[network.logits], name=LOGITS)
        for name, node in network.outputs.items():
            output = tf.cast(tensors[node], tf.uint8) if name == "labels" else tensors[node]
            tf.identity(output, name=_OUTPUT + name)
    return graph


def output_tensors(graph: tf.Graph) -> dict[str, tf.Tensor]:
    """Return the outputs of a graph from `frozen_graph`, by their names in `Network.outputs`."""
    made = [operation for operation in graph.get_operations() if operation.name.startswith(_OUTPUT)]
    return {operation.name.removeprefix(_OUTPUT): operation.outputs[0] for operation in made}


def write_saved_model(graph: tf.Graph, folder: str | Path) -> None:
    """Write a frozen graph as a SavedModel with one signature: the same bytes for the same graph.

    `tf.saved_model.save` would number its functions anew every time and add what TensorFlow 2.6 cannot read.
    """
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    meta.graph_def.CopyFrom(graph.as_graph_def())
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    ends = [(signature.inputs, "image", graph.get_tensor_by_name("image:0"))]
    ends += [(signature.outputs, name, tensor) for name, tensor in output_tensors(graph).items()]
    for infos, key, tensor in ends:
        infos[key].name, infos[key].dtype = tensor.name, tensor.dtype.as_datatype_enum
        infos[key].tensor_shape.CopyFrom(tensor.shape.as_proto())
    os.makedirs(folder)
    Path(folder, "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))


def _identity(x):
    return x


def _fake_quantize(limit: float) -> Callable:
    return partial(tf.quantization.fake_quant_with_min_max_args, min=-limit, max=limit, num_bits=8, narrow_range=True)


def _affine(node, x, **_):
    if "scale" in node.weights:
        x = x * node.weights["scale"]
    return x + node.weights["shift"]


def _hard_sigmoid(x):
    return tf.nn.relu6(x + 3.0) * (1 / 6)


def _convolution(node: Node, x, *, target, around, **_):
    x, padding = _padded(x, node, around)
    kernel, stride, rate = node.weights["kernel"], node.attributes["stride"], node.attributes["rate"]
    native, depthwise = rate == 1 or target != "tensorflow", node.op == "depthwise"
    if native and depthwise:
        sides = {"strides": [1, stride, stride, 1], "dilations": [1, rate, rate, 1]}
        x = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, padding=padding, **sides)
    elif native:
        x = tf.nn.conv2d(x, kernel, stride, padding, dilations=rate)
    elif depthwise:
        x = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], padding, dilations=[rate, rate])
    else:
        x = tf.nn.convolution(x, kernel, 1, padding, dilations=rate)
    return tf.nn.bias_add(x, node.weights["bias"])


def _padded(x, node, around):
    padding = node.attributes["padding"]
    if padding == "same":
        return x, "SAME"
    if np.any(padding):
        x = around(tf.pad(x, [(0, 0), *padding, (0, 0)]))
    return x, "VALID"


def _max_pool(node, x, *, around, **_):
    x, padding = _padded(x, node, around)
    return tf.nn.max_pool2d(x, node.attributes["size"], node.attributes["stride"], padding)


def _avg_pool(node, x, **_):
    padding = "SAME" if node.attributes["padding"] == "same" else "VALID"
    return tf.nn.avg_pool2d(x, node.attributes["size"], node.attributes["stride"], padding)


def _upsample(node, x, reference=None, *, target, quantize, limit, **_):
    """Compute `models.custom_layers.Upsample`; all parts have the range of its result."""
    factor = node.attributes["factor"]
    if target == "litert" and limit is not None:
        # LiteRT's INT8 resizing rounds halves upward, and its quantization multiplies by the rounded reciprocal of the
        # scale. Whole steps give ONNX Runtime's values.
        scale = limit / 127
        return scale * tf.round(upsample(tf.round(x * (1 / scale)), reference, factor))
    if target != "tf_trt":
        return upsample(x, reference, factor)
    sides = x.shape[1:3]
    x = quantize(tf.concat([x, quantize(x[:, -1:])], axis=1))
    x = quantize(tf.concat([x, quantize(x[:, :, -1:])], axis=2))
    size = [factor * (side - 1) + 1 for side in x.shape[1:3]]
    x = quantize(tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True))
    height, width = (factor * side for side in sides) if reference is None else reference.shape[1:3]
    return x if x.shape[1:3] == (height, width) else x[:, :height, :width]


def _layer_norm(node, x, **_):
    centered = x - tf.reduce_mean(x, 3, keepdims=True)
    variance = tf.reduce_mean(centered * centered, 3, keepdims=True)
    x = centered * tf.math.rsqrt(variance + node.attributes["epsilon"])
    return x * node.weights["scale"] + node.weights["shift"]


def _position(node, x, **_):
    return x + resized_embedding(node.weights["embedding"], x.shape[1:3])[None]


_EMITTERS: dict[str, Callable[..., tf.Tensor]] = {
    "affine": _affine,
    "conv": _convolution,
    "depthwise": _convolution,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "relu": lambda node, x, **_: tf.nn.relu(x),
    "relu6": lambda node, x, **_: tf.nn.relu6(x),
    "sigmoid": lambda node, x, **_: tf.sigmoid(x),
    "hard_sigmoid": lambda node, x, **_: _hard_sigmoid(x),
    "hard_swish": lambda node, x, **_: x * _hard_sigmoid(x),
    "add": lambda node, a, b, **_: a + b,
    "multiply": lambda node, a, b, **_: a * b,
    "concat": lambda node, *parts, **_: tf.concat(parts, axis=3),
    "mean": lambda node, x, **_: tf.reduce_mean(x, axis=(1, 2), keepdims=True),
    "upsample": _upsample,
    "linear_attention": lambda node, x, **_: linear_attention(x, node.attributes["dim"]),
    "attention": lambda node, x, **_: global_attention(x, node.attributes["heads"]),
    "window_attention": lambda node, x, **_: window_attention(x, **node.weights, **node.attributes),
    "layer_norm": _layer_norm,
    "gelu": lambda node, x, **_: tf.nn.gelu(x),
    "position": _position,
    "space_to_depth": lambda node, x, **_: space_to_depth(x, node.attributes["before"]),
    "argmax": lambda node, x, **_: tf.argmax(x, axis=3, output_type=tf.int32),
}
