"""A trained network as nodes, as frozen TensorFlow graphs and as ONNX: each computes what Keras computes."""

import json
import os
import subprocess

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from environments import python36

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import graph, onnx_model
from deeplab_tf.lab.export.network import read_network, with_head
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
def test_folded_nodes_compute_what_keras_computes(model, network, make_images, rng, size):
    image = make_images(rng, 1, *size)
    expected = model(image)["logits"].numpy()
    for target in ("tensorflow", "onnx", "tf_trt"):
        if target != "tf_trt" or not any(
            node.op == "depthwise" for node in network.nodes
        ):  # TensorFlow itself refuses what TF-TRT takes
            np.testing.assert_allclose(compute(network, image, target=target), expected, atol=1e-3)


def test_nothing_is_left_to_fold(network):
    """Of 69 batch normalisations and the image's, only the subtraction of the image's mean stays; what trains only is
    gone."""
    affine = [node for node in network.nodes if node.op == "affine"]
    assert [node.name for node in affine] == ["normalization"] and "scale" not in affine[0].weights
    np.testing.assert_allclose(affine[0].weights["shift"], [-123.68, -116.779, -103.939], rtol=1e-6)
    assert not {node.op for node in network.nodes} & {"pad"}
    assert not [node.name for node in network.nodes if "auxiliary" in node.name or "dropout" in node.name]


def test_labels_at_a_stride_are_those_of_every_so_many_pixels(network, make_images, rng):
    image = make_images(rng, 1, 64, 96)
    full = compute(with_head(network), image)
    for stride in (4, 8):
        np.testing.assert_array_equal(
            compute(with_head(network, label_stride=stride), image), full[:, ::stride, ::stride]
        )
    with pytest.raises(DeepLabError, match="a stride of 1, 4 or 8. Got 2 instead"):
        with_head(network, label_stride=2)


def test_a_layer_that_cannot_be_exported_is_named():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.UpSampling2D(2, name="odd_one")(keras.layers.Conv2D(2, 1)(image))
    with pytest.raises(DeepLabError, match="odd_one is a UpSampling2D, which cannot be exported"):
        read_network(keras.Model(image, {"logits": x}))


def test_saved_model_is_the_same_bytes_every_time_and_gives_keras_labels(model, network, make_images, rng, tmp_path):
    head = with_head(network)
    for name in ("a", "b"):
        graph.write_saved_model(graph.frozen_graph(head, (97, 163)), tmp_path / name)
    assert (tmp_path / "a/saved_model.pb").read_bytes() == (tmp_path / "b/saved_model.pb").read_bytes()
    frame = make_images(rng, 1, 97, 163).astype(np.uint8)
    labels = tf.saved_model.load(str(tmp_path / "a")).signatures["serving_default"](image=tf.constant(frame))["labels"]
    assert labels.dtype == tf.uint8
    assert np.mean(labels.numpy() == model(frame.astype(np.float32))["logits"].numpy().argmax(-1)) >= 0.9999


@pytest.mark.parametrize("size", SIZES)
def test_onnx_computes_what_keras_computes(model, network, make_images, rng, size):
    head = with_head(network, output="logits")
    made = onnx_model.onnx_model(head, size)
    assert [entry.version for entry in made.opset_import if not entry.domain] == [13]
    frame = make_images(rng, 1, *size)
    got = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"image": frame})[0]
    np.testing.assert_allclose(got, model(frame)["logits"], atol=1e-3)


def test_onnx_has_the_networks_names_and_the_same_bytes_every_time(network):
    head = with_head(network)
    first, second = (onnx_model.onnx_model(head, (64, 96)) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    made = {output for node in first.graph.node for output in node.output}
    assert {node.name for node in head.nodes} - made == {"image"}
    kinds = [node.op_type for node in first.graph.node]
    assert kinds.count("Transpose") == 1 and not {
        "BatchNormalization",
        "Pad",
        "SpaceToDepth",
        "Reshape",
        "Slice",
    } & set(kinds)


def test_onnx_check_names_a_transpose_in_the_middle_and_a_foreign_operator():
    def wrong(op_type, **attributes):
        value = onnx.helper.make_tensor_value_info
        node = onnx.helper.make_node(op_type, ["a"], ["b"], "odd_one", **attributes)
        ends = onnx.helper.make_node("Relu", ["x"], ["a"], "in"), onnx.helper.make_node("Relu", ["b"], ["y"], "out")
        shape = [1, 2, 2, 1]
        made = onnx.helper.make_graph([ends[0], node, ends[1]], "g", [value("x", 1, shape)], [value("y", 1, shape)])
        return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)

    with pytest.raises(DeepLabError, match="odd_one"):
        onnx_model.check(wrong("Transpose", perm=[0, 2, 1, 3]))
    with pytest.raises(DeepLabError, match="HardSwish|Selu"):
        onnx_model.check(wrong("Selu"))


IN_TENSORFLOW_2_6 = """
import json, sys
import numpy as np, tensorflow as tf
folder = sys.argv[1]
cases = json.load(open(folder + "/cases.json"))
for name in cases:
    loaded = tf.saved_model.load(folder + "/" + name)
    frame = np.load(folder + "/" + name + ".npy")
    scores = loaded.prune("image:0", "scores:0")(tf.constant(frame)).numpy()
    labels = loaded.signatures["serving_default"](image=tf.constant(frame))["labels"].numpy()
    np.savez(folder + "/" + name + ".npz", scores=scores, labels=labels)
print(tf.__version__)
"""


def test_tensorflow_2_6_on_python_3_6_agrees_with_keras(model, network, make_images, rng, tmp_path):
    """Frozen, with dilation as SpaceToBatch, at even and odd sizes and at 360x480; class scores and labels."""
    python = python36()
    cases = {}
    for size in [(64, 96), (97, 163), (360, 480)]:
        name = "{}x{}".format(*size)
        graph.write_saved_model(graph.frozen_graph(with_head(network), size), tmp_path / name)
        cases[name] = make_images(rng, 1, *size).astype(np.uint8)
        np.save(tmp_path / f"{name}.npy", cases[name])
    (tmp_path / "cases.json").write_text(json.dumps(list(cases)))
    run = subprocess.run(
        [python, "-c", IN_TENSORFLOW_2_6, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "LANG": "C.UTF-8"},
    )
    assert run.returncode == 0, run.stdout.decode()
    assert run.stdout.decode().strip().endswith("2.6.2")
    for name, frame in cases.items():
        got, expected = np.load(tmp_path / f"{name}.npz"), model(frame.astype(np.float32))["logits"].numpy()
        assert np.abs(got["scores"] - expected).max() <= 1e-3
        assert np.mean(got["labels"] == expected.argmax(-1)) >= 0.9999
