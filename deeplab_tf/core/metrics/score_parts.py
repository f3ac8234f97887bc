"""Scores part by part: each process counts its part of the images, and one merges the counts."""

import os
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import sha256
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.counts_file import Header, is_there, merge_counts, times_of, write_counts
from deeplab_tf.core.metrics.label_folders import (
    CITYSCAPES_IDS,
    Counted,
    check_ids,
    cityscapes_report,
    count_each,
    from_sparse,
    ids_report,
    known_ids,
    to_sparse,
)
from deeplab_tf.core.metrics.label_matching import CITYSCAPES_LAYOUT, match
from deeplab_tf.core.metrics.pairs import common_names
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.metrics.panoptic_folders import PanopticCounts, count_maps, panoptic_report
from deeplab_tf.core.panoptic import METHODS
from deeplab_tf.core.panoptic.folders import open_panoptic_folder
from deeplab_tf.core.parts import NamesAndSizes, Part

PANOPTIC = "panoptic"
"""The layout of panoptic maps, beside those of `label_matching.LAYOUTS`."""


class Settings(NamedTuple):
    """How to count, as the options of `score` say.

    Attributes:
        layout: one of `label_matching.LAYOUTS`, or PANOPTIC.
        names: of the classes, with ids; None: as many as the highest id in the truth has.
        ignore_label: with ids: an id to ignore.
    """

    layout: str
    names: Optional[Sequence[str]] = None
    ignore_label: Optional[int] = None


def score_part(truth: str, prediction: str, settings: Settings, part: Part, out: str) -> Dict[str, Any]:
    """Count one part of the images into a file, unless the file is there already and nothing has changed.

    Args:
        truth, prediction: the folders, as for `score_cityscapes_folders` and the others.
        part: which images, by their names.
        out: the file.

    Returns:
        `out`, `part`, `images` (of the part), `all_images`, and `written`: False if it was there.

    Raises:
        DeepLabError: as the functions do that score whole folders.
    """
    seen = NamesAndSizes()
    if settings.layout == PANOPTIC:
        details, paths, rows = _panoptic_part(truth, prediction, part, seen)
    else:
        files = match(settings.layout, truth, prediction, part=part, seen=seen)
        details, paths = {}, [path for _, *pair in files for path in pair]
        rows = _label_rows(files, settings)
    data = {"truth": truth, "prediction": prediction, "images": seen.images, "digest": seen.hexdigest()}
    plain = {**settings._asdict(), "names": None if settings.names is None else list(settings.names), **details}
    header = Header(part, plain, data, times_of(paths))
    there = is_there(out, header) if os.path.exists(out) else None
    count = write_counts(out, header, rows) if there is None else there
    return {"out": out, "part": list(part), "images": count, "all_images": seen.images, "written": there is None}


def merge_parts(paths: Sequence[str], *, csv: Optional[str] = None) -> dict:
    """Return the scores that `score_cityscapes_folders`, `score_id_folders` or `score_panoptic_folders` gives for all
    images at once, from the files of all parts.

    Args:
        paths: the files of `score_part`, in any order.
        csv: a file to write with a row for each image; not for panoptic maps.

    Raises:
        DeepLabError: files that are not each part of one whole, just once; and as those functions do.
    """
    header, rows = merge_counts(paths)
    layout = header.settings.get("layout")
    try:
        if layout == PANOPTIC:
            if csv:
                raise DeepLabError("--csv does not go with counts of panoptic maps.")
            table = LabelTable.from_dicts(header.settings["classes"], paths[0])
            method = header.settings["method"]
            images = (_read_panoptic(row, table) for row in rows)
            return panoptic_report(images, table, method if method in METHODS else None)
        counted = [_read_labels(row) for row in rows]
        if layout == CITYSCAPES_LAYOUT:
            return cityscapes_report(counted, csv=csv)
        names, ignore_label = header.settings["names"], header.settings["ignore_label"]
        return ids_report(counted, header.data["truth"], names=names, ignore_label=ignore_label, csv=csv)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        reason = str(error)[:100]
        raise DeepLabError(f"The counts in {paths[0]} and the others are damaged ({reason}); count again.") from error


def _label_rows(files, settings) -> Iterator[list]:
    """Yield a row for each image; ids that are no classes are named at once, where the classes are known."""
    known = None
    if settings.layout == CITYSCAPES_LAYOUT:
        known = CITYSCAPES_IDS
    elif settings.names is not None:
        known = known_ids(settings.names, settings.ignore_label)
    for image in count_each(files):
        if known is not None:
            check_ids([image], known)
        yield [image.name, image.truth, image.prediction, *image.pairs]


def _read_labels(row: list) -> Counted:
    name, truth, prediction, *pairs = row
    return Counted(name, str(truth), str(prediction), _pairs(pairs, 256, 256))


def _pairs(rows: list, height: int, width: int) -> np.ndarray:
    """Return (3, N) int64. Raise ValueError for what are no counts of a matrix of that size."""
    pairs = np.array(rows, np.int64).reshape(3, -1)
    if (pairs < 0).any() or (pairs[0] >= height).any() or (pairs[1] >= width).any():
        raise ValueError("an id is out of range")
    return pairs


def _panoptic_part(truth: str, prediction: str, part: Part, seen: NamesAndSizes) -> Tuple[dict, List[str], Iterable]:
    true = open_panoptic_folder(truth)
    predicted = open_panoptic_folder(prediction, truth=true)
    true_names, predicted_names = (dict(zip(folder.names, folder.names)) for folder in (true, predicted))
    everything = common_names(true_names, predicted_names, truth, prediction)
    for name in everything:
        for folder in (true, predicted):
            path = folder.file(name)
            if not os.path.isfile(path):
                raise DeepLabError(f"There is no file {path}.")
            seen.add(name, os.path.getsize(path), truth=folder is true)
    names = [name for name in everything if part.has(name)]
    paths = [folder.file(name) for name in names for folder in (true, predicted)]
    for path in [*true.json_files, *predicted.json_files]:  # the classes of the segments
        seen.add_content(sha256(path))
        paths.append(path)
    rows = (_panoptic_row(image) for image in count_maps(true, predicted, names))
    return {"classes": true.table.to_dicts(), "method": predicted.method}, paths, rows


def _panoptic_row(image: PanopticCounts) -> list:
    quality = image.quality
    found = np.flatnonzero(quality.matched + quality.unmatched_predictions + quality.unmatched_truths)
    counts = (quality.matched, quality.unmatched_predictions, quality.unmatched_truths, quality.iou)
    return [image.name, *to_sparse(image.pixels.matrix), found, *(each[found] for each in counts)]


def _read_panoptic(row: list, table: LabelTable) -> PanopticCounts:
    name, classes = row[0], np.array(row[4], np.intp)
    pixels, quality = ConfusionMatrix(len(table)), PanopticQuality(table)
    size = len(table), len(table) + 1
    pixels.matrix, pixels.images = from_sparse(_pairs(row[1:4], *size), size), 1
    for target, values in zip(
        (quality.matched, quality.unmatched_predictions, quality.unmatched_truths, quality.iou), row[5:9]
    ):
        target[classes] = values
    quality.images = 1
    return PanopticCounts(name, quality, pixels)
