"""`deeplab-tf score`: mIoU of label files from any program against the truth, as cityscapesScripts counts it."""

import os

import click

from deeplab_tf.cli.options import (
    Choice,
    IntRange,
    PartType,
    PathType,
    example,
    json_option,
    new_guard,
    renamed_option,
    require_not,
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
        "deeplab-tf score --pred tracked --truth drives/panoptic --video",
        "deeplab-tf score --pred results --truth cityscapes/gtFine/val --part 3/8 --out counts-3.json",
        "deeplab-tf score --merge counts-*.json --json scores.json",
    )
)
@click.argument("counts", nargs=-1, type=PathType(exists=True, dir_okay=False), metavar="[COUNTS...]")
@click.option("--pred", metavar="DIR", type=PathType(exists=True, file_okay=False), help="Folder of predictions.")
@click.option("--truth", metavar="DIR", type=PathType(exists=True, file_okay=False), help="Folder of true labels.")
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
    "--video",
    is_flag=True,
    help="Score panoptic videos, in which things keep their numbers: STQ, VPQ, IDF1 and MOTA. Folders in the layout of "
    "KITTI-STEP, of Cityscapes-VPS, or of sample --video and stream --track --panoptic-out.",
)
@click.option(
    "--csv",
    metavar="FILE",
    type=PathType(),
    help="Write a row for each image: mIoU, pixel accuracy; IoU, Dice, precision and recall of each class.",
)
@click.option(
    "--part",
    type=PartType(),
    help="Count part I of N alone, into --out: N processes or machines share the images, whose names decide. A part "
    "that is there already, of the same files, is not counted again.",
)
@click.option(
    "--out", metavar="FILE", type=PathType(dir_okay=False), help="Write the counts of a --part here, as JSON."
)
@click.option(
    "--merge", is_flag=True, help="Score from COUNTS, the files of all parts: the same scores as from one process."
)
@json_option
@verbose_option
def command(
    counts, pred, truth, layout, classes, ignore_label, panoptic, video, csv, part, out, merge, json_target, verbose
):
    """Score predicted label files: IoU per class, mIoU, pixel accuracy; with --panoptic PQ, SQ and RQ; with --video
    STQ, VPQ, IDF1 and MOTA.

    Label files are 8-bit PNGs with one channel of ids, compared at their own resolution. Every truth needs its
    prediction, and every prediction its truth.
    """
    if merge or counts:
        _merge(counts, merge, csv, json_target)
        return
    for option, folder in (("--pred", pred), ("--truth", truth)):
        if folder is None:
            raise click.UsageError(f"Missing option '{option}'.")
    if video:
        _score_videos(pred, truth, json_target)
        return
    if (part is None) != (out is None):
        raise click.UsageError("--part and --out go together: --part 1/8 --out counts-1.json.")
    if part is not None and csv:
        raise click.UsageError("--csv goes with --merge, when all parts are counted.")
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
    guard.writes(out, "--out", own=guard.wrote_report)
    if panoptic:
        guard.reads(*(os.path.normpath(folder) + ".json" for folder in (pred, truth)))
    guard.check()

    if part is not None:
        from deeplab_tf.core.metrics.score_parts import PANOPTIC, Settings

        settings = Settings(PANOPTIC if panoptic else layout, names, ignore_label)
        _count_part(truth, pred, settings, part, out, json_target)
        return
    from deeplab_tf.core.metrics.label_folders import score_cityscapes_folders, score_id_folders
    from deeplab_tf.core.metrics.panoptic_folders import score_panoptic_folders

    if panoptic:
        report = score_panoptic_folders(truth, pred)
    elif layout == "cityscapes":
        report = score_cityscapes_folders(truth, pred, csv=csv)
    else:
        report = score_id_folders(truth, pred, names=names, ignore_label=ignore_label, csv=csv)
    _show_scores(report, json_target)


def _score_videos(pred, truth, json_target):
    require_not("video", "format", "classes", "ignore-label", "panoptic", "csv", "part", "out")
    guard = new_guard(json_target)
    guard.reads(pred, truth, *(os.path.normpath(folder) + ".json" for folder in (pred, truth)))
    guard.check()
    from deeplab_tf.core.metrics.video.folders import score_video_folders
    from deeplab_tf.core.metrics.video.scores import video_table

    report = score_video_folders(truth, pred)
    for warning in report["warnings"]:
        say(f"Warning: {warning}")
    show(video_table(report), json_target)
    write_json(report, json_target)


def _count_part(truth, pred, settings, part, out, json_target):
    from deeplab_tf.core.metrics.score_parts import score_part

    report = score_part(truth, pred, settings, part, out)
    done = "Counted" if report["written"] else "Already there:"
    show(f"{done} {report['images']} of {report['all_images']} images, part {part}, in {out}.", json_target)
    show("Score with all parts: deeplab-tf score --merge COUNTS...", json_target)
    write_json(report, json_target)


def _merge(counts, merge, csv, json_target):
    """Score from the counts of parts; no other options go with that, since the counts hold them."""
    if not merge:
        raise click.UsageError(f"Got an unexpected argument ({counts[0]}); --merge scores from files of counts.")
    if not counts:
        raise click.UsageError(
            "--merge needs the files that score --part wrote: deeplab-tf score --merge counts-*.json"
        )
    require_not("merge", "pred", "truth", "format", "classes", "ignore-label", "panoptic", "video", "part", "out")
    guard = new_guard(json_target)
    guard.reads(*counts)
    guard.writes(csv, "--csv")
    guard.check()
    from deeplab_tf.core.metrics.score_parts import merge_parts

    _show_scores(merge_parts(counts, csv=csv), json_target)


def _show_scores(report, json_target):
    from deeplab_tf.core.metrics.confusion import iou_table
    from deeplab_tf.core.metrics.panoptic import pq_table
    from deeplab_tf.core.metrics.per_image import interval_text

    for warning in report["warnings"]:
        say(f"Warning: {warning}")
    show(iou_table(report), json_target)
    if "miou_interval" in report:
        show(interval_text(report["miou_interval"]), json_target)
    if "pq" in report:
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
