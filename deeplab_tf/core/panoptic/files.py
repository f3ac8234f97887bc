"""Panoptic maps in files: COCO's format (PNG + JSON), which Cityscapes' panoptic benchmark shares, and Cityscapes'
*_instanceIds.png.

COCO's format (cocodataset.org/#format-data): one JSON file with `categories` (id, name, isthing, color) and
`annotations`, one an image, each with `image_id`, `file_name` and `segments_info` (id, category_id, iscrowd, ...); and
one RGB PNG an image, in which a pixel's segment is R + 256 G + 65536 B, 0 where it belongs to none. The PNGs lie in the
folder of the JSON file, or in one beside it of the same name.
"""

import json
import os
import uuid
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import (
    CITYSCAPES,
    CITYSCAPES_FILE_IDS,
    CITYSCAPES_FROM_CLASS,
    CITYSCAPES_TO_CLASS,
    Label,
    LabelTable,
)
from deeplab_tf.core.panoptic import DIVISOR, METHODS, VOID, distinct, panoptic_map, segments_of, thing_classes

INSTANCE_SUFFIX = "_gtFine_instanceIds.png"
PNG_SUFFIX = "_panoptic.png"
JSON_NAME = "panoptic.json"
"""What `PanopticWriter` calls its JSON file."""


