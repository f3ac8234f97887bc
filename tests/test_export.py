"""A trained network as nodes, as frozen TensorFlow graphs and as ONNX: each computes the same as Keras."""

import json
import os
import subprocess

import exports
import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from environments import python36

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import graph, onnx_model
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import Network, Node
from deeplab_tf.lab.models.deeplab_v3_plus import deeplab_v3_plus

CLASSES = 5
SIZES = [(64, 96), (97, 163)]


def make(randomize, make_images, separable):
    keras.utils.set_random_seed(0)
    sizes = {"width": 0.125, "aspp_channels": 24, "decoder_channels": 32, "low_level_channels": 16}
    model = deeplab_v3_plus(CLASSES, separable=separable, auxiliary=True, **sizes)
    layer = model.get_layer("logits_conv")
    layer.set_weights([np.random.default_rng(6).normal(0, 0.3, w.shape).astype(np.float32) for w in layer.weights])
    return randomize(model, make_images(np.random.default_rng(7), 2, 96, 96))


@pytest.fixture(scope="module", params=["separable", "dense"])
def model(request, randomize, make_images):
    return make(randomize, make_images, request.param == "separable")


@pytest.fixture(scope="module")
def network(model):
    return read_network(model)


def compute(network, image, **options):
    return tf.function(lambda x: graph.run(network, x, **options)[network.output], jit_compile=False)(
        tf.constant(image)
    ).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_nodes_equal_keras(model, network, make_images, rng, size):
    image = make_images(rng, 1, *size)
    expected = model(image)["logits"].numpy()
    for target in ("tensorflow", "tf_trt"):
        depthwise = any(node.op == "depthwise" for node in network.nodes)
        if target != "tf_trt" or not depthwise:  # TensorFlow cannot run what TF-TRT converts
            np.testing.assert_allclose(compute(network, image, target=target), expected, atol=1e-3)


def test_everything_is_folded(network):
    """Of 69 batch normalizations and the image's, only the subtraction of the image's mean stays."""
    affine = [node for node in network.nodes if node.op == "affine"]
    assert [node.name for node in affine] == ["normalization"] and "scale" not in affine[0].weights
    np.testing.assert_allclose(affine[0].weights["shift"], [-123.68, -116.779, -103.939], rtol=1e-6)
    assert not {node.op for node in network.nodes} & {"pad"}
    assert not [node.name for node in network.nodes if "auxiliary" in node.name or "dropout" in node.name]


def test_strided_labels_are_every_nth_label(network, make_images, rng):
    image = make_images(rng, 1, 64, 96)
    full = compute(with_head(network), image)
    for stride in (4, 8):
        np.testing.assert_array_equal(
            compute(with_head(network, label_stride=stride), image), full[:, ::stride, ::stride]
        )
    with pytest.raises(DeepLabError, match="1, 4 or 8. Got 2"):
        with_head(network, label_stride=2)


def test_unknown_layer_is_named():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.UpSampling2D(2, name="odd_one")(keras.layers.Conv2D(2, 1)(image))
    with pytest.raises(DeepLabError, match="odd_one is a UpSampling2D"):
        read_network(keras.Model(image, {"logits": x}))


def test_saved_model_is_reproducible_and_equals_keras(model, network, make_images, rng, tmp_path):
    head = with_head(network)
    for name in ("a", "b"):
        graph.write_saved_model(graph.frozen_graph(head, (97, 163)), tmp_path / name)
    assert (tmp_path / "a/saved_model.pb").read_bytes() == (tmp_path / "b/saved_model.pb").read_bytes()
    frame = make_images(rng, 1, 97, 163).astype(np.uint8)
    labels = tf.saved_model.load(str(tmp_path / "a")).signatures["serving_default"](image=tf.constant(frame))["labels"]
    assert labels.dtype == tf.uint8
    assert np.mean(labels.numpy() == model(frame.astype(np.float32))["logits"].numpy().argmax(-1)) >= 0.9999


@pytest.mark.parametrize("size", SIZES)
def test_onnx_equals_keras(model, network, make_images, rng, size):
    head = with_head(network, output="logits")
    made = onnx_model.onnx_model(head, size)
    assert [entry.version for entry in made.opset_import if not entry.domain] == [13]
    frame = make_images(rng, 1, *size)
    got = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"image": frame})[0]
    np.testing.assert_allclose(got, model(frame)["logits"], atol=1e-3)


