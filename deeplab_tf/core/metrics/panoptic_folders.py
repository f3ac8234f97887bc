"""Panoptic maps in files, from any program, against the truth."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Callable, Iterable, List, Tuple

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import label_map_of
from deeplab_tf.core.panoptic.files import PanopticFolder, open_folder


def score_folders(prediction: str, truth: str, *, progress: Callable[[Iterable, int], Iterable]) -> dict:
    """The scores of `ConfusionMatrix.report` and `PanopticQuality.report`.

    Args:
        prediction, truth: folders, see `open_folder`; every image of the one is in the other.
        progress: wraps what is counted, with how many there are, to show how far it is.

    Raises:
        DeepLabError: whatever is wrong with the files; it is named.
    """
    true = open_folder(truth)
    predicted = open_folder(prediction, like=true)
    names = _common(true, predicted, truth, prediction)
    quality, confusion = PanopticQuality(true.table), ConfusionMatrix(len(true.table))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, closing(
        pool.map(lambda name: _count(true, predicted, name), names)
    ) as counted:
        for one, pixels in progress(counted, len(names)):
            quality.merge(one)
            confusion.merge(pixels)
    report = confusion.report(true.table)
    report.update(quality.report(predicted.method))
    return report


def _common(true: PanopticFolder, predicted: PanopticFolder, truth: str, prediction: str) -> List[str]:
    if not true.names:
        raise DeepLabError(f"The truth in {truth} has no images.")
    missing, extra = sorted(set(true.names) - set(predicted.names)), sorted(set(predicted.names) - set(true.names))
    if missing:
        problem = "{} of {} images have no prediction in {}; the first is {}.{}"
        there = f" A prediction of no image is {extra[0]}." if extra else ""
        raise DeepLabError(problem.format(len(missing), len(true.names), prediction, missing[0], there))
    if extra:
        raise DeepLabError(f"{len(extra)} predictions have no truth in {truth}; the first is {extra[0]}.")
    return true.names


def _count(true: PanopticFolder, predicted: PanopticFolder, name: str) -> Tuple[PanopticQuality, ConfusionMatrix]:
    truth, prediction = true.panoptic_map(name), predicted.panoptic_map(name)
    if truth.shape != prediction.shape:
        sizes = prediction.shape + truth.shape
        raise DeepLabError(
            "The prediction of {} is {}x{}, its truth {}x{} (height x width); make them equal.".format(name, *sizes)
        )
    quality, confusion = PanopticQuality(true.table), ConfusionMatrix(len(true.table))
    quality.update(truth, prediction)
    confusion.update(label_map_of(truth), label_map_of(prediction))
    return quality, confusion
