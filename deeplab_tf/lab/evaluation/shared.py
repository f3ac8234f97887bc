"""Scoring a split on several workers: each scores its part, and all get the scores of the whole."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.label_folders import from_sparse, to_sparse
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.evaluation.evaluate import Evaluation, Scored, check, collect, evaluate, score_images
from deeplab_tf.lab.workers import Workers


def evaluate_shared(
    network: Predictor, split: Split, workers: Workers, progress: Callable[[Iterable], Iterable] = iter
) -> Evaluation:
    """Return what `evaluate` returns, to the last bit, with the work shared: image i is that of worker i % size."""
    if workers.size == 1:
        return evaluate(network, split, progress=progress)
    check(network, split)
    start, own = time.perf_counter(), range(workers.rank, len(split), workers.size)
    rows = [_to_row(scored) for _, scored in zip(progress(own), score_images(network, split, own))]
    everyone = sorted(row for part in workers.gather(rows) for row in part)
    evaluation = collect((_from_row(row, split.table) for row in everyone), network, split)
    return replace(evaluation, seconds=time.perf_counter() - start)


def _to_row(scored: Scored) -> list:
    """Return the counts of an image for JSON, its index first."""
    pixels = to_sparse(scored.pixels.matrix).tolist()
    return [scored.index, pixels, scored.method, _to_lists(scored.segments), _to_lists(scored.regions)]


def _to_lists(quality):
    if quality is None:
        return None
    counts = quality.matched, quality.unmatched_predictions, quality.unmatched_truths, quality.iou
    return [count.tolist() for count in counts]


def _from_row(row: list, table: LabelTable) -> Scored:
    index, cells, method, segments, regions = row
    pixels, size = ConfusionMatrix(len(table)), (len(table), len(table) + 1)
    pixels.matrix, pixels.images = from_sparse(np.array(cells, np.int64), size), 1
    return Scored(index, pixels, method, _from_lists(segments, table), _from_lists(regions, table))


def _from_lists(lists, table):
    if lists is None:
        return None
    quality = PanopticQuality(table)
    quality.matched, quality.unmatched_predictions, quality.unmatched_truths = np.array(lists[:3], np.int64)
    quality.iou, quality.images = np.array(lists[3]), 1
    return quality
