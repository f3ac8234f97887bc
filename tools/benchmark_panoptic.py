"""How fast PQ is counted against cityscapesScripts, and how fast pixels are grouped into things, on one core.

    python tools/benchmark_panoptic.py [--frames 10] [--json FILE]

Counting: drawn streets of 1024x2048, and as predictions the same shifted by 3 pixels; both programs get arrays of segment ids that are
decoded already, in one run; the best of 3. Grouping: the targets of drawn streets of 512x1024 to which things were added until there are
50, as a network would give them.
"""

import contextlib
import io
import json
import platform
import time
from pathlib import Path

import click
import cv2
import numpy as np
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as cityscapes

from deeplab_tf.data.panoptic_targets import panoptic_targets
from deeplab_tf.labels import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.metrics.panoptic import PanopticQuality
from deeplab_tf.panoptic import DIVISOR, VOID, segments_of
from deeplab_tf.panoptic.files import from_cityscapes
from deeplab_tf.panoptic.grouping import components, find_centers, group
from deeplab_tf.scenes import draw_scene

THINGS = 50
CAR = CITYSCAPES.names.index("car")


def panoptic_scene(index, size):
    """(H, W) int32 panoptic map of a drawn street."""
    return from_cityscapes(draw_scene(0, index, size).instance_ids.astype(np.int32), "a drawn scene")


def as_coco(panoptic):
    """Segment ids and their rows, as cityscapesScripts reads them."""
    values, areas, index = segments_of(panoptic)
    ids = np.where(values == VOID, 0, CITYSCAPES_FROM_CLASS[np.minimum(values // DIVISOR, 255)].astype(int) * DIVISOR + values % DIVISOR)
    rows = []
    for value, segment, area in zip(values, ids, areas):
        if segment:
            label = CITYSCAPES.labels[value // DIVISOR]
            crowd = int(label.thing and value % DIVISOR == 0)
            rows.append({"id": int(segment), "category_id": int(CITYSCAPES_FROM_CLASS[label.id]), "iscrowd": crowd, "area": int(area)})
    return ids[index].reshape(panoptic.shape).astype(np.uint32), rows


def their_counts(pairs):
    """cityscapesScripts' own counting, with files and colours left out."""
    arrays, annotations = {}, []
    for i, pair in enumerate(pairs):
        sides = [as_coco(panoptic) for panoptic in pair]
        arrays.update({"{}{}".format(side, i): ids for side, (ids, _) in zip("tp", sides)})
        annotations.append(
            tuple({"image_id": i, "file_name": "{}{}".format(side, i), "segments_info": rows} for side, (_, rows) in zip("tp", sides))
        )
    categories = {int(CITYSCAPES_FROM_CLASS[label.id]): {"isthing": int(label.thing), "name": label.name} for label in CITYSCAPES}
    before = cityscapes.Image.open, cityscapes.rgb2id
    cityscapes.Image.open, cityscapes.rgb2id = lambda path: arrays[Path(path).name], lambda ids: ids

    def count():
        with contextlib.redirect_stdout(io.StringIO()):
            return cityscapes.pq_compute_single_core(0, annotations, "", "", categories)

    try:
        seconds, stat = timed(count)
    finally:
        cityscapes.Image.open, cityscapes.rgb2id = before
    return seconds, cityscapes.average_pq(stat, categories)["All"]["pq"]


def our_counts(pairs):
    def count():
        quality = PanopticQuality(CITYSCAPES)
        for truth, prediction in pairs:
            quality.update(truth, prediction)
        return quality

    seconds, quality = timed(count)
    return seconds, quality.report()["pq"]


def timed(function, repeats=3):
    """The least seconds of some calls, and what the last returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def crowded(index):
    """The targets of a street with THINGS cars, persons and the like."""
    panoptic = panoptic_scene(index, (512, 1024))
    rng, number = np.random.default_rng(index), 500
    while len(find_centers(panoptic_targets(panoptic, CITYSCAPES).center)) < THINGS:
        top, left = rng.integers(150, 440), rng.integers(0, 980)
        number += 1
        panoptic[top : top + 40, left : left + 40] = CAR * DIVISOR + number
    return panoptic_targets(panoptic, CITYSCAPES)


def grouping(frames):
    """Milliseconds a frame of `group`, and of `components` on the same labels."""
    cv2.setNumThreads(1)
    targets = [crowded(index) for index in range(frames)]
    labels = [np.where(each.label_map == 255, 0, each.label_map).astype(np.uint8) for each in targets]
    grouped, _ = timed(lambda: [group(label_map, each.center, each.offset, CITYSCAPES) for label_map, each in zip(labels, targets)])
    joined, _ = timed(lambda: [components(label_map, CITYSCAPES) for label_map in labels])
    return {"grouping_ms": 1e3 * grouped / frames, "components_ms": 1e3 * joined / frames}


@click.command()
@click.option("--frames", type=click.IntRange(1), default=10, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Also write the numbers there.")
def main(frames, json_file):
    """Times panoptic quality and grouping; see the head of this file."""
    truths = [panoptic_scene(index, (1024, 2048)) for index in range(frames)]
    pairs = [(truth, np.roll(truth, (3, 3), axis=(0, 1))) for truth in truths]
    (ours, our_pq), (theirs, their_pq) = our_counts(pairs), their_counts(pairs)
    if abs(our_pq - their_pq) > 1e-9:
        raise SystemExit("PQ differs, {} and {}: the times compare nothing.".format(our_pq, their_pq))
    report = {"frames": frames, "machine": platform.machine(), "pq": our_pq, "ours_ms": 1e3 * ours / frames}
    report.update(cityscapesscripts_ms=1e3 * theirs / frames, ratio=theirs / ours, **grouping(frames))
    text = "PQ {pq:.6f} of {frames} frames of 1024x2048: ours {ours_ms:.1f} ms a frame, cityscapesScripts {cityscapesscripts_ms:.1f} ms: "
    click.echo((text + "{ratio:.1f} times").format(**report))
    click.echo("512x1024 with {} things: grouping {grouping_ms:.1f} ms, components {components_ms:.1f} ms".format(THINGS, **report))
    if json_file:
        Path(json_file).write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
