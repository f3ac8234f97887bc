"""Write a network as .tflite, for LiteRT: INT8 with the plan's ranges, or with float16 weights. Image and labels are
uint8.

TensorFlow's converter reads the ranges from fake-quantize nodes, of tensors and, per channel, of kernels. Nothing is
calibrated again: kernels and biases are those of every other INT8 export. What the plan has no range for, such as the
logits, stays float32.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import graph, quantize
from deeplab_tf.lab.export.nodes import Network, Node
from deeplab_tf.lab.export.quantize import LEVELS, Plan


def write_float16(network: Network, size: tuple[int, int], path: str | Path) -> None:
    """Write the network with float16 weights, which LiteRT computes with in float32 or, where that is fast, float16.

    Args:
        network: with its head.
        size: height, width.
    """
    made = graph.frozen_graph(network, size, target="tf_trt")
    Path(path).write_bytes(_converted(made, network, size, float16=True))


def write_int8(network: Network, size: tuple[int, int], plan: Plan, path: str | Path) -> None:
    """Write the INT8 network of a plan."""

    def with_fake_quantized_kernels(network: Network) -> Network:
        nodes = network.nodes
        return network.with_nodes(
            _with_fake_quantized_kernel(node, plan) if quantize.is_quantized(node, plan) else node for node in nodes
        )

    quantized = quantize.with_quantized_weights(network, plan)
    made = graph.frozen_graph(
        quantized, size, target="litert", ranges=plan.all_ranges, rewrite=with_fake_quantized_kernels
    )
    Path(path).write_bytes(_converted(made, network, size))


def _with_fake_quantized_kernel(node: Node, plan: Plan) -> Node:
    """Return a convolution whose kernel is a tensor of the current graph with a range for each channel."""
    kernel = np.asarray(node.weights["kernel"])
    _, scale = quantize.quantized_kernel(node, plan)
    limit = (LEVELS * scale).astype(np.float32)
    last = kernel[..., 0] if node.op == "depthwise" else kernel  # the channels come last
    ranged = tf.quantization.fake_quant_with_min_max_vars_per_channel(last, -limit, limit, narrow_range=True)
    return node._replace(weights={**node.weights, "kernel": tf.reshape(ranged, kernel.shape)})


def _converter(made, network, size, float16):
    outputs = graph.output_tensors(made)
    names = [outputs[name].name for name in network.outputs]

    def serve(image):
        return tf.graph_util.import_graph_def(made.as_graph_def(), {"image:0": image}, names, name="")

    image = tf.TensorSpec((1, *size, 3), tf.uint8, "image")
    function = tf.compat.v1.wrap_function(serve, [image])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if float16:
        converter.target_spec.supported_types = [tf.float16]
    return converter


def _converted(made: tf.Graph, network: Network, size, *, float16: bool = False) -> bytes:
    with _quiet() as said:
        try:
            return _converter(made, network, size, float16).convert()
        except Exception as error:  # its errors have no common class of their own
            reason = (str(error).splitlines() or said.read_text(errors="replace").splitlines() or ["no reason"])[0]
            raise DeepLabError(f"TensorFlow cannot write this network as .tflite: {reason}") from error


@contextmanager
def _quiet() -> Iterator[Path]:
    """Keep what the converter's C++ writes to standard error, whatever the log level, in a file; hide its warnings."""
    logger = logging.getLogger("absl")
    before, level = os.dup(2), logger.level
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "stderr")
        try:
            logger.setLevel(logging.ERROR)
            with open(path, "wb") as file:
                os.dup2(file.fileno(), 2)
                yield path
        finally:
            logger.setLevel(level)
            os.dup2(before, 2)
            os.close(before)
