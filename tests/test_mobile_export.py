"""Networks of inverted residuals, gates, hard swish and ReLU6 under every head: each export equals Keras."""

import exports
import keras
import numpy as np
import pytest
import tensorflow as tf
from exports import largest, multiply_adds, run_onnx

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.budget.workload import macs, parameters
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import Network, Node
from deeplab_tf.lab.export.smaller_networks import SmallerNetworks
from deeplab_tf.lab.models.encoder import in_backbone
from deeplab_tf.lab.models.lr_aspp import lr_aspp
from deeplab_tf.lab.models.registry import load_network

SIZE = (65, 97)
HEADS = {
    "lr_aspp": {"aspp_channels": 16},
    "deeplab_v3_plus": {"aspp_channels": 16, "decoder_channels": 16, "low_level_channels": 8},
    "panoptic_deeplab": {
        "aspp_channels": 8,
        "decoder_channels": 8,
        "instance_channels": 8,
        "head_channels": 8,
        "shared": "aspp",
    },
}


def make(randomize, make_images, name, backbone, **options):
    options.update(HEADS[name], backbone=backbone, width=0.25)
    return exports.make(randomize, make_images, name, SIZE, **options)


@pytest.fixture(scope="module")
def model(randomize, make_images):
    """LR-ASPP on MobileNetV3-Small."""
    return make(randomize, make_images, "lr_aspp", "mobilenet_v3_small")


@pytest.fixture(scope="module")
def network(model):
    return read_network(model)


