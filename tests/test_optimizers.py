import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from deeplab_tf.lab.config import Config, Optimizer, Training
from deeplab_tf.lab.models.deeplab_v3_plus import deeplab_v3_plus
from deeplab_tf.lab.models.encoder import in_backbone
from deeplab_tf.lab.training import objective, state
from deeplab_tf.lab.training.optimizers import decays, make_optimizer, make_schedule
from deeplab_tf.lab.training.weight_export import WeightExport, average_name


def schedule(name, step, *, warmup=10, steps=110, rate=0.1, power=0.9):
    options = Optimizer(learning_rate=rate, schedule=name, warmup_steps=warmup, power=power)
    return float(make_schedule(options, steps)(tf.constant(step)))


@pytest.mark.parametrize("name", ["cosine", "poly", "constant"])
def test_warm_up_is_linear(name):
    assert [schedule(name, step) for step in range(10)] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert schedule(name, 10) == pytest.approx(0.1)  # the first step behind it has the full rate


def test_cosine_by_hand():
    # 100 steps behind the warm-up: a quarter of them is 45 degrees
    expected = {35: 0.05 * (1 + math.sqrt(0.5)), 60: 0.05, 85: 0.05 * (1 - math.sqrt(0.5)), 110: 0.0}
    for step, rate in expected.items():
        assert schedule("cosine", step) == pytest.approx(rate, abs=1e-8)


def test_poly_by_hand():
    expected = {60: 0.1 * 0.5**0.9, 109: 0.1 * 0.01**0.9, 110: 0.0, 200: 0.0}  # and stays at 0
    for step, rate in expected.items():
        assert schedule("poly", step) == pytest.approx(rate, abs=1e-8)
    assert schedule("poly", 60, power=2.0) == pytest.approx(0.025)


def test_constant_by_hand():
    assert [schedule("constant", step, warmup=0) for step in (0, 55, 110)] == pytest.approx([0.1] * 3)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert schedule("cosine", 0, warmup=0) == schedule("poly", 0, warmup=0) == pytest.approx(0.1)


@pytest.fixture(scope="module")
def deeplab():
    return deeplab_v3_plus(2, width=0.125, aspp_channels=8, decoder_channels=8, low_level_channels=8, auxiliary=True)


def test_kernels_of_convolutions_decay(deeplab):
    kernels = [layer.kernel for layer in deeplab.layers if isinstance(layer, layers.Conv2D)]  # DepthwiseConv2D is none
    assert {v.path for v in deeplab.trainable_variables if decays(v)} == {kernel.path for kernel in kernels}


def test_the_backbone_ends_with_res5(deeplab):
    backbone = keras.Model(deeplab.input, deeplab.get_layer("res5_block3_out").output)
    found = {v.path for v in deeplab.trainable_variables if in_backbone(v.path)}
    assert found == {v.path for v in backbone.trainable_variables}


def tiny_model(precision="float32"):
    """One layer of each kind, under names such as a DeepLab has."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, dtype=precision, name="res2_conv")(image)
    x = layers.BatchNormalization(dtype=precision, name="res2_bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, dtype=precision, name="aspp_rate6_depthwise")(x)
    return keras.Model(image, {"logits": layers.Conv2D(3, 1, dtype="float32", name="logits_conv")(x)})


def fixed_gradients(model, rng, count):
    return [[rng.normal(0, 1, v.shape).astype(np.float32) for v in model.trainable_variables] for _ in range(count)]


def weights_after(model, optimizer, gradients):
    """The trainable weights by path, as float64, before the first and after each step."""
    history = [{v.path: v.numpy().astype(np.float64) for v in model.trainable_variables}]
    for step in gradients:
        optimizer.apply([tf.constant(g) for g in step], model.trainable_variables)
        history.append({v.path: v.numpy().astype(np.float64) for v in model.trainable_variables})
    return history


def test_sgd_by_hand(rng):
    model = tiny_model()
    options = Optimizer(
        name="sgd", learning_rate=0.1, schedule="poly", momentum=0.9, weight_decay=0.01, backbone_lr_multiplier=0.1
    )
    gradients = fixed_gradients(model, rng, 3)
    history = weights_after(model, make_optimizer(options, model, 10), gradients)
    for i, variable in enumerate(model.trainable_variables):
        weight, velocity = history[0][variable.path], 0.0
        l2 = 0.01 if variable.path in ("res2_conv/kernel", "logits_conv/kernel") else 0.0
        slower = 0.1 if variable.path.startswith("res2") else 1.0
        for step in range(3):
            rate = 0.1 * (1 - step / 10) ** 0.9 * slower
            velocity = 0.9 * velocity - rate * (gradients[step][i] + l2 * weight)
            weight = weight + velocity
            np.testing.assert_allclose(
                history[step + 1][variable.path], weight, rtol=1e-5, atol=1e-6, err_msg=variable.path
            )


def test_adam_by_hand(rng):
    model = tiny_model()
    options = Optimizer(learning_rate=0.01, schedule="constant", weight_decay=0.5, backbone_lr_multiplier=0.1)
    gradients = fixed_gradients(model, rng, 2)
    history = weights_after(model, make_optimizer(options, model, 10), gradients)
    for i, variable in enumerate(model.trainable_variables):
        weight, first, second = history[0][variable.path], 0.0, 0.0
        decay = 0.5 if variable.path in ("res2_conv/kernel", "logits_conv/kernel") else 0.0
        rate = 0.001 if variable.path.startswith("res2") else 0.01
        for step in range(2):
            gradient = gradients[step][i]
            weight = weight - rate * decay * weight
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            weight = weight - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-7)
            np.testing.assert_allclose(
                history[step + 1][variable.path], weight, rtol=1e-4, atol=1e-6, err_msg=variable.path
            )


def orthogonalized(matrix):
    """Muon's polynomial on the singular values, five times: what its products of matrices compute without any."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left * values @ right


