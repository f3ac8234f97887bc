"""Scores image by image: a table of them, and how much the mean IoU varies with the choice of images."""

import csv
import io
from typing import Any, Dict, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.files import write_text
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics import mean_of_defined, none_if_nan
from deeplab_tf.core.metrics.confusion import ConfusionMatrix

LEVEL = 0.95
SAMPLES = 1000
SEED = 0
SCORES = ("iou", "dice", "precision", "recall")


class ImageCounts(NamedTuple):
    """Pixels of an image by class.

    Attributes:
        name: of the image.
        counts: (3, C) int64: right, true and predicted pixels of each class.
        pixel_accuracy: NaN if no pixel is scored.
    """

    name: str
    counts: np.ndarray
    pixel_accuracy: float


def counts_of(name: str, confusion: ConfusionMatrix) -> ImageCounts:
    """Return the counts of one image."""
    matrix = confusion.matrix
    counts = np.stack([np.diagonal(matrix), matrix.sum(axis=1), matrix[:, :-1].sum(axis=0)])
    return ImageCounts(name, counts, confusion.pixel_accuracy())


def class_scores(counts: np.ndarray) -> Dict[str, np.ndarray]:
    """Return the SCORES of (..., 3, C) counts, each (..., C) float64; NaN where 0 / 0.

    IoU: right / (true or predicted). Dice: 2 * right / (true + predicted). Precision: right / predicted. Recall:
    right / true.
    """
    right, true, predicted = (counts[..., i, :].astype(np.float64) for i in range(3))
    parts = {
        "iou": (right, true + predicted - right),
        "dice": (2 * right, true + predicted),
        "precision": (right, predicted),
        "recall": (right, true),
    }
    return {
        name: np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
        for name, (part, whole) in parts.items()
    }


def miou_interval(images: Sequence[ImageCounts]) -> Optional[Dict[str, Any]]:
    """Return the interval that holds the mean IoU in LEVEL of SAMPLES draws of as many images, with replacement.

    It tells how much the score depends on which images it was measured on (the percentile bootstrap; Efron and
    Tibshirani, 1993, chapter 13), and nothing of how another training would do.

    Returns:
        `low`, `high`, `level`, `samples` and `seed`; None for fewer than two images, or without a score.
    """
    if len(images) < 2:
        return None
    counts = np.stack([image.counts for image in images]).astype(np.float64)
    count, random = len(images), np.random.RandomState(SEED)
    times = (np.bincount(random.randint(0, count, count), minlength=count) for _ in range(SAMPLES))
    totals = np.stack([row @ counts.reshape(count, -1) for row in times]).reshape(SAMPLES, 3, -1)
    scores = np.array([mean_of_defined(row) for row in class_scores(totals)["iou"]])
    scores = scores[~np.isnan(scores)]
    if not scores.size:
        return None
    low, high = np.percentile(scores, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return {"low": float(low), "high": float(high), "level": LEVEL, "samples": SAMPLES, "seed": SEED}


def write_csv(path: str, images: Sequence[ImageCounts], table: LabelTable) -> None:
    """Write a row for each image: its name, mIoU, pixel accuracy, and the SCORES of each class; empty if undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["image", "miou", "pixel_accuracy", *(f"{score} {name}" for score in SCORES for name in table.names)]
    )
    for image in images:
        scores = class_scores(image.counts)
        values = [mean_of_defined(scores["iou"]), image.pixel_accuracy]
        values += [value for score in SCORES for value in scores[score]]
        writer.writerow([image.name, *map(_text, values)])
    write_text(path, text.getvalue())


def _text(value) -> str:
    defined = none_if_nan(value)
    return "" if defined is None else f"{defined:.6f}"


def interval_text(interval: Optional[Dict[str, Any]]) -> str:
    """Return what `miou_interval` found as a line of text."""
    if interval is None:
        return "no interval of mIoU: fewer than two images"
    return (
        f"mIoU {interval['level']:.0%} interval over images: {interval['low']:.4f} to {interval['high']:.4f} "
        f"(bootstrap, {interval['samples']} samples, seed {interval['seed']})"
    )
