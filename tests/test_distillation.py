"""Distillation: the teacher's term of the loss against NumPy, and what gets a gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.config import Distillation, resolve
from deeplab_tf.lab.models.layer_graph import output_layer
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.training.distillation import DistillationLoss, add_loss, divergence, load_teacher
from deeplab_tf.lab.training.objective import compile_model


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def reference(label_map, teacher, student, temperature):
    """Pixel by pixel, in NumPy."""
    total, count = 0.0, 0
    for place in np.ndindex(*label_map.shape):
        if label_map[place] == 255:
            continue
        p, q = (log_softmax(logits[place] / temperature) for logits in (teacher, student))
        total, count = total + (np.exp(p) * (p - q)).sum(), count + 1
    return temperature**2 * total / max(count, 1)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.5])
def test_divergence_is_that_of_the_definition(rng, temperature):
    teacher, student = rng.normal(0, 3, (2, 2, 4, 5, 3)).astype(np.float32)
    label_map = rng.choice([0, 1, 2, 255], (2, 4, 5)).astype(np.uint8)
    found = float(divergence(tf.constant(label_map), tf.constant(teacher), tf.constant(student), temperature))
    assert found == pytest.approx(reference(label_map, teacher, student, temperature), rel=1e-5)


def test_divergence_by_hand():
    # teacher (ln 3, 0): 3/4, 1/4; student (0, 0): halves. KL = 3/4 ln(3/2) + 1/4 ln(1/2); the ignored pixel counts
    # nowhere
    teacher, student = np.log([[[[3.0, 1.0], [9.0, 1.0]]]]), np.zeros((1, 1, 2, 2))
    found = float(divergence(np.array([[[1, 255]]]), teacher, student, 1.0))
    assert found == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-5)
    assert float(divergence(np.full((1, 1, 2), 255), teacher, student, 1.0)) == 0.0


def classifier(name, seed):
    """Logits at stride 4, upsampled, as every network ends."""
    from deeplab_tf.lab.models.custom_layers import Upsample

    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 16, 3), name="image")
    x = keras.layers.AveragePooling2D(4, name=f"{name}_pool")(image)
    x = keras.layers.Conv2D(3, 1, name="logits_conv", kernel_initializer=keras.initializers.RandomNormal(stddev=0.05))(
        x
    )
    return keras.Model(image, {"logits": Upsample(4, name="logits")([x, image])})


@pytest.fixture(scope="module")
def pair():
    """Student and teacher, with a weight of 0.3 and a temperature of 2."""
    config = resolve(
        {"data": {"name": "folder", "size": [32, 32]}, "distillation": {"run": "somewhere", "weight": 0.3}}
    )
    student, teacher = classifier("student", 1), classifier("teacher", 2)
    add_loss(student, DistillationLoss(teacher, Distillation(run="somewhere", weight=0.3, temperature=2.0), 4))
    compile_model(student, keras.optimizers.SGD(0.1), config, None)
    return student, teacher


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(4)
    return generator.uniform(0, 255, (2, 8, 16, 3)).astype(np.float32), generator.choice(
        [0, 1, 2, 255], (2, 8, 16)
    ).astype(np.uint8)


def test_the_loss_is_both_parts(pair, batch):
    (student, teacher), (images, label_map) = pair, batch
    outputs, taught = (network(images)["logits"].numpy() for network in (student, teacher))
    small = label_map[:, ::4, ::4], taught[:, ::4, ::4], outputs[:, ::4, ::4]
    valid = label_map != 255
    truth = np.take_along_axis(log_softmax(outputs), np.where(valid, label_map, 0)[..., None].astype(int), -1)[..., 0]
    expected = 0.7 * -truth[valid].mean() + 0.3 * reference(*small, 2.0)
    y = {"logits": tf.constant(label_map)}
    assert float(student.compute_loss(images, y, student(images))) == pytest.approx(expected, rel=1e-5)


def test_the_teacher_stays_as_it_is(pair, batch):
    (student, teacher), (images, label_map) = pair, batch
    before = [weight.numpy().copy() for weight in teacher.weights]
    with tf.GradientTape(persistent=True) as tape:
        loss = student.compute_loss(images, {"logits": tf.constant(label_map)}, student(images))
    assert tape.gradient(loss, [weight.value for weight in teacher.trainable_weights]) == [None, None]
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, [weight.value for weight in student.trainable_weights]))
    paths = {weight.path for weight in student.variables}
    assert paths == {"logits_conv/kernel", "logits_conv/bias"}, "nor is the teacher saved with the student"
    images = tf.data.Dataset.from_tensors((tf.cast(images, tf.uint8), {"logits": label_map}))
    student.fit(images, verbose=0, shuffle=False)
    assert all(np.array_equal(weight.numpy(), value) for weight, value in zip(teacher.weights, before))


def table(*names):
    return LabelTable.from_dicts(
        [{"name": name, "color": (index, 0, 0), "thing": False} for index, name in enumerate(names)]
    )


def test_half_precision_has_the_same_teacher(monkeypatch):
    tiny.use_backbone(monkeypatch)
    teacher = load_teacher(str(tiny.trained_run()), "mixed_bfloat16", table(*tiny.COLORS))
    assert teacher.get_layer("res4_conv").compute_dtype == "bfloat16"
    trained = keras.models.load_model(tiny.trained_run() / "best.keras", compile=False)
    for ours, theirs in zip(teacher.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_logits_are_compared_at_their_own_stride(monkeypatch):
    tiny.use_backbone(monkeypatch)
    assert output_layer(build_network(resolve(tiny.recipe("somewhere")).model, 3), "logits").factor == 4


@pytest.mark.parametrize(
    "run, names, facts",
    [
        ("gone", tiny.COLORS, ["distillation.run", "gone"]),
        (".", tiny.COLORS, ["config.yaml"]),
        (None, ["road", "tree", "cloud"], ["road, tree, sky ... (3)", "road, tree, cloud ... (3)"]),
    ],
)
def test_a_teacher_that_does_not_fit_gets_a_sentence(run, names, facts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeepLabError) as caught:
        load_teacher(run or str(tiny.trained_run()), "float32", table(*names))
    assert all(fact in str(caught.value) for fact in facts) and "\n" not in str(caught.value)
