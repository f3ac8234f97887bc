"""Every weight that a network uses was trained: taps that no gradient reaches at the training size are zero."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.lab.models.registry import build_network, model_schema
from deeplab_tf.lab.models.taps import clear_unreached_taps, clear_untrained, describe, unreached_taps

SIZE = (48, 80)
SMALL = {"width": 0.125, "backbone": "resnet50"}
HEADS = {"aspp_channels": 8, "decoder_channels": 8}


def network(name="deeplab_v3_plus", **options):
    heads = {} if name == "lr_aspp" else HEADS
    section = model_schema(name).model_validate({"name": name, **SMALL, **heads, **options}).model_dump()
    return build_network(section, 3)


def without_gradient(model, size):
    """By layer, which taps get no gradient from any output, on random images with random weights: the taps' mean
    absolute gradient is exactly zero."""
    for layer in model.layers:  # residual branches start at zero, which stops every gradient behind them
        if hasattr(layer, "gamma"):
            layer.gamma.assign(tf.ones_like(layer.gamma))
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (2, *size, 3)).astype(np.float32)
    kernels = {layer.name: layer.kernel for layer in model.layers if hasattr(layer, "kernel")}
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(model(images, training=True))
        loss = sum(tf.reduce_sum(output * generator.normal(size=output.shape)) for output in outputs)
    gradients = tape.gradient(loss, [kernel.value for kernel in kernels.values()])
    taps = {name: np.abs(gradient).sum(axis=(2, 3)) == 0 for name, gradient in zip(kernels, gradients)}
    return {name: missing for name, missing in taps.items() if missing.any()}


NETWORKS = [
    {"output_stride": 8, "separable": False},
    {"output_stride": 16, "auxiliary": True},
    {"output_stride": 32, "separable": False},
    {"output_stride": 8, "multi_grid": (1, 2, 4)},
    {"name": "panoptic_deeplab", "output_stride": 16},
    {"name": "lr_aspp", "backbone": "mobilenet_v3_small", "output_stride": 16, "width": 0.5},
    {"backbone": "mobilenet_v3_small", "output_stride": 8, "width": 0.5},
    {"backbone": "efficientnet_lite0", "output_stride": 16, "width": 0.5},
]


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def model(request):
    return network(**request.param)


def test_the_taps_are_those_without_a_gradient(model):
    """The gradient knows nothing of feature maps, strides and padding; both name the same taps."""
    expected = {name: taps.tolist() for name, taps in without_gradient(model, SIZE).items()}
    assert {name: taps.tolist() for name, taps in unreached_taps(model, SIZE).items()} == expected


def test_the_output_at_another_size_does_not_depend_on_untrained_weights(model):
    """Two networks that differ in all weights that training cannot change give the same output at twice the size."""
    image = np.random.default_rng(1).uniform(0, 255, (1, 2 * SIZE[0], 2 * SIZE[1], 3)).astype(np.float32)
    outputs = []
    for seed in (0, 1):
        generator = np.random.default_rng(seed)
        for name, taps in unreached_taps(model, SIZE).items():
            kernel = model.get_layer(name).kernel
            values = kernel.numpy()
            values[taps] = generator.normal(size=values[taps].shape)
            kernel.assign(values)
        clear_unreached_taps(model, SIZE)
        outputs.append([output.numpy() for output in tf.nest.flatten(model(image, training=False))])
    for first, second in zip(*outputs):
        np.testing.assert_array_equal(first, second)


def test_rates_of_a_crop_by_hand():
    """192x384 at stride 16 gives 12x24 features: row -12 is outside of them, column -18 is inside."""
    taps = unreached_taps(network(), (192, 384))
    rows = [[True] * 3, [False] * 3, [True] * 3]
    assert {name: found.tolist() for name, found in taps.items()} == {
        "aspp_rate12_depthwise": rows,
        "aspp_rate18_depthwise": rows,
    }
    assert unreached_taps(network(), (512, 1024)) == {}


def test_only_weights_that_came_from_no_training_are_cleared():
    model = network(output_stride=8)
    names = list(unreached_taps(model, (32, 32)))
    assert any(name.startswith("res5") for name in names)
    cleared = clear_unreached_taps(model, (32, 32), keep=lambda name: name.startswith("res"))
    assert cleared and not any(name.startswith("res") for name in cleared)
    assert clear_unreached_taps(model, (32, 32), keep=lambda name: name.startswith("res")) == []


@pytest.mark.parametrize("name", ["adam", "muon", "sgd"])
def test_they_stay_at_zero_in_training(name):
    from deeplab_tf.lab.config.sections import Optimizer
    from deeplab_tf.lab.training.optimizers import make_optimizer

    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", dilation_rate=6, use_bias=False, name="aspp_rate6_conv")(image)
    logits = keras.layers.Conv2D(2, 1, name="logits_conv")(x)
    model = keras.Model(image, {"logits": logits})
    assert clear_unreached_taps(model, (6, 8)) == ["aspp_rate6_conv"]
    before = model.get_layer("aspp_rate6_conv").kernel.numpy()
    options = Optimizer(name=name, learning_rate=0.01, weight_decay=0.1, ema=0.9)
    model.compile(optimizer=make_optimizer(options, model, 4), loss={"logits": keras.losses.MeanSquaredError()})
    generator = np.random.default_rng(0)
    images, targets = (generator.normal(size=(8, 6, 8, channels)) for channels in (3, 2))
    model.fit(images, {"logits": targets}, batch_size=2, verbose=0)
    changed = (model.get_layer("aspp_rate6_conv").kernel.numpy() != before).all(axis=(2, 3))
    assert changed.tolist() == [[False] * 3, [True] * 3, [False] * 3]  # 6 rows: -6 and 6 are outside; 8 columns: inside
    assert clear_unreached_taps(model, (6, 8)) == []


def test_the_line_names_size_and_layers():
    line = describe(["aspp_rate12_conv", "aspp_rate18_conv", "a", "b"], (192, 384))
    assert "192x384" in line and "aspp_rate12_conv, aspp_rate18_conv, a and 1 more" in line


@pytest.mark.parametrize("weights, cleared", [("none", True), ("imagenet", True), ("runs/gone", False)])
def test_taps_of_another_run_stay_also_where_it_is_gone(weights, cleared):
    """The other run may have been trained at a size that reaches them."""
    found = clear_untrained(network(), {"weights": weights}, (192, 384))
    assert found == (["aspp_rate12_depthwise", "aspp_rate18_depthwise"] if cleared else [])
