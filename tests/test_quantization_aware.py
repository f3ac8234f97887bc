"""Quantization-aware training computes as the exported network, learns, and passes its ranges on."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from click.testing import CliRunner
from keras import layers

from deeplab_tf.cli import group
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load
from deeplab_tf.lab.export import calibration, graph, quantize
from deeplab_tf.lab.export.calibration_methods import tensor_ranges
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.histograms import collect_histograms
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.qat import QATModel
from deeplab_tf.lab.models.custom_layers import BatchNormalization, Upsample
from deeplab_tf.lab.training.quantization import QuantizedTraining

SIZE = (24, 32)


def toy(spread=1.0):
    """A residual block with a depthwise convolution, hard swish and a gate, a concatenation with an upsampled branch,
    an image's mean.

    The eight channels that the last convolution reads differ in size by up to `spread`, which it makes up for: the
    function is the same.
    """
    rng = np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 1000.0, 1100.0], name="normalization")(image)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    first = _norm_relu(layers.Conv2D(8, 3, strides=2, use_bias=False, name="first")(x), "first")
    x = layers.MaxPooling2D(2, name="pool")(first)
    skip = BatchNormalization(name="skip_bn")(layers.Conv2D(8, 1, use_bias=False, name="skip")(x))
    x = BatchNormalization(name="depthwise_bn")(
        layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    )
    x = layers.Activation("hard_silu", name="swish")(x)
    gate = layers.Conv2D(8, 1, name="gate_conv")(layers.GlobalAveragePooling2D(keepdims=True, name="gate_mean")(x))
    x = layers.Multiply(name="gated")([x, layers.Activation("hard_sigmoid", name="gate")(gate)])
    x = BatchNormalization(name="own_bn")(layers.Conv2D(8, 1, use_bias=False, name="own")(x))
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([skip, x]))
    mean = layers.Conv2D(8, 1, activation="relu", name="mean_conv")(
        layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    )
    x = layers.Concatenate(name="joined")(
        [Upsample(2, name="up")([layers.Add(name="with_mean")([mean, x]), first]), first]
    )
    x = _norm_relu(layers.Conv2D(8, 1, use_bias=False, name="wide")(x), "wide")
    logits = Upsample(2, name="logits")([layers.Conv2D(4, 1, name="logits_conv")(x), image])
    model = keras.Model(image, {"logits": logits})
    _randomize(model, rng, rng.permutation(np.geomspace(1, spread, 8)))
    return model


def _norm_relu(x, name):
    return layers.ReLU(name=f"{name}_relu")(BatchNormalization(name=f"{name}_bn")(x))


def _randomize(model, rng, sizes):
    """Statistics are those of some images, and each class is the likeliest somewhere."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    for layer in norms:
        layer.gamma.assign(rng.uniform(0.5, 1.5, 8))
        layer.beta.assign(rng.normal(0, 0.3, 8))
        layer.momentum = 0.0
    last = model.get_layer("logits_conv")
    last.kernel.assign(rng.normal(0, 1, (1, 1, 8, 4)))
    last.bias.assign(-np.mean(model(images(4, seed=9), training=True)["logits"], axis=(0, 1, 2)))
    wide = norms[-1]
    for variable, factors in ((wide.gamma, sizes), (wide.beta, sizes), (last.kernel, 1 / sizes[:, None])):
        variable.assign(variable * factors.astype(np.float32))


