"""Readers of label files: what a dataset needs to know about one format."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.image_header import read_header
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.split import LabelContent

read_gray_ids = functools.partial(image_files.read_ids, any_gray=True)


class Annotation(str):
    """The path of a file with the labels of many images, and which of them is meant.

    Attributes:
        key: what its reader knows one image by.
    """

    key: Any

    def __new__(cls, path: str, key: Any):
        made = super().__new__(cls, path)
        made.key = key
        return made


class LabelReader:
    """Reads label files of one format as class ids. Any thread may read.

    Attributes:
        suffix: the end of label names, where a recipe names none.
        label_ids: see `Split.label_ids`.
        has_instances: the labels hold instances too, which `instance_ids` returns.
    """

    suffix = ".png"
    label_ids: dict[int, int] | None = None
    has_instances = False

    def find(self, place: Path, suffix: str) -> dict[str, str] | None:
        """Return the labels in a file that holds those of many images: name of the image, without its suffix -> label.

        None, as here, where a label is a file of its own below the folder `place`.
        """
        return None

    def __call__(self, path: str) -> np.ndarray:
        """Return (H, W) uint8 class ids. Raise DeepLabError, with the repair, for a label that is not of this format,
        and for one that holds something unknown."""
        raise NotImplementedError

    def content(self, path: str, classes: int) -> tuple[LabelContent, tuple[int, ...]]:
        """Return what a label holds, and its height and width. Raise DeepLabError as a call does."""
        label_map = self(path)
        counts = np.bincount(label_map.ravel(), minlength=256)
        ignored = int(counts[IGNORE_LABEL])
        return LabelContent(counts[:classes], {str(IGNORE_LABEL): ignored} if ignored else {}), label_map.shape

    def size(self, path: str) -> tuple[int, ...]:
        """Return the height and width of a label, if possible without its pixels."""
        header = read_header(path)
        return self(path).shape if header is None else header.size

    def files(self, path: str) -> list[str]:
        """Return the files that a label is read from."""
        return [str(path)]

    def instance_ids(self, path: str) -> np.ndarray:
        """Return the (H, W) int32 number of the instance of each pixel: 0 on stuff and on crowds."""
        raise NotImplementedError


class PlainReader(LabelReader):
    """A reader made of a function."""

    def __init__(self, read: Callable[[str], np.ndarray]):
        self._read = read

    def __call__(self, path: str) -> np.ndarray:
        return self._read(path)


class IdReader(LabelReader):
    """Reads label files of ids as class ids."""

    def __init__(
        self,
        to_class: np.ndarray,
        file_ids: Iterable[int],
        read: Callable[[str], np.ndarray] = read_gray_ids,
        label_format: str = "ids",
    ):
        """
        Args:
            to_class: (256,) uint8 look-up table from ids in files to class ids (`labels.id_map`).
            file_ids: every id that a file may hold, ignored ones included; another id is an error.
            read: path of a label file -> (H, W) uint8 ids.
            label_format: the name of this format in recipes.
        """
        self._to_class, self._read, self._format = to_class, read, label_format
        self.label_ids = {int(i): int(to_class[i]) for i in sorted(file_ids)}
        self._unknown = np.ones(256, np.uint8)
        self._unknown[list(self.label_ids)] = 0

    def __call__(self, path: str) -> np.ndarray:
        return self.convert(self._ids(path), path)

    def convert(self, ids: np.ndarray, name: str) -> np.ndarray:
        """Return the class ids of (H, W) uint8 ids that were read elsewhere; `name` stands for them in errors."""
        if cv2.countNonZero(cv2.LUT(ids, self._unknown)):
            self._refuse(np.unique(ids).tolist(), name)
        return cv2.LUT(ids, self._to_class)

    def content(self, path: str, classes: int) -> tuple[LabelContent, tuple[int, ...]]:
        ids = self._ids(path)
        counts = np.bincount(ids.ravel(), minlength=256)
        found = np.flatnonzero(counts).tolist()
        if any(self._unknown[i] for i in found):
            self._refuse(found, path)
        by_class = np.zeros(256, np.int64)
        np.add.at(by_class, self._to_class, counts)
        ignored = {str(i): int(counts[i]) for i in found if self._to_class[i] == IGNORE_LABEL}
        return LabelContent(by_class[:classes], ignored), ids.shape

    def _ids(self, path):
        try:
            return self._read(path)
        except DeepLabError as error:
            raise DeepLabError(f"{error}{repair(path, self._format)}") from error

    def _refuse(self, found, name):
        unknown = [i for i in found if self._unknown[i]]
        sentence = (
            f"Label file {name} holds ids outside the class table: {some_of(unknown)}; known are "
            f"{ranges(list(self.label_ids or {}))}."
        )
        if self._format != "binary" and set(found) == {0, 255}:
            sentence += " These are 0/255 masks: label_format: binary."
        elif self._format == "binary" and unknown == [1] and found[-1] == 1:
            sentence += " These are gray id maps: label_format: ids."
        elif self._format == "binary":
            sentence += " For soft masks set data.threshold, from which on a pixel is foreground, such as 128."
        raise DeepLabError(sentence)


_NAMED = {"gray": "gray id maps", "palette": "ids with a palette", "RGB": "colors"}
_FORMATS = {"gray": "ids", "palette": "palette", "RGB": "colors"}


def repair(path: str, label_format: str) -> str:
    """Return which label format a file that is not of `label_format` seems to have, as the end of its error; nothing
    where it says nothing of the kind."""
    if path.lower().endswith(".json"):
        return " These are polygons: label_format: labelme, or coco." if label_format not in ("labelme", "coco") else ""
    header = read_header(path)
    if header is None or not header.whole or header.kind not in _FORMATS:
        return ""
    named, wanted = _NAMED[header.kind], _FORMATS[header.kind]
    if header.kind == "gray" and _is_mask(path):
        named, wanted = "0/255 masks", "binary"
    if wanted == label_format or header.format == "JPEG":
        return ""
    return f" These are {named}: label_format: {wanted}."


def _is_mask(path):
    try:
        return set(np.unique(image_files.read_mask(path)).tolist()) == {0, 255}  # of 16 bits, too
    except DeepLabError:
        return False


def ranges(ids: list[int]) -> str:
    """[0, 1, 2, 255] -> '0-2, 255'"""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends))
