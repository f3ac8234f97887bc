"""What is in a dataset, and what would make its scores wrong: examined before a training, not found in its numbers.

`count_labels` reads every label of a split, and the header of every image; `examine` judges what it found. Neither
imports TensorFlow.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.image_files import largest_value
from deeplab_tf.core.image_header import WIDE
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.metrics.confusion import about_absent
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.data.file_split import identity, stats
from deeplab_tf.lab.data.split import LabelContent, Split, Subset

TITLES = {"train": "training", "val": "validation"}
MAX_NARROW = 4095
"""The largest value of 12 bits, which microscopes and X-ray detectors write into 16."""


class LabelCounts(NamedTuple):
    """What the labels of a split hold."""

    images: int
    pixels: dict[str, int]  # by class
    images_with: dict[str, int]  # by class: in how many images it occurs
    ignored: dict[str, int]  # pixels of each ignored id or color, as the files have it
    unlabeled: list[str]  # the images without a pixel of any class
    remarks: Sequence[Sequence] = ()  # what is done to images so that they are 8-bit RGB, to how many, which first


class Problem(NamedTuple):
    """Something that makes a training or its scores worthless (`fatal`), or less than they seem."""

    sentence: str
    fatal: bool = False


class Checked(NamedTuple):
    """The result of `check_splits`, of which `to_json` is a run's data_check.json."""

    counts: dict[str, LabelCounts]  # by split
    warnings: list[str]
    files: str  # digest of the names, sizes and times of all files

    def to_json(self) -> dict:
        """Return what `check_splits` takes back as `known`."""
        return {**self._asdict(), "counts": {name: one._asdict() for name, one in self.counts.items()}}


def check_splits(splits: Mapping[str, Split], data: Mapping | None = None, known: Mapping | None = None) -> Checked:
    """Count the labels of splits, and judge them.

    Args:
        splits, data: as for `examine`.
        known: the JSON of an earlier check; its counts are taken where no file has changed since.

    Raises:
        DeepLabError: the data cannot be trained on.
    """
    whole = {name: split.split if isinstance(split, Subset) else split for name, split in splits.items()}
    listed = {name: [stats(split.files(index)) for index in range(len(split))] for name, split in whole.items()}
    files = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    if known and known.get("files") == files and any(map(any, listed.values())):
        counts = {name: LabelCounts(**known["counts"][name]) for name in whole}
    else:
        counts = {name: count_labels(split, name) for name, split in whole.items()}
    problems = examine(splits, counts, data)
    for problem in problems:
        if problem.fatal:
            raise DeepLabError(problem.sentence)
    return Checked(counts, [problem.sentence for problem in problems], files)


def count_labels(split: Split, name: str) -> LabelCounts:
    """Read every label of a split, and check every image as far as its header goes, on all processors.

    Raise DeepLabError for bad files, with the first one's sentence and their number. Prepared records know the counts
    of their source.
    """
    if split.counts is not None:
        return LabelCounts(**split.counts)
    contents: list[LabelContent] = []
    errors: list[DeepLabError] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(lambda index: _inspected(split, index), range(len(split)))
        for each in progress(found, f"check {TITLES.get(name, name)} data", total=len(split)):
            if isinstance(each, DeepLabError):
                errors.append(each)
            else:
                contents.append(each)
    if len(errors) > 1:
        raise DeepLabError(f"{errors[0]} It is the first of {len(errors)} bad ones in {len(split)} images of {name}.")
    if errors:
        raise errors[0]
    return counts_of(split, contents, split.names)


def counts_of(split: Split, contents: Sequence[LabelContent], names: Sequence[str]) -> LabelCounts:
    """Return the counts of labels of a split, which are those of the samples of these names."""
    table = np.array([content.classes for content in contents], np.int64).reshape(-1, len(split.table))  # (N, C)
    ignored: Counter[str] = sum((Counter(content.ignored) for content in contents), Counter())
    return LabelCounts(
        len(contents),
        dict(zip(split.table.names, table.sum(axis=0).tolist())),
        dict(zip(split.table.names, (table > 0).sum(axis=0).tolist())),
        dict(ignored.most_common()),
        [names[index] for index in np.flatnonzero(~table.any(axis=1))],
        _remarks(split, contents, names),
    )


def _remarks(split, contents, names):
    """Return what is done to images so that they are 8-bit RGB, to how many, and to which first."""
    found: dict[str, list[int]] = {}
    indices = {name: index for index, name in enumerate(split.names)}
    for content, name in zip(contents, names):
        for remark in content.remarks:
            found.setdefault(remark, []).append(indices[name])
    return [
        [remark + (_narrow(split, those) if remark == WIDE else ""), len(those), split.paths(those[0])[0]]
        for remark, those in found.items()
    ]


