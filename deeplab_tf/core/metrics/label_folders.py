"""Label maps in files, from any program, against the truth."""

import os
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FILE_IDS, CITYSCAPES_TO_CLASS, LABEL_SUFFIX, frame_of
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import list_images, read_ids
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable, id_map
from deeplab_tf.core.metrics.confusion import ConfusionMatrix, count_pairs
from deeplab_tf.core.metrics.pairs import common_names, in_threads
from deeplab_tf.core.metrics.per_image import counts_of, miou_interval, write_csv
from deeplab_tf.core.progress import say

Files = List[Tuple[str, str]]
"""(truth, prediction) paths."""


def score_cityscapes_folders(truth: str, prediction: str, *, csv: Optional[str] = None) -> dict:
    """Return the scores of `ConfusionMatrix.report` over the 19 classes of Cityscapes, for label ids in both folders.

    Args:
        truth, prediction: folders, see `match_cityscapes`.
        csv: a file to write with a row for each image.

    Raises:
        DeepLabError: files that do not match, are of different sizes, or hold unknown ids.
    """
    files = match_cityscapes(truth, prediction)
    each: List[np.ndarray] = []
    pairs, seen = count_files(files, each=each)
    hint = "Cityscapes label ids are 0 to 33 (road is 7); class ids go with --format ids"
    _check_ids(seen, set(CITYSCAPES_FILE_IDS), hint)
    if max(seen[1]) < len(CITYSCAPES) <= max(seen[0]):
        say("Warning: no prediction holds an id above 18; are these train ids? Expected label ids, where road is 7.")
    confusion = ConfusionMatrix(len(CITYSCAPES))
    confusion.add_pairs(pairs, CITYSCAPES_TO_CLASS, images=len(files))
    images = _images(files, each, CITYSCAPES, CITYSCAPES_TO_CLASS, csv)
    return {**confusion.report(CITYSCAPES), "miou_interval": miou_interval(images)}


def score_id_folders(
    truth: str,
    prediction: str,
    *,
    names: Optional[Sequence[str]] = None,
    ignore_label: Optional[int] = None,
    csv: Optional[str] = None,
) -> dict:
    """Return the scores of `ConfusionMatrix.report` for class ids 0 to C-1 in both folders.

    Args:
        truth, prediction: folders, see `match_stems`.
        names: of the C classes; None for numbers up to the highest id in the truth.
        ignore_label: an id that counts nowhere, besides 255; where it is 255 itself, that is known to be ignored.
        csv: a file to write with a row for each image.

    Raises:
        DeepLabError: files that do not match, are of different sizes, or hold unknown ids; and binary masks, whose 255
            is most likely their object.
    """
    files = match_stems(truth, prediction)
    each: List[np.ndarray] = []
    pairs, seen = count_files(files, each=each)
    ignored = {IGNORE_LABEL} if ignore_label is None else {IGNORE_LABEL, ignore_label}
    true_classes = set(seen[0]) - ignored
    if IGNORE_LABEL in seen[0] and len(true_classes) == 1 and ignore_label != IGNORE_LABEL:
        raise DeepLabError(
            f"The truth in {truth} holds only {true_classes.pop()} and 255, and 255 is ignored: anything would score "
            "well. If 255 is a class, as in binary masks, write it as another id in all files; if it is to be "
            "ignored, pass --ignore-label 255."
        )
    if names is None:
        if not true_classes:
            raise DeepLabError(f"No pixel of the truth in {truth} holds a class: all are ignored.")
        names = [str(i) for i in range(max(true_classes) + 1)]
        count = "1 class" if len(names) == 1 else f"{len(names)} classes"
        say(f"{count}, as the highest id in the truth is {names[-1]}; --classes says otherwise.")
    ids = " and ".join(str(i) for i in sorted(ignored))
    hint = f"classes are 0 to {len(names) - 1}, ignored {ids}; see --classes and --ignore-label"
    _check_ids(seen, set(range(len(names))) | ignored, hint)
    table = LabelTable(Label(i, name, (0, 0, 0), False) for i, name in enumerate(names))
    confusion = ConfusionMatrix(len(table))
    classes = id_map({i: i for i in range(len(names)) if i not in ignored})
    confusion.add_pairs(pairs, classes, images=len(files))
    report = {**confusion.report(table), "miou_interval": miou_interval(_images(files, each, table, classes, csv))}
    if len(names) == 1:
        report["warnings"].append(
            f"The truth holds one class only, {names[0]}: whoever predicts nothing else scores 1."
        )
    report["warnings"] += _about_ignored(pairs, ignored, bool(report["warnings"]))
    return report


def _images(files, each, table, classes, csv):
    """Return the counts of each image, and write them where they are wanted."""
    images = []
    for (_, prediction), found in zip(files, each):
        pairs = np.zeros((256, 256), np.int64)
        pairs[found[0], found[1]] = found[2]
        confusion = ConfusionMatrix(len(table))
        confusion.add_pairs(pairs, classes)
        images.append(counts_of(os.path.splitext(os.path.basename(prediction))[0], confusion))
    if csv:
        write_csv(csv, images, table)
    return images


