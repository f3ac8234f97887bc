"""Count PQ on panoptic maps of drawn streets, and group pixels into instances: ours, cityscapesScripts, NumPy.

Predictions are the truth shifted by 3 pixels. Pixels are grouped from the targets of drawn streets to which things were
added until there are THINGS, as a network would give them; on one core.
"""

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
from worker import named, serve

THINGS = 50


def panoptic_pairs(count, size):
    """Return (truth, prediction) pairs of (H, W) int32 panoptic maps of drawn streets."""
    truths = [_panoptic_scene(index, size) for index in range(count)]
    return [(truth, np.roll(truth, (3, 3), axis=(0, 1))) for truth in truths]


def _panoptic_scene(index, size):
    from deeplab_tf.core.cityscapes import from_instance_ids
    from deeplab_tf.synth import draw_scene

    return from_instance_ids(draw_scene(0, index, size).instance_ids.astype(np.int32), "a drawn scene")


def our_pq(pairs):
    """Count with PanopticQuality, on decoded maps."""
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.core.metrics.panoptic import PanopticQuality

    def count():
        quality = PanopticQuality(CITYSCAPES)
        for truth, prediction in pairs:
            quality.update(truth, prediction)
        return quality.report()["pq"]

    return count


def their_pq(pairs):
    """Count with cityscapesScripts, without its files and colors."""
    from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as cityscapes

    from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS

    arrays, annotations = {}, []
    for i, pair in enumerate(pairs):
        sides = [_as_coco(panoptic) for panoptic in pair]
        arrays.update({f"{side}{i}": ids for side, (ids, _) in zip("tp", sides)})
        annotations.append(
            tuple(
                {"image_id": i, "file_name": f"{side}{i}", "segments_info": rows}
                for side, (_, rows) in zip("tp", sides)
            )
        )
    categories = {
        int(CITYSCAPES_FROM_CLASS[label.id]): {"isthing": int(label.thing), "name": label.name} for label in CITYSCAPES
    }
    cityscapes.Image.open, cityscapes.rgb2id = (
        lambda path: arrays[Path(path).name],
        lambda ids: ids,
    )  # this process does nothing else

    def count():
        with contextlib.redirect_stdout(io.StringIO()):
            stat = cityscapes.pq_compute_single_core(0, annotations, "", "", categories)
        return cityscapes.average_pq(stat, categories)["All"]["pq"]

    return count


def _as_coco(panoptic):
    """Return segment ids and their rows, as cityscapesScripts reads them."""
    from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
    from deeplab_tf.core.panoptic import DIVISOR, VOID, segments_of

    values, areas, index = segments_of(panoptic)
    ids = np.where(
        values == VOID,
        0,
        CITYSCAPES_FROM_CLASS[np.minimum(values // DIVISOR, 255)].astype(int) * DIVISOR + values % DIVISOR,
    )
    rows = []
    for value, segment, area in zip(values, ids, areas):
        if segment:
            label = CITYSCAPES.labels[value // DIVISOR]
            crowd = int(label.thing and value % DIVISOR == 0)
            rows.append(
                {
                    "id": int(segment),
                    "category_id": int(CITYSCAPES_FROM_CLASS[label.id]),
                    "iscrowd": crowd,
                    "area": int(area),
                }
            )
    return ids[index].reshape(panoptic.shape).astype(np.uint32), rows


def crowded(index, size):
    """Return (label map, targets) of a street with THINGS instances."""
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.core.panoptic import DIVISOR
    from deeplab_tf.core.panoptic.grouping import find_centers
    from deeplab_tf.lab.data.panoptic_targets import panoptic_targets

    panoptic, rng, number = _panoptic_scene(index, size), np.random.default_rng(index), 500
    side = size[0] // 13
    while len(find_centers(panoptic_targets(panoptic, CITYSCAPES).center)) < THINGS:
        top, left = rng.integers(size[0] // 4, size[0] - side), rng.integers(0, size[1] - side)
        number += 1
        panoptic[top : top + side, left : left + side] = CITYSCAPES.names.index("car") * DIVISOR + number
    targets = panoptic_targets(panoptic, CITYSCAPES)
    return np.where(targets.label_map == 255, 0, targets.label_map).astype(np.uint8), targets


def our_grouping(frames):
    """Group completely: find centers, assign pixels, choose a class for each instance."""
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.core.panoptic.grouping import group_pixels

    def count():
        for label_map, targets in frames:
            group_pixels(label_map, targets.center, targets.offset, CITYSCAPES)

    return count


def distances_grouping(frames):
    """Find the nearest of given centers for each pixel from all distances, as Cheng et al. (2020) write it."""
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.core.panoptic.grouping import find_centers

    things = np.array([label.thing for label in CITYSCAPES])
    found = [np.asarray(find_centers(targets.center), np.float32) for _, targets in frames]

    def count():
        for (label_map, targets), centers in zip(frames, found):
            rows, columns = np.nonzero(things[label_map])
            points = np.stack([rows, columns], 1) + targets.offset[rows, columns]
            np.argmin(((points[:, None] - centers[None, :, :2]) ** 2).sum(-1), axis=1)

    return count


def prepare(options):
    """Prepare `method`, a function of this file, for `frames` frames of `size`."""
    cv2.setNumThreads(1 if options["method"].endswith("grouping") else options["threads"])
    if options["method"].endswith("grouping"):
        frames = [crowded(index, tuple(options["size"])) for index in range(options["frames"])]
        count = {"our_grouping": our_grouping, "distances_grouping": distances_grouping}[options["method"]](frames)
        count()
        return {"name": named(options["title"], "numpy")}, count
    count = {"our_pq": our_pq, "their_pq": their_pq}[options["method"]](
        panoptic_pairs(options["frames"], tuple(options["size"]))
    )
    package = "cityscapesScripts" if options["method"] == "their_pq" else None
    return {"name": named(options["title"], package), "result": float(count())}, count


if __name__ == "__main__":
    serve(prepare)
