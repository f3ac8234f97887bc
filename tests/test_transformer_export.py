"""INT8 rules of a Transformer's operations, on small graphs: what is quantized around them, and that all exports of
the plan are one network."""

import numpy as np
import pytest
import tensorflow as tf
from exports import largest, run_onnx
from test_quantize import conv

from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.nodes import Network, Node

SIZE = (12, 20)


def between(rng, node, channels=8):
    """image -> first -> the node -> logits."""
    reads = {"attention": 8, "window_attention": 8, "space_to_depth": 32}.get(node.op, channels)
    return Network((*begin(rng, channels), node, *end(rng, node, reads)))


def begin(rng, channels):
    weights = {"scale": np.full(3, 0.01, np.float32), "shift": np.full(3, -1.28, np.float32)}
    centered = Node("centered", "affine", ("image",), {}, weights)
    return Node("image", "input"), centered, conv("first", "centered", rng, 3, channels)


def end(rng, node, channels):
    factor = 2 if node.op == "space_to_depth" else 1
    upsample = Node("logits", "upsample", ("logits_conv", "image"), {"factor": factor})
    return conv("logits_conv", node.name, rng, channels, 4, 1), upsample


def values(rng, *shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def exports_of(network, rng):
    """Its plan, one where `first` reaches eight times as far, and the relative differences of TensorFlow's and
    TensorRT's INT8 network from float, and of the CPU's from TensorRT's."""
    frames = rng.integers(0, 256, (2, *SIZE, 3)).astype(np.float32)
    floats, measured = onnx_model.onnx_model(network, SIZE), largest(network, frames)
    plan, wider = (quantize.make_plan(network, {**measured, "first": times * measured["first"]}) for times in (1, 8))
    image = frames[:1]
    expected = graph.run(network, tf.constant(image))["logits"].numpy()
    fake = graph.run(quantize.with_quantized_weights(network, plan), tf.constant(image), ranges=plan.all_ranges)
    trt, cpu = (run_onnx(write(floats, network, plan), image) for write in (qdq.for_tensorrt, qdq.for_cpu))
    spread = expected.std()
    return (
        plan,
        wider,
        *(
            np.sqrt(np.mean((a - b) ** 2)) / spread
            for a, b in ((fake["logits"], expected), (trt, expected), (cpu, trt))
        ),
    )


@pytest.mark.parametrize(
    "node, channels",
    [
        (Node("node", "gelu", ("first",)), 8),
        (Node("node", "attention", ("first",), {"heads": 2}), 24),
        (Node("node", "window_attention", ("first",), {"heads": 2, "window": 4, "shift": 2}), 24),
        (Node("node", "space_to_depth", ("first",), {"before": 1}), 8),
    ],
    ids=lambda value: value.op if isinstance(value, Node) else "",
)
def test_a_convolution_before_ends_in_int8(rng, node, channels):
    """Input and result are quantized; within, everything stays float. What only moves values keeps their scale."""
    if node.op == "window_attention":
        node = node._replace(weights={"bias": values(rng, 24), "relative_bias": values(rng, 49, 2)})
    plan, wider, tensorflow, tensorrt, apart = exports_of(between(rng, node, channels), rng)
    assert set(plan.ranges) == {"centered", "first", "node"} and not plan.branches and not plan.excluded
    assert (wider.ranges["node"] > plan.ranges["node"]) == (node.op == "space_to_depth")
    assert 1e-3 < tensorflow < 0.1 and 1e-3 < tensorrt < 0.1 and apart < 0.02


def test_a_layer_normalization_reads_the_float_sum(rng):
    """Of first + own, and of the embedding added to it, nothing is rounded by TensorRT; on a CPU both convolutions end
    in INT8, each with a range of its own."""
    norm = {"scale": values(rng, 8), "shift": values(rng, 8)}
    network = Network(
        (
            *begin(rng, 8),
            Node("located", "position", ("first",), {}, {"embedding": values(rng, 3, 5, 8)}),
            Node("norm_1", "layer_norm", ("located",), {"epsilon": 1e-6}, norm),
            conv("own", "norm_1", rng, 8, 8, 1),
            Node("sum", "add", ("located", "own")),
            Node("norm_2", "layer_norm", ("sum",), {"epsilon": 1e-6}, norm),
            *end(rng, Node("norm_2", "layer_norm"), 8),
        )
    )
    plan, wider, tensorflow, tensorrt, apart = exports_of(network, rng)
    assert set(plan.ranges) == {"centered", "norm_1", "norm_2"} and set(plan.branches) == {"first", "own"}
    assert wider.branches["first"] > plan.branches["first"] and wider.branches["own"] == plan.branches["own"]
    assert 1e-3 < tensorrt < tensorflow < 0.1 and 1e-4 < apart < 0.1  # only TensorRT's is not rounded before the sum