def _about_ignored(pairs, ignored, absent):
    """Return what is ignored where a class is absent, which it may be; and pixels that are predicted as no class."""
    shares = [f"{i} in {pairs[i].sum() / pairs.sum():.1%}" for i in sorted(ignored) if pairs[i].any()]
    found = [f"Ignored in the truth: {' and '.join(shares)} of the pixels."] if absent and shares else []
    scored = np.delete(pairs, sorted(ignored), axis=0)
    missed = scored[:, sorted(ignored)].sum()
    if missed:
        ids = " or ".join(str(i) for i in sorted(ignored))
        found.append(
            f"{missed / scored.sum():.1%} of the scored pixels are predicted as {ids}, no class: all are wrong."
        )
    return found


def match_cityscapes(truth: str, prediction: str) -> Files:
    """Pair every *_gtFine_labelIds.png anywhere below `truth` with the PNG file of the same frame below `prediction`.

    Of several predictions of a frame the one that ends in labelIds.png is taken.

    Raises:
        DeepLabError: no truth, or a frame with no prediction, no truth, or several predictions.
    """
    truths: Dict[str, List[str]] = {}
    predictions: Dict[str, List[str]] = {}
    for path in list_images(truth, recursive=True):
        if path.endswith(LABEL_SUFFIX):
            frame = frame_of(path)
            if frame is None:
                raise DeepLabError(f"{path} is not named city_sequence_frame{LABEL_SUFFIX}, as Cityscapes' files are.")
            truths.setdefault(frame, []).append(path)
    for path in list_images(prediction, recursive=True):
        frame = frame_of(path)
        if frame is not None and path.lower().endswith(".png"):
            predictions.setdefault(frame, []).append(path)
    if not truths:
        raise DeepLabError(f"No *{LABEL_SUFFIX} below {truth}; name the gtFine folder, or pass --format ids.")
    chosen = {
        frame: [path for path in paths if path.endswith("labelIds.png")] or paths
        for frame, paths in predictions.items()
    }
    return _pairs(truths, chosen, truth, prediction)


def match_stems(truth: str, prediction: str) -> Files:
    """Pair the PNG files that have the same name in both folders, or in the same subfolder of both.

    Raises:
        DeepLabError: no truth, or an image that has no partner.
    """

    def by_stem(folder):
        found: Dict[str, List[str]] = {}
        for path in list_images(folder, recursive=True):
            if path.lower().endswith(".png"):  # a JPEG is no label file, but an overlay, say
                found.setdefault(os.path.splitext(os.path.relpath(path, folder))[0], []).append(path)
        return found

    truths = by_stem(truth)
    if not truths:
        raise DeepLabError(f"No PNG file in {truth}; --truth names the folder with the true label files.")
    return _pairs(truths, by_stem(prediction), truth, prediction)


def _pairs(truths, predictions, truth, prediction):
    true, predicted = ({name: _only(paths) for name, paths in side.items()} for side in (truths, predictions))
    return [(true[name], predicted[name]) for name in common_names(true, predicted, truth, prediction)]


def _only(paths):
    if len(paths) > 1:
        raise DeepLabError(f"Two label files for one frame: {paths[0]} and {paths[1]}; leave one.")
    return paths[0]


def count_files(
    files: Files, *, each: Optional[List[np.ndarray]] = None
) -> Tuple[np.ndarray, Tuple[Dict[int, str], Dict[int, str]]]:
    """Count how often each pair of ids meets, over all files.

    Args:
        files: of truth and prediction.
        each: gets (3, N) int64 for each file: the true and the predicted ids that meet in it, and how often.

    Returns:
        (256, 256) int64 as in `count_pairs`; for truth and prediction, the first file that holds each id.

    Raises:
        DeepLabError: a file that is no label file, or a prediction whose size is not its truth's.
    """
    total = np.zeros((256, 256), np.int64)
    seen: Tuple[Dict[int, str], Dict[int, str]] = ({}, {})
    for pairs, paths in zip(in_threads(_count_file, files), files):
        total += pairs
        if each is not None:
            met = np.nonzero(pairs)
            each.append(np.stack([*met, pairs[met]]))
        for side, path in enumerate(paths):
            for i in np.flatnonzero(pairs.any(axis=1 - side)):
                seen[side].setdefault(int(i), path)
    return total, seen


def _count_file(paths):
    truth, prediction = (read_ids(path) for path in paths)
    if truth.shape != prediction.shape:
        raise DeepLabError(
            f"Prediction {paths[1]} is {prediction.shape[0]}x{prediction.shape[1]}, its truth {paths[0]} "
            f"{truth.shape[0]}x{truth.shape[1]} (height x width); resize the prediction with nearest neighbors."
        )
    return count_pairs(truth, prediction)


def _check_ids(seen, known, hint):
    """Raise DeepLabError for ids outside the table: it names the file with the lowest, and all that are unknown."""
    for kind, first_file in zip(("Truth", "Prediction"), seen):
        unknown = sorted(set(first_file) - known)
        if unknown:
            ids = ", ".join(str(i) for i in unknown)
            raise DeepLabError(f"{kind} {first_file[unknown[0]]} holds an unknown id (all such ids: {ids}); {hint}.")
