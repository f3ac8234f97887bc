"""Splits of image files and label files. Opening one lists and pairs files; reading a sample checks what is in them."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.guard import expand
from deeplab_tf.core.image_header import about_pixels, read_header, turn_upright
from deeplab_tf.core.input_files import natural_key
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, label_map_of
from deeplab_tf.lab.data.label_orientation import LabelOrientation
from deeplab_tf.lab.data.label_reader import Annotation, LabelReader, PlainReader
from deeplab_tf.lab.data.split import LabelContent, Sample, Split, check_same_size, check_sizes

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
    """A split with an image file and a label for each sample."""

    def __init__(
        self,
        table: LabelTable,
        rows: Iterable[FileRow],
        read_label: LabelReader | Callable[[str], np.ndarray],
        read_instances: Callable[[str, np.ndarray], np.ndarray] | None = None,
        label_orientation: str = "auto",
    ):
        """
        Args:
            table: the classes.
            rows: the samples, in order; see `pair_files`.
            read_label: a reader, or a function: path of a label file -> (H, W) uint8 class ids.
            read_instances: path of an instance file and its label map -> (H, W) int32 panoptic map.
            label_orientation: how labels of photos with an EXIF orientation lie: "upright", "stored" or, as their sizes
                say, "auto".
        """
        self.table, self.rows = table, list(rows)
        self.names = [row.name for row in self.rows]
        self._reader = read_label if isinstance(read_label, LabelReader) else PlainReader(read_label)
        self.label_ids, self._read_instances = self._reader.label_ids, read_instances
        self._orientation = LabelOrientation(self.rows, self._reader, label_orientation)

    def sample(self, index: int) -> Sample:
        row = self.rows[index]
        sample = Sample(image_files.read_image(row.image), self.label_map(index))
        check_same_size(*sample, f"Image {row.image} and label {row.label}")
        return sample

    def inspect(self, index: int) -> LabelContent:
        row = self.rows[index]
        content, size = self._reader.content(row.label, len(self.table))
        turned = self._orientation.of_label(row, size)
        header = read_header(row.image)
        if header is None or not header.whole:
            self.sample(index)  # says what is wrong, if anything
        else:
            upright = size[::-1] if turned > 4 else size
            check_sizes(header.upright_size, upright, f"Image {row.image} and label {row.label}")
        if row.instances and row.instances != row.label:
            instances = read_header(row.instances)
            if instances is not None:
                check_sizes(instances.size, size, f"Instance map {row.instances} and its label map")
        return content._replace(remarks=about_pixels(header) if header else ())

    def label_map(self, index: int) -> np.ndarray:
        return self._turned(index, self._reader(self.rows[index].label))

    def _turned(self, index, array):
        return turn_upright(array, self._orientation.of_label(self.rows[index], array.shape))

    def panoptic_map(self, index: int) -> np.ndarray | None:
        row = self.rows[index]
        if not row.instances or self._read_instances is None:
            return None
        return self._turned(index, self._read_instances(row.instances, self._reader(row.label)))

    def panoptic_sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.sample(index).image, self.required(self.panoptic_map(index), index)

    def without_instances(self) -> list[str]:
        return [row.label for row in self.rows if not row.instances]

    def paths(self, index: int) -> list[str]:
        return [self.rows[index].image, self.rows[index].label]

    def files(self, index: int) -> list[str]:
        row = self.rows[index]
        more = [row.instances] if row.instances and row.instances != row.label else []
        return [row.image, *self._reader.files(row.label), *more]


def open_root(root: str) -> Path:
    """Return the folder of a dataset. Raise DeepLabError if it is not there."""
    path = Path(expand(root))
    if not path.is_dir():
        raise DeepLabError(f"The dataset's folder {path} does not exist; set data.root to where it is.")
    return path


def list_files(folder: Path, *suffixes: str, but: Iterable[str] = ()) -> dict[str, str]:
    """Return every file below a folder whose name ends in one of `suffixes`, in small or capital letters.

    Args:
        folder, suffixes: what to look for.
        but: paths to leave out.

    Returns:
        The name relative to the folder, without the suffix -> path.

    Raises:
        DeepLabError: two files have the same name.
    """
    found: dict[str, str] = {}
    left_out = {*but}
    for parent, files in image_files.walk(folder):
        for file in files:
            suffix = next((suffix for suffix in suffixes if file.lower().endswith(suffix.lower())), None)
            if suffix is None or file.startswith("."):
                continue
            path = os.path.join(parent, file)
            if path in left_out:
                continue
            name = os.path.relpath(path, folder)[: -len(suffix)].replace(os.sep, "/")
            if name in found:
                raise DeepLabError(f"Two files have the same name: {found[name]} and {path}.")
            found[name] = path
    return found


def pair_files(images: dict[str, str], labels: dict[str, str], where: Path) -> list[FileRow]:
    """Return the image and label files (name -> path, see `list_files`) of the same name as rows, in the natural order
    of names.

    Raise DeepLabError for an image without a label, a label without an image (see `collecting`), an image file under
    two names, and no image at all in the folder `where`.
    """
    if not images and not labels:
        raise DeepLabError(f"The split is empty: there is no image in {where}.")
    collected = _COLLECTED.get()
    for kind, have, missing, lack in (("image", images, "label", labels), ("label", labels, "image", images)):
        alone = sorted(set(have) - set(lack), key=natural_key)
        files = [f"{name} in {have[name]}" if isinstance(have[name], Annotation) else have[name] for name in alone]
        if collected is not None:
            collected += [DeepLabError(f"The {kind} {file} has no {missing}.") for file in files]
        elif alone:
            count = f"{len(alone)} {kind}{'s have' if len(alone) > 1 else ' has'}"
            raise DeepLabError(f"{count} no {missing}: {some_of(files)}.")
    seen: dict[tuple[int, int], str] = {}
    for path in images.values():
        first = seen.setdefault(identity(path), path)
        if first is not path:
            raise DeepLabError(f"{first} and {path} are one file, by a link, and would count twice; leave one of them.")
    names = sorted(images.keys() & labels.keys(), key=natural_key)
    return [FileRow(name, images[name], labels[name]) for name in names]


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