def _cityscapes_values():
    """(65536,) int32: a value of an instance file -> one of a panoptic map; -1 for a label id that does not exist."""
    values = np.arange(1 << 16)
    single = values >= DIVISOR
    label_ids = np.where(single, values // DIVISOR, values)
    known = (label_ids <= max(CITYSCAPES_FILE_IDS)) & (
        values % DIVISOR < DIVISOR - 1
    )  # counted from 1, 999 would be one too many
    found = panoptic_map(CITYSCAPES_TO_CLASS[np.where(known, label_ids, 0)], np.where(single, values % DIVISOR + 1, 0))
    return np.where(known, found, -1).astype(np.int32)


_FROM_CITYSCAPES = _cityscapes_values()


def from_cityscapes(ids: np.ndarray, name) -> np.ndarray:
    """The (H, W) int32 panoptic map of a Cityscapes instance map.

    Args:
        ids: (H, W) of 16 bits: label id * 1000 + 0, 1, 2, ... for single things, the label id alone for stuff and for
            groups of things.
        name: stands for it in errors.
    """
    panoptic = _FROM_CITYSCAPES[ids]
    if panoptic.min() < 0:
        unknown = int(ids[panoptic < 0][0])
        label_id = unknown // DIVISOR if unknown >= DIVISOR else unknown
        if label_id <= max(CITYSCAPES_FILE_IDS):
            raise DeepLabError(f"Instance file {name} holds {unknown}: instances of a class are 0 to {DIVISOR - 2}.")
        raise DeepLabError(f"Instance file {name} holds the label id {label_id}; Cityscapes has 0 to 33.")
    return panoptic


def to_colors(ids: np.ndarray) -> np.ndarray:
    """(H, W) segment ids below 2 ** 24 as the (H, W, 3) uint8 RGB of COCO's PNG files."""
    return np.ascontiguousarray(ids.astype("<u4").view(np.uint8).reshape(ids.shape + (4,))[..., :3])


def from_colors(colors: np.ndarray) -> np.ndarray:
    """(H, W) int32 segment ids: the inverse of `to_colors`."""
    ids = np.zeros(colors.shape[:2] + (4,), np.uint8)
    ids[..., :3] = colors
    return ids.view("<i4")[..., 0].astype(np.int32)


class PanopticWriter:
    """Writes panoptic maps in COCO's format: PNG files as they come, the JSON file at the end."""

    def __init__(self, folder: str, table: LabelTable, method: str):
        """
        Args:
            folder: made if need be. The JSON file of an earlier writer goes: its pictures are about to.
            table: Cityscapes' classes get its label ids as category ids (road is 7), others 1, 2, 3, ...
            method: how the maps are made, one of `deeplab_tf.core.panoptic.METHODS`; it is written into the JSON file.
        """
        self.folder, self.table, self.method = folder, table, method
        self.path = os.path.join(folder, JSON_NAME)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self._things = thing_classes(table)
        self._categories = category_ids(table)
        self._images, self._annotations = [], []

    def add(self, name: str, panoptic: np.ndarray, image: str = "") -> str:
        """Writes one image's PNG, and returns its path.

        Args:
            name: of the image, which may have folders in it; its last part is the `image_id`.
            panoptic: (H, W) int32 panoptic map.
            image: its file, which the JSON file names.
        """
        values, areas, index = segments_of(panoptic)
        ids = np.where(
            values == VOID, 0, self._categories[np.minimum(values // DIVISOR, 255)] * DIVISOR + values % DIVISOR
        )
        picture = to_colors(ids[index].reshape(panoptic.shape))
        segments = []
        for value, segment_id, area in zip(values.tolist(), ids.tolist(), areas.tolist()):
            if segment_id:
                category = int(self._categories[value // DIVISOR])
                crowd = int(self._things[value // DIVISOR] and value % DIVISOR == 0)
                row = {
                    "id": segment_id,
                    "category_id": category,
                    "area": area,
                    "bbox": _box(panoptic == value),
                    "iscrowd": crowd,
                }
                segments.append(row)
        file_name = name.replace(os.sep, "/") + PNG_SUFFIX
        path = os.path.join(self.folder, file_name)
        image_files.write_image(path, picture)
        image_id = os.path.basename(name)
        height, width = panoptic.shape
        self._images.append(
            {
                "id": image_id,
                "width": width,
                "height": height,
                "file_name": os.path.basename(image) or image_id + ".png",
            }
        )
        self._annotations.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})
        return path

    def close(self) -> str:
        """Writes the JSON file, whole or not at all, and returns its path."""
        categories = []
        for label in self.table:
            row = {
                "id": int(self._categories[label.id]),
                "name": label.name,
                "color": list(label.color),
                "isthing": int(label.thing),
            }
            categories.append(dict(row, supercategory="thing" if label.thing else "stuff"))
        whole = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
            "info": {"pq_method": self.method},
        }
        os.makedirs(self.folder, exist_ok=True)
        temporary = os.path.join(self.folder, f".{uuid.uuid4().hex}.part")
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                json.dump(whole, file, indent=1)
            os.replace(temporary, self.path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        return self.path


def category_ids(table: LabelTable) -> np.ndarray:
    """(256,) int32: class id -> category id in files."""
    if table.names == CITYSCAPES.names:
        return CITYSCAPES_FROM_CLASS.astype(np.int32)
    return np.arange(1, 257, dtype=np.int32)


def _box(mask):
    """[x, y, width, height] of what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]


class PanopticFolder:
    """The panoptic maps of a folder.

    Attributes:
        table: the classes.
        names: of the images: `image_id` in COCO's format, city_sequence_frame in Cityscapes'.
        categories: category id -> class id; None for Cityscapes' own files.
        method: how they were made, one of `deeplab_tf.core.panoptic.METHODS`; None where the files do not say.
    """

    method = None  # type: Optional[str]

    def __init__(self, table: LabelTable, names: Sequence[str], categories: Optional[Dict[int, int]] = None):
        self.table, self.names, self.categories = table, list(names), categories

    def panoptic_map(self, name: str) -> np.ndarray:
        """(H, W) int32 panoptic map of an image. Raises DeepLabError for whatever is wrong with its files."""
        raise NotImplementedError


def open_folder(folder: str, *, like: Optional[PanopticFolder] = None) -> PanopticFolder:
    """Opens panoptic maps in either format.

    Args:
        folder: holds PNG files and their JSON file (which may also lie beside it, with its name), or
            *_gtFine_instanceIds.png files.
        like: the truth, whose categories those of a prediction are; it may leave its own out.

    Raises:
        DeepLabError: neither is there, or the JSON file is wrong.
    """
    path = _json_file(folder)
    if path is not None:
        return CocoFolder(path, _pictures(folder, path), like)
    files = {}  # type: Dict[str, str]
    for file in image_files.list_images(folder, recursive=True):
        if file.endswith(INSTANCE_SUFFIX):
            name = os.path.basename(file)[: -len(INSTANCE_SUFFIX)]
            if name in files:
                raise DeepLabError(f"Two instance files for one frame: {files[name]} and {file}; leave one.")
            files[name] = file
    if not files:
        raise DeepLabError(
            f"{folder} holds no panoptic maps: neither a JSON file in COCO's format nor *{INSTANCE_SUFFIX}."
        )
    if like is not None and like.table.names != CITYSCAPES.names:
        raise DeepLabError(
            "{} has Cityscapes' classes, its truth has others: {}.".format(folder, ", ".join(like.table.names))
        )
    return CityscapesFolder(files)


def _json_file(folder):
    folder = os.path.abspath(folder)
    inside = sorted(
        os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json") and not name.startswith(".")
    )
    panoptic = [path for path in inside if "panoptic" in os.path.basename(path)] or inside
    if len(panoptic) > 1:
        raise DeepLabError(f"{folder} holds several JSON files ({os.path.basename(panoptic[0])}, ...); leave one.")
    beside = folder + ".json"
    return panoptic[0] if panoptic else beside if os.path.isfile(beside) else None


def _pictures(folder, path):
    """gtFine/cityscapes_panoptic_val.json has its pictures in gtFine/cityscapes_panoptic_val."""
    below = os.path.splitext(path)[0]
    return below if os.path.isdir(below) else os.path.dirname(path)


class CityscapesFolder(PanopticFolder):
    """*_gtFine_instanceIds.png."""

    def __init__(self, files: Dict[str, str]):
        super().__init__(CITYSCAPES, sorted(files))
        self._files = files

    def panoptic_map(self, name):
        return from_cityscapes(image_files.read_instance_ids(self._files[name]), self._files[name])


class CocoFolder(PanopticFolder):
    """A JSON file and its PNG files."""

    def __init__(self, path: str, pictures: str, like: Optional[PanopticFolder]):
        self._path, self._pictures, self._is_truth = path, pictures, like is None
        whole = _load(path)
        try:
            self._annotations = _annotations(path, whole["annotations"])
            own = _table(path, whole["categories"]) if like is None or whole.get("categories") else None
            info = whole.get("info") or {}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DeepLabError(f"{path} is not in COCO's panoptic format: {error!r}.") from error
        table, categories = own if like is None else (like.table, _categories_of(like))
        if like is not None and own is not None:
            _check_same_categories(path, own, (table, categories))
        super().__init__(table, sorted(self._annotations), categories)
        method = info.get("pq_method") if isinstance(info, dict) else None
        self.method = method if method in METHODS else None

    def panoptic_map(self, name):
        file_name, rows = self._annotations[name]
        path = os.path.join(self._pictures, file_name)
        picture = from_colors(image_files.read_colors(path))
        values, areas, index = distinct(picture.reshape(-1))
        ids = values.tolist()
        value_of = self._values(name, rows)
        missing = sorted(set(ids) - set(value_of) - {0})
        if missing:
            raise DeepLabError(
                f"{path} holds segment {missing[0]}, which {self._path} does not list for the image {name}."
            )
        absent = sorted(set(value_of) - set(ids))
        if absent:
            raise DeepLabError(
                f"{self._path} lists segment {absent[0]} for the image {name}, of which {path} has no pixel."
            )
        for row in rows if self._is_truth else ():  # what a prediction says of its areas is never used
            counted = int(areas[ids.index(row.id)])
            if row.area not in (None, counted):
                problem = "{} says that segment {} of the image {} has {} pixels, and {} has {}."
                raise DeepLabError(problem.format(self._path, row.id, name, row.area, path, counted))
        return np.array([value_of.get(segment, VOID) for segment in ids], np.int32)[index].reshape(picture.shape)

    def _values(self, name, rows):
        """Segment id -> value in the panoptic map."""
        found, counts = {}, {}  # type: Dict[int, int], Dict[int, int]
        for segment, category, crowd, _ in rows:
            if segment in found:
                raise DeepLabError(f"{self._path} lists segment {segment} twice for the image {name}.")
            if category not in self.categories:
                known = ", ".join(str(each) for each in sorted(self.categories))
                problem = "{}: segment {} of the image {} has the category {}, which does not exist; there are {}."
                raise DeepLabError(problem.format(self._path, segment, name, category, known))
            class_id = self.categories[category]
            thing = self.table.labels[class_id].thing
            if crowd and not thing:
                problem = "{}: segment {} of the image {} is a crowd of '{}', which is stuff and has none."
                raise DeepLabError(problem.format(self._path, segment, name, self.table.names[class_id]))
            first = 0 if crowd or (not thing and class_id not in counts) else counts.get(class_id, 0) + 1
            counts[class_id] = max(counts.get(class_id, 0), first)
            if first >= DIVISOR:
                raise DeepLabError(f"{self._path}: the image {name} has more than {DIVISOR - 1} segments of one class.")
            found[segment] = class_id * DIVISOR + first
        return found


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            whole = json.load(file)
    except (OSError, ValueError) as error:
        raise DeepLabError(f"Cannot read {path}: {error}.") from error
    wanted = ("image_id", "file_name", "segments_info")
    rows = whole.get("annotations") if isinstance(whole, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and all(key in row for key in wanted) for row in rows
    ):
        raise DeepLabError(
            "{} is not in COCO's panoptic format: expected `annotations` with {}.".format(path, ", ".join(wanted))
        )
    return whole


class _Row(NamedTuple):
    """One segment of one image."""

    id: int
    category: int
    crowd: bool
    area: Optional[int]


def _annotations(path, rows) -> Dict[str, Tuple[str, List[_Row]]]:
    """By image: its picture and its segments."""
    found = {}  # type: Dict[str, Tuple[str, List[_Row]]]
    for row in rows:
        name = str(row["image_id"])
        if name in found:
            raise DeepLabError(f"{path} has two annotations for the image {name}; leave one.")
        if not isinstance(row["file_name"], str) or not all(
            {"id", "category_id"} <= set(each) for each in row["segments_info"]
        ):
            raise DeepLabError(
                f"{path}: the image {name} needs a `file_name`, and its segments `id` and `category_id`."
            )
        found[name] = row["file_name"], [_row(each) for each in row["segments_info"]]
    return found


def _row(each):
    area = each.get("area")
    return _Row(
        _whole(each["id"]),
        _whole(each["category_id"]),
        bool(each.get("iscrowd", 0)),
        None if area is None else _whole(area),
    )


def _whole(value):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _check_same_categories(path, own, true):
    """A prediction that names its categories must mean the truth's by them."""
    for category, class_id in own[1].items():
        name, wanted = own[0].names[class_id], true[1].get(category)
        if wanted is None or true[0].names[wanted] != name:
            there = "has none" if wanted is None else f"has '{true[0].names[wanted]}' there"
            raise DeepLabError(f"{path}: the category {category} is '{name}', and the truth {there}.")


def _table(path, rows) -> Tuple[LabelTable, Dict[int, int]]:
    """The classes of a JSON file, in the order of their ids."""
    if not rows or not all({"id", "name", "isthing"} <= set(row) for row in rows):
        raise DeepLabError(f"{path} names no categories; expected `categories` with id, name and isthing.")
    rows = sorted(rows, key=lambda row: _whole(row["id"]))
    ids = [row["id"] for row in rows]
    repeated = [i for i in ids if ids.count(i) > 1]
    if repeated:
        raise DeepLabError(f"{path} has two categories with the id {repeated[0]}.")
    labels = [Label(i, str(row["name"]), _color(row.get("color")), bool(row["isthing"])) for i, row in enumerate(rows)]
    return LabelTable(labels), {category: i for i, category in enumerate(ids)}


def _color(value):
    """(R, G, B); black for what is none."""
    fits = (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(each, int) and 0 <= each <= 255 for each in value)
    )
    return tuple(value) if fits else (0, 0, 0)


def _categories_of(folder: PanopticFolder) -> Dict[int, int]:
    if folder.categories is not None:
        return folder.categories
    return {
        int(category): class_id for class_id, category in enumerate(category_ids(folder.table)[: len(folder.table)])
    }
