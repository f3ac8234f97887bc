"""Label maps in files, from any program, against the truth."""

import os
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FILE_IDS, CITYSCAPES_TO_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_ids
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable, id_map
from deeplab_tf.core.metrics.confusion import ConfusionMatrix, count_pairs
from deeplab_tf.core.metrics.label_matching import CITYSCAPES_LAYOUT, IDS_LAYOUT, match
from deeplab_tf.core.metrics.pairs import in_threads
from deeplab_tf.core.metrics.per_image import counts_of, miou_interval, write_csv
from deeplab_tf.core.progress import say


class Counted(NamedTuple):
    """How often ids meet in one image.

    Attributes:
        name: by which truth and prediction belong together.
        truth, prediction: the two files.
        pairs: (3, N) int64: true id, predicted id, and in how many pixels they meet.
    """

    name: str
    truth: str
    prediction: str
    pairs: np.ndarray


def score_cityscapes_folders(truth: str, prediction: str, *, csv: Optional[str] = None) -> dict:
    """Return the scores of `ConfusionMatrix.report` over the 19 classes of Cityscapes, for label ids in both folders.

    Args:
        truth, prediction: folders, see `match_cityscapes`.
        csv: a file to write with a row for each image.

    Raises:
        DeepLabError: files that do not match, are of different sizes, or hold unknown ids.
    """
    return cityscapes_report(list(count_each(match(CITYSCAPES_LAYOUT, truth, prediction))), csv=csv)


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
    rows = list(count_each(match(IDS_LAYOUT, truth, prediction)))
    return ids_report(rows, truth, names=names, ignore_label=ignore_label, csv=csv)


def cityscapes_report(rows: Sequence[Counted], *, csv: Optional[str] = None) -> dict:
    """Return the report of `score_cityscapes_folders` for its counted images."""
    pairs, seen = _total(rows), check_ids(rows, CITYSCAPES_IDS)
    if max(seen[1]) < len(CITYSCAPES) <= max(seen[0]):
        say("Warning: no prediction holds an id above 18; are these train ids? Expected label ids, where road is 7.")
    confusion = ConfusionMatrix(len(CITYSCAPES))
    confusion.add_pairs(pairs, CITYSCAPES_TO_CLASS, images=len(rows))
    images = _images(rows, CITYSCAPES, CITYSCAPES_TO_CLASS, csv)
    return {**confusion.report(CITYSCAPES), "miou_interval": miou_interval(images)}


def ids_report(
    rows: Sequence[Counted],
    truth: str,
    *,
    names: Optional[Sequence[str]] = None,
    ignore_label: Optional[int] = None,
    csv: Optional[str] = None,
) -> dict:
    """Return the report of `score_id_folders` for its counted images; `truth` names their folder in sentences."""
    pairs = _total(rows)
    ignored = {IGNORE_LABEL} if ignore_label is None else {IGNORE_LABEL, ignore_label}
    true_ids = set(np.flatnonzero(pairs.any(axis=1)).tolist())
    true_classes = true_ids - ignored
    if IGNORE_LABEL in true_ids and len(true_classes) == 1 and ignore_label != IGNORE_LABEL:
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
    check_ids(rows, known_ids(names, ignore_label))
    table = LabelTable(Label(i, name, (0, 0, 0), False) for i, name in enumerate(names))
    confusion = ConfusionMatrix(len(table))
    classes = id_map({i: i for i in range(len(names)) if i not in ignored})
    confusion.add_pairs(pairs, classes, images=len(rows))
    report = {**confusion.report(table), "miou_interval": miou_interval(_images(rows, table, classes, csv))}
    if len(names) == 1:
        report["warnings"].append(
            f"The truth holds one class only, {names[0]}: whoever predicts nothing else scores 1."
        )
    report["warnings"] += _about_ignored(pairs, ignored, bool(report["warnings"]))
    return report


def _images(rows, table, classes, csv):
    """Return the counts of each image, and write them where they are wanted."""
    images = []
    for row in rows:
        confusion = ConfusionMatrix(len(table))
        confusion.add_pairs(from_sparse(row.pairs), classes)
        images.append(counts_of(os.path.splitext(os.path.basename(row.prediction))[0], confusion))
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


def count_each(files: Sequence[Tuple[str, str, str]]) -> Iterator[Counted]:
    """Yield the counts of each of the images of `match`, in their order.

    Raises DeepLabError for a file that is no label file, and for a prediction whose size is not its truth's.
    """
    for (name, truth, prediction), pairs in zip(files, in_threads(_count_file, [paths for _, *paths in files])):
        yield Counted(name, truth, prediction, to_sparse(pairs))


def to_sparse(counts: np.ndarray) -> np.ndarray:
    """Return (3, N) int64: row, column and value of each entry that is not 0."""
    met = np.nonzero(counts)
    return np.stack([*met, counts[met]])


def from_sparse(pairs: np.ndarray, size: Tuple[int, int] = (256, 256)) -> np.ndarray:
    """Return the counts of `to_sparse`."""
    counts = np.zeros(size, np.int64)
    counts[pairs[0], pairs[1]] = pairs[2]
    return counts


def _total(rows):
    """Return the (256, 256) sum over counted images."""
    total = np.zeros((256, 256), np.int64)
    for row in rows:
        total[row.pairs[0], row.pairs[1]] += row.pairs[2]  # no pair of ids is there twice
    return total


def _count_file(paths):
    truth, prediction = (read_ids(path) for path in paths)
    if truth.shape != prediction.shape:
        raise DeepLabError(
            f"Prediction {paths[1]} is {prediction.shape[0]}x{prediction.shape[1]}, its truth {paths[0]} "
            f"{truth.shape[0]}x{truth.shape[1]} (height x width); resize the prediction with nearest neighbors."
        )
    return count_pairs(truth, prediction)


class KnownIds(NamedTuple):
    """The ids that label files may hold, and the end of an error for others."""

    ids: Set[int]
    hint: str


CITYSCAPES_IDS = KnownIds(
    set(CITYSCAPES_FILE_IDS), "Cityscapes label ids are 0 to 33 (road is 7); class ids go with --format ids"
)


def known_ids(names: Sequence[str], ignore_label: Optional[int]) -> KnownIds:
    """Return the ids of the files of `score_id_folders`."""
    ignored = sorted({IGNORE_LABEL, IGNORE_LABEL if ignore_label is None else ignore_label})
    ids = " and ".join(str(i) for i in ignored)
    hint = f"classes are 0 to {len(names) - 1}, ignored {ids}; see --classes and --ignore-label"
    return KnownIds({*range(len(names)), *ignored}, hint)


def check_ids(rows: Sequence[Counted], known: KnownIds) -> Tuple[Dict[int, str], Dict[int, str]]:
    """Return, for truth and prediction, the first file that holds each id.

    Raises DeepLabError for ids outside the table: it names the file with the lowest, and all that are unknown.
    """
    seen: Tuple[Dict[int, str], Dict[int, str]] = ({}, {})
    for row in rows:
        for side, path in enumerate((row.truth, row.prediction)):
            for i in set(row.pairs[side].tolist()):
                seen[side].setdefault(i, path)
    for kind, first_file in zip(("Truth", "Prediction"), seen):
        unknown = sorted(set(first_file) - known.ids)
        if unknown:
            ids = ", ".join(str(i) for i in unknown)
            raise DeepLabError(
                f"{kind} {first_file[unknown[0]]} holds an unknown id (all such ids: {ids}); {known.hint}."
            )
    return seen
