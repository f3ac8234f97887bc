"""Losses of label maps with ignored pixels, of centers and of offsets; weights of rare classes."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.check import LabelCounts, count_labels
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.workers import ALONE, Workers


class SegmentationLoss(keras.losses.Loss):
    """Cross-entropy averaged over the weights of the pixels, so that ignored areas do not dilute it; 0 without any.

    Losses of whole regions can be added: 1 - the mean, over the classes in the batch's labels, of TP / (TP + alpha FP +
    beta FN), all three counted in probabilities (Salehi et al., MLMI 2017). With alpha = beta = 1/2 that is Dice.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        class_weights=None,
        label_smoothing: float = 0.0,
        ohem_ratio: float = 1.0,
        focal_gamma: float = 0.0,
        dice_weight: float = 0.0,
        tversky_weight: float = 0.0,
        tversky: tuple[float, float] = (0.3, 0.7),
        workers: Workers = ALONE,
    ):
        """
        Args:
            num_classes: C.
            class_weights: C numbers, or None for equal weights.
            label_smoothing: share of a pixel's truth that is spread evenly over all classes.
            ohem_ratio: share of each batch's pixels that count, those with the highest loss: online hard example mining
                (Shrivastava et al., CVPR 2016). Each of several workers takes the hardest of its own part.
            focal_gamma: multiplies each pixel's cross-entropy by (1 - p)^gamma, with p the probability of its class
                (Lin et al., ICCV 2017).
            dice_weight: of the Dice loss.
            tversky_weight: of the loss above with (alpha, beta) = `tversky`.
            workers: over whose pixels together the loss is averaged.
        """
        super().__init__(name="segmentation", reduction="none", dtype="float32")
        self.num_classes, self.workers = num_classes, workers
        self.class_weights = tf.ones(num_classes) if class_weights is None else tf.constant(class_weights, tf.float32)
        self.label_smoothing = label_smoothing
        self.ohem_ratio = ohem_ratio
        self.focal_gamma = focal_gamma
        regions = ((dice_weight, 0.5, 0.5), (tversky_weight, *tversky))
        self.regions = [region for region in regions if region[0]]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return a scalar.

        Args:
            y_true: (B, H, W) label maps.
            y_pred: (B, H, W, C) logits.
            sample_weight: (B, H, W) float32, multiplied with the weights of the classes.
        """
        labels = tf.cast(tf.reshape(y_true, (-1,)), tf.int32)
        logits = tf.cast(tf.reshape(y_pred, (-1, self.num_classes)), tf.float32)
        valid = tf.not_equal(labels, IGNORE_LABEL)
        labels = tf.where(valid, labels, 0)
        weights = tf.where(valid, tf.gather(self.class_weights, labels), 0.0)
        if sample_weight is not None:
            weights *= tf.reshape(sample_weight, (-1,))
        cross_entropy = losses = _cross_entropy(labels, logits)
        if self.label_smoothing:
            even = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * even
        if self.focal_gamma:
            losses *= tf.pow(-tf.math.expm1(-cross_entropy) + 1e-7, self.focal_gamma)  # the gradient of 0^gamma
        if self.ohem_ratio < 1:
            weights = weights * self._hard(losses, valid)
        loss = self.workers.mean(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))
        if self.regions:
            loss += self._regions(labels, logits, tf.cast(valid, tf.float32)[:, None])
        return loss

    def _regions(self, labels, logits, valid):
        """Return the sum of the losses of regions; 0 where every pixel is ignored."""
        truth = tf.one_hot(labels, self.num_classes) * valid
        probabilities = tf.nn.softmax(logits) * valid
        sums = [tf.reduce_sum(each, axis=0) for each in (truth * probabilities, truth, probabilities)]
        positives, of_truth, predicted = tf.unstack(self.workers.total(tf.stack(sums)))
        false_positives, misses = predicted - positives, of_truth - positives
        present = tf.cast(of_truth > 0, tf.float32)
        total = tf.constant(0.0)
        for weight, alpha, beta in self.regions:
            index = tf.math.divide_no_nan(positives, positives + alpha * false_positives + beta * misses)
            total += weight * tf.math.divide_no_nan(tf.reduce_sum((1 - index) * present), tf.reduce_sum(present))
        return total

    def _hard(self, losses, valid):
        """Return 1 for the hardest share of the pixels that are not ignored, 0 for the others."""
        losses = tf.where(valid, tf.stop_gradient(losses), -1.0)
        count = tf.cast(tf.math.ceil(self.ohem_ratio * tf.reduce_sum(tf.cast(valid, tf.float32))), tf.int32)
        threshold = tf.sort(losses, direction="DESCENDING")[tf.maximum(count - 1, 0)]
        return tf.cast(losses >= threshold, tf.float32)


def _cross_entropy(labels, logits):
    """Return the loss of each pixel, on a CPU without the slow implementation that a GPU needs to be repeatable."""
    if tf.config.list_physical_devices("GPU"):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=labels).loss


class PixelLoss(keras.losses.Loss):
    """An error per pixel, averaged over the weights of the pixels; 0 without any."""

    def __init__(self, name: str, error: Callable, workers: Workers = ALONE):
        """`error`: maps truth and prediction, both (B, H, W, *) float32, to the same shape; `workers`: over whose
        pixels together it is averaged."""
        super().__init__(name=name, reduction="none", dtype="float32")
        self.error, self.workers = error, workers

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Return a scalar for (B, H, W) or (B, H, W, C) truth, (B, H, W, C) predictions and (B, H, W) weights; the
        errors of the C channels are added."""
        y_pred = tf.cast(y_pred, tf.float32)
        errors = tf.reduce_sum(self.error(tf.reshape(y_true, tf.shape(y_pred)), y_pred), axis=-1)
        return self.workers.mean(tf.reduce_sum(errors * sample_weight), tf.reduce_sum(sample_weight))


