"""Panoptic maps in files, from any program, against the truth."""

from typing import Iterable, Iterator, NamedTuple, Optional, Sequence

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.pairs import common_names, in_threads
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import label_map_of
from deeplab_tf.core.panoptic.folders import PanopticFolder, open_panoptic_folder


class PanopticCounts(NamedTuple):
    """The counts of one image."""

    name: str
    quality: PanopticQuality
    pixels: ConfusionMatrix


def score_panoptic_folders(truth: str, prediction: str) -> dict:
    """Return the scores of `ConfusionMatrix.report` and `PanopticQuality.report`.

    Args:
        truth, prediction: folders, see `open_panoptic_folder`; every image of the one is in the other.

    Raises:
        DeepLabError: whatever is wrong with the files; it is named.
    """
    true = open_panoptic_folder(truth)
    predicted = open_panoptic_folder(prediction, truth=true)
    true_names, predicted_names = (dict(zip(folder.names, folder.names)) for folder in (true, predicted))
    names = common_names(true_names, predicted_names, truth, prediction)
    return panoptic_report(count_maps(true, predicted, names), true.table, predicted.method)


def count_maps(true: PanopticFolder, predicted: PanopticFolder, names: Sequence[str]) -> Iterator[PanopticCounts]:
    """Yield the counts of each image, in the order of their names. Raises DeepLabError for maps of different sizes."""

    def count(name):
        true_map, predicted_map = true.panoptic_map(name), predicted.panoptic_map(name)
        if true_map.shape != predicted_map.shape:
            sizes = predicted_map.shape + true_map.shape
            raise DeepLabError(
                "The prediction of {} is {}x{}, its truth {}x{} (height x width); make them equal.".format(name, *sizes)
            )
        one, pixels = PanopticQuality(true.table), ConfusionMatrix(len(true.table))
        one.update(true_map, predicted_map)
        pixels.update(label_map_of(true_map), label_map_of(predicted_map))
        return PanopticCounts(name, one, pixels)

    return in_threads(count, names)


def panoptic_report(images: Iterable[PanopticCounts], table: LabelTable, method: Optional[str]) -> dict:
    """Return the report of `score_panoptic_folders` for its counted images, whose order is that of their names: the
    last digits of a sum depend on it."""
    quality, confusion = PanopticQuality(table), ConfusionMatrix(len(table))
    for image in images:
        quality.merge(image.quality)
        confusion.merge(image.pixels)
    return dict(confusion.report(table), **quality.report(method))
