"""The first and last layers with channels last: the same values from cheaper operations."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers
from onnx import TensorProto, helper, numpy_helper

from deeplab_tf.lab.export import onnx_model, qdq, quantize
from deeplab_tf.lab.export.calibration_methods import tensor_ranges
from deeplab_tf.lab.export.channels_last import channels_last
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.histograms import collect_histograms
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.models.blocks import normalize
from deeplab_tf.lab.models.custom_layers import BatchNormalization, Upsample

SIDE, CLASSES = 6, 5


def network(rng, *, output, resize=True, stride=1, kernel=1):
    """Image -> minus a color -> INT8 -> convolution (-> upsampling by 4) -> labels or logits, as in `qdq.for_cpu`."""
    weights = rng.integers(-127, 128, (CLASSES, 3, kernel, kernel)).astype(np.int8)
    constants = {
        "color": np.array([-120, -110, -100], np.float32),
        "x/scale": np.float32(1.25),
        "x/zero": np.uint8(128),
        "scores/kernel/integers": weights,
        "scores/kernel/scale": np.linspace(0.01, 0.02, CLASSES, dtype=np.float32),
        "scores/kernel/zero": np.zeros(CLASSES, np.int8),
        "scores/bias/integers": rng.integers(-900, 900, CLASSES).astype(np.int32),
        "scores/bias/scale": 1.25 * np.linspace(0.01, 0.02, CLASSES, dtype=np.float32),
        "scores/bias/zero": np.zeros(CLASSES, np.int32),
        "four": np.array([1, 1, 4, 4], np.float32),
    }

    def dequantize(name):
        parts = [f"{name}/{part}" for part in ("integers", "scale", "zero")]
        return helper.make_node("DequantizeLinear", parts, [f"{name}/dequantized"], f"{name}/dequantized", axis=0)

    def node(kind, inputs, out, **attributes):
        return helper.make_node(kind, inputs, [out], out, **attributes)

    nodes = [
        dequantize("scores/kernel"),
        dequantize("scores/bias"),
        node("Add", ["image", "color"], "centered"),
        node("Transpose", ["centered"], "x", perm=[0, 3, 1, 2]),
        node("QuantizeLinear", ["x", "x/scale", "x/zero"], "x/quantized"),
        node("DequantizeLinear", ["x/quantized", "x/scale", "x/zero"], "x/dequantized"),
        node(
            "Conv",
            ["x/dequantized", "scores/kernel/dequantized", "scores/bias/dequantized"],
            "scores",
            strides=[stride, stride],
        ),
    ]
    last = "scores"
    if resize:
        last = "large"
        nodes.append(
            node("Resize", ["scores", "", "four"], last, mode="linear", coordinate_transformation_mode="asymmetric")
        )
    if output == "labels":
        nodes += [
            node("ArgMax", [last], "first", axis=1, keepdims=0),
            node("Cast", ["first"], "labels", to=TensorProto.INT32),
        ]
    else:
        nodes.append(node("Transpose", [last], "logits", perm=[0, 2, 3, 1]))
    side = ((SIDE - kernel) // stride + 1) * (4 if resize else 1)
    kind, shape = (
        (TensorProto.INT32, [1, side, side]) if output == "labels" else (TensorProto.FLOAT, [1, side, side, CLASSES])
    )
    source = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIDE, SIDE, 3])
    end = helper.make_tensor_value_info(output, kind, shape)
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [source], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def run(model, image):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": image})[0]


def rewritten(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    channels_last(copy.graph)
    onnx.checker.check_model(copy, full_check=True)
    return copy, [node.op_type for node in copy.graph.node]


@pytest.mark.parametrize("resize", [True, False])
def test_outputs_stay_the_same(rng, resize):
    image = rng.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
    for output in ("labels", "logits"):
        model = network(np.random.default_rng(1), output=output, resize=resize)
        made, operators = rewritten(model)
        assert "MatMulInteger" in operators and "Conv" not in operators
        assert "DequantizeLinear" not in operators
        expected, got = run(model, image), run(made, image)
        if output == "labels":
            assert len(np.unique(expected)) > 1
            np.testing.assert_array_equal(got, expected)
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
            assert operators[-1] != "Transpose"


@pytest.mark.parametrize("changes", [{"stride": 2}, {"kernel": 3}])
def test_another_convolution_stays_and_the_rest_is_transposed(rng, changes):
    image = rng.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
    model = network(rng, output="labels", **changes)
    made, operators = rewritten(model)
    assert operators[-5:] == ["Conv", "Transpose", "Resize", "ArgMax", "Cast"]
    np.testing.assert_array_equal(run(made, image), run(model, image))


def test_a_value_per_channel_is_stored_for_a_row(rng):
    made, _ = rewritten(network(rng, output="labels"))
    add = next(node for node in made.graph.node if "image" in node.input)
    row = next(numpy_helper.to_array(tensor) for tensor in made.graph.initializer if tensor.name == add.input[1])
    assert row.shape == (1, 1, SIDE, 3) and row[0, 0, -1].tolist() == [-120, -110, -100]


def test_another_last_layer_stays():
    nodes = [
        helper.make_node("Relu", ["image"], ["a"], "a"),
        helper.make_node("ArgMax", ["a"], ["labels"], "labels", axis=1),
    ]
    ends = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])]
    graph = helper.make_graph(
        nodes, "g", ends, [helper.make_tensor_value_info("labels", TensorProto.INT64, [1, 1, 4, 4])]
    )
    before = graph.SerializeToString()
    channels_last(graph)
    assert graph.SerializeToString() == before


def first_layer(rng, *, size, kernel, pads, stride=2):
    """Image -> minus a color -> INT8 -> a convolution of stride 2 -> logits, as `qdq.for_cpu` writes a stem."""
    model = network(rng, output="logits", resize=False)
    graph = model.graph
    weights = rng.integers(-127, 128, (CLASSES, 3, kernel, kernel)).astype(np.int8)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants["scores/kernel/integers"].CopyFrom(numpy_helper.from_array(weights, "scores/kernel/integers"))
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    del convolution.attribute[:]
    options = {"strides": (stride, stride), "pads": pads, "kernel_shape": (kernel, kernel)}
    convolution.attribute.extend(helper.make_attribute(name, value) for name, value in options.items())
    for end, sides in ((graph.input[0], size), (graph.output[0], ["h", "w"])):
        for dim, side in zip(end.type.tensor_type.shape.dim[1:3], sides):
            dim.CopyFrom(
                onnx.TensorShapeProto.Dimension(**{"dim_value" if end is graph.input[0] else "dim_param": side})
            )
    return model


@pytest.mark.parametrize(
    "size, kernel, pads",
    [
        ((8, 12), 7, (3, 3, 3, 3)),
        ((8, 12), 5, (2, 2, 2, 2)),
        ((10, 6), 5, (1, 2, 2, 1)),
        ((6, 8), 6, (2, 3, 3, 2)),
        ((12, 14), 7, (2, 3, 4, 2)),
    ],
)
def test_first_convolution_reads_blocks(rng, size, kernel, pads):
    image = rng.integers(0, 256, (1, *size, 3)).astype(np.float32)
    model = first_layer(rng, size=size, kernel=kernel, pads=pads)
    made, operators = rewritten(model)
    assert operators.count("Reshape") == 2
    (convolution,) = [node for node in made.graph.node if node.op_type == "Conv"]
    assert [helper.get_attribute_value(each) for each in convolution.attribute if each.name == "strides"] == [[1, 1]]
    expected = run(model, image)
    assert expected.shape[1:3] == (size[0] // 2, size[1] // 2) and expected.std() > 0
    np.testing.assert_allclose(run(made, image), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 1},
        {"kernel": 3, "pads": (1, 1, 1, 1)},  # not worth it
        {"size": (7, 12)},  # no whole blocks
        {"size": (8, 13)},
        {"pads": (0, 0, 0, 0)},  # fewer than half as many positions
    ],
)
def test_another_first_convolution_stays(rng, changes):
    options = {"size": (8, 12), "kernel": 7, "pads": (3, 3, 3, 3), **changes}
    image = rng.integers(0, 256, (1, *options["size"], 3)).astype(np.float32)
    model = first_layer(rng, **options)
    made, operators = rewritten(model)
    assert "Reshape" not in operators
    np.testing.assert_allclose(run(made, image), run(model, image), rtol=1e-5, atol=1e-4)


def test_stem_of_resnet50_reads_blocks(rng):
    """Keras layers through both INT8 files, which give the same labels."""
    image = keras.Input((32, 48, 3), name="image")
    x = layers.ZeroPadding2D(3, name="conv1_pad")(normalize(image, (120, 110, 100), (60, 60, 60)))
    x = layers.Conv2D(8, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = layers.ReLU(name="conv1_relu")(BatchNormalization(name="conv1_bn")(x))
    x = layers.Conv2D(CLASSES, 1, name="logits_conv")(x)
    head = with_head(read_network(keras.Model(image, {"logits": Upsample(2, name="logits")([x, image])})))
    frames = rng.integers(0, 256, (3, 32, 48, 3)).astype(np.uint8)
    plan = quantize.make_plan(head, tensor_ranges(collect_histograms(head, frames), "min-max"))
    floats = onnx_model.onnx_model(head, (32, 48))
    cpu, other = (write(floats, head, plan) for write in (qdq.for_cpu, qdq.for_tensorrt))
    assert any(node.name.endswith("/in_blocks") for node in cpu.graph.node)
    (kernel,) = [tensor for tensor in cpu.graph.initializer if tensor.name.startswith("conv1_conv/kernel/integers")]
    assert list(kernel.dims) == [8, 12, 4, 4]
    labels = [run(model, frames[:1].astype(np.float32)) for model in (cpu, other)]
    assert len(np.unique(labels[1])) > 1 and np.mean(labels[0] == labels[1]) > 0.999