def until(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def test_lr_aspp_follows_howard_2019(model, make_images, rng):
    """Howard et al., "Searching for MobileNetV3": gated features are upsampled, then classified; the gate is a logistic
    function of the mean's convolution."""
    image = make_images(rng, 1, *SIZE)
    names = ("res5_last_out", "aspp_1x1_relu", "aspp_gate", "logits_low_conv", "logits_add")
    deepest, plain, gated, low, total = (tensor.numpy() for tensor in until(model, *names)(image))
    raw = deepest.mean(axis=(1, 2)) @ model.get_layer("aspp_mean_conv").kernel.numpy()[0, 0]
    np.testing.assert_allclose(gated, plain / (1 + np.exp(-raw[:, None, None])), atol=1e-4)
    assert low.shape[1:3] == (9, 13) and gated.shape[1:3] == (5, 7)
    upsampled = tf.raw_ops.ResizeBilinear(images=gated, size=(10, 14))[:, :9, :13]
    np.testing.assert_allclose(total, model.get_layer("logits_deep_conv")(upsampled) + low, atol=1e-4)


@pytest.mark.parametrize(
    "name, backbone, output_stride",
    [
        ("lr_aspp", "resnet50", 8),
        ("lr_aspp", "mobilenet_v3_small", 32),
        ("deeplab_v3_plus", "efficientnet_lite0", 32),
        ("panoptic_deeplab", "mobilenet_v3_large", 16),
    ],
)
def test_nodes_equal_keras(randomize, make_images, rng, name, backbone, output_stride):
    model = make(randomize, make_images, name, backbone, output_stride=output_stride)
    network = read_network(model)
    image = make_images(rng, 1, *SIZE)
    tensors = graph.run(network, tf.constant(image))
    for output, expected in model(image).items():
        assert np.std(expected) > 0.001
        np.testing.assert_allclose(tensors[network.outputs[output]], expected, atol=1e-3)
    assert [node.name for node in network.nodes if node.op == "affine"] == ["normalization"]


@pytest.fixture(scope="module")
def floats(network):
    """Its ONNX graph, with logits as its output."""
    return onnx_model.onnx_model(with_head(network, output="logits"), SIZE)


def test_onnx_equals_keras(model, floats, make_images, rng):
    image = make_images(rng, 1, *SIZE)
    np.testing.assert_allclose(run_onnx(floats, image), model(image)["logits"], atol=1e-3)
    kinds = [node.op_type for node in floats.graph.node]
    # 7 hard swishes behind widening, 8 behind depthwise convolutions, 1 behind the stem and 1 at the end; a gate in 9
    # of 11 blocks
    assert kinds.count("HardSigmoid") == 8 + 8 + 1 + 1 + 9
    assert not {"Clip", "Pad"} & set(kinds) and kinds.count("Transpose") == 2, "of the image and of the logits"


def test_multiply_adds_equal_onnx(model, network, floats):
    layers = network_layers(with_head(network, output="logits"), SIZE)
    assert macs(layers) == multiply_adds(floats)
    kernels = sum(v.numpy().size for v in model.trainable_variables if v.path.endswith("/kernel"))
    assert 0 < parameters(layers) - kernels < 0.2 * kernels, "biases"
    hard_swishes = [layer for layer in layers if layer.name.endswith("_out") and layer.kind == "other"]
    assert len(hard_swishes) == 18 and all(layer.reads == layer.writes for layer in hard_swishes)


def test_int8_exports_agree(model, network, floats, make_images, rng):
    head = with_head(network, output="logits")
    frames = make_images(rng, 4, *SIZE).astype(np.uint8)
    plan = quantize.make_plan(head, largest(head, frames))
    image = frames[:1].astype(np.float32)
    expected = model(image)["logits"].numpy()
    fake = graph.run(quantize.with_quantized_weights(head, plan), tf.constant(image), ranges=plan.all_ranges)
    results = [write(floats, head, plan) for write in (qdq.for_tensorrt, qdq.for_cpu)]
    results = [run_onnx(result, image) for result in results] + [fake["logits"].numpy()]
    errors = [np.sqrt(np.mean((result - expected) ** 2)) / expected.std() for result in results]
    assert min(errors) > 0.001 and max(errors) < 0.15, errors
    trt, cpu, tensorflow = results
    np.testing.assert_allclose(cpu, trt, atol=1e-3)
    assert np.sqrt(np.mean((tensorflow - trt) ** 2)) < 0.1 * expected.std(), "they round a half differently"


def test_label_stride_of_8(network, make_images, rng):
    image = tf.constant(make_images(rng, 1, *SIZE))
    full, coarse = (
        graph.run(head, image)[head.output] for head in (with_head(network), with_head(network, label_stride=8))
    )
    np.testing.assert_array_equal(coarse, full[:, ::8, ::8])
    with pytest.raises(DeepLabError, match="1 or 8. Got 4"):
        with_head(network, label_stride=4)


def test_last_convolutions(network):
    assert quantize.last_convolutions(with_head(network)) == ["logits_deep_conv", "logits_low_conv"]


def convolution(name, source, rng, channels, out, kernel=1, **options):
    shape = (kernel, kernel, channels, 1 if options.get("op") == "depthwise" else out)
    kernels = {
        "kernel": rng.normal(0, 0.4, shape).astype(np.float32),
        "bias": rng.normal(0, 0.3, out).astype(np.float32),
    }
    attributes = {"stride": options.get("stride", 1), "rate": 1, "padding": ((1, 1), (1, 1)) if kernel == 3 else "same"}
    return Node(name, options.get("op", "conv"), (source,), attributes, kernels)


@pytest.fixture
def block(rng):
    """A widening, a strided depthwise convolution, a gate, and a narrowing that is added to a skip; ReLU6, hard swish
    and ReLU."""
    return Network(
        (
            Node("image", "input"),
            Node("centered", "affine", ("image",), {}, {"shift": np.full(3, -128, np.float32)}),
            convolution("stem", "centered", rng, 3, 8)._replace(
                weights={
                    "kernel": rng.normal(0, 0.03, (1, 1, 3, 8)).astype(np.float32),
                    "bias": np.full(8, 2, np.float32),
                }
            ),
            Node("stem_out", "relu6", ("stem",)),
            convolution("wide", "stem_out", rng, 8, 12),
            Node("wide_out", "hard_swish", ("wide",)),
            convolution("deep", "wide_out", rng, 12, 12, 3, op="depthwise", stride=2),
            Node("deep_out", "relu", ("deep",)),
            Node("mean", "mean", ("deep_out",)),
            convolution("gate_conv", "mean", rng, 12, 12),
            Node("gate", "hard_sigmoid", ("gate_conv",)),
            Node("gated", "multiply", ("deep_out", "gate")),
            convolution("narrow", "gated", rng, 12, 8),
            convolution("skip", "stem_out", rng, 8, 8, stride=2),
            Node("sum", "add", ("skip", "narrow")),
            convolution("last", "sum", rng, 8, 4),
            Node("scores", "upsample", ("last", "image"), {"factor": 2}),
        )
    )


def test_plan_by_hand(block, rng):
    frames = rng.integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    plan = quantize.make_plan(block, largest(block, frames))
    assert set(plan.ranges) == {"centered", "stem_out", "wide", "wide_out", "deep_out", "gated", "skip", "sum"}
    assert set(plan.branches) == {"narrow"} and set(plan.excluded) == {"gate_conv"}
    # 6 / 127 = 12.09 / 256, rounded down to 4 significant bits
    assert plan.ranges["stem_out"] == 127 * 12 / 256
    floats = onnx_model.onnx_model(block, (16, 24))
    assert "Clip" in [node.op_type for node in floats.graph.node]
    trt, cpu = (write(floats, block, plan) for write in (qdq.for_tensorrt, qdq.for_cpu))
    assert "Clip" not in [node.op_type for node in trt.graph.node], "quantization clips"
    zeros = onnx_model.initializers(cpu.graph)
    assert {name: int(zeros[f"{name}/zero"]) for name in plan.ranges if zeros[f"{name}/zero"] == 0} == dict.fromkeys(
        ("stem_out", "deep_out", "gated"), 0
    )
    image = frames[:1].astype(np.float32)
    expected, first, second = (run_onnx(each, image) for each in (floats, trt, cpu))
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert 0.001 < np.sqrt(np.mean((first - expected) ** 2)) / expected.std() < 0.05
    np.testing.assert_allclose(graph.run(block, tf.constant(image))["scores"], expected, atol=1e-3)


def test_unknown_activation_is_named():
    for layer, message in (
        (keras.layers.Activation("softplus", name="odd"), "odd .*softplus.*gelu.*hard_sigmoid, hard_silu, sigmoid"),
        (keras.layers.ReLU(4.0, name="odd"), "odd is a ReLU .*other than 6"),
    ):
        image = keras.Input((8, 8, 3), name="image")
        with pytest.raises(DeepLabError, match=message):
            read_network(keras.Model(image, {"logits": layer(image)}))


def test_saved_model_loads_and_heads_are_not_backbone(model, make_images, rng, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    image = make_images(rng, 1, *SIZE)
    np.testing.assert_array_equal(again(image)["logits"], model(image)["logits"])
    assert {v.path.split("_")[0] for v in model.trainable_variables if not in_backbone(v.path)} == {"aspp", "logits"}
    assert all(v.path.startswith(("conv1", "res")) for v in model.trainable_variables if in_backbone(v.path))


def test_smaller_networks_change_only_keys_of_the_network():
    options = {
        "name": "lr_aspp",
        "backbone": "mobilenet_v3_small",
        "width": 0.25,
        "output_stride": 16,
        "aspp_channels": 64,
    }
    networks = SmallerNetworks(options, SIZE, 5)
    changes, layers = next(iter(networks))
    assert (
        len(networks) == 2 and changes == {"width": 0.25, "output_stride": 16, "aspp_channels": 64} and macs(layers) > 0
    )


def test_smaller_networks_of_other_kinds():
    """EfficientViT comes in sizes; a U-Net's steps shrink with its backbone, to 24 * 0.375 / 0.5 = 18, not below 8."""
    made = SmallerNetworks({"name": "efficientvit", "variant": "b1", "activation": "relu"}, SIZE, 5)
    assert [changes for changes, _ in made] == [{"variant": "b0"}, {"variant": "b1"}]
    narrow = {"name": "unet", "backbone": "resnet18", "width": 0.5, "decoder_channels": (24, 8), "output_stride": 32}
    changes = SmallerNetworks(narrow, SIZE, 5)._changes
    assert [each["decoder_channels"] for each in changes[2:4]] == [[18, 8]] * 2


WRONG = [
    ({"output_stride": 4}, "must be 8, 16 or 32. Got 4"),
    ({"aspp_channels": 0}, "aspp_channels must be greater than 0"),
]


@pytest.mark.parametrize("options, words", WRONG)
def test_wrong_options_get_a_sentence(options, words):
    with pytest.raises(DeepLabError, match=words):
        lr_aspp(5, **options)


@pytest.mark.parametrize("shared", ["aspp", "none"])
def test_equal_operations_of_a_panoptic_network_are_quantized(randomize, make_images, rng, shared):
    """Both decoders upsample the same pyramid, or have a mean of the same features: each tensor is in the files."""
    options = {**HEADS["panoptic_deeplab"], "shared": shared, "head_channels": 4}
    keras.utils.set_random_seed(0)
    head = with_head(read_network(load_network("panoptic_deeplab")(5, backbone="resnet50", width=0.125, **options)))
    frames = make_images(rng, 1, *SIZE)
    plan = quantize.make_plan(head, largest(head, frames))
    made = qdq.for_cpu(onnx_model.onnx_model(head, SIZE), head, plan)
    tensors = {name for node in made.graph.node for name in node.output}
    assert set(plan.all_ranges) <= tensors
