import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.lab.data.split import Sample, Split
from deeplab_tf.lab.training.losses import SegmentationLoss, class_shares, class_weights

LN3 = math.log(3)


class LabelSplit(Split):
    """A split of label maps; its images are black."""

    def __init__(self, *label_maps, classes=3):
        self.table = LabelTable([Label(i, f"class {i}", (i, 0, 0), False) for i in range(classes)])
        self.label_maps = [np.array(label_map, np.uint8) for label_map in label_maps]
        self.names = [str(i) for i in range(len(label_maps))]

    def sample(self, index):
        return Sample(np.zeros((*self.label_maps[index].shape, 3), np.uint8), self.label_maps[index])


def loss_and_gradient(loss, labels, logits):
    """Of one row of pixels: labels (n,), logits (n, C)."""
    logits = tf.constant(logits, tf.float32)[None, None]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(tf.constant(labels, tf.uint8)[None, None], logits)
    return float(value), tape.gradient(value, logits).numpy()[0, 0]


def test_cross_entropy_by_hand():
    # softmax(ln 3, 0) = (3/4, 1/4): the right class costs ln(4/3), the wrong one ln 4; (0, 0) costs ln 2
    value, _ = loss_and_gradient(SegmentationLoss(2), [0, 1, 1], [(LN3, 0), (LN3, 0), (0, 0)])
    assert value == pytest.approx((math.log(4 / 3) + math.log(4) + math.log(2)) / 3, rel=1e-6)


