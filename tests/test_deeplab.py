import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models import blocks
from deeplab_tf.lab.models.backbones import resnet50
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.deeplab_v3_plus import deeplab_v3_plus

SMALL = {"width": 0.125, "aspp_channels": 24, "decoder_channels": 32, "low_level_channels": 16}
CLASSES = 5


@pytest.fixture(scope="module")
def network(randomize, make_images):
    """A small DeepLab at any size, with random weights everywhere."""
    keras.utils.set_random_seed(0)
    model = deeplab_v3_plus(CLASSES, auxiliary=True, **SMALL)
    for name in ("logits_conv", "auxiliary_logits_conv"):
        layer = model.get_layer(name)
        layer.set_weights([np.random.default_rng(6).normal(0, 0.3, w.shape).astype(np.float32) for w in layer.weights])
    return randomize(model, make_images(np.random.default_rng(7), 2, 96, 96))


@pytest.fixture(scope="module")
def fixed():
    """The same network for one size, without the head for training."""
    return deeplab_v3_plus(CLASSES, size=(97, 161), **SMALL)


def until(model, name):
    return keras.Model(model.input, model.get_layer(name).output)


def parameters(separable):
    """Counted from the papers' shapes; convolutions have no bias, batch normalization has four numbers a channel."""

    def conv_bn(k, fan_in, out):
        if separable and k == 3:
            return (9 * fan_in + 4 * fan_in) + (fan_in * out + 4 * out)
        return k * k * fan_in * out + 4 * out

    backbone = (
        23_508_032 + 53_120
    )  # torchvision's ResNet-50 without its classifier (25,557,032 - 2,049,000), and running statistics
    pyramid = conv_bn(1, 2048, 256) + 3 * conv_bn(3, 2048, 256) + (2048 * 256 + 256) + conv_bn(1, 5 * 256, 256)
    decoder = conv_bn(1, 256, 48) + conv_bn(3, 256 + 48, 256) + conv_bn(3, 256, 256)
    return backbone + pyramid + decoder + (256 * 19 + 19)


@pytest.mark.parametrize("separable, millions", [(True, 26.8), (False, 40.4)])
def test_parameters_of_the_default_network(separable, millions):
    assert deeplab_v3_plus(19, separable=separable).count_params() == parameters(separable)
    assert round(parameters(separable) / 1e6, 1) == millions


@pytest.mark.parametrize("size", [(64, 64), (97, 161), (120, 90), (33, 250)])
def test_logits_have_the_size_of_the_input(network, make_images, rng, size):
    outputs = network(make_images(rng, 2, *size))
    for name in ("logits", "auxiliary_logits"):
        assert outputs[name].shape == (2, *size, CLASSES)
        assert outputs[name].dtype == tf.float32
        assert np.isfinite(outputs[name]).all()


def test_a_fixed_size_is_the_same_function(network, fixed, make_images, rng):
    assert list(fixed.output) == ["logits"]
    assert fixed.output["logits"].shape == (None, 97, 161, CLASSES)
    values = {weight.path: weight for weight in network.weights}
    for weight in fixed.weights:
        weight.assign(values[weight.path])
    image = make_images(rng, 1, 97, 161)
    np.testing.assert_allclose(fixed(image)["logits"], network(image)["logits"], atol=1e-5)


def test_takes_bytes_or_floats(network, make_images, rng):
    image = make_images(rng, 1, 64, 64).round()
    np.testing.assert_array_equal(network(image.astype(np.uint8))["logits"], network(image)["logits"])


@pytest.mark.parametrize("size", [(96, 128), (97, 161)])
def test_the_pooled_branch_equals_a_copied_mean(network, make_images, rng, size):
    """DeepLab's own form: the mean, copied to every position, is a fifth branch, and one 1x1 convolution projects all
    five."""
    image = make_images(rng, 2, *size)
    branches, mean = (until(network, name)(image).numpy() for name in ("aspp_concat", "aspp_mean_conv"))
    copied = np.broadcast_to(mean, (*branches.shape[:3], mean.shape[-1]))
    kernels = [network.get_layer(f"aspp_project_{part}").kernel.numpy()[0, 0] for part in ("conv", "mean")]
    projected = np.concatenate([branches, copied], axis=-1) @ np.concatenate(kernels)
    gamma, beta, average, variance = (w.numpy() for w in network.get_layer("aspp_project_bn").weights)
    expected = np.maximum((projected - average) / np.sqrt(variance + 1.001e-5) * gamma + beta, 0)
    assert expected.std() > 0.1
    np.testing.assert_allclose(until(network, "aspp_project_relu")(image), expected, atol=1e-4)


def test_the_pooled_branch_is_the_mean_over_the_image(network, make_images, rng):
    image = make_images(rng, 1, 97, 161)
    deepest = until(network, "res5_block3_out")(image).numpy()
    np.testing.assert_allclose(
        until(network, "aspp_mean")(image)[0, 0, 0], deepest.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("output_stride, rates", [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))])
def test_atrous_rates_follow_the_output_stride(output_stride, rates):
    x = keras.Input((32, 32, 8))
    pyramid = keras.Model(x, blocks.aspp(x, 8, output_stride, separable=False, momentum=0.9))
    dilated = [layer.dilation_rate for layer in pyramid.layers if getattr(layer, "kernel_size", None) == (3, 3)]
    assert dilated == [(rate, rate) for rate in rates]


