"""Panoptic quality (Kirillov et al., CVPR 2019): PQ = SQ * RQ, by class, and over things and stuff.

The counting rules are those of panopticapi and of cityscapesScripts' evalPanopticSemanticLabeling: a true and a
predicted segment of one class match where their IoU exceeds one half, its union without the pixels that are VOID in the
truth; a crowd is neither found nor missed; an unmatched prediction that lies by more than half on VOID and on crowds of
its class is no mistake; a class without segments is left out of the means.
"""

from typing import Dict, Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.metrics import mean_of_defined, none_if_nan
from deeplab_tf.core.metrics.confusion import check_equal_sizes
from deeplab_tf.core.panoptic import DIVISOR, VOID, segments_of, thing_classes
from deeplab_tf.core.tables import number, text_table


class PanopticQuality:
    """Counts matches class by class; `update` counts, the other methods return the scores.

    Attributes:
        table: the C classes.
        matched, unmatched_predictions, unmatched_truths: (C,) int64: true positives, false positives, false negatives.
        iou: (C,) float64, summed over the matches.
        images: how many images were counted.
    """

    def __init__(self, table: LabelTable):
        self.table = table
        self.matched, self.unmatched_predictions, self.unmatched_truths = np.zeros((3, len(table)), np.int64)
        self.iou = np.zeros(len(table))
        self.images = 0
        self._things = thing_classes(table)

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Count one image.

        Args:
            truth, prediction: (H, W) int32 panoptic maps of the same size; see `deeplab_tf.core.panoptic`.

        Raises:
            DeepLabError: sizes that differ, or classes that the table has not; nothing is counted then.
        """
        check_equal_sizes(truth, prediction)
        true_ids, _, true_index = segments_of(truth)
        ids, _, index = segments_of(prediction)
        true_classes, classes = self._classes("truth", true_ids), self._classes("prediction", ids)
        pairs = np.bincount(true_index * len(ids) + index, minlength=len(true_ids) * len(ids))
        crowd = self._things[true_classes] & (true_ids % DIVISOR == 0)
        self.add_pairs(pairs.reshape(len(true_ids), len(ids)), true_classes, classes, crowd)
        self.images += 1

    def add_pairs(self, pairs: np.ndarray, true_classes: np.ndarray, classes: np.ndarray, crowd: np.ndarray) -> None:
        """Count T true and P predicted segments; `images` stays.

        Args:
            pairs: (T, P) int64: the pixels that two segments share; every pixel is in one of each side.
            true_classes, classes: (T,) and (P,) class ids; IGNORE_LABEL for VOID.
            crowd: (T,) bool: which true segments are groups without single instances.
        """
        true_areas, areas = pairs.sum(axis=1), pairs.sum(axis=0)
        true_void, void = true_classes == IGNORE_LABEL, classes == IGNORE_LABEL
        outside = true_void @ pairs  # pixels of each prediction that are VOID in the truth
        same = true_classes[:, None] == classes
        countable = (~crowd & ~true_void)[:, None] & same & ~void
        union = true_areas[:, None] + areas - pairs - outside
        iou = np.divide(pairs, union, out=np.zeros(pairs.shape), where=countable & (pairs > 0))
        hits = iou > 0.5
        excused = outside + ((crowd[:, None] & same) * pairs).sum(axis=0)
        missed = ~hits.any(axis=1) & ~crowd & ~true_void
        wrong = ~hits.any(axis=0) & (excused / areas <= 0.5) & ~void

        rows, columns = np.nonzero(hits)
        np.add.at(self.matched, true_classes[rows], 1)
        np.add.at(self.iou, true_classes[rows], iou[rows, columns])
        np.add.at(self.unmatched_truths, true_classes[missed], 1)
        np.add.at(self.unmatched_predictions, classes[wrong], 1)

    def _classes(self, name, ids):
        classes = ids // DIVISOR
        unknown = ids[(classes >= len(self.table)) & (ids != VOID)]
        if unknown.size:
            raise DeepLabError(
                f"The {name} holds class {unknown[0] // DIVISOR}, which does not exist; expected classes 0 to "
                f"{len(self.table) - 1}, or {VOID} for no class."
            )
        return classes

    def merge(self, other: "PanopticQuality") -> None:
        """Add the counts of another one of the same classes."""
        if len(other.table) != len(self.table):
            raise DeepLabError(f"Cannot merge counts of {len(self.table)} and {len(other.table)} classes.")
        self.matched += other.matched
        self.unmatched_predictions += other.unmatched_predictions
        self.unmatched_truths += other.unmatched_truths
        self.iou += other.iou
        self.images += other.images

    def sq(self) -> np.ndarray:
        """Return (C,) float64 segmentation quality: the mean IoU of the matches, 0 if there are none.

        Here and below, a class without segments is NaN.
        """
        return np.where(self._seen(), self.iou / np.maximum(self.matched, 1), np.nan)

    def rq(self) -> np.ndarray:
        """Return (C,) float64 recognition quality: matches / (matches + half of what was not matched)."""
        return self._of_segments(self.matched)

    def pq(self) -> np.ndarray:
        """Return (C,) float64 panoptic quality: sum of the matches' IoU / (matches + half of what was not matched)."""
        return self._of_segments(self.iou)

    def _of_segments(self, values):
        total = self.matched + 0.5 * self.unmatched_predictions + 0.5 * self.unmatched_truths
        return np.divide(values, total, out=np.full(len(self.table), np.nan), where=self._seen())

    def _seen(self):
        return self.matched + self.unmatched_predictions + self.unmatched_truths > 0

    def report(self, method: Optional[str] = None) -> dict:
        """Return the scores by name; undefined ones are None.

        `pq`, `sq` and `rq`, each also with _things, _stuff and _per_class (class name -> value).

        Args:
            method: how the predictions were made, one of `deeplab_tf.core.panoptic.METHODS`; `pq_method`.
        """
        things = self._things[: len(self.table)]
        scores: Dict[str, object] = {}
        for key, values in (("pq", self.pq()), ("sq", self.sq()), ("rq", self.rq())):
            for suffix, chosen in (("", values), ("_things", values[things]), ("_stuff", values[~things])):
                scores[key + suffix] = none_if_nan(mean_of_defined(chosen))
            scores[key + "_per_class"] = {name: none_if_nan(value) for name, value in zip(self.table.names, values)}
        scores["pq_method"] = method
        return scores


def pq_table(report: dict) -> str:
    """Return the scores of `PanopticQuality.report` as a text table; an undefined score is a dash."""

    def row(title, scores):
        return (title, *(number(score, "{:.4f}") for score in scores))

    keys = ("pq", "sq", "rq")
    rows = [("class", "PQ", "SQ", "RQ")]
    rows += [row(name, (report[key + "_per_class"][name] for key in keys)) for name in report["pq_per_class"]]
    rows.append(("", "", "", ""))
    for title, suffix in (("things", "_things"), ("stuff", "_stuff"), ("all", "")):
        rows.append(row(title, (report[key + suffix] for key in keys)))
    return text_table(rows, left=[0])
