"""Measures tracking: IDF1, AQ of STQ and more on drawn drives, beside numbers of single frames and a plain IoU tracker.

    python tools/check/tracking.py --videos 10 --frames 100

Every method gets the same maps, in which things are numbered by chance in each frame: the true ones, or with --bundle
those that a network predicts. The tracker was not tuned on these seeds (1000, unless --seed says another).
"""

import argparse
import json
import time
from typing import Callable, Dict, List

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, from_instance_ids
from deeplab_tf.core.metrics.video import count_frame
from deeplab_tf.core.metrics.video.scores import VideoScores
from deeplab_tf.core.panoptic import DIVISOR, VOID, segments_of, thing_classes
from deeplab_tf.core.panoptic.segments import SegmentMap, joined, segment_map
from deeplab_tf.core.panoptic.tracking import Tracker
from deeplab_tf.core.tables import text_table
from deeplab_tf.synth import draw_scene

THINGS = thing_classes(CITYSCAPES)
SHOWN = ("idf1", "aq", "stq", "mota", "vpq", "id_switches")


def single_things(panoptic: np.ndarray):
    """Values of the things of a panoptic map, in the order of their first pixels, and the segments as `segments_of`."""
    values, _, index = segments_of(panoptic)
    first = np.full(len(values), index.size)
    np.minimum.at(first, index[::-1], np.arange(index.size)[::-1])
    single = THINGS[np.minimum(values // DIVISOR, 255)] & (values % DIVISOR > 0) & (values < VOID)
    return [int(value) for value in values[np.argsort(first)] if single[np.searchsorted(values, value)]], values, index


class Numbering:
    """Ours: `stream --track`. `update` returns value -> number of the things of a frame."""

    name = "deeplab_tf"

    def __init__(self):
        self._tracker = Tracker(CITYSCAPES)

    def update(self, panoptic: np.ndarray, seconds: float) -> Dict[int, int]:
        return {thing.value: thing.id for thing in self._tracker.update(panoptic, seconds)}


class EachFrame(Numbering):
    """Numbers of single frames, in the order of the things' first pixels."""

    name = "numbers of each frame"

    def update(self, panoptic, seconds):
        return {value: number for number, value in enumerate(single_things(panoptic)[0], 1)}


class PlainIou(Numbering):
    """A thing is the one of the frame before with which its mask has the largest IoU, 0.3 or more; no motion, no
    memory."""

    name = "plain IoU"

    def __init__(self):
        self._before, self._next = None, 1

    def update(self, panoptic, seconds):
        order, values, index = single_things(panoptic)
        numbers: Dict[int, int] = {}
        if self._before is not None:
            for _, old, new in self._ranked(values, index):
                if values[new] in order and self._before[2].get(old) and values[new] not in numbers:
                    numbers[int(values[new])] = self._before[2].pop(old)
        for value in order:
            if value not in numbers:
                numbers[value], self._next = self._next, self._next + 1
        known = {i: numbers[int(value)] for i, value in enumerate(values) if int(value) in numbers}
        self._before = values, index, known
        return numbers

    def _ranked(self, values, index):
        """(IoU, segment before, segment now) of one class, best first."""
        old_values, old_index, _ = self._before
        shape = len(old_values), len(values)
        pairs = np.bincount(old_index.astype(np.int64) * shape[1] + index, minlength=shape[0] * shape[1]).reshape(shape)
        iou = pairs / (pairs.sum(axis=1)[:, None] + pairs.sum(axis=0) - pairs)
        iou[(old_values // DIVISOR)[:, None] != values // DIVISOR] = 0
        rows, columns = np.nonzero(iou >= 0.3)
        return sorted(zip(iou[rows, columns].tolist(), rows.tolist(), columns.tolist()), reverse=True)


METHODS = (Numbering, EachFrame, PlainIou)


def without_numbers(panoptic: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """The map with the numbers of things shuffled among those of their class."""
    values, _, index = segments_of(panoptic)
    changed = values.copy()
    for class_id in np.flatnonzero(THINGS):
        chosen = np.flatnonzero((values // DIVISOR == class_id) & (values % DIVISOR > 0))
        changed[chosen] = class_id * DIVISOR + 1 + random.permutation(max(50, len(chosen)))[: len(chosen)]
    return changed[index].reshape(panoptic.shape).astype(np.int32)


def numbered(panoptic: np.ndarray, numbers: Dict[int, int], fresh: List[int]) -> SegmentMap:
    """The map's segments with these numbers; a thing without one gets a number of its own."""
    values, _, index = segments_of(panoptic)
    classes = np.where(values == VOID, 255, values // DIVISOR)
    single = THINGS[classes] & (values % DIVISOR > 0)
    fresh[0] += len(values)
    own = [numbers.get(int(v), fresh[0] + i) if one else 0 for i, (v, one) in enumerate(zip(values, single))]
    return joined(classes, np.array(own, np.int64), THINGS, index.reshape(panoptic.shape))


def drive(options, index: int, predict: Callable, scores: List[VideoScores], seconds: np.ndarray) -> None:
    """Draw one video, number its maps by every method, and count."""
    methods, numbers = [method() for method in METHODS], {}
    random, fresh = np.random.RandomState([options.seed, index]), [1 << 32]
    for frame in range(options.frames):
        at = frame / options.fps
        scene = draw_scene(options.seed, index, options.size, time=at, numbers=numbers)
        truth = from_instance_ids(scene.instance_ids, "scene")
        given = without_numbers(truth if predict is None else predict(scene.image), random)
        true_segments = segment_map(truth, CITYSCAPES)
        for i, (method, score) in enumerate(zip(methods, scores)):
            start = time.process_time()
            found = method.update(given, at)
            seconds[i] += time.process_time() - start
            score.update(count_frame(true_segments, numbered(given, found, fresh), len(CITYSCAPES)))
    for score in scores:
        score.end_sequence()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--fps", type=float, default=10.0, help="frames a second; the camera drives at 8 m/s")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(512, 1024))
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--bundle", help="track what this panoptic bundle or run predicts, not the true maps")
    parser.add_argument("--json", help="write the scores here")
    options = parser.parse_args()
    predict = None
    if options.bundle:
        import deeplab_tf

        model = deeplab_tf.load(options.bundle)
        predict = lambda image: model.predict(image).panoptic  # noqa: E731
    totals, seconds = [VideoScores(CITYSCAPES) for _ in METHODS], np.zeros(len(METHODS))
    for index in range(options.videos):
        drive(options, index, predict, totals, seconds)
        found = ", ".join(f"{method.name} {total.report()['idf1']:.3f}" for method, total in zip(METHODS, totals))
        print(f"{index + 1} of {options.videos} videos, IDF1 so far: {found}", flush=True)
    reports = [total.report() for total in totals]
    rows = [("", *SHOWN, "ms a frame")]
    for method, report, spent in zip(METHODS, reports, seconds):
        values = [str(report[key]) if key == "id_switches" else f"{report[key]:.3f}" for key in SHOWN]
        rows.append((method.name, *values, f"{1e3 * spent / totals[0].frames:.1f}"))
    print(text_table(rows, left=[0]))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({method.name: report for method, report in zip(METHODS, reports)}, file, indent=2)


if __name__ == "__main__":
    main()