def _narrow(split, indices):
    """Return what is wrong with 16-bit images that hold values of 12 bits or fewer; nothing where one holds more, at
    which reading them ends."""
    largest = 0
    for index in indices:
        largest = max(largest, *map(largest_value, split.files(index)[:1]))
        if largest > MAX_NARROW:
            return ""
    factor = 257 if largest <= 255 else 16
    folder, name = os.path.split(split.files(indices[0])[0])
    return (
        f", which leaves them nearly black: their largest value is {largest}, and becomes {(largest + 128) // 257}. "
        f"Multiply all images of all splits by {factor}, and take the new files, in {folder} such as with: python -c "
        "\"import cv2, glob, os; os.mkdir('../scaled'); [cv2.imwrite('../scaled/' + f, cv2.imread(f, -1) * "
        f"{factor}) for f in glob.glob('*{os.path.splitext(name)[1]}')]\""
    )


def _inspected(split, index):
    try:
        return split.inspect(index)
    except DeepLabError as error:
        return error


def examine(
    splits: Mapping[str, Split], counts: Mapping[str, LabelCounts], data: Mapping | None = None
) -> list[Problem]:
    """Return what is wrong with a dataset, the worst first.

    Args:
        splits: by name; a `Subset` is what will be scored of the split that was counted.
        counts: of each split, see `count_labels`.
        data: the recipe's `data` section, for advice.
    """
    problems = []
    for name, split in splits.items():
        problems += _of_labels(name, split, counts[name], data or {})
        problems += [Problem(sentence) for sentence in (*split.remarks, *about_images(name, counts[name]))]
    if {"train", "val"} <= splits.keys():
        problems += map(Problem, shared_images(splits["train"], splits["val"]))
    return sorted(dict.fromkeys(problems), key=lambda problem: not problem.fatal)


def about_images(name: str, counts: LabelCounts) -> list[str]:
    """Return what is done to images of a split so that they are 8-bit RGB, a sentence each."""
    images = f"{counts.images} {TITLES.get(name, name)} images"
    return [f"{count} of {images} are {remark}; the first is {first}." for remark, count, first in counts.remarks]


def _of_labels(name, split, counts, data):
    title = TITLES.get(name, name)
    present = [each for each, count in counts.pixels.items() if count]
    absent = [each for each, count in counts.pixels.items() if not count]
    advice = _advice(absent, counts, data)
    if set(counts.unlabeled).issuperset(split.names):
        return [Problem(f"No pixel of the {title} split has a class.{advice}", fatal=True)]
    if name == "train" and len(present) == 1:
        others = f"; no pixel is {_quoted(absent)}" if absent else ": give the background a class"
        sentence = (
            f"Every labeled pixel of the training split is '{present[0]}', which leaves nothing to learn{others}."
        )
        return [Problem(sentence + advice, fatal=True)]
    if name == "train" and absent:
        return [Problem(f"No pixel of the training split is {_quoted(absent)}, which cannot be learned.{advice}")]
    return [Problem(sentence + advice) for sentence in about_absent(f"{title} split", counts.pixels)]


def _quoted(names):
    return some_of([f"'{name}'" for name in names])


def _ignored(counts):
    """Return which ids or colors are ignored, and how much they are, the most frequent first."""
    total = sum(counts.pixels.values()) + sum(counts.ignored.values())
    return some_of([f"{value} in {pixels / total:.1%} of the pixels" for value, pixels in counts.ignored.items()])


def _advice(absent, counts, data):
    """Return which ids or colors are ignored, and how one of them becomes a class that is absent."""
    if not counts.ignored:
        return ""
    sentence = f" Ignored: {_ignored(counts)}."
    if data.get("name") != "folder" or not absent:
        return sentence
    value = next(iter(counts.ignored))
    if data.get("label_format") == "colors":
        return f"{sentence} If {value} is '{absent[0]}', make it the color of that class, and no ignored one."
    rest = [i for i in data.get("ignore_ids") or [IGNORE_LABEL] if str(i) != value]
    masks = " These look like 0/255 masks: label_format: binary." if value == "255" and len(counts.pixels) == 2 else ""
    return f"{sentence} If {value} is '{absent[0]}', give that class id: {value}, and set ignore_ids: {rest}.{masks}"


def shared_images(train: Split, val: Split) -> list[str]:
    """Return a sentence where files of validation images are those of training images, by a link or an option."""
    known = {identity(path) for index in range(len(train)) for path in train.files(index)[:1]}
    images = [path for index in range(len(val)) for path in val.files(index)[:1]]
    shared = [path for path in images if identity(path) in known]
    if not shared:
        return []
    return [
        f"{len(shared)} of {len(images)} validation images are files of the training split too, the first is "
        f"{shared[0]}: scores on them say nothing about new images."
    ]
