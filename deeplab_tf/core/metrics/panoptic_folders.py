"""Panoptic maps in files, from any program, against the truth."""

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.pairs import common_names, in_threads
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import label_map_of
from deeplab_tf.core.panoptic.folders import open_panoptic_folder


def score_panoptic_folders(truth: str, prediction: str) -> dict:
    """Return the scores of `ConfusionMatrix.report` and `PanopticQuality.report`.

    Args:
        truth, prediction: folders, see `open_panoptic_folder`; every image of the one is in the other.

    Raises:
        DeepLabError: whatever is wrong with the files; it is named.
    """
    true = open_panoptic_folder(truth)
    predicted = open_panoptic_folder(prediction, truth=true)
    quality, confusion = PanopticQuality(true.table), ConfusionMatrix(len(true.table))

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
        return one, pixels

    names = common_names(
        dict(zip(true.names, true.names)), dict(zip(predicted.names, predicted.names)), truth, prediction
    )
    for one, pixels in in_threads(count, names):
        quality.merge(one)
        confusion.merge(pixels)
    return dict(confusion.report(true.table), **quality.report(predicted.method))
