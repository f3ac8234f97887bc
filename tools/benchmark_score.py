"""How fast `deeplab-tf score` counts, against cityscapesScripts, in one run: on decoded arrays, and end to end on PNG files.

    python tools/benchmark_score.py [--frames 10] [--size 1024x2048] [--json FILE]

Frames are made up: regions of the 34 label ids with ragged outlines, predicted with shifted outlines and 2 % speckle, which is harder to
count and to decode than real labels. cityscapesScripts scores without instance scores, by what pip installs (its NumPy path).
"""

import contextlib
import io
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import click
import cv2
import numpy as np
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as cityscapes

from deeplab_tf.cli.score import count_files, match_cityscapes
from deeplab_tf.frames import write_image
from deeplab_tf.labels import CITYSCAPES_TO_CLASS
from deeplab_tf.metrics.confusion import ConfusionMatrix, count_pairs


def make_pair(rng, height, width):
    """(truth, prediction), (H, W) uint8 label ids."""
    coarse = rng.integers(0, 34, (height // 64 + 1, width // 64 + 1)).astype(np.uint8)
    truth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    shift = cv2.resize(rng.normal(0, 12, (height // 16 + 1, width // 16 + 1, 2)).astype(np.float32), (width, height))
    grid = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    truth = cv2.remap(truth, grid + shift, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    prediction = np.roll(truth, (3, 5), axis=(0, 1))
    speckle = rng.random(truth.shape) < 0.02
    prediction[speckle] = rng.integers(0, 34, speckle.sum())
    return truth, prediction


class DecodedImage:
    """Stands in for PIL's image where cityscapesScripts opens a file, so that only its counting is timed."""

    def __init__(self, array):
        self.array = array
        self.size = array.shape[::-1]

    def __array__(self, dtype=None, copy=None):
        return self.array


def seconds_a_frame(score, frames, repeats=3):
    """The best of several runs over all frames, and what `score` returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = score()
        times.append((time.perf_counter() - start) / frames)
    return min(times), result


def our_counts(pairs):
    confusion = ConfusionMatrix(19)
    for truth, prediction in pairs:
        confusion.add_pairs(count_pairs(truth, prediction), CITYSCAPES_TO_CLASS)
    return confusion


def their_counts(pairs):
    """cityscapesScripts' own evaluatePair for each pair of decoded maps."""
    decoded = {name + str(i): DecodedImage(label_map) for i, pair in enumerate(pairs) for name, label_map in zip("tp", pair)}
    from_file, cityscapes.Image.open = cityscapes.Image.open, decoded.__getitem__
    try:
        return cityscapes.evaluateImgLists(*[[name + str(i) for i in range(len(pairs))] for name in "pt"], cityscapes.args)
    finally:
        cityscapes.Image.open = from_file


def our_files(folder):
    files = match_cityscapes(str(folder / "pred"), str(folder / "truth"))
    confusion = ConfusionMatrix(19)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress
        pairs, _ = count_files(files)
    confusion.add_pairs(pairs, CITYSCAPES_TO_CLASS, images=len(files))
    return confusion


def their_files(folder):
    cityscapes.args.predictionPath, cityscapes.args.predictionWalk = str(folder / "pred"), None
    truths = [str(path) for path in sorted((folder / "truth").iterdir())]
    return cityscapes.evaluateImgLists([cityscapes.getPrediction(cityscapes.args, path) for path in truths], truths, cityscapes.args)


def compare(kind, ours, theirs, frames):
    """Times both, prints the ratio, and refuses a ratio between different scores."""
    our_seconds, confusion = seconds_a_frame(ours, frames)
    their_seconds, scores = seconds_a_frame(theirs, frames)
    difference = abs(confusion.miou() - scores["averageScoreClasses"])
    if difference > 1e-9:
        raise SystemExit("The scores differ by {:.1e}: the times compare nothing.".format(difference))
    ratio = their_seconds / our_seconds
    row = "{:<16} {:>8.1f} ms {:>8.1f} ms {:>7.1f}   mIoU {:.6f}, difference {:.0e}"
    click.echo(row.format(kind, our_seconds * 1e3, their_seconds * 1e3, ratio, confusion.miou(), difference))
    return {"ours_ms": our_seconds * 1e3, "cityscapesscripts_ms": their_seconds * 1e3, "ratio": ratio, "miou_difference": difference}


@click.command()
@click.option("--frames", type=click.IntRange(1), default=10, show_default=True)
@click.option("--size", default="1024x2048", show_default=True, help="Height x width.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Also write the numbers there.")
def main(frames, size, json_file):
    """Times `score` against cityscapesScripts; see the head of this file."""
    for name, value in (("evalInstLevelScore", False), ("JSONOutput", False), ("quiet", True)):
        setattr(cityscapes.args, name, value)
    height, width = (int(side) for side in size.split("x"))
    rng = np.random.default_rng(0)
    pairs = [make_pair(rng, height, width) for _ in range(frames)]
    cores, cython = os.cpu_count(), "with" if cityscapes.CSUPPORT else "without"
    machine = "{}, {} cores (files: ours decodes on all of them); cityscapesScripts {} Cython".format(platform.machine(), cores, cython)
    click.echo("{} frames of {}, {}; per frame, best of 3".format(frames, size, machine))
    click.echo("{:<16} {:>11} {:>11} {:>7}".format("", "ours", "theirs", "ratio"))
    report = {"frames": frames, "size": size, "machine": machine}
    report["arrays"] = compare("decoded arrays", lambda: our_counts(pairs), lambda: their_counts(pairs), frames)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for i, (truth, prediction) in enumerate(pairs):
            write_image(folder / "truth" / "made_{:06d}_000000_gtFine_labelIds.png".format(i), truth)
            write_image(folder / "pred" / "made_{:06d}_000000_labelIds.png".format(i), prediction)
        report["files"] = compare("PNG files", lambda: our_files(folder), lambda: their_files(folder), frames)
    if json_file:
        Path(json_file).write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