def test_onnx_equals_tf2onnx(network, make_images, rng):
    """Against an independent converter: tf2onnx reads the frozen TensorFlow graph, not our nodes."""
    import tf2onnx

    head = with_head(network, output="logits")
    frozen = graph.frozen_graph(head, (64, 96))
    outputs = [tensor.name for tensor in graph.output_tensors(frozen).values()]
    theirs, _ = tf2onnx.convert.from_graph_def(
        frozen.as_graph_def(), input_names=["image:0"], output_names=outputs, opset=onnx_model.OPSET
    )
    frame = make_images(rng, 1, 64, 96).round().astype(np.uint8)
    ours = onnx_model.onnx_model(head, (64, 96))
    got = onnxruntime.InferenceSession(ours.SerializeToString()).run(None, {"image": frame.astype(np.float32)})[0]
    session = onnxruntime.InferenceSession(theirs.SerializeToString())
    expected = session.run(None, {session.get_inputs()[0].name: frame})[0]
    np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())


TENSORRT_8_2 = {
    *("Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Conv", "GlobalAveragePool", "HardSigmoid", "MaxPool"),
    *("Mul", "Relu", "Resize", "Sigmoid", "Slice", "Transpose"),
    *("Div", "Erf", "MatMul", "Pad", "ReduceMean", "ReduceSum", "Reshape", "Softmax", "SpaceToDepth", "Sqrt", "Sub"),
}
"""Of the operators that onnx-tensorrt supports for TensorRT 8.2."""


def test_onnx_is_reproducible_and_has_the_names_of_the_nodes(network):
    head = with_head(network)
    first, second = (onnx_model.onnx_model(head, (64, 96)) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    made = {output for node in first.graph.node for output in node.output}
    assert {node.name for node in head.nodes} - made == {"image"}
    kinds = [node.op_type for node in first.graph.node]
    assert kinds.count("Transpose") == 1 and set(kinds) <= TENSORRT_8_2 - {"Slice", "Reshape", "MatMul", "Pad"}


def every_node():
    """A network of all operations, with padding "same" and explicit, and upsampling that is cropped."""
    rng = np.random.default_rng(4)

    def conv(name, source, shape, op="conv", **attributes):
        weights = {"kernel": rng.normal(0, 0.4, shape).astype(np.float32), "bias": rng.normal(0, 0.3, 4)}
        weights["bias"] = weights["bias"].astype(np.float32)
        return Node(name, op, (source,), {"stride": 1, "rate": 1, "padding": "same", **attributes}, weights)

    explicit = {"stride": 2, "padding": ((2, 1), (1, 2))}

    def qkv(name, source):
        made = conv(name, source, (1, 1, 4, 12))
        made.weights["bias"] = rng.normal(0, 0.3, 12).astype(np.float32)
        return made

    def values(*shape):
        return rng.normal(0, 1, shape).astype(np.float32)

    windows = {"heads": 2, "window": 2}
    table = {"bias": values(12), "relative_bias": values(9, 2)}
    scale = {"scale": np.full(3, 0.02, np.float32), "shift": np.array([-1, 0, 1], np.float32)}
    return Network(
        (
            Node("image", "input"),
            Node("normalized", "affine", ("image",), {}, scale),
            conv("first", "normalized", (5, 5, 3, 4), **explicit),
            Node("first_out", "hard_swish", ("first",)),
            Node("max", "max_pool", ("first_out",), {"size": 3, "stride": 2, "padding": "same"}),
            Node("average", "avg_pool", ("max",), {"size": 2, "stride": 1, "padding": "same"}),
            conv("depthwise", "average", (3, 3, 4, 1), "depthwise", rate=2),
            Node("depthwise_out", "relu6", ("depthwise",)),
            Node("mean", "mean", ("depthwise_out",)),
            Node("hard", "hard_sigmoid", ("mean",)),
            Node("gated", "multiply", ("depthwise_out", "hard")),
            Node("shifted", "affine", ("gated",), {}, {"shift": np.arange(4, dtype=np.float32)}),
            Node("sigmoid", "sigmoid", ("shifted",)),
            Node("sum", "add", ("sigmoid", "max")),
            Node("relu", "relu", ("sum",)),
            qkv("tokens", "average"),
            Node("attended", "linear_attention", ("tokens",), {"dim": 2}),  # two heads
            Node("normed", "layer_norm", ("attended",), {"epsilon": 1e-5}, {"scale": values(4), "shift": values(4)}),
            qkv("windows_qkv", "normed"),
            Node("windows", "window_attention", ("windows_qkv",), {**windows, "shift": 0}, table),
            qkv("shifted_qkv", "windows"),
            Node("moved", "window_attention", ("shifted_qkv",), {**windows, "shift": 1}, table),
            qkv("global_qkv", "moved"),
            Node("global", "attention", ("global_qkv",), {"heads": 2}),
            Node("gelu", "gelu", ("global",)),
            Node("located", "position", ("gelu",), {}, {"embedding": values(3, 2, 4)}),
            Node("both", "concat", ("relu", "located")),
            Node("large", "upsample", ("both", "first"), {"factor": 2}),
            Node("stacked", "space_to_depth", ("large",), {"before": 1}),
            conv("logits_conv", "stacked", (1, 1, 32, 4)),
            Node("logits", "upsample", ("logits_conv", "image"), {"factor": 4}),
        )
    )


@pytest.mark.parametrize("output", ["logits", "labels"])
@pytest.mark.parametrize("size", [(16, 24), (27, 35)])
def test_every_operation_is_the_same_in_onnx_and_tensorflow(rng, size, output):
    network = every_node()
    if output == "labels":
        network = Network((*network.nodes, Node("labels", "argmax", ("logits",))))
    image = rng.uniform(0, 255, (1, *size, 3)).astype(np.float32)
    made = onnx_model.onnx_model(network, size)
    assert {node.op_type for node in made.graph.node} <= TENSORRT_8_2
    got = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"image": image})[0]
    expected = compute(network, image)
    if output == "labels":
        assert got.dtype == np.int32 and np.mean(got == expected) > 0.999
    else:
        np.testing.assert_allclose(got, expected, atol=1e-4)


