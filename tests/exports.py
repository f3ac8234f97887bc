"""What every network of the folder must do on every path to a device: one check for the test of each."""

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from deeplab_tf.deploy.budget.workload import macs
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.models.encoder import in_backbone
from deeplab_tf.lab.models.registry import load_network


def make(randomize, make_images, name, size=(65, 97), classes=5, **options):
    """A network with random weights everywhere, its logits of a size that can be compared."""
    keras.utils.set_random_seed(0)
    model = load_network(name)(classes, **options)
    for layer in model.layers:
        if layer.name.startswith("logits") and layer.weights:
            layer.set_weights([np.random.default_rng(6).normal(0, 0.3, w.shape) for w in layer.weights])
    randomize_transformer(model)
    return randomize(model, make_images(np.random.default_rng(7), 2, *size))


def randomize_transformer(model, seed=8):
    """Give a Transformer weights like a trained one's: kernels that keep the size of what they read, attention that
    differs from position to position, and no bias, scale or embedding as it begins."""
    rng = np.random.default_rng(seed)
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.LayerNormalization)]
    if not norms:
        return
    for layer in model.layers:
        if not in_backbone(layer.name) or hasattr(layer, "moving_mean"):
            continue
        for weight in layer.weights:
            spread = 1.5 * np.prod(weight.shape[:-1]) ** -0.5 if weight.name == "kernel" else 0.5
            around = float(weight.name == "gamma")
            weight.assign(rng.normal(around, spread, weight.shape))


def run_onnx(model, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"image": image})[0]


def largest(network, frames):
    """The min-max range of every tensor."""
    tensors = graph.run(network, tf.constant(frames.astype(np.float32)))
    return {name: float(tf.reduce_max(tf.abs(tensor))) for name, tensor in tensors.items()}


def check_exports(model, frames, *, int8_error=0.15):
    """Compare every export of a network with Keras on the first of some frames (B, H, W, 3), and count its operations.

    The INT8 networks are measured by their error, as a share of the standard deviation of the logits.
    """
    size, image = frames.shape[1:3], frames[:1].astype(np.float32)
    expected = model(image, training=False)["logits"].numpy()
    assert expected.std() > 0.01
    head = with_head(read_network(model), output="logits")
    tolerance = {"rtol": 0, "atol": 1e-4 * np.abs(expected).max()}
    for target in ("tensorflow", "tf_trt"):
        np.testing.assert_allclose(
            graph.run(head, tf.constant(image), target=target)[head.logits], expected, **tolerance, err_msg=target
        )
    floats = onnx_model.onnx_model(head, size)
    np.testing.assert_allclose(run_onnx(floats, image), expected, **tolerance)
    assert macs(network_layers(head, size)) == multiply_adds(floats)
    measured = largest(head, frames)
    plan = quantize.make_plan(head, measured)
    cache = qdq.tensor_ranges(floats, {**measured, **plan.all_ranges})
    assert plan.all_ranges.items() <= cache.items() and all(np.isfinite(limit) for limit in cache.values())
    fake = graph.run(quantize.with_quantized_weights(head, plan), tf.constant(image), ranges=plan.all_ranges)
    trt, cpu = (run_onnx(write(floats, head, plan), image) for write in (qdq.for_tensorrt, qdq.for_cpu))
    for name, result in (("TensorRT", trt), ("CPU", cpu), ("TensorFlow", fake[head.logits].numpy())):
        error = np.sqrt(np.mean((result - expected) ** 2)) / expected.std()
        assert 1e-4 < error < int8_error, f"{name}: {error}"
    apart = np.sqrt(np.mean((cpu - trt) ** 2)) / expected.std()
    assert apart < int8_error / 2, f"{apart}: they round a half differently, and no more"


def multiply_adds(model):
    """Multiply-adds of the convolutions and matrix products of an ONNX model, from its own shapes."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    kernels = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    nodes = [node for node in inferred.node if node.op_type == "Conv"]
    counted = sum(int(np.prod(shapes[n.output[0]])) * int(np.prod(kernels[n.input[1]][1:])) for n in nodes)
    products = [node for node in inferred.node if node.op_type == "MatMul"]
    return counted + sum(int(np.prod(shapes[n.output[0]])) * shapes[n.input[0]][-1] for n in products)


def check_shift(build, stride, *, margin=96):
    """Shift an image by a network's stride: at `margin` pixels from the borders, to where padding reaches, its logits
    shift along."""
    side = 2 * margin + 4 * stride
    model, image = build(), np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.float32)
    shifted = np.roll(image, stride, axis=(1, 2))
    first, second = (model(each, training=False)["logits"].numpy()[0] for each in (image, shifted))
    inner = slice(margin, -margin - stride)
    moved = slice(margin + stride, -margin)
    assert first[inner, inner].std() > 0
    np.testing.assert_allclose(second[moved, moved], first[inner, inner], rtol=0, atol=1e-5 * np.abs(first).max())
    assert np.abs(second[inner, inner] - first[inner, inner]).max() > 1e-3 * np.abs(first).max()