def center_loss(workers: Workers = ALONE) -> PixelLoss:
    """Return the mean squared error of the centers' heat map."""
    return PixelLoss("center", tf.math.squared_difference, workers)


def offset_loss(workers: Workers = ALONE) -> PixelLoss:
    """Return the mean absolute error of the offsets, rows and columns added."""
    return PixelLoss("offset", lambda truth, predicted: tf.abs(truth - predicted), workers)


def class_weights(choice, split: Split, counts: LabelCounts | None = None) -> list[float] | None:
    """Return the weights of a recipe's `loss.class_weights`, with mean 1 over the pixels of the split.

    Args:
        choice: None, C numbers, `log` (1 / log(1.1 + share), after ENet, arXiv:1606.02147) or `balanced` (1 / share, at
            most 50 times the least).
        split: whose label maps are counted for `log` and `balanced`.
        counts: of the split, where they are known.

    Raises:
        DeepLabError: another number of weights than classes, or a split without labeled pixels.
    """
    if choice is None:
        return None
    if not isinstance(choice, str):
        if len(choice) != len(split.table):
            raise DeepLabError(
                f"loss.class_weights must hold a number for each of the {len(split.table)} classes. Got {len(choice)}."
            )
        return list(choice)
    shares = class_shares(split, counts)
    weights = 1 / np.log(1.1 + shares) if choice == "log" else 1 / np.maximum(shares, shares.max() / 50)
    return (weights / np.sum(weights * shares)).tolist()


def class_shares(split: Split, counts: LabelCounts | None = None) -> np.ndarray:
    """Return the share of each class in the labeled pixels of a split, (C,) float64; read every label unless `counts`
    are given."""
    labeled = np.array(list((counts or count_labels(split, "train")).pixels.values()), np.int64)
    if not labeled.sum():
        raise DeepLabError("No pixel of the training split has a class: all its labels are ignored.")
    return labeled / labeled.sum()