IN_TENSORFLOW_2_6 = """
import json, sys
import numpy as np, tensorflow as tf
folder = sys.argv[1]
cases = json.load(open(folder + "/cases.json"))
for name in cases:
    loaded = tf.saved_model.load(folder + "/" + name)
    frame = np.load(folder + "/" + name + ".npy")
    logits = loaded.prune("image:0", "scores:0")(tf.constant(frame)).numpy()
    labels = loaded.signatures["serving_default"](image=tf.constant(frame))["labels"].numpy()
    np.savez(folder + "/" + name + ".npz", logits=logits, labels=labels)
print(tf.__version__)
"""


def check_tensorflow_2_6(folder, tested, make_images, rng):
    """Compare logits and labels of networks, given by size of image, with their frozen graphs in TensorFlow 2.6."""
    python = python36()
    cases = {}
    for size, model in tested.items():
        name = f"{size[0]}x{size[1]}"
        graph.write_saved_model(graph.frozen_graph(with_head(read_network(model)), size), folder / name)
        cases[name] = make_images(rng, 1, *size).astype(np.uint8)
        np.save(folder / f"{name}.npy", cases[name])
    (folder / "cases.json").write_text(json.dumps(list(cases)))
    run = subprocess.run(
        [python, "-c", IN_TENSORFLOW_2_6, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "LANG": "C.UTF-8"},
    )
    assert run.returncode == 0, run.stdout.decode()
    assert run.stdout.decode().strip().endswith("2.6.2")
    for (name, frame), model in zip(cases.items(), tested.values()):
        expected = model(frame.astype(np.float32), training=False)["logits"].numpy()
        got = np.load(folder / f"{name}.npz")
        assert np.abs(got["logits"] - expected).max() <= 1e-3
        assert np.mean(got["labels"] == expected.argmax(-1)) >= 0.9999


def test_tensorflow_2_6_on_python_3_6_equals_keras(model, make_images, rng, tmp_path):
    """Frozen, with dilation as SpaceToBatch, at even and odd sizes and at 360x480; logits and labels."""
    check_tensorflow_2_6(tmp_path, {(64, 96): model, (97, 163): model, (360, 480): model}, make_images, rng)


def test_tensorflow_2_6_computes_attention(randomize, make_images, rng, tmp_path):
    python36()
    networks = [("efficientvit", {})]
    for name, stride in (("swin_tiny", 32), ("vit_tiny", 16)):
        options = {"backbone": name, "output_stride": stride, "width": 0.125, "head_channels": 8}
        networks.append(("fcn", options))
    sizes = [(65, 97), (63, 99), (61, 95)]
    tested = {size: exports.make(randomize, make_images, name, **o) for size, (name, o) in zip(sizes, networks)}
    check_tensorflow_2_6(tmp_path, tested, make_images, rng)
