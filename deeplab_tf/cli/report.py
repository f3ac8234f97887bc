"""`deeplab-tf report`: compare the checkpoints of a run."""

import os

import click

from deeplab_tf.cli.options import (
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    root_option,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example("deeplab-tf report runs/camvid", "deeplab-tf report runs/camvid --split test --frames 5 --json -")
)
@click.argument("run", type=PathType())
@click.option("--split", default="val", show_default=True, metavar="NAME", help="Score on this split of the dataset.")
@root_option
@click.option("--frames", default=3, show_default=True, type=IntRange(1, 50), help="Number of images to show.")
@json_option
@verbose_option
def command(run, split, root, frames, json_target, verbose):
    """Compare the saved checkpoints of a run and its best one.

    Writes into RUN/report: a table of steps, mIoU, PQ and frames/s, the network, and the same images as predicted at
    each checkpoint.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.evaluation.checkpoints import compare_checkpoints

    guard = new_guard(json_target)
    report, page = compare_checkpoints(run, split=split, root=root, frames=frames, guard=guard, progress=progress)
    show(f"{page}\nOpen {report['figure']}", json_target)
    write_json(report, json_target)
