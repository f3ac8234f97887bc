"""What a data set gives: a split, a sequence of frames with their labels, in NumPy.

A data set is one file in this folder with a function `open_split(split, *, root, ...) -> Split`; the file's name is its
name in recipes. Opening lists files and pairs images with labels; what is in the files is checked when a frame is read.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, label_map_of


class UnknownSplit(DeepLabError):
    """The data set has no split of this name."""


class Frame(NamedTuple):
    """One image with its label."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label_map: np.ndarray  # (H, W) uint8: class ids and IGNORE_LABEL


class Split:
    """A sequence of frames in a fixed order: what every data set gives, for training and for scoring.

    Attributes:
        table: the classes of the label maps.
        names: one a frame, all different, usable as a relative path without suffix, such as
            `frankfurt/frankfurt_000000_000294`.
        label_ids: every id that a label file may hold -> its class id or IGNORE_LABEL; None where label files hold no
            ids.
    """

    table: LabelTable
    names: list[str]
    label_ids: dict[int, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def frame(self, index: int) -> Frame:
        """Image and label of one frame, of the same size. Raises DeepLabError, naming the file, for whatever is wrong
        with them."""
        raise NotImplementedError

    def scored_frame(self, index: int) -> Frame:
        """As `frame`, but with the label at its own resolution, at which it is scored; the image may then be
        smaller."""
        return self.frame(index)

    def label_map(self, index: int) -> np.ndarray:
        """(H, W) uint8: the label of one frame at its own resolution, without reading the image where that can be
        avoided."""
        return self.frame(index).label_map

    def panoptic_map(self, index: int) -> np.ndarray | None:
        """(H, W) int32 panoptic map of one frame (`deeplab_tf.core.panoptic`) at its label's own resolution; None for a
        data set without."""
        return None

    def panoptic_frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and panoptic map of one frame, for training. Raises DeepLabError as `frame` and `panoptic_map` do."""
        return self.frame(index).image, self.panoptic_map(index)

    def without_instances(self) -> list[str]:
        """The frames that have no panoptic map, by a name for messages."""
        return self.names

    def has_instances(self) -> bool:
        """Whether every frame has a panoptic map."""
        return not self.without_instances()

    def paths(self, index: int) -> list[str]:
        """The files that frame `index` comes from, for messages: image, label."""
        return [self.names[index]]


class SomeFrames(Split):
    """Some frames of a split, evenly spread over it."""

    def __init__(self, split: Split, count: int):
        self.split, self.table, self.label_ids = split, split.table, split.label_ids
        self.indices = np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int).tolist()
        self.names = [split.names[i] for i in self.indices]

    def frame(self, index):
        return self.split.frame(self.indices[index])

    def scored_frame(self, index):
        return self.split.scored_frame(self.indices[index])

    def panoptic_map(self, index):
        return self.split.panoptic_map(self.indices[index])

    def without_instances(self):
        return self.split.without_instances()


class FileRow(NamedTuple):
    """Where one frame of a FileSplit lies."""

    name: str
    image: str
    label: str
    instances: str | None = None


class FileSplit(Split):
    """A split whose frames are an image file and a label file each."""

    def __init__(
        self,
        table: LabelTable,
        rows: Iterable[FileRow],
        read_label: Callable[[str], np.ndarray],
        read_instances: Callable[[str, np.ndarray], np.ndarray] | None = None,
    ):
        """
        Args:
            rows: the frames, in order; see `pair_files`.
            read_label: path of a label file -> (H, W) uint8 class ids; see `IdReader`.
            read_instances: path of an instance file and its label map -> (H, W) int32 panoptic map.
        """
        self.table = table
        self._read_instances = read_instances
        self.rows = list(rows)
        self.names = [row.name for row in self.rows]
        self._read_label = read_label
        self.label_ids = read_label.label_ids if isinstance(read_label, IdReader) else None

    def frame(self, index: int) -> Frame:
        row = self.rows[index]
        frame = Frame(image_files.read_image(row.image), self._read_label(row.label))
        check_same_size(frame, row.image, row.label)
        return frame

    def label_map(self, index: int) -> np.ndarray:
        return self._read_label(self.rows[index].label)

    def panoptic_map(self, index: int) -> np.ndarray | None:
        path = self.rows[index].instances
        return self._read_instances(path, self.label_map(index)) if path else None

    def panoptic_frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        frame = self.frame(index)
        return frame.image, self._read_instances(self.rows[index].instances, frame.label_map)

    def without_instances(self) -> list[str]:
        return [row.label for row in self.rows if not row.instances]

    def paths(self, index: int) -> list[str]:
        return [self.rows[index].image, self.rows[index].label]


class IdReader:
    """Reads label files that hold ids, and maps them to class ids."""

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
        """(H, W) uint8 class ids. Raises DeepLabError for a file that holds an unknown id."""
        return self.convert(image_files.read_ids(path), path)

    def convert(self, ids: np.ndarray, name: str) -> np.ndarray:
        """As calling, for (H, W) uint8 ids that were read elsewhere; `name` stands for them in errors."""
        if cv2.countNonZero(cv2.LUT(ids, self._unknown)):
            unknown = [i for i in np.unique(ids) if self._unknown[i]]
            known = np.flatnonzero(self._unknown == 0).tolist()
            raise DeepLabError(
                f"Label file {name} holds ids outside the class table: {_some(unknown)}; known are {_ranges(known)}."
            )
        return cv2.LUT(ids, self._to_class)


def check_same_size(frame: Frame, image_name: str, label_name: str) -> None:
    """Raises DeepLabError if the image and the label of a frame differ in size."""
    image, label_map = frame
    if image.shape[:2] != label_map.shape:
        sizes = "{}x{} against {}x{}".format(*image.shape[:2], *label_map.shape)
        raise DeepLabError(
            f"Image and label must have the same size, height x width: {sizes} ({image_name} and {label_name})."
        )


def open_root(root: str) -> Path:
    """The folder of a data set. Raises DeepLabError if it is not there."""
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DeepLabError(f"The data set's folder {path} does not exist; set data.root to where it lies.")
    return path


def split_folder(root: Path, pattern: str, split: str) -> Path:
    """The folder of a split: `root / pattern` with `{split}` in it filled in.

    Raises UnknownSplit for a split that is not there, saying which one may be meant, and DeepLabError for a folder that
    is not there.
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
        raise DeepLabError(f"There is no folder {root / parent}: this data set does not lie in {root}.")
    named = [name for name in os.listdir(root / parent) if name.startswith(prefix) and name.endswith(suffix)]
    known = [name[len(prefix) : len(name) - len(suffix)] for name in named]
    known = [name for name in known if name and (root / pattern.replace("{split}", name)).is_dir()]
    hint = did_you_mean(split, known) if known else "There is none at all."
    raise UnknownSplit(f"There is no split '{split}' in {root / parent}. {hint}")


def list_files(folder: Path, *suffixes: str) -> dict[str, str]:
    """Every file below a folder whose name ends in one of `suffixes`, in small or capital letters.

    Returns the name relative to the folder, without the suffix -> path. Raises DeepLabError for two files of one name.
    """
    found = {}
    for parent, _, files in os.walk(folder, onerror=image_files.refuse_unreadable, followlinks=True):
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
    """Pairs image and label files of the same name, sorted by name.

    Args:
        images, labels: name -> path, see `list_files`.
        where: the folder of the images, for errors.

    Raises DeepLabError for a split without frames, an image without a label and a label without an image.
    """
    if not images and not labels:
        raise DeepLabError(f"The split is empty: there is no image in {where}.")
    for have, lack, missing in ((images, labels, "label"), (labels, images, "image")):
        alone = sorted(set(have) - set(lack))
        if alone:
            kind = "image" if missing == "label" else "label"
            count = f"{len(alone)} {kind}{'s have' if len(alone) > 1 else ' has'}"
            raise DeepLabError(f"{count} no {missing}: {_some([have[name] for name in alone])}.")
    return [FileRow(name, images[name], labels[name]) for name in sorted(images)]


def add_instances(rows: list[FileRow], instances: dict[str, str]) -> list[FileRow]:
    """The rows with their instance files (name -> path). Raises DeepLabError for an instance file without a label
    file."""
    alone = sorted(set(instances) - {row.name for row in rows})
    if alone:
        raise DeepLabError(
            f"An instance map needs its label map, and these have none: {_some([instances[name] for name in alone])}."
        )
    return [row._replace(instances=instances.get(row.name)) for row in rows]


def require_instances(split: Split, name: str) -> None:
    """Raises DeepLabError unless every frame of a split has a panoptic map; `name` stands for the split."""
    without = split.without_instances()
    if len(without) == len(split):
        raise DeepLabError(
            f"This network learns instances, and the split {name} of the data set has none; take a recipe for "
            "deeplab_v3_plus, such as"
            " configs/sample_small.yaml."
        )
    if without:
        raise DeepLabError(
            f"{len(without)} of {len(split)} frames of {name} have no instance file; the first is that of {without[0]}."
        )


def check_same_classes(panoptic: np.ndarray, label_map: np.ndarray, path: str) -> np.ndarray:
    """The panoptic map of an instance file. Raises DeepLabError unless its classes are those of the label map."""
    if panoptic.shape != label_map.shape:
        sizes = "{}x{} against {}x{}".format(*panoptic.shape, *label_map.shape)
        raise DeepLabError(f"Instance map and label map must have the same size, height x width: {sizes} ({path}).")
    different = np.argwhere(label_map_of(panoptic) != label_map)
    if len(different):
        y, x = different[0]
        raise DeepLabError(
            f"Instance file {path} does not match its label file in {len(different)} pixels; at row {y}, column "
            f"{x} it has class"
            f" {panoptic[y, x] // DIVISOR}, the label file {label_map[y, x]} ({IGNORE_LABEL} is ignored)."
        )
    return panoptic


def _some(items: list) -> str:
    """The first three items, and how many more there are."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(str(item) for item in items[:3]) + more


def _ranges(ids: list[int]) -> str:
    """[0, 1, 2, 255] -> '0-2, 255'"""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends))
