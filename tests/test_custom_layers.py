import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.lab.models import custom_layers
from deeplab_tf.lab.models.custom_layers import BatchNormalization, DepthwiseConv2D, Upsample

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
ULP = {"float32": 2e-6, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}
"""Relative spacing of the numbers in which a layer computes, doubled."""


def norm_pair(policy, channels=5):
    """Ours and the stock layer with the same random weights and statistics."""
    rng = np.random.default_rng(4)
    weights = [
        rng.uniform(0.5, 1.5, channels),
        rng.normal(0, 1, channels),
        rng.normal(0, 1, channels),
        rng.uniform(0.5, 2, channels),
    ]
    pair = [
        cls(momentum=0.9, epsilon=1e-3, dtype=policy) for cls in (BatchNormalization, keras.layers.BatchNormalization)
    ]
    for layer in pair:
        layer.build((None, None, None, channels))
        layer.set_weights([w.astype(np.float32) for w in weights])
    return pair


def floats(tensor):
    return tf.cast(tensor, tf.float32).numpy()


def close(a, b, policy):
    np.testing.assert_allclose(floats(a), floats(b), rtol=ULP[policy], atol=ULP[policy])


@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_equals_the_stock_layer_in_inference(rng, policy):
    own, stock = norm_pair(policy)
    x = tf.constant(rng.normal(1, 2, (2, 6, 7, 5)), own.compute_dtype)
    y = own(x, training=False)
    assert y.dtype == stock(x, training=False).dtype == own.compute_dtype
    close(y, stock(x, training=False), policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_equals_the_stock_layer_in_training(rng, policy):
    own, stock = norm_pair(policy)
    before = own.moving_variance.numpy()
    x = tf.constant(rng.normal(1, 2, (2, 6, 7, 5)), own.compute_dtype)
    close(own(x, training=True), stock(x, training=True), policy)
    assert own.moving_mean.dtype == own.moving_variance.dtype == "float32"
    np.testing.assert_allclose(own.moving_mean, stock.moving_mean, rtol=1e-5, atol=1e-6)
    # running = 0.9 * before + 0.1 * variance, where ours takes sum / (N - 1) and the stock layer sum / N, with N = 2 *
    # 6 * 7
    own_batch, stock_batch = (10 * (layer.moving_variance.numpy() - 0.9 * before) for layer in (own, stock))
    np.testing.assert_allclose(own_batch, stock_batch * 84 / 83, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_batch_normalization_has_the_gradients_of_the_stock_layer(rng, policy, training):
    own, stock = norm_pair(policy)
    x = tf.constant(rng.normal(1, 2, (2, 6, 7, 5)), own.compute_dtype)
    direction = tf.constant(rng.normal(0, 1, (2, 6, 7, 5)), tf.float32)
    gradients = []
    for layer in (own, stock):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.cast(layer(x, training=training), tf.float32) * direction)
        gradients.append(tape.gradient(total, [x, layer.gamma.value, layer.beta.value]))
    for ours, expected in zip(*gradients):
        # 84 summands: the error of a sum in short numbers is some spacings of its summands
        np.testing.assert_allclose(floats(ours), floats(expected), rtol=4 * ULP[policy], atol=16 * ULP[policy])


def test_frozen_batch_normalization_does_not_change(rng):
    own, _ = norm_pair("float32")
    own.trainable = False
    before = own.get_weights()
    x = tf.constant(rng.normal(1, 2, (2, 6, 7, 5)), tf.float32)
    np.testing.assert_array_equal(own(x, training=True), own(x, training=False))
    for a, b in zip(before, own.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "size, own_way, options",
    [
        ((9, 12), True, {}),
        ((9, 12), True, {"padding": "valid"}),
        ((13, 10), True, {"padding": "valid", "strides": 2}),
        ((5, 5), True, {"padding": "valid"}),
        ((1, 3), True, {}),
        ((9, 12), True, {"activation": "relu"}),
        ((9, 12), False, {"strides": 2}),
        ((9, 12), False, {"dilation_rate": 2}),
        ((9, 12), False, {"use_bias": True}),
        ((9, 12), False, {"kernel_size": 3}),
        ((9, 12), False, {"depth_multiplier": 2}),
    ],
)
def test_depthwise_convolution_equals_the_stock_layer(rng, policy, size, own_way, options, monkeypatch):
    calls = []
    monkeypatch.setattr(
        custom_layers, "_kernel_gradient_5x5", lambda *x, f=custom_layers._kernel_gradient_5x5: calls.append(x) or f(*x)
    )
    options = {"kernel_size": 5, "padding": "same", "use_bias": False, "dtype": policy, **options}
    own, stock = (
        cls(depthwise_initializer="ones", **options) for cls in (DepthwiseConv2D, keras.layers.DepthwiseConv2D)
    )
    x = tf.constant(rng.normal(size=(2, *size, 3)), own.compute_dtype)
    kernel, results = rng.normal(size=(*own.kernel_size, 3, own.depth_multiplier)).astype(np.float32), []
    for layer in (own, stock):
        layer.build((None, *size, 3))
        layer.set_weights([kernel, *layer.get_weights()[1:]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            direction = tf.constant(np.random.default_rng(5).normal(size=y.shape), tf.float32)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * direction)
        results.append([y, *tape.gradient(total, [x, layer.kernel.value])])
    for ours, expected in zip(*results):
        assert ours.shape == expected.shape and ours.dtype == expected.dtype
        # up to 2 * 9 * 12 summands of about 1, each rounded to the short numbers: some spacings of the largest sum
        np.testing.assert_allclose(floats(ours), floats(expected), rtol=8 * ULP[policy], atol=32 * ULP[policy])
    assert len(calls) == own_way


def depthwise_model():
    image = keras.Input((None, None, 3))
    return keras.Model(image, DepthwiseConv2D(5, padding="same", use_bias=False, name="depthwise")(image))


def test_depthwise_convolution_learns_at_open_sizes(rng):
    """It learns to be a convolution by another kernel."""
    model = depthwise_model()
    target = rng.normal(size=(5, 5, 3, 1)).astype(np.float32)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    for size in ((16, 24), (20, 12)) * 40:
        x = rng.normal(size=(4, *size, 3)).astype(np.float32)
        model.train_on_batch(x, tf.nn.depthwise_conv2d(x, target, [1, 1, 1, 1], "SAME"))
    np.testing.assert_allclose(model.get_weights()[0], target, atol=0.02)


def test_depthwise_convolution_is_loaded_as_itself(rng, tmp_path):
    model, x = depthwise_model(), rng.normal(size=(1, 8, 8, 3)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.get_layer("depthwise")) is DepthwiseConv2D
    np.testing.assert_array_equal(again(x), model(x))


def interpolate(features, factor, height, width):
    """Linear interpolation along each axis, with feature i on pixel factor * i; numpy.interp keeps the last value
    beyond it."""
    for axis, size in ((1, height), (2, width)):
        places = factor * np.arange(features.shape[axis])
        features = np.apply_along_axis(lambda row, p=places, n=size: np.interp(np.arange(n), p, row), axis, features)
    return features


@pytest.mark.parametrize(
    "factor, small, large",
    [(4, (7, 9), (25, 33)), (4, (7, 12), (26, 48)), (8, (1, 1), (5, 8)), (1, (6, 5), (6, 5)), (4, (23, 30), (90, 120))],
)
def test_upsample_is_linear_interpolation(rng, factor, small, large):
    x = rng.normal(size=(2, *small, 3)).astype(np.float32)
    y = Upsample(factor)([x, np.zeros((2, *large, 1), np.float32)]).numpy()
    np.testing.assert_allclose(y, interpolate(x, factor, *large), atol=1e-5)


@pytest.mark.parametrize("height, width", [(33, 65), (36, 64), (34, 67)])
def test_upsample_of_a_thinned_ramp_is_the_ramp(height, width):
    """Feature i of a stride-4 map looks at pixel 4 i, at every size; past the last feature nothing is known."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    ramp = (2 * rows - columns + 5).astype(np.float32)[None, :, :, None]
    upsampled = Upsample(4)([ramp[:, ::4, ::4], ramp])
    known = (slice(None), slice(4 * ((height - 1) // 4) + 1), slice(4 * ((width - 1) // 4) + 1))
    np.testing.assert_allclose(upsampled[known], ramp[known], atol=1e-4)


def test_upsample_infers_static_shapes():
    assert Upsample(8)([keras.Input((8, 12, 4)), keras.Input((64, 96, 3))]).shape == (None, 64, 96, 4)
    assert Upsample(8)([keras.Input((None, None, 4)), keras.Input((None, 96, 3))]).shape == (None, None, 96, 4)

    @tf.function(input_signature=[tf.TensorSpec((2, None, None, 4)), tf.TensorSpec((2, None, 96, 3))])
    def traced(features, reference):
        y = Upsample(8)([features, reference])
        assert y.shape.as_list() == [2, None, 96, 4]
        return y

    assert traced(tf.zeros((2, 8, 12, 4)), tf.zeros((2, 50, 96, 3))).shape == (2, 50, 96, 4)


@pytest.mark.parametrize("policy", ("float32", "mixed_bfloat16"))
def test_upsample_has_the_gradient_of_a_linear_map(rng, policy):
    """For y = U x, the gradient of <y, r> is the transpose of U times r, so its product with x is <y, r> again."""
    layer = Upsample(4, dtype=policy)
    x = tf.constant(rng.normal(size=(1, 7, 9, 3)), layer.compute_dtype)
    r = tf.constant(rng.normal(size=(1, 25, 33, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer([x, tf.zeros((1, 25, 33, 1))])
        product = tf.reduce_sum(tf.cast(y, tf.float32) * r)
    assert y.dtype == layer.compute_dtype
    gradient = tape.gradient(product, x)
    assert gradient.dtype == x.dtype
    size = float(tf.norm(floats(gradient)) * tf.norm(floats(x)))
    assert abs(np.sum(floats(gradient) * floats(x)) - float(product)) <= 4 * ULP[policy] * size


def test_upsample_rounds_only_its_result(rng):
    x = tf.cast(rng.normal(size=(1, 7, 9, 3)), tf.bfloat16)
    reference = np.zeros((1, 25, 33, 1), np.float32)
    exact = Upsample(4)([tf.cast(x, tf.float32), reference])
    np.testing.assert_array_equal(
        floats(Upsample(4, dtype="mixed_bfloat16")([x, reference])), floats(tf.cast(exact, tf.bfloat16))
    )