def images(count, seed=0):
    """Noise of 8 x 8 pixels under noise of one."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.uniform(30, 220, (count, SIZE[0] // 8, SIZE[1] // 8, 3)), np.ones((1, 8, 8, 1)))
    return (coarse + rng.normal(0, 10, coarse.shape)).clip(0, 255).astype(np.uint8)


def plan_of(model, **options):
    network = with_head(read_network(model), output="logits")
    return network, quantize.make_plan(
        network, tensor_ranges(collect_histograms(network, images(4)), "min-max"), **options
    )


def scores(model, frames):
    """(N, H, W, C) logits."""
    return tf.function(lambda x: model(x)["logits"], jit_compile=False)(tf.constant(frames)).numpy()


@pytest.mark.parametrize("float_layers", [[], ["first"]])
def test_qat_equals_the_exported_graph(float_layers):
    """The graph for TF-TRT with its fake quantization, weights rounded by NumPy, run by TensorFlow."""
    model = toy()
    network, plan = plan_of(model, float_layers=float_layers)
    rounded = quantize.with_quantized_weights(network, plan)
    exported = graph.frozen_graph(rounded, SIZE, target="tf_trt", ranges=plan.all_ranges)
    frames = images(3, seed=1)
    with tf.compat.v1.Session(graph=exported) as session:
        wanted = np.concatenate([session.run("scores:0", {"image:0": frame[None]}) for frame in frames])
    got = scores(QATModel(model, plan), frames)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert np.abs(got - model(frames)["logits"]).max() > 0.02  # rounding does something


def test_without_quantization_it_is_the_keras_model():
    model = toy()
    network, _ = plan_of(model)
    nothing = quantize.Plan({}, {}, {node.name: "float" for node in network.nodes})
    frames = images(2)

    def gradients(network):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(frames, training=False)["logits"]))
        return [loss, *tape.gradient(loss, network.trainable_variables)]

    aware = QATModel(model, nothing)
    assert [v.path for v in aware.trainable_variables] == [v.path for v in model.trainable_variables]
    assert list(aware.output) == ["logits"]
    for got, wanted in zip(tf.function(lambda: gradients(aware))(), tf.function(lambda: gradients(model))()):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5 * float(tf.reduce_max(tf.abs(wanted))))


def test_qat_recovers_what_calibration_loses():
    """Channels that differ by a factor of 200 in one tensor: a step of its range is more than most of them ever
    reach."""
    model, frames = toy(spread=200.0), images(16)
    truth = scores(model, frames).argmax(-1)  # what the float network says
    network, plan = plan_of(model)
    aware = QATModel(model, plan)
    computed = tf.function(lambda: aware(frames)["logits"], jit_compile=False)
    before = np.mean(computed().numpy().argmax(-1) == truth)
    statistics = [v.numpy() for v in model.non_trainable_variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    aware.compile(keras.optimizers.Adam(0.003), {"logits": loss}, jit_compile=False)
    aware.fit(frames, {"logits": truth}, batch_size=8, epochs=25, verbose=0)
    assert before < 0.75 and np.mean(computed().numpy().argmax(-1) == truth) > before + 0.08
    for variable, value in zip(model.non_trainable_variables, statistics):
        np.testing.assert_array_equal(variable, value)  # batch normalization stays what is exported


def train(run, *settings, start=None):
    start = start or tiny.trained_run()
    options = [part for setting in settings for part in ("--set", setting)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.use_backbone(monkeypatch)
        return CliRunner().invoke(group, ["train", str(start / "config.yaml"), "--run", str(run), *options])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps that starts from the tiny one, with distillation from it."""
    folder = tmp_path_factory.mktemp("aware") / "run"
    steps = [
        "training.steps=4",
        "training.validate_every=4",
        "training.checkpoint_every=4",
        "optimizer.learning_rate=0.001",
    ]
    start = [f"model.weights={tiny.trained_run()}", f"distillation.run={tiny.trained_run()}"]
    result = train(folder, "quantization.aware=true", "quantization.calibration_images=6", *start, *steps)
    assert result.exit_code == 0, result.output
    return folder


def test_convert_takes_the_trained_ranges(run, tmp_path):
    """Same ranges, and the same score as the last validation, but for how ONNX Runtime and TensorFlow round a half."""
    arguments = [
        "convert",
        str(run),
        "--int8",
        "--target",
        "onnx",
        "--out",
        str(tmp_path / "bundle"),
        "--json",
        str(tmp_path / "report.json"),
    ]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0, result.output
    assert "Ranges: those of quantization-aware training" in result.output
    bundle = open_bundle(tmp_path / "bundle")
    plan = calibration.load(run).plan(read_network(keras.models.load_model(run / "best.keras", compile=False)))
    assert bundle.info["ranges"] == plan.all_ranges
    assert bundle.info["calibration"]["trained"] and bundle.info["calibration"]["frames"] == 6
    rows = {
        (row["target"], row["precision"]): row for row in json.loads((tmp_path / "report.json").read_text())["rows"]
    }
    (validated,) = [
        row["val"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "val" in row
    ]
    assert rows["onnx", "int8"]["miou"] == pytest.approx(validated["miou"], abs=0.01) and validated["miou"] > 0.7


def test_a_run_resumes_with_its_own_ranges(run, tmp_path):
    config = load(run / "config.yaml")
    assert QuantizedTraining(config, None, None, run).ranges == calibration.load(run)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/ranges.json").write_text("{}")
    with pytest.raises(DeepLabError, match="ranges.json: measured is missing"):
        QuantizedTraining(config, None, None, tmp_path / "run")
    (tmp_path / "run/ranges.json").unlink()
    with pytest.raises(DeepLabError, match="lacks ranges.json"):
        QuantizedTraining(config, None, None, tmp_path / "run")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (["quantization.aware=true"], "name its run with model.weights"),
        (
            ["quantization.aware=true", "training.precision=mixed_bfloat16"],
            "training.precision must be float32 with quantization.aware",
        ),
        (["quantization.calibration=entropi"], "Did you mean 'entropy'?"),
        (["quantization.awear=true"], "Did you mean 'aware'?"),
        (["model.weights={start}", "model.aspp_channels=8"], "start from {start}/config.yaml"),
    ],
)
def test_wrong_settings_get_a_sentence(tmp_path, settings, sentence):
    start = tiny.trained_run()
    result = train(tmp_path / "run", *(setting.format(start=start) for setting in settings))
    assert result.exit_code == 1, result.output
    assert sentence.format(start=start) in result.output and "Traceback" not in result.output


def test_images_do_not_go_with_trained_ranges(run, tmp_path):
    arguments = ["convert", str(run), "--int8", "--images", str(tmp_path), "--out", str(tmp_path / "bundle")]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 2 and "--images does not go with a run that was trained with its ranges" in result.output
