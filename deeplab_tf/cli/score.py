"""`deeplab-tf score`: mIoU of label files from any program against the truth, as cityscapesScripts counts it."""

import os

import click

from deeplab_tf.cli.options import (
    Choice,
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    renamed_option,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.progress import say

NEEDS = ("numpy", "cv2")


@click.command(
    epilog=example(
        "deeplab-tf score --pred results --truth cityscapes/gtFine/val --json scores.json",
        "deeplab-tf score --pred results --truth camvid/testannot --format ids --classes 11 --ignore-label 11",
        "deeplab-tf score --pred panoptic_results --truth cityscapes/gtFine/val --panoptic",
    )
)
@click.option(
    "--pred", metavar="DIR", type=PathType(exists=True, file_okay=False), required=True, help="Folder of predictions."
)
@click.option(
    "--truth", metavar="DIR", type=PathType(exists=True, file_okay=False), required=True, help="Folder of true labels."
)
@click.option(
    "--format",
    "layout",
    type=Choice(["cityscapes", "ids"]),
    default="cityscapes",
    show_default=True,
    help="cityscapes: *_gtFine_labelIds.png anywhere below --truth, a prediction of the same frame "
    "(city_sequence_frame*.png) anywhere below --pred, label ids in both. ids: the same file names in both folders, "
    "class ids 0 to C-1.",
)
@click.option(
    "--classes", metavar="N|NAMES", help="With ids: number of classes, or their names. [default: the highest id + 1]"
)
@click.option("--ignore-label", type=IntRange(0, 255), metavar="ID", help="With ids: an id to ignore, besides 255.")
@renamed_option("--ignore", "--ignore-label")
@click.option(
    "--panoptic",
    is_flag=True,
    help="Score panoptic maps, PQ beside mIoU: each folder holds PNG files and a JSON file in COCO's format (also "
    "Cityscapes' own), or *_gtFine_instanceIds.png.",
)
@click.option(
    "--csv",
    metavar="FILE",
    type=PathType(),
    help="Write a row for each image: mIoU, pixel accuracy; IoU, Dice, precision and recall of each class.",
)
@json_option
@verbose_option
def command(pred, truth, layout, classes, ignore_label, panoptic, csv, json_target, verbose):
    """Score predicted label files: IoU per class, mIoU, pixel accuracy; with --panoptic PQ, SQ and RQ.

    Label files are 8-bit PNGs with one channel of ids, compared at their own resolution. Every truth needs its
    prediction, and every prediction its truth.
    """
    own_classes = classes is not None or ignore_label is not None
    if panoptic and (own_classes or layout != "cityscapes"):
        raise click.UsageError(
            "--format, --classes and --ignore-label do not go with --panoptic: the JSON file names the classes."
        )
    if own_classes and layout == "cityscapes":
        raise click.UsageError("--classes and --ignore-label go with --format ids; Cityscapes has its own 19 classes.")
    if panoptic and csv:
        raise click.UsageError("--csv does not go with --panoptic.")
    names = None if classes is None else _class_names(classes)
    guard = new_guard(json_target)
    guard.reads(pred, truth)
    guard.writes(csv, "--csv")
    if panoptic:
        guard.reads(*(os.path.normpath(folder) + ".json" for folder in (pred, truth)))
    guard.check()

    from deeplab_tf.core.metrics.confusion import iou_table
    from deeplab_tf.core.metrics.label_folders import score_cityscapes_folders, score_id_folders
    from deeplab_tf.core.metrics.panoptic import pq_table
    from deeplab_tf.core.metrics.panoptic_folders import score_panoptic_folders
    from deeplab_tf.core.metrics.per_image import interval_text

    if panoptic:
        report = score_panoptic_folders(truth, pred)
    elif layout == "cityscapes":
        report = score_cityscapes_folders(truth, pred, csv=csv)
    else:
        report = score_id_folders(truth, pred, names=names, ignore_label=ignore_label, csv=csv)
    for warning in report["warnings"]:
        say(f"Warning: {warning}")
    show(iou_table(report), json_target)
    if "miou_interval" in report:
        show(interval_text(report["miou_interval"]), json_target)
    if panoptic:
        show("\n" + pq_table(report), json_target)
    write_json(report, json_target)


def _class_names(classes):
    """Return the names in --classes; numbers as names if it is a count."""
    if classes.strip().isdigit():
        names = [str(i) for i in range(int(classes))] if len(classes.strip()) <= 3 else []
    else:
        names = [name.strip() for name in classes.split(",")]
    if not 1 <= len(names) <= 255 or "" in names or len(set(names)) < len(names):
        raise click.UsageError(
            f"--classes is a number from 1 to 255, or as many different names with commas; got '{classes[:100]}'."
        )
    return names
