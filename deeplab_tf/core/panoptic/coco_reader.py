"""Reads the JSON file of COCO's panoptic format (see `coco`); each fault is one sentence that names file and key."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import Value, read_json, shown
from deeplab_tf.core.labels import Label, LabelTable

MAX_BYTES = 1 << 30
"""Of a JSON file; COCO's own have 70 MB."""
MAX_TRACKS = 1 << 40
"""Numbers of things in a video are lower."""
_MAX_ID = (1 << 24) - 1
"""The highest segment that a color has."""


class Segment(NamedTuple):
    """One segment of one image."""

    id: int
    category: int
    crowd: bool
    area: Optional[int]  # pixels
    track: Optional[int]  # `track_id`, the number that a thing keeps in a video


Annotations = Dict[str, Tuple[str, List[Segment]]]
"""For each image the name of its PNG file, which lies below the folder of these files, and its segments."""


def read_coco(path: str) -> Tuple[Annotations, Optional[Tuple[LabelTable, Dict[int, int]]], object]:
    """Return the images, the classes with category id -> class id, and `pq_method` of `info`; None for what is missing.

    Raises:
        DeepLabError: anything is wrong with the file.
    """
    whole = Value(read_json(path, MAX_BYTES), path)
    if not isinstance(whole.value, dict) or not isinstance(whole.value.get("annotations"), list):
        raise DeepLabError(f"{path} is not in COCO's panoptic format: expected `annotations`, a list.")
    info = whole.value.get("info")
    method = info.get("pq_method") if isinstance(info, dict) else None
    categories = whole.get("categories")
    return _annotations(whole["annotations"]), _classes(categories) if categories else None, method


def _annotations(rows: Value) -> Annotations:
    found: Annotations = {}
    files: Dict[str, str] = {}
    for row in rows.rows():
        image = row["image_id"]
        name = image.text(control=True) if isinstance(image.value, str) else str(image.integer(0, 1 << 63))
        if name in found:
            raise DeepLabError(f"{rows.file} has two annotations for the image {name}; leave one.")
        file = _file_name(row["file_name"])
        if file in files:
            raise DeepLabError(f"{rows.file}: the images {files[file]} and {name} have one file_name, {file}.")
        files[file] = name
        found[name] = file, _segments(row["segments_info"])
    return found


def _file_name(value: Value) -> str:
    name = value.text(control=True)
    if name.startswith("/") or ".." in name.split("/"):
        raise DeepLabError(f"{value.file}: {value.key} must lie below the folder of the PNG files; got {shown(name)}.")
    return name


def _segments(value: Value) -> List[Segment]:
    if not isinstance(value.value, list):
        raise value.wrong("a list [...]")
    return [_segment(value, i, row) for i, row in enumerate(value.value)]


def _segment(rows: Value, index: int, row: Any) -> Segment:
    """Return one of a million segments; `Value`, which is slow, is for the wrong ones."""
    if type(row) is dict:
        i: Any = row.get("id")
        category: Any = row.get("category_id")
        crowd, area, track = row.get("iscrowd", 0), row.get("area"), row.get("track_id")
        ids = type(i) is type(category) is int and 0 < i <= _MAX_ID and 0 <= category < 1 << 31
        rest = type(crowd) in (int, bool) and 0 <= crowd <= 1 and (area is None or (type(area) is int and area >= 0))
        if ids and rest and (track is None or (type(track) is int and 0 <= track < MAX_TRACKS)):
            return Segment(i, category, bool(crowd), area, track)
    wrong = Value(row, rows.file, f"{rows.key}[{index}]")
    wrong["id"].integer(1, _MAX_ID)
    wrong["category_id"].integer(0, (1 << 31) - 1)
    if "iscrowd" in row:
        _flag(wrong["iscrowd"])
    if row.get("track_id") is not None:
        wrong["track_id"].integer(0, MAX_TRACKS - 1)
    raise wrong["area"].wrong("an integer from 0 on")


def _flag(value: Value) -> bool:
    return value.value if isinstance(value.value, bool) else bool(value.integer(0, 1))


def _classes(value: Value) -> Tuple[LabelTable, Dict[int, int]]:
    """Return the classes, in the order of their ids, and category id -> class id."""
    rows = {}
    for row in value.rows(1):
        i = row["id"].integer(0, (1 << 31) - 1)
        if i in rows:
            raise DeepLabError(f"{value.file} has two categories with the id {i}.")
        color = row.get("color")
        red, green, blue = (each.integer(0, 255) for each in color.rows(3, 3)) if color else (0, 0, 0)
        rows[i] = row["name"].text(200), (red, green, blue), _flag(row["isthing"])
    labels = [Label(class_id, *rows[i]) for class_id, i in enumerate(sorted(rows))]
    try:
        return LabelTable(labels), {i: class_id for class_id, i in enumerate(sorted(rows))}
    except DeepLabError as error:
        raise DeepLabError(f"{value.file}: {value.key}: {error}") from None
