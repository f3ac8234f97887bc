"""The confusion matrix and its scores: IoU per class, mean IoU, pixel accuracy.

The counting rules are those of cityscapesScripts (evalPixelLevelSemanticLabeling): a prediction in an ignored class is
a false negative of the true class, an ignored true pixel counts nowhere, and a class with an empty union is left out of
the mean.
"""

from typing import List, Mapping, Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.metrics import mean_of_defined, none_if_nan
from deeplab_tf.core.tables import number, text_table


def count_pairs(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count how often each pair of ids meets in two label maps.

    Args:
        truth, prediction: (H, W) uint8, of the same size; any ids.

    Returns:
        (256, 256) int64; entry [t, p] counts the pixels with id t in `truth` and p in `prediction`.

    Raises:
        DeepLabError: another type or number of axes, or different sizes.
    """
    for name, label_map in (("truth", truth), ("prediction", prediction)):
        if label_map.dtype != np.uint8 or label_map.ndim != 2:
            raise DeepLabError(f"The {name} must be (H, W) uint8; got {label_map.shape} {label_map.dtype}.")
    check_equal_sizes(truth, prediction)
    pairs = truth.ravel().astype(np.uint16)
    pairs <<= 8
    pairs |= prediction.ravel()
    return np.bincount(pairs, minlength=65536).reshape(256, 256)


def check_equal_sizes(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Raise DeepLabError if two maps differ in height or width."""
    if truth.shape != prediction.shape:
        sizes = truth.shape + prediction.shape
        raise DeepLabError(
            "Truth is {}x{} and prediction {}x{} (height x width); they must be of one size.".format(*sizes)
        )


class ConfusionMatrix:
    """Counts pixels by true and predicted class; `update` counts, the other methods return the scores.

    Attributes:
        matrix: (C, C + 1) int64; rows are truth, columns prediction; the last column counts pixels predicted as no
            class.
        images: how many images were counted.
    """

    def __init__(self, num_classes: int):
        self.matrix = np.zeros((num_classes, num_classes + 1), np.int64)
        self.images = 0

    @property
    def num_classes(self) -> int:
        """C."""
        return self.matrix.shape[0]

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count one image.

        Args:
            truth, prediction: (H, W) uint8 class ids, of the same size; IGNORE_LABEL in the truth counts nowhere, in
                the prediction as a miss.

        Raises:
            DeepLabError: sizes that differ, or ids that are neither a class nor IGNORE_LABEL; nothing is counted then.
        """
        self.add_pairs(count_pairs(truth, prediction))

    def add_pairs(self, pairs: np.ndarray, id_map: Optional[np.ndarray] = None, *, images: int = 1) -> None:
        """Add what `count_pairs` returns.

        Args:
            pairs: (256, 256) int64, of one image or summed over several.
            id_map: (256,) uint8, the class id or IGNORE_LABEL of each id in `pairs`; None if they are class ids.
            images: how many images `pairs` stands for.
        """
        true_ids, predicted_ids = np.nonzero(pairs)
        counts = pairs[true_ids, predicted_ids]
        if id_map is not None:
            true_ids, predicted_ids = id_map[true_ids].astype(np.intp), id_map[predicted_ids].astype(np.intp)
        self._check_ids("truth", true_ids)
        self._check_ids("prediction", predicted_ids)
        scored = true_ids != IGNORE_LABEL
        columns = np.minimum(predicted_ids[scored], self.num_classes)
        np.add.at(self.matrix, (true_ids[scored], columns), counts[scored])
        self.images += images

    def _check_ids(self, name, ids):
        unknown = np.unique(ids[(ids >= self.num_classes) & (ids != IGNORE_LABEL)])
        if unknown.size:
            raise DeepLabError(
                f"The {name} holds ids that are no class: {', '.join(str(i) for i in unknown)}; expected 0 to "
                f"{self.num_classes - 1}, or {IGNORE_LABEL} for ignored."
            )

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix of the same classes."""
        if other.num_classes != self.num_classes:
            raise DeepLabError(f"Cannot merge matrices of {self.num_classes} and {other.num_classes} classes.")
        self.matrix += other.matrix
        self.images += other.images

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        total = ConfusionMatrix(self.num_classes)
        total.merge(self)
        total.merge(other)
        return total

    def iou(self) -> np.ndarray:
        """Return (C,) float64: true positives / (true positives + false positives + false negatives); NaN for 0 / 0."""
        hits = np.diagonal(self.matrix)
        union = self.matrix.sum(axis=1) + self.matrix[:, :-1].sum(axis=0) - hits
        return np.divide(hits, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    def miou(self) -> float:
        """Return the mean of the IoUs that are defined; NaN if none is."""
        return mean_of_defined(self.iou())

    def pixel_accuracy(self) -> float:
        """Return the share of the scored pixels whose class is right; NaN if no pixel is scored."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")

    def report(self, table: LabelTable) -> dict:
        """Return `miou`, `iou` (class name -> value), `pixel_accuracy` and `images`, None for an undefined score; and
        `warnings`, a sentence for classes without scores.

        Args:
            table: the C classes.
        """
        if len(table) != self.num_classes:
            raise DeepLabError(f"The table has {len(table)} classes, the confusion matrix {self.num_classes}.")
        return {
            "miou": none_if_nan(self.miou()),
            "iou": {name: none_if_nan(value) for name, value in zip(table.names, self.iou())},
            "pixel_accuracy": none_if_nan(self.pixel_accuracy()),
            "images": self.images,
            "warnings": about_absent("truth", dict(zip(table.names, self.matrix.sum(axis=1)))),
        }


def about_absent(where: str, pixels: Mapping[str, int]) -> List[str]:
    """Return a sentence where classes have no pixels, and so no score; none otherwise.

    Args:
        where: whose pixels they are, such as "truth".
        pixels: number by class name.
    """
    absent = [f"'{name}'" for name, count in pixels.items() if not count]
    if len(absent) == len(pixels):
        return [f"No pixel of the {where} has a class: no score is defined."]
    if not absent:
        return []
    return [
        f"No pixel of the {where} is {some_of(absent)}: such an IoU is undefined and left out of mIoU, or 0 where "
        "something is predicted as the class."
    ]


def iou_table(report: dict) -> str:
    """Return the report of `ConfusionMatrix.report` as a text table; an undefined score is a dash."""
    rows = [("class", "IoU")] + [(name, number(value, "{:.4f}")) for name, value in report["iou"].items()]
    rows += [("", ""), ("mIoU", number(report["miou"], "{:.4f}"))]
    rows += [("pixel accuracy", number(report["pixel_accuracy"], "{:.4f}")), ("images", str(report["images"]))]
    return text_table(rows, left=[0])