def test_muon_by_hand(rng):
    options = Optimizer(
        name="muon", learning_rate=0.01, schedule="constant", weight_decay=0.5, backbone_lr_multiplier=0.1
    )
    model = tiny_model()
    gradients = fixed_gradients(model, rng, 2)
    history = weights_after(model, make_optimizer(options, model, 10), gradients)
    index = [v.path for v in model.trainable_variables].index("res2_conv/kernel")
    weight, momentum = history[0]["res2_conv/kernel"], 0.0
    for step in range(2):
        gradient = gradients[step][index]
        momentum = gradient + 0.95 * momentum
        ahead = (gradient + 0.95 * momentum).reshape(27, 4)  # 3 * 3 * 3 inputs, 4 outputs
        weight = weight - 0.001 * 0.5 * weight
        weight = weight - 0.001 * 0.2 * np.sqrt(27) * orthogonalized(ahead).reshape(weight.shape)
        np.testing.assert_allclose(history[step + 1]["res2_conv/kernel"], weight, rtol=1e-3, atol=1e-5)


def test_muon_takes_adams_steps_for_other_variables(rng):
    steps = {}
    for name in ("muon", "adam"):
        model = tiny_model()
        gradients = fixed_gradients(model, np.random.default_rng(8), 2)
        options = Optimizer(name=name, learning_rate=0.01, schedule="constant", weight_decay=0.5)
        steps[name] = weights_after(model, make_optimizer(options, model, 10), gradients)[-1]
    for path in set(steps["adam"]) - {"res2_conv/kernel"}:
        np.testing.assert_allclose(steps["muon"][path], steps["adam"][path], rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", ["adam", "muon", "sgd"])
def test_the_backbones_multiplier_scales_its_steps_alone(rng, name):
    steps = {}
    for rate in (1.0, 0.25):
        model = tiny_model()
        gradients = fixed_gradients(model, np.random.default_rng(8), 1)
        options = Optimizer(name=name, learning_rate=0.1, schedule="constant", backbone_lr_multiplier=rate)
        before, after = weights_after(model, make_optimizer(options, model, 10), gradients)
        steps[rate] = {path: after[path] - before[path] for path in before}
    for path, step in steps[1.0].items():
        factor = 0.25 if path.startswith("res2") else 1.0
        np.testing.assert_allclose(steps[0.25][path], factor * step, rtol=1e-4, atol=1e-7, err_msg=path)


def test_neutral_settings_are_the_stock_optimizer(rng):
    """With nothing of ours switched on, AdamW and SGD are Keras' own to the last bit."""
    stock = {"adam": keras.optimizers.AdamW(0.01, weight_decay=0.1), "sgd": keras.optimizers.SGD(0.01, momentum=0.9)}
    for name, optimizer in stock.items():
        gradients = fixed_gradients(tiny_model(), rng, 3)
        options = Optimizer(
            name=name, learning_rate=0.01, schedule="constant", weight_decay=0.1 if name == "adam" else 0.0
        )
        ours, theirs = tiny_model(), tiny_model()
        if name == "adam":
            optimizer.exclude_from_weight_decay([v for v in theirs.trainable_variables if not decays(v)])
        mine = weights_after(ours, make_optimizer(options, ours, 10), gradients)
        for path, value in weights_after(theirs, optimizer, gradients)[-1].items():
            np.testing.assert_array_equal(mine[-1][path], value, err_msg=f"{name} {path}")


def test_the_gradient_is_clipped_to_its_norm():
    model = tiny_model()
    options = Optimizer(name="sgd", learning_rate=1.0, schedule="constant", momentum=0.0, clip_norm=1.0)
    gradients = [[np.zeros(v.shape, np.float32) for v in model.trainable_variables]]
    gradients[0][0].flat[0], gradients[0][-1][0] = 3.0, 4.0  # norm 5 over all variables
    before, after = weights_after(model, make_optimizer(options, model, 10), gradients)
    paths = [v.path for v in model.trainable_variables]
    assert (before[paths[0]] - after[paths[0]]).flat[0] == pytest.approx(0.6, rel=1e-5)
    assert (before[paths[-1]] - after[paths[-1]])[0] == pytest.approx(0.8, rel=1e-5)


def averages(model, optimizer):
    """The averaged weights by path."""
    found = {variable.name: variable.numpy() for variable in optimizer.variables}
    return {variable.path: found[average_name(variable)] for variable in model.trainable_variables}


def test_averages_by_hand(rng):
    model = tiny_model()
    optimizer = make_optimizer(Optimizer(name="sgd", learning_rate=0.1, schedule="constant", ema=0.9), model, 10)
    history = weights_after(model, optimizer, fixed_gradients(model, rng, 3))
    for path, average in averages(model, optimizer).items():
        first, second, third = (weights[path] for weights in history[1:])
        np.testing.assert_allclose(average, 0.81 * first + 0.09 * second + 0.1 * third, rtol=1e-5, atol=1e-7)


def compiled(precision):
    config = Config(
        data={},
        model={},
        optimizer=Optimizer(learning_rate=0.01, ema=0.5),
        training=Training(steps=10, precision=precision),
    )
    # as `train` does: names of variables, by which a state is known, count up within a session
    keras.utils.clear_session()
    model = tiny_model(precision)
    optimizer = make_optimizer(config.optimizer, model, 10)
    objective.compile_model(model, optimizer, config, None)
    return model, optimizer


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_every_precision_trains_and_resumes(rng, tmp_path, precision):
    images, labels = rng.uniform(0, 1, (4, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, (4, 8, 8), np.uint8)
    model, optimizer = compiled(precision)
    losses = [float(model.train_on_batch(images, {"logits": labels})) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert int(optimizer.iterations) == int(model.optimizer.iterations) == 4  # none was skipped for an overflow
    assert float(model.optimizer.learning_rate) < 0.01
    state.save(tmp_path, 4, model, model.optimizer, {"best": 0.25})
    other, _ = compiled(precision)
    assert state.digest(other, other.optimizer) != state.digest(model, model.optimizer)
    assert state.restore(state.latest(tmp_path), other, other.optimizer) == {"best": 0.25, "step": 4}
    assert state.digest(other, other.optimizer) == state.digest(model, model.optimizer)
    for trained in (model, other):
        trained.train_on_batch(images, {"logits": labels})
    assert state.digest(other, other.optimizer) == state.digest(model, model.optimizer)


def test_float16_exports_the_averaged_weights(rng, tmp_path):
    images, labels = rng.uniform(0, 1, (4, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, (4, 8, 8), np.uint8)
    model, optimizer = compiled("mixed_float16")
    for _ in range(3):
        model.train_on_batch(images, {"logits": labels})
    exported = tiny_model()
    WeightExport(model, optimizer, exported, lambda m: m, tmp_path).runtime()
    averaged = averages(model, optimizer)
    statistics = {v.path: v for v in model.non_trainable_variables}
    assert np.any(averaged["res2_conv/kernel"] != model.get_layer("res2_conv").kernel.numpy())
    for weight in exported.weights:
        np.testing.assert_array_equal(weight, {**averaged, **statistics}[weight.path])


def test_float16_skips_a_step_that_overflows():
    model, optimizer = compiled("mixed_float16")
    before, scale = model.get_weights(), float(model.optimizer.dynamic_scale)
    bad = [tf.fill(v.shape, np.float32(np.inf)) for v in model.trainable_variables]
    model.optimizer.apply(bad, model.trainable_variables)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert float(model.optimizer.dynamic_scale) == scale / 2
    assert int(optimizer.iterations) == 0


def test_an_ema_momentum_of_0_is_no_missing_one():
    model = tiny_model()
    optimizer = make_optimizer(Optimizer(ema=0.0), model, 10)
    assert optimizer.ema_momentum == 0.0  # 0 is a momentum, not "none given"
