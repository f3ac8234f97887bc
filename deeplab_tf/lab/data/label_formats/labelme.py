"""Polygons of labelme (github.com/wkentaro/labelme): a JSON file for each image, beside it or in a folder of its own.

Shapes are filled in the order of the file, so that a later one cuts a hole into an earlier one. `_background_` and
`__ignore__` mean what they do there.
"""

import base64
import binascii

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.image_files import decode_ids
from deeplab_tf.core.input_files import Value, read_json
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_reader import LabelReader, repair

MAX_BYTES = 1 << 28
"""Of a file, which may hold its image too."""
FILLED = ("polygon", "rectangle", "circle", "mask")
_BITS = 4
"""Of fractions of a pixel, for OpenCV."""


def open_labels(options: LabelOptions) -> "LabelmeReader":
    """Return the reader. Raise WrongOption for a background that is no class."""
    return LabelmeReader(options)


class LabelmeReader(LabelReader):
    """Reads labelme's files as class ids."""

    suffix = ".json"
    has_instances = False

    def __init__(self, options: LabelOptions):
        names = options.table.names
        self._background = options.background_class()
        self._classes = {"__ignore__": IGNORE_LABEL, "_background_": self._background}
        self._classes.update(dict.fromkeys(options.ignore_names, IGNORE_LABEL))
        self._classes.update({name: i for i, name in enumerate(names)})
        self._names, self._ignored = names, options.ignore_names

    def __call__(self, path: str) -> np.ndarray:
        file = _read(path)
        label_map = np.full(_size(file), self._background, np.uint8)
        shapes = file["shapes"].rows()
        unknown = sorted({name for name in (shape["label"].text() for shape in shapes) if name not in self._classes})
        if unknown:
            raise DeepLabError(
                f"Label file {path} holds names that are no class: {some_of(unknown)}; classes are "
                f"{', '.join(self._names)}. Add them to data.classes, or set ignore_names: "
                f"{[*self._ignored, *unknown]}."
            )
        for shape in shapes:
            _fill(label_map, shape, self._classes[shape["label"].text()])
        return label_map

    def size(self, path: str) -> tuple[int, ...]:
        return _size(_read(path))


def _read(path):
    if not str(path).lower().endswith(".json"):
        raise DeepLabError(f"Label file {path} is no JSON file of labelme.{repair(path, 'labelme')}")
    file = Value(read_json(path, MAX_BYTES), str(path))
    if "shapes" not in file.mapping() and "annotations" in file.mapping():
        raise DeepLabError(f"Label file {path} is COCO's: label_format: coco, with the file's path as data.labels.")
    return file


def _size(file):
    return tuple(file[key].integer(1, 1 << 20) for key in ("imageHeight", "imageWidth"))


def _fill(label_map, shape: Value, class_id: int) -> None:
    """Fill a shape with the pixels of its edges, as labelme does: a square from 10 to 20 is 11 pixels wide."""
    given = shape.get("shape_type")
    kind = "polygon" if given is None else given.text()
    if kind not in FILLED:
        raise DeepLabError(
            f"{shape.file}: {shape.key} is a {kind}, which has no area; expected {', '.join(FILLED)}. Remove it or "
            "draw it as a polygon."
        )
    points = np.array([[each.number(-1e6, 1e6) for each in point.rows(2, 2)] for point in shape["points"].rows(1)])
    if kind != "polygon" and len(points) != 2 or kind == "polygon" and len(points) < 3:
        wanted = "2 points" if kind != "polygon" else "3 points or more"
        raise DeepLabError(f"{shape.file}: {shape.key} is a {kind} and must have {wanted}; got {len(points)}.")
    if kind == "mask":
        _paste(label_map, shape, points, class_id)
    elif kind == "rectangle":
        (left, top), (right, bottom) = np.rint([points.min(axis=0), points.max(axis=0)]).astype(int).clip(0)
        label_map[top : bottom + 1, left : right + 1] = class_id
    elif kind == "circle":
        center, radius = _fixed(points[0]), _fixed(np.hypot(*(points[1] - points[0])))
        cv2.circle(label_map, tuple(center.tolist()), int(radius), class_id, cv2.FILLED, cv2.LINE_8, _BITS)
    else:
        cv2.fillPoly(label_map, [_fixed(points - 0.5)], class_id, cv2.LINE_8, _BITS)


def _fixed(values):
    """Return coordinates as OpenCV's fixed-point numbers."""
    return np.rint(np.asarray(values) * (1 << _BITS)).astype(np.int32)


def _paste(label_map, shape, points, class_id):
    """Set the pixels of a mask, a PNG in base64 at the box of its two points."""
    try:
        data = base64.b64decode(shape["mask"].text(MAX_BYTES), validate=True)
    except (binascii.Error, ValueError):
        raise DeepLabError(f"{shape.file}: {shape.key}.mask must be a PNG in base64.") from None
    mask = decode_ids(data, f"{shape.file}: {shape.key}.mask", any_gray=True) > 0
    left, top = np.rint(points.min(axis=0)).astype(int).tolist()
    region = label_map[max(top, 0) : max(top + mask.shape[0], 0), max(left, 0) : max(left + mask.shape[1], 0)]
    mask = mask[max(-top, 0) :, max(-left, 0) :][: region.shape[0], : region.shape[1]]
    region[mask] = class_id
