"""Scoring a split on several workers: each scores its part, and all get the scores of the whole."""

import time
from collections.abc import Callable, Iterable

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.metrics.per_image import counts_of
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.lab.data.split import Chosen, Split
from deeplab_tf.lab.evaluation.evaluate import Evaluation, ImageScore, evaluate
from deeplab_tf.lab.workers import Workers


def evaluate_shared(
    network: Predictor, split: Split, workers: Workers, progress: Callable[[Iterable], Iterable] = iter
) -> Evaluation:
    """Return what `evaluate` returns, to the last bit, with the work shared: image i is that of worker i % size.

    The counts are added image by image in the order of the split, on every worker, because a sum of fractions depends
    on its order.
    """
    if workers.size == 1:
        return evaluate(network, split, progress=progress)
    if not len(split):
        raise DeepLabError("The split has no images; there is nothing to score.")
    start = time.perf_counter()
    own = [_to_row(index, network, split) for index in progress(range(workers.rank, len(split), workers.size))]
    rows = sorted((row for part in workers.gather(own) for row in part), key=lambda row: row["index"])
    return _from_rows(rows, network, split, time.perf_counter() - start)


def _to_row(index, network, split):
    """Return the counts of one image, for JSON."""
    found = evaluate(network, Chosen(split, [index]))
    return {
        "index": index,
        "pixels": found.confusion.matrix.tolist(),
        "method": found.pq_method,
        "panoptic": _to_lists(found.panoptic),
        "components": _to_lists(found.components),
    }


def _to_lists(quality):
    if quality is None:
        return None
    counts = quality.matched, quality.unmatched_predictions, quality.unmatched_truths, quality.iou
    return [count.tolist() for count in counts]


def _from_rows(rows, network, split, seconds):
    table, images, counts = split.table, [], []
    total, method = ConfusionMatrix(len(table)), None
    sums: dict[str, PanopticQuality | None] = {"panoptic": None, "components": None}
    for row in rows:
        pixels = ConfusionMatrix(len(table))
        pixels.matrix[:], pixels.images = row["pixels"], 1
        total.merge(pixels)
        name = split.names[row["index"]]
        images.append(ImageScore(row["index"], name, pixels.miou(), pixels.pixel_accuracy()))
        counts.append(counts_of(name, pixels))
        method = row["method"] or method
        for key in sums:
            sums[key] = _added(sums[key], row[key], table)
    return Evaluation(
        table,
        total,
        images,
        size=network.size,
        flip=False,
        scales=(1.0,),
        mode=network.mode,
        seconds=seconds,
        panoptic=sums["panoptic"],
        pq_method=method,
        counts=counts,
        components=sums["components"],
    )


def _added(total, lists, table):
    """Return a sum of panoptic counts with those of one image more."""
    if lists is None:
        return total
    one = PanopticQuality(table)
    one.matched, one.unmatched_predictions, one.unmatched_truths = np.array(lists[:3], np.int64)
    one.iou, one.images = np.array(lists[3]), 1
    total = total or PanopticQuality(table)
    total.merge(one)
    return total
