"""Splits of image files and label files. Opening one lists and pairs files; reading a sample checks what is in them."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, did_you_mean, some_of
from deeplab_tf.core.guard import expand
from deeplab_tf.core.image_header import lies_upright, read_header
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, label_map_of
from deeplab_tf.lab.data.split import (
    LabelContent,
    Sample,
    Split,
    UnknownSplit,
    check_same_size,
    check_sizes,
    content_of,
)

_COLLECTED: ContextVar[list[DeepLabError] | None] = ContextVar("_COLLECTED", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[list[DeepLabError]]:
    """While it lasts, opening a split leaves out files without a partner; an error for each is in the yielded list."""
    errors: list[DeepLabError] = []
    token = _COLLECTED.set(errors)
    try:
        yield errors
    finally:
        _COLLECTED.reset(token)


class FileRow(NamedTuple):
    """The files of a sample."""

    name: str
    image: str
    label: str
    instances: str | None = None


class FileSplit(Split):
    """A split with an image file and a label file for each sample."""

    def __init__(
        self,
        table: LabelTable,
        rows: Iterable[FileRow],
        read_label: Callable[[str], np.ndarray],
        read_instances: Callable[[str, np.ndarray], np.ndarray] | None = None,
    ):
        """
        Args:
            table: the classes.
            rows: the samples, in order; see `pair_files`.
            read_label: path of a label file -> (H, W) uint8 class ids; see `IdReader`.
            read_instances: path of an instance file and its label map -> (H, W) int32 panoptic map.
        """
        self.table, self.rows = table, list(rows)
        self.names = [row.name for row in self.rows]
        self.label_ids = read_label.label_ids if isinstance(read_label, IdReader) else None
        self._read_label, self._read_instances = read_label, read_instances

    def sample(self, index: int) -> Sample:
        row = self.rows[index]
        label_map = self._read_label(row.label)
        header = read_header(row.image)
        upright = header is not None and lies_upright(header, row.image, label_map.shape, row.label)
        sample = Sample(image_files.read_image(row.image, upright=upright), label_map)
        check_same_size(*sample, f"Image {row.image} and label {row.label}")
        return sample

    def inspect(self, index: int) -> LabelContent:
        row = self.rows[index]
        content, size = self._content(row.label)
        header = read_header(row.image)
        if header is None or not (header.rgb and header.whole):
            self.sample(index)  # says what is wrong, if anything
        elif lies_upright(header, row.image, size, row.label):
            header = header._replace(size=header.upright_size)
        checked = [(header, f"Image {row.image} and label {row.label}")]
        if row.instances:
            checked.append((read_header(row.instances), f"Instance map {row.instances} and its label map"))
        for each, names in checked:
            if each is not None:
                check_sizes(each.size, size, names)
        return content

    def _content(self, path):
        """Return what a label file holds, and its height and width."""
        if hasattr(self._read_label, "content"):
            return self._read_label.content(path, len(self.table))
        label_map = self._read_label(path)
        return content_of(label_map, self.table), label_map.shape

    def label_map(self, index: int) -> np.ndarray:
        return self._read_label(self.rows[index].label)

    def panoptic_map(self, index: int) -> np.ndarray | None:
        return self._panoptic(index, self.label_map(index)) if self.rows[index].instances else None

    def panoptic_sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, label_map = self.sample(index)
        return image, self.required(self._panoptic(index, label_map), index)

    def _panoptic(self, index, label_map):
        path = self.rows[index].instances
        return self._read_instances(path, label_map) if path and self._read_instances else None

    def without_instances(self) -> list[str]:
        return [row.label for row in self.rows if not row.instances]

    def paths(self, index: int) -> list[str]:
        return [self.rows[index].image, self.rows[index].label]

    def files(self, index: int) -> list[str]:
        return [path for path in self.rows[index][1:] if path]


class IdReader:
    """Reads label files of ids as class ids."""

    def __init__(self, to_class: np.ndarray, file_ids: Iterable[int]):
        """
        Args:
            to_class: (256,) uint8 look-up table from ids in files to class ids (`labels.id_map`).
            file_ids: every id that a file may hold, ignored ones included; another id is an error.
        """
        self._to_class = to_class
        self.label_ids = {int(i): int(to_class[i]) for i in sorted(file_ids)}
        self._unknown = np.ones(256, np.uint8)
        self._unknown[list(self.label_ids)] = 0

    def __call__(self, path: str) -> np.ndarray:
        """Return (H, W) uint8 class ids. Raise DeepLabError for a file that holds an unknown id."""
        return self.convert(image_files.read_ids(path), path)

    def convert(self, ids: np.ndarray, name: str) -> np.ndarray:
        """Return the class ids of (H, W) uint8 ids that were read elsewhere; `name` stands for them in errors."""
        if cv2.countNonZero(cv2.LUT(ids, self._unknown)):
            self._refuse([i for i in np.unique(ids) if self._unknown[i]], name)
        return cv2.LUT(ids, self._to_class)

    def content(self, path: str, classes: int) -> tuple[LabelContent, tuple[int, ...]]:
        """Return what a file holds, and its height and width. Raise DeepLabError as a call does."""
        ids = image_files.read_ids(path)
        counts = np.bincount(ids.ravel(), minlength=256)
        found = np.flatnonzero(counts).tolist()
        unknown = [i for i in found if self._unknown[i]]
        if unknown:
            self._refuse(unknown, path)
        by_class = np.zeros(256, np.int64)
        np.add.at(by_class, self._to_class, counts)
        ignored = {str(i): int(counts[i]) for i in found if self._to_class[i] == IGNORE_LABEL}
        return LabelContent(by_class[:classes], ignored), ids.shape

    def _refuse(self, unknown, name):
        raise DeepLabError(
            f"Label file {name} holds ids outside the class table: {some_of(unknown)}; known are "
            f"{_ranges(list(self.label_ids))}."
        )


def open_root(root: str) -> Path:
    """Return the folder of a dataset. Raise DeepLabError if it is not there."""
    path = Path(expand(root))
    if not path.is_dir():
        raise DeepLabError(f"The dataset's folder {path} does not exist; set data.root to where it is.")
    return path


def split_folder(root: Path, pattern: str, split: str) -> Path:
    """Return the folder of a split: `root / pattern` with `{split}` in it filled in.

    Raises:
        UnknownSplit: no such split, with the one that may be meant.
        DeepLabError: no such folder.
    """
    if "{split}" not in pattern:
        raise DeepLabError(
            f"The folder '{pattern}' must hold {{split}} where the name of the split stands, as in 'images/{{split}}'."
        )
    folder = root / pattern.replace("{split}", split)
    if split and folder.is_dir():
        return folder
    before, _, after = pattern.partition("{split}")
    parent, _, prefix = before.rpartition("/")
    suffix = after.partition("/")[0]
    if not (root / parent).is_dir():
        raise DeepLabError(f"There is no folder {root / parent}: this dataset is not in {root}.")
    named = [name for name in os.listdir(root / parent) if name.startswith(prefix) and name.endswith(suffix)]
    known = [name[len(prefix) : len(name) - len(suffix)] for name in named]
    known = [name for name in known if name and (root / pattern.replace("{split}", name)).is_dir()]
    hint = did_you_mean(split, known) if known else "There is none at all."
    raise UnknownSplit(f"There is no split '{split}' in {root / parent}. {hint}")


def list_files(folder: Path, *suffixes: str) -> dict[str, str]:
    """Return every file below a folder whose name ends in one of `suffixes`, in small or capital letters.

    Returns:
        The name relative to the folder, without the suffix -> path.

    Raises:
        DeepLabError: two files have the same name.
    """
    found: dict[str, str] = {}
    for parent, files in image_files.walk(folder):
        for file in files:
            suffix = next((suffix for suffix in suffixes if file.lower().endswith(suffix.lower())), None)
            if suffix is None or file.startswith("."):
                continue
            path = os.path.join(parent, file)
            name = os.path.relpath(path, folder)[: -len(suffix)].replace(os.sep, "/")
            if name in found:
                raise DeepLabError(f"Two files have the same name: {found[name]} and {path}.")
            found[name] = path
    return found


def pair_files(images: dict[str, str], labels: dict[str, str], where: Path) -> list[FileRow]:
    """Return the image and label files (name -> path, see `list_files`) of the same name as rows, sorted by name.

    Raise DeepLabError for an image without a label, a label without an image (see `collecting`), an image file under
    two names, and no image at all in the folder `where`.
    """
    if not images and not labels:
        raise DeepLabError(f"The split is empty: there is no image in {where}.")
    collected = _COLLECTED.get()
    for kind, have, missing, lack in (("image", images, "label", labels), ("label", labels, "image", images)):
        alone = sorted(set(have) - set(lack))
        if collected is not None:
            collected += [DeepLabError(f"The {kind} {have[name]} has no {missing}.") for name in alone]
        elif alone:
            count = f"{len(alone)} {kind}{'s have' if len(alone) > 1 else ' has'}"
            raise DeepLabError(f"{count} no {missing}: {some_of([have[name] for name in alone])}.")
    seen: dict[tuple[int, int], str] = {}
    for path in images.values():
        first = seen.setdefault(identity(path), path)
        if first is not path:
            raise DeepLabError(f"{first} and {path} are one file, by a link, and would count twice; leave one of them.")
    return [FileRow(name, images[name], labels[name]) for name in sorted(images.keys() & labels.keys())]


def identity(path: str) -> tuple[int, int]:
    """Return what is equal for all names of a file, links included: device and number. Raise DeepLabError where there
    is no file."""
    status = _status(path)
    return status.st_dev, status.st_ino


def stats(paths: Iterable[str]) -> list[tuple[str, int, int]]:
    """Return path, size and time (ns) of files: what differs once one is written again."""
    return [(path, status.st_size, status.st_mtime_ns) for path, status in ((path, _status(path)) for path in paths)]


def _status(path):
    try:
        return os.stat(path)
    except OSError as error:
        raise DeepLabError(f"{path} cannot be read: {error.strerror}.") from None


def add_instances(rows: list[FileRow], instances: dict[str, str]) -> list[FileRow]:
    """Return the rows with their instance files (name -> path). Raise DeepLabError for one without a label file."""
    alone = sorted(set(instances) - {row.name for row in rows})
    if alone:
        files = some_of([instances[name] for name in alone])
        raise DeepLabError(f"An instance map needs its label map, and these have none: {files}.")
    return [row._replace(instances=instances.get(row.name)) for row in rows]


def check_same_classes(panoptic: np.ndarray, label_map: np.ndarray, path: str) -> np.ndarray:
    """Return the panoptic map of an instance file. Raise DeepLabError unless its classes are those of the label map."""
    check_same_size(panoptic, label_map, f"Instance map {path} and its label map")
    different = np.argwhere(label_map_of(panoptic) != label_map)
    if len(different):
        y, x = different[0]
        raise DeepLabError(
            f"Instance file {path} does not match its label file in {len(different)} pixels; at row {y}, column {x} it "
            f"has class {panoptic[y, x] // DIVISOR}, the label file {label_map[y, x]} ({IGNORE_LABEL} is ignored)."
        )
    return panoptic


def _ranges(ids: list[int]) -> str:
    """[0, 1, 2, 255] -> '0-2, 255'"""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends))