def test_ignored_pixels_neither_count_nor_dilute():
    value, gradient = loss_and_gradient(
        SegmentationLoss(2), [0, IGNORE_LABEL, IGNORE_LABEL], [(0, 0), (5, -5), (-9, 9)]
    )
    assert value == pytest.approx(math.log(2), rel=1e-6)  # not a third of it
    np.testing.assert_array_equal(gradient[1:], 0)
    np.testing.assert_allclose(gradient[0], (-0.5, 0.5), rtol=1e-6)  # softmax - one-hot


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ohem_ratio": 0.25},
        {"label_smoothing": 0.1},
        {"class_weights": [1.0, 2.0]},
        {"focal_gamma": 2.0},
        {"dice_weight": 1.0, "tversky_weight": 1.0},
    ],
)
def test_ignored_pixels_alone_cost_nothing(options):
    value, gradient = loss_and_gradient(SegmentationLoss(2, **options), [IGNORE_LABEL] * 4, np.ones((4, 2)))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_class_weights_are_averaged_over_the_weights():
    loss = SegmentationLoss(2, class_weights=[1, 3])
    value, _ = loss_and_gradient(loss, [0, 1, IGNORE_LABEL], [(LN3, 0), (LN3, 0), (LN3, 0)])
    assert value == pytest.approx((1 * math.log(4 / 3) + 3 * math.log(4)) / (1 + 3), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_label_smoothing_is_that_of_keras(rng, smoothing):
    labels, logits = rng.integers(0, 5, 40), rng.normal(0, 3, (40, 5)).astype(np.float32)
    stock = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    expected = float(stock(np.eye(5, dtype=np.float32)[labels], logits))
    ignored = [IGNORE_LABEL] * 7
    value, _ = loss_and_gradient(
        SegmentationLoss(5, label_smoothing=smoothing), [*labels, *ignored], [*logits, *np.ones((7, 5))]
    )
    assert value == pytest.approx(expected, rel=1e-5)


def test_ohem_takes_the_hardest_share(rng):
    margins = rng.permutation(10).astype(np.float32)  # the loss of a pixel is ln(1 + e^-margin): the lower the harder
    labels = [0] * 10 + [IGNORE_LABEL] * 30
    logits = np.zeros((40, 2), np.float32)
    logits[:10, 0] = margins
    logits[10:, 1] = 50  # ignored, and would be the hardest of all
    value, gradient = loss_and_gradient(SegmentationLoss(2, ohem_ratio=0.3), labels, logits)
    assert value == pytest.approx(np.mean([math.log(1 + math.exp(-margin)) for margin in (0, 1, 2)]), rel=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(gradient.any(axis=1)), np.flatnonzero(margins < 3))


def test_ohem_takes_at_least_one_pixel():
    value, _ = loss_and_gradient(SegmentationLoss(2, ohem_ratio=0.01), [0, 0], [(0, 0), (LN3, 0)])
    assert value == pytest.approx(math.log(2), rel=1e-6)


def test_float16_logits_are_summed_in_float32():
    logits = tf.zeros((1, 64, 64, 2), tf.float16)  # 4096 times ln 2 leaves float16's 11 bits
    assert float(SegmentationLoss(2)(tf.zeros((1, 64, 64), tf.uint8), logits)) == pytest.approx(math.log(2), rel=1e-5)


SPLIT = LabelSplit([[0, 0, 0, 0, 0, 0, 255]], [[0, 0, 0, 1]])  # 9 pixels of class 0, one of class 1, none of class 2


def in_numpy(labels, logits, weights, *, focal_gamma=0.0, dice=0.0, tversky=0.0, alpha_beta=(0.3, 0.7)):
    """Cross-entropy, focal or not, and the losses of regions, written out pixel by pixel in float64."""
    total = weight_sum = 0.0
    classes = len(logits[0])
    tp, fp, fn = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for label, row in zip(labels, np.asarray(logits, np.float64)):
        if label == IGNORE_LABEL:
            continue
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        total += weights[label] * -np.log(p[label]) * (1 - p[label]) ** focal_gamma
        weight_sum += weights[label]
        for c in range(classes):
            tp[c] += p[c] if c == label else 0
            fp[c] += p[c] if c != label else 0
            fn[c] += 1 - p[c] if c == label else 0
    value = total / weight_sum
    present = [c for c in range(classes) if c in labels]
    for weight, alpha, beta in ((dice, 0.5, 0.5), (tversky, *alpha_beta)):
        value += weight * np.mean([1 - tp[c] / (tp[c] + alpha * fp[c] + beta * fn[c]) for c in present])
    return value


@pytest.mark.parametrize(
    "options",
    [{"focal_gamma": 2.0}, {"focal_gamma": 0.5}, {"dice_weight": 1.0}, {"tversky_weight": 0.7, "tversky": (0.2, 0.8)}],
    ids=str,
)
def test_losses_and_their_gradients_against_numpy(options, rng):
    """The value, and the gradient by differences of the NumPy version, in float64, at +-1e-5."""
    labels = np.array([0, 1, 1, 3, IGNORE_LABEL, 0, 3, 3])  # class 2 does not occur
    logits, weights = rng.normal(0, 1.5, (8, 4)), [1.0, 2.0, 0.5, 3.0]
    names = {"dice_weight": "dice", "tversky_weight": "tversky", "tversky": "alpha_beta"}
    plain = {names.get(name, name): value for name, value in options.items()}
    value, gradient = loss_and_gradient(SegmentationLoss(4, class_weights=weights, **options), labels, logits)
    assert value == pytest.approx(in_numpy(labels, logits, weights, **plain), rel=1e-5)
    expected = np.zeros_like(logits)
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        ahead, behind = (in_numpy(labels, logits + sign * step, weights, **plain) for sign in (1, -1))
        expected[index] = (ahead - behind) / 2e-5
    np.testing.assert_allclose(gradient, expected, atol=2e-6)


def test_dice_by_hand():
    # p = 3/4 for class 0 in one pixel of each class: TP 3/4, FP 3/4, FN 1/4 for class 0; 1/4, 1/4, 3/4 for class 1:
    # 1 - 2 * 3/4 / (3/2 + 1) = 0.4; 1 - 2 * 1/4 / (1/2 + 1) = 2/3
    loss = SegmentationLoss(2, dice_weight=1.0)
    value, _ = loss_and_gradient(loss, [0, 1], [(LN3, 0), (LN3, 0)])
    assert value == pytest.approx((math.log(4 / 3) + math.log(4)) / 2 + (0.4 + 2 / 3) / 2, rel=1e-6)


def test_class_shares_leave_ignored_pixels_out():
    np.testing.assert_allclose(class_shares(SPLIT), (0.9, 0.1, 0))


def test_log_class_weights_by_hand():
    # 1 / ln(1.1 + share): 1 / ln 2 = 1.4427, 1 / ln 1.2 = 5.4848, 1 / ln 1.1 = 10.4921; times the shares 1.2984 +
    # 0.5485 + 0 = 1.8469
    np.testing.assert_allclose(class_weights("log", SPLIT), np.array([1.4427, 5.4848, 10.4921]) / 1.8469, rtol=1e-4)


def test_balanced_class_weights_by_hand():
    # 1 / 0.9, 1 / 0.1, and for the class without pixels 50 times the least; times the shares 1 + 1 + 0 = 2
    np.testing.assert_allclose(class_weights("balanced", SPLIT), np.array([1 / 0.9, 1 / 0.1, 50 / 0.9]) / 2, rtol=1e-12)


def test_given_class_weights_are_taken_as_they_are():
    assert class_weights((1.0, 2.0, 0.0), SPLIT) == [1.0, 2.0, 0.0]
    assert class_weights(None, SPLIT) is None


def test_another_number_of_class_weights_gets_a_sentence():
    with pytest.raises(DeepLabError, match="3 classes. Got 2"):
        class_weights((1.0, 2.0), SPLIT)


def test_a_split_without_labeled_pixels_gets_a_sentence():
    with pytest.raises(DeepLabError, match="No pixel"):
        class_weights("log", LabelSplit([[255, 255]]))


def test_class_weights_raise_the_iou_of_a_rare_class():
    """Two classes, 3 % of the second, overlapping by construction: without weights it pays to call nearly everything
    the first."""
    rng = np.random.default_rng(5)
    label_maps = (rng.uniform(size=(4, 64, 64)) < 0.03).astype(np.uint8)
    images = rng.normal(size=label_maps.shape) + 1.5 * label_maps  # a mean of 0 or 1.5, a deviation of 1
    split = LabelSplit(*label_maps, classes=2)
    rare = {}
    for choice in (None, "log"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((64, 64, 1)), keras.layers.Conv2D(2, 1)])
        model.compile(
            keras.optimizers.Adam(0.3),
            SegmentationLoss(2, class_weights=class_weights(choice, split)),
            jit_compile=False,
        )
        model.fit(images[..., None].astype(np.float32), label_maps, batch_size=4, epochs=40, verbose=0)
        matrix = ConfusionMatrix(2)
        for truth, logits in zip(label_maps, model(images[..., None]).numpy()):
            matrix.update(truth, logits.argmax(-1).astype(np.uint8))
        rare[choice] = matrix.iou()[1]
    assert rare["log"] > 1.5 * rare[None]
    assert rare["log"] > 0.12  # the best threshold at these weights gives 0.0105 / 0.06 = 0.17