def test_atrous_convolutions_have_the_rates(network):
    dilations = [network.get_layer(f"aspp_rate{rate}_depthwise").dilation_rate for rate in (6, 12, 18)]
    assert dilations == [(6, 6), (12, 12), (18, 18)]


def test_classifying_before_upsampling_equals_classifying_after(network, make_images, rng):
    image = make_images(rng, 1, 97, 161)
    features = until(network, "decoder_2_relu")(image)
    after = network.get_layer("logits_conv")(Upsample(4)([features, image]))
    np.testing.assert_allclose(network(image)["logits"], after, atol=1e-4)


TAKEN_BY_TF_TRT = {
    *(
        "Conv2D",
        "DepthwiseConv2dNative",
        "FusedBatchNormV3",
        "BiasAdd",
        "Relu",
        "AddV2",
        "ConcatV2",
        "MaxPool",
        "Pad",
        "Mean",
    ),
    *("Sub", "RealDiv", "ResizeBilinear", "StridedSlice", "Identity", "Placeholder", "NoOp"),
}
FOLDED_BY_THE_EXPORT = {
    "SpaceToBatchND",
    "BatchToSpaceND",
}  # how TensorFlow writes dilation; three operations become one dilated convolution


def is_constant(op):
    return op.type == "Const" or (len(op.inputs) > 0 and all(is_constant(tensor.op) for tensor in op.inputs))


def test_tf_trt_takes_every_operation(fixed):
    function = tf.function(lambda image: fixed(image, training=False)["logits"], jit_compile=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec((1, 97, 161, 3))))
    operations = [op for op in frozen.graph.get_operations() if not is_constant(op)]
    assert {op.type for op in operations} - TAKEN_BY_TF_TRT - FOLDED_BY_THE_EXPORT == set()
    for op in operations:
        constants = {"BiasAdd": [1], "Conv2D": [1], "DepthwiseConv2dNative": [1], "FusedBatchNormV3": [1, 2, 3, 4]}
        assert all(is_constant(op.inputs[i].op) for i in constants.get(op.type, [])), op.name
    resizes = [op for op in operations if "Resize" in op.type]
    assert [op.type for op in resizes] == ["ResizeBilinear", "ResizeBilinear"]
    for op in resizes:
        # feature i on pixel 4 * i, as the export writes with aligned corners; half-pixel centers would be another
        # function
        assert not op.get_attr("align_corners") and not op.get_attr("half_pixel_centers")


@pytest.mark.parametrize(
    "precision, limit", [("mixed_bfloat16", 0.15), ("mixed_float16", 0.02)]
)  # 8 and 11 bits, through 60 layers
def test_half_precisions_agree_with_float32(network, make_images, rng, precision, limit):
    mixed = deeplab_v3_plus(CLASSES, auxiliary=True, precision=precision, **SMALL)
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    assert mixed.get_layer("res4_block2_2_conv").compute_dtype == precision.replace("mixed_", "")
    mixed.set_weights(network.get_weights())
    image = make_images(rng, 1, 97, 129)
    exact, short = network(image)["logits"].numpy(), mixed(image)["logits"]
    assert short.dtype == tf.float32
    assert np.sqrt(np.mean((short - exact) ** 2)) / exact.std() < limit


def test_a_saved_model_gives_identical_output(network, make_images, rng, tmp_path):
    network.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    image = make_images(rng, 1, 97, 129)
    for name, expected in network(image).items():
        np.testing.assert_array_equal(again(image)[name], expected)


def test_every_weight_gets_a_gradient(network, make_images, rng):
    with tf.GradientTape() as tape:
        outputs = network(make_images(rng, 2, 64, 64), training=True)
        total = sum(tf.reduce_mean(output**2) for output in outputs.values())
    gradients = tape.gradient(total, [v.value for v in network.trainable_variables])
    for variable, gradient in zip(network.trainable_variables, gradients):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient), variable.path


@pytest.mark.parametrize(
    "options, facts",
    [
        ({"output_stride": 12}, "model.output_stride.* 12"),
        ({"backbone": "resnet5"}, "'resnet5'. Did you mean 'resnet50'"),
        ({"width": 0.0}, r"model.width.* 0\.0"),
        ({"aspp_channels": -1}, "model.aspp_channels.* -1"),
        ({"multi_grid": (1, 0, 1)}, r"model.multi_grid.* \(1, 0, 1\)"),
    ],
)
def test_wrong_options_get_a_sentence(options, facts):
    with pytest.raises(DeepLabError, match=facts):
        deeplab_v3_plus(2, precision="mixed_bfloat16", **options)


def test_an_error_leaves_keras_dtype_policy_as_it_was(monkeypatch):
    def build(*args, **options):
        raise ValueError("broken")

    monkeypatch.setattr(resnet50, "build", build)
    with pytest.raises(ValueError, match="broken"):
        deeplab_v3_plus(2, precision="mixed_bfloat16")
    assert keras.mixed_precision.dtype_policy().name == "float32"


def first_kernels():
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    model = deeplab_v3_plus(2, width=0.125, aspp_channels=8, decoder_channels=8, low_level_channels=8)
    return {v.path: v.numpy() for v in model.trainable_variables if v.path.endswith("kernel")}


def test_first_weights_follow_the_seed():
    first, second = first_kernels(), first_kernels()
    assert all(np.array_equal(first[path], second[path]) for path in first)


def test_first_weights_of_layers_differ():
    kernels = first_kernels()
    one, other = (kernels[f"res4_block{i}_2_conv/kernel"] for i in (2, 3))
    assert one.shape == other.shape and abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
