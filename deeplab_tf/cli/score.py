"""`deeplab-tf score`: mIoU of label files from any program against the truth, as cityscapesScripts counts it."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Dict, List, Tuple

import click

from deeplab_tf.cli.options import Choice, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2")
TRUTH_SUFFIX = "_gtFine_labelIds.png"
_FRAME = re.compile(r"([^_]+_\d+_\d+)[_.]")  # city_sequence_frame


@click.command(
    epilog=example(
        "deeplab-tf score --pred results --truth cityscapes/gtFine/val --json scores.json",
        "deeplab-tf score --pred results --truth camvid/testannot --format ids --classes 11 --ignore 11",
        "deeplab-tf score --pred panoptic_results --truth cityscapes/gtFine/val --panoptic",
    )
)
@click.option(
    "--pred", type=click.Path(exists=True, file_okay=False), required=True, help="Folder of predicted label files."
)
@click.option(
    "--truth", type=click.Path(exists=True, file_okay=False), required=True, help="Folder of true label files."
)
@click.option(
    "--format",
    "layout",
    type=Choice(["cityscapes", "ids"]),
    default="cityscapes",
    show_default=True,
    help="cityscapes: *_gtFine_labelIds.png anywhere below --truth, a prediction of the same frame "
    "(city_sequence_frame*.png) anywhere"
    " below --pred, label ids in both. ids: the same file names in both folders, class ids 0 to C-1.",
)
@click.option(
    "--classes",
    metavar="N|NAMES",
    help="With ids: how many classes, or their names with commas. Default: the highest id + 1.",
)
@click.option(
    "--ignore", type=click.IntRange(0, 255), metavar="ID", help="With ids: the id that counts nowhere, beside 255."
)
@click.option(
    "--panoptic",
    is_flag=True,
    help="Score panoptic maps, PQ beside mIoU: each folder holds PNG files and a JSON file in COCO's format (also "
    "Cityscapes' own), or"
    " *_gtFine_instanceIds.png.",
)
@json_option
@verbose_option
def command(pred, truth, layout, classes, ignore, panoptic, json_target, verbose):
    """Scores predicted label files: IoU per class, mIoU, pixel accuracy; with --panoptic PQ, SQ and RQ.

    Files are 8-bit PNGs with one channel of ids, compared at their own resolution. Every truth needs its prediction and
    the reverse.
    """
    from deeplab_tf.core.metrics.confusion import score_text
    from deeplab_tf.core.metrics.panoptic import score_text as panoptic_text

    report = (
        _score_panoptic(pred, truth, layout, classes, ignore)
        if panoptic
        else _score_labels(pred, truth, layout, classes, ignore)
    )
    show(score_text(report), json_target)
    if panoptic:
        show("\n" + panoptic_text(report), json_target)
    write_json(report, json_target)


def _score_panoptic(pred, truth, layout, classes, ignore):
    from deeplab_tf.core.metrics.panoptic_folders import score_folders

    if layout != "cityscapes" or classes is not None or ignore is not None:
        raise click.UsageError(
            "--format, --classes and --ignore do not go with --panoptic: the JSON file names the classes."
        )
    return score_folders(pred, truth, progress=lambda counted, total: progress(counted, "score", total=total))


def _score_labels(pred, truth, layout, classes, ignore):
    if layout == "cityscapes" and not (classes is None and ignore is None):
        raise click.UsageError("--classes and --ignore go with --format ids; Cityscapes has its own 19 classes.")
    names = _class_names(classes)
    files = match_cityscapes(pred, truth) if layout == "cityscapes" else match_stems(pred, truth)
    pairs, seen = count_files(files)
    if layout == "cityscapes":
        return _score_cityscapes(pairs, seen, len(files))
    return _score_ids(pairs, seen, len(files), names, ignore)


def _class_names(classes):
    """The names in --classes: numbers as names where it is a count, None where it is not given."""
    if classes is None:
        return None
    if classes.strip().isdigit():
        names = [str(i) for i in range(int(classes))]
    else:
        names = [name.strip() for name in classes.split(",")]
    if not 1 <= len(names) <= 255 or "" in names or len(set(names)) < len(names):
        raise click.UsageError(
            f"--classes is a number from 1 to 255, or as many different names with commas; got '{classes}'."
        )
    return names


def match_cityscapes(pred: str, truth: str) -> List[Tuple[str, str]]:
    """(truth, prediction) paths of every frame with a *_gtFine_labelIds.png below `truth`.

    A frame with several files below `pred` takes the one that ends in labelIds.png.
    Raises DeepLabError: no truth, or a frame with no prediction, no truth, or several predictions.
    """
    from deeplab_tf.core.image_files import list_images

    truths, predictions = {}, {}
    for path in list_images(truth, recursive=True):
        if path.endswith(TRUTH_SUFFIX):
            truths.setdefault(_frame(path), []).append(path)
    for path in list_images(pred, recursive=True):
        if _frame(path) is not None and path.lower().endswith(".png"):
            predictions.setdefault(_frame(path), []).append(path)
    if None in truths:
        raise DeepLabError(
            f"{truths[None][0]} is not named city_sequence_frame{TRUTH_SUFFIX}, as Cityscapes' files are."
        )
    if not truths:
        raise DeepLabError(f"No *{TRUTH_SUFFIX} stands below {truth}; name the gtFine folder, or pass --format ids.")
    chosen = {
        frame: _only([path for path in paths if path.endswith("labelIds.png")] or paths)
        for frame, paths in predictions.items()
    }
    return _join(pred, truth, {frame: _only(paths) for frame, paths in truths.items()}, chosen)


def match_stems(pred: str, truth: str) -> List[Tuple[str, str]]:
    """(truth, prediction) paths of the PNG files with the same name in both folders or the same subfolder of both.

    Raises DeepLabError: no truth, or an image that has no partner.
    """
    from deeplab_tf.core.image_files import list_images

    def by_stem(folder):
        found = {}
        for path in list_images(folder, recursive=True):
            if not path.lower().endswith(".png"):  # an overlay, say: labels are never compressed with loss
                continue
            found.setdefault(os.path.splitext(os.path.relpath(path, folder))[0], []).append(path)
        return {stem: _only(paths) for stem, paths in found.items()}

    truths = by_stem(truth)
    if not truths:
        raise DeepLabError(f"No image stands in {truth}; --truth names the folder with the true label files.")
    return _join(pred, truth, truths, by_stem(pred))


def _frame(path):
    """city_sequence_frame of a Cityscapes file name, None for another name."""
    found = _FRAME.match(os.path.basename(path))
    return found and found.group(1)


def _only(paths):
    if len(paths) > 1:
        raise DeepLabError("Two label files for one frame: {} and {}; leave one.".format(*paths[:2]))
    return paths[0]


def _join(pred, truth, truths, predictions):
    """Pairs by key; a key that stands on one side only is an error that counts them and names the first."""
    missing, extra = sorted(set(truths) - set(predictions)), sorted(set(predictions) - set(truths))
    if missing:
        raise DeepLabError(
            f"{len(missing)} of {len(truths)} true label files have no prediction below {pred}; the first is "
            f"{truths[missing[0]]}."
        )
    if extra:
        raise DeepLabError(
            f"{len(extra)} predictions have no true label file below {truth}; the first is {predictions[extra[0]]}."
        )
    return [(truths[key], predictions[key]) for key in sorted(truths)]


Seen = Dict[int, str]


def count_files(files: List[Tuple[str, str]]):
    """Counts how often each pair of ids meets, over all files.

    Args:
        files: (truth, prediction) paths.
    Returns:
        (256, 256) int64 as of `count_pairs`, and for truth and prediction the first file that holds each id.
    Raises:
        DeepLabError: a file that is no label file, or a prediction whose size is not its truth's.
    """
    import numpy as np

    total = np.zeros((256, 256), np.int64)
    seen = {}, {}  # type: Tuple[Seen, Seen]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, closing(pool.map(_count_file, files)) as counted:
        for pairs, paths in zip(progress(counted, "score", total=len(files)), files):
            total += pairs
            for side, path in enumerate(paths):
                for i in np.flatnonzero(pairs.any(axis=1 - side)):
                    seen[side].setdefault(int(i), path)
    return total, seen


def _count_file(paths):
    from deeplab_tf.core.image_files import read_ids
    from deeplab_tf.core.metrics.confusion import count_pairs

    truth, prediction = (read_ids(path) for path in paths)
    if truth.shape != prediction.shape:
        raise DeepLabError(
            f"Prediction {paths[1]} is {prediction.shape[0]}x{prediction.shape[1]}, its truth {paths[0]} "
            f"{truth.shape[0]}x{truth.shape[1]} (height x width); resize the prediction with nearest neighbours."
        )
    return count_pairs(truth, prediction)


def _score_cityscapes(pairs, seen, images):
    from deeplab_tf.core.labels import CITYSCAPES, CITYSCAPES_FILE_IDS, CITYSCAPES_TO_CLASS
    from deeplab_tf.core.metrics.confusion import ConfusionMatrix

    _check_ids(
        seen, set(CITYSCAPES_FILE_IDS), "Cityscapes label ids are 0 to 33 (road is 7); class ids go with --format ids"
    )
    if max(seen[1]) < len(CITYSCAPES) <= max(seen[0]):
        click.echo(
            "Warning: no prediction holds an id above 18; are these train ids? Expected are label ids, where road "
            "is 7.",
            err=True,
        )
    confusion = ConfusionMatrix(len(CITYSCAPES))
    confusion.add_pairs(pairs, CITYSCAPES_TO_CLASS, images=images)
    return confusion.report(CITYSCAPES)


def _score_ids(pairs, seen, images, names, ignore):
    from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable, id_map
    from deeplab_tf.core.metrics.confusion import ConfusionMatrix

    ignored = {IGNORE_LABEL, IGNORE_LABEL if ignore is None else ignore}
    if names is None:
        true_classes = set(seen[0]) - ignored
        if not true_classes:
            raise DeepLabError("No pixel of the truth holds a class: all are ignored.")
        names = [str(i) for i in range(max(true_classes) + 1)]
        click.echo(
            f"{len(names)} classes, as the highest id in the truth is {names[-1]}; --classes says otherwise.", err=True
        )
    hint = "classes are 0 to {}, ignored {}; see --classes and --ignore".format(
        len(names) - 1, " and ".join(str(i) for i in sorted(ignored))
    )
    _check_ids(seen, set(range(len(names))) | ignored, hint)
    table = LabelTable(Label(i, name, (0, 0, 0), False) for i, name in enumerate(names))
    confusion = ConfusionMatrix(len(table))
    confusion.add_pairs(pairs, id_map({i: i for i in range(len(names)) if i not in ignored}), images=images)
    return confusion.report(table)


def _check_ids(seen, known, hint):
    """Refuses ids outside the table: names the file that holds the lowest, and all that are unknown."""
    for kind, first_file in zip(("Truth", "Prediction"), seen):
        unknown = sorted(set(first_file) - known)
        if unknown:
            ids = ", ".join(str(i) for i in unknown)
            raise DeepLabError(f"{kind} {first_file[unknown[0]]} holds an unknown id (all such ids: {ids}); {hint}.")
