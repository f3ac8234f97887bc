"""COCO's instances (cocodataset.org/#format-data): a JSON file for each split, with polygons and RLE, which
pycocotools draws.

An image is known by its `file_name`, the path below `data.images`. Where annotations overlap, the smaller is on top.
"""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.input_files import Value, read_json
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_reader import Annotation, LabelReader
from deeplab_tf.lab.schema import WrongOption

MAX_BYTES = 1 << 30
"""Of a file; COCO's own has 470 MB."""


def open_labels(options: LabelOptions) -> "CocoReader":
    """Return the reader. Raise WrongOption for a background that is no class."""
    return CocoReader(options)


class CocoFile:
    """A JSON file of COCO, read once.

    Attributes:
        path: of the file.
        images: id -> its row in `images`.
        annotations: id of an image -> its rows in `annotations`.
        names: id of a category -> its name.
    """

    def __init__(self, path: Path):
        """Raise DeepLabError, with the key, for what is no such file."""
        self.path = str(path)
        file = Value(read_json(path, MAX_BYTES), self.path)
        if "annotations" not in file.mapping() and "shapes" in file.mapping():
            raise DeepLabError(f"{path} is labelme's: label_format: labelme, with its folder as data.labels.")
        self.images = {_key(row["id"]): row for row in file["images"].rows()}
        self.names = {row["id"].integer(0, 1 << 31): row["name"].text() for row in file["categories"].rows()}
        self.annotations: dict[Any, list[Value]] = {key: [] for key in self.images}
        for row in file["annotations"].rows():
            key = _key(row["image_id"])
            if key not in self.annotations:
                raise DeepLabError(f"{path}: {row.key}.image_id is {key!r}, and no image has that id.")
            self.annotations[key].append(row)

    def size(self, key: Any) -> tuple[int, int]:
        """Return the height and width of an image."""
        row = self.images[key]
        return row["height"].integer(1, 1 << 20), row["width"].integer(1, 1 << 20)

    def name(self, key: Any) -> str:
        """Return the file name of an image."""
        return self.images[key]["file_name"].text()


def _key(value: Value) -> int | str:
    return value.text() if isinstance(value.value, str) else value.integer(0, 1 << 62)


class CocoReader(LabelReader):
    """Reads annotations of COCO as class ids."""

    def __init__(self, options: LabelOptions):
        self._background = options.background_class()
        self.class_names, self._ignored = options.table.names, options.ignore_names
        self._classes = {name: i for i, name in enumerate(self.class_names)}
        self._classes.update({name: IGNORE_LABEL for name in options.ignore_names if name not in self._classes})
        self.things = {label.id for label in options.table if label.thing}
        self.has_instances = bool(self.things)
        self._file = functools.lru_cache(maxsize=4)(CocoFile)

    def find(self, place: Path, suffix: str) -> dict[str, str]:
        if not place.is_file():
            raise WrongOption(
                f"With label_format: coco or coco_panoptic data.labels is a JSON file, such as "
                f"annotations/instances_{{split}}.json; {place} is none.",
                ("data", "labels"),
            )
        from pycocotools import mask as _  # an extra: missing, it is named now  # noqa: F401

        file = self._file(place)
        unknown = sorted({*file.names.values()} - {*self._classes})
        missing = [name for name in self.class_names if name not in file.names.values()]
        unnamed = [name for name in missing if self._classes[name] != self._background]
        if unknown:
            raise DeepLabError(
                f"{place} has categories that are no class: {some_of(unknown)}; classes are "
                f"{some_of(self.class_names)}. Add them to data.classes, or set ignore_names: "
                f"{[*self._ignored, *unknown]}."
            )
        if unnamed:
            raise DeepLabError(
                f"{place} has no category for the classes {some_of(unnamed)}; it has {some_of([*file.names.values()])}."
            )
        found: dict[str, str] = {}
        for key in file.images:
            name = os.path.splitext(os.path.normpath(file.name(key)))[0].replace(os.sep, "/")
            if name in found:
                raise DeepLabError(f"{place} has two images of the name {name}.")
            found[name] = Annotation(file.path, key)
        return found

    def __call__(self, path: str) -> np.ndarray:
        return self._draw(path)[0]

    def instance_ids(self, path: str) -> np.ndarray:
        return self._draw(path)[1]

    def size(self, path: str) -> tuple[int, ...]:
        file, key = self.annotations_of(path)
        return file.size(key)

    def annotations_of(self, path: str) -> tuple[CocoFile, Any]:
        """Return the file of a label and the id of its image."""
        assert isinstance(path, Annotation)
        return self._file(Path(path)), path.key

    def class_of(self, file: CocoFile, row: Value) -> int:
        """Return the class id of an annotation or a segment."""
        category = row["category_id"].integer(0, 1 << 31)
        if category not in file.names:
            raise DeepLabError(f"{file.path}: {row.key}.category_id is {category}, and no category has that id.")
        return self._classes[file.names[category]]

    def _draw(self, path):
        file, key = self.annotations_of(path)
        size = file.size(key)
        label_map, numbers = np.full(size, self._background, np.uint8), np.zeros(size, np.int32)
        masks = [(row, _mask(row, size)) for row in file.annotations[key]]
        order = sorted(enumerate(masks), key=lambda each: -np.count_nonzero(each[1][1]))
        for number, (row, mask) in order:
            class_id = self.class_of(file, row)
            crowd = row.get("iscrowd")
            single = class_id in self.things and not (crowd and crowd.integer(0, 1))
            label_map[mask], numbers[mask] = class_id, number + 1 if single else 0
        return label_map, numbers


def _mask(row: Value, size: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) bool pixels of an annotation. Raise DeepLabError for a segmentation that is none."""
    from pycocotools import mask as coco_mask  # an extra

    height, width = size
    shape = row["segmentation"]
    if isinstance(shape.value, list):
        polygons = [[each.number(-1e6, 1e6) for each in polygon.rows(6)] for polygon in shape.rows()]
        if any(len(polygon) % 2 for polygon in polygons):
            raise shape.wrong("polygons [x, y, x, y, ...]")
        if not polygons:
            return np.zeros(size, bool)
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    else:
        rle = _rle(shape, size)
    return coco_mask.decode(rle).astype(bool)


def _rle(shape: Value, size):
    from pycocotools import mask as coco_mask

    stated = tuple(each.integer(1, 1 << 20) for each in shape["size"].rows(2, 2))
    if stated != size:
        raise DeepLabError(
            f"{shape.file}: {shape.key}.size is {stated[0]}x{stated[1]}, and its image is {size[0]}x{size[1]}."
        )
    counts = shape["counts"]
    if isinstance(counts.value, str):
        text = counts.text(1 << 28, control=True).encode("ascii", "replace")
        rle, lengths = {"size": list(size), "counts": text}, _lengths(text)
    else:
        lengths = [each.integer(0, size[0] * size[1]) for each in counts.rows()]
        rle = coco_mask.frPyObjects({"size": list(size), "counts": lengths}, *size)
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise DeepLabError(f"{shape.file}: {shape.key}.counts does not cover the {size[0]}x{size[1]} pixels.")
    return rle


def _lengths(counts: bytes) -> list[int]:
    """Return the run lengths of a compressed RLE, which pycocotools does not check: groups of 5 bits, the lowest first,
    bit 5 for more; from the third on the difference to the one before the last."""
    lengths: list[int] = []
    value = shift = 0
    for byte in counts:
        group = byte - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) and 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths
