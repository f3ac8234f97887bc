"""Agreement between runtimes."""

from typing import List, Optional, Sequence

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics import none_if_nan
from deeplab_tf.core.metrics.confusion import ConfusionMatrix, about_absent
from deeplab_tf.core.metrics.panoptic import PanopticQuality


def agreement(first: np.ndarray, other: np.ndarray, table: LabelTable) -> dict:
    """Return how far two runtimes agree.

    Args:
        first, other: (N, h, w) uint8 label maps of the same frames.
    Returns:
        `agreement`: pixel agreement, the share of pixels with the same class. `agreement_by_class`: name -> IoU of the
            two label maps; None for a class in neither.
    """
    confusion = ConfusionMatrix(len(table))
    for left, right in zip(first, other):
        confusion.update(left, right)
    by_class = [none_if_nan(iou) for iou in confusion.iou()]
    return {"agreement": confusion.pixel_accuracy(), "agreement_by_class": dict(zip(table.names, by_class))}


def about_truth(truth: Sequence[Optional[np.ndarray]], table: LabelTable) -> List[str]:
    """Return a sentence where classes are in no label map, and so without a score."""
    labeled = [label_map for label_map in truth if label_map is not None]
    counts = sum((np.bincount(label_map.ravel(), minlength=256) for label_map in labeled), np.zeros(256, np.int64))
    return about_absent("labels", dict(zip(table.names, counts))) if labeled else []


def pq(panoptics: np.ndarray, truth: np.ndarray, table: LabelTable) -> Optional[float]:
    """Return the panoptic quality of (N, H, W) panoptic maps; None if it is undefined."""
    quality = PanopticQuality(table)
    for panoptic, true in zip(panoptics, truth):
        quality.update(true, panoptic)
    return quality.report()["pq"]
