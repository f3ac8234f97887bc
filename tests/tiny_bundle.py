"""Bundles of a network of one convolution, written by hand: what the runtimes' tests run."""

import json

import numpy as np

from deeplab_tf.core.bundle import new_bundle, open_bundle, seal

SIZE = (6, 8)
CLASSES = 3
STRIDE = 2

WEIGHTS = (
    np.random.default_rng(5).normal(0, 1, (CLASSES, 3, STRIDE, STRIDE)).astype(np.float32)
)  # output, input, height, width
INFO = {
    "classes": [{"name": name, "color": [i, i, i]} for i, name in enumerate("abc")],
    "size": list(SIZE),
    "label_stride": STRIDE,
    "output": "labels",
    "precision": ["float32", "int8"],
}


def make_weights(seed, stride=STRIDE):
    """(output, input, height, width) of the convolution; its stride is the label stride."""
    return np.random.default_rng(seed).normal(0, 1, (CLASSES, 3, stride, stride)).astype(np.float32)


def expected_scores(frame, weights=WEIGHTS):
    """(H/s, W/s, C): the convolution as a sum over its windows, in float64."""
    stride = weights.shape[-1]
    height, width = frame.shape[0] // stride, frame.shape[1] // stride
    windows = frame.reshape(height, stride, width, stride, 3).astype(np.float64)
    return np.einsum("yaxbi,oiab->yxo", windows, weights)


def frame(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, size + (3,)).astype(np.uint8)


def onnx_model(output="labels", *, quantized=None, weights=WEIGHTS, size=SIZE):
    """The bytes of the ONNX file; `quantized` is None, "int8" or "uint8", the type of the image's Q/DQ pair."""
    from onnx import TensorProto, helper, numpy_helper

    stride = weights.shape[-1]
    height, width = size[0] // stride, size[1] // stride
    constants, nodes, image = [numpy_helper.from_array(weights, "weights")], [], "image"
    if quantized:
        kind = {"int8": np.int8, "uint8": np.uint8}[quantized]
        constants.append(numpy_helper.from_array(np.float32(255 / np.iinfo(kind).max), "scale"))
        constants.append(numpy_helper.from_array(np.zeros((), kind), "zero"))
        nodes.append(helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["stored"]))
        nodes.append(helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["back"]))
        image = "back"
    nodes.append(helper.make_node("Transpose", [image], ["planes"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Conv", ["planes", "weights"], ["scores"], strides=[stride, stride]))
    if output == "labels":
        nodes.append(helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0))
        nodes.append(helper.make_node("Cast", ["best"], ["labels"], to=TensorProto.INT32))
        given = helper.make_tensor_value_info("labels", TensorProto.INT32, [1, height, width])
    else:
        nodes.append(helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]))
        given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, height, width, CLASSES])
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *size, 3])
    graph = helper.make_graph(nodes, "tiny", [taken], [given], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def write_saved_model(folder, output="labels", *, quantized=False, weights=WEIGHTS, size=SIZE):
    """`quantized`: with the ranges of the image and of the scores in fake-quantize nodes."""
    import tensorflow as tf

    kernel = tf.constant(weights.transpose(2, 3, 1, 0))

    @tf.function(input_signature=[tf.TensorSpec((1, *size, 3), tf.uint8, "image")])
    def serve(image):
        pixels = tf.cast(image, tf.float32)
        pixels = (
            tf.quantization.fake_quant_with_min_max_vars(pixels, -255.0, 255.0, narrow_range=True)
            if quantized
            else pixels
        )
        scores = tf.nn.conv2d(pixels, kernel, weights.shape[-1], "VALID")
        scores = (
            tf.quantization.fake_quant_with_min_max_vars(scores, -4e3, 4e3, narrow_range=True) if quantized else scores
        )
        return (
            {"labels": tf.cast(tf.argmax(scores, -1, tf.int32), tf.uint8)} if output == "labels" else {"logits": scores}
        )

    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def write_bundle(path, output="labels", *, saved_model=False, seed=None, size=SIZE, stride=STRIDE):
    """Writes and opens a bundle; `seed` gives it other weights."""
    weights = WEIGHTS if seed is None and stride == STRIDE else make_weights(seed, stride)
    with new_bundle(path) as part:
        for name, quantized in (("model.onnx", None), ("model_int8.onnx", "int8"), ("model_int8_cpu.onnx", "uint8")):
            with open(part + "/" + name, "wb") as file:
                file.write(onnx_model(output, quantized=quantized, weights=weights, size=size))
        with open(part + "/calibration.cache", "wb") as file:
            file.write(b"TRT-8201-EntropyCalibration2\nimage: 40008081\n")
        if saved_model:
            for name in ("saved_model", "tf_trt/float", "tf_trt/int8"):
                write_saved_model(
                    part + "/" + name, output, quantized=name.endswith("int8"), weights=weights, size=size
                )
        seal(part, dict(INFO, output=output, size=list(size), label_stride=stride))
    return open_bundle(path)


def rewrite_info(path, **changes):
    """Changes bundle.json in place."""
    place = str(path) + "/bundle.json"
    with open(place, encoding="utf-8") as file:
        info = json.load(file)
    seal(str(path), {**info, **changes})
