"""Any data set of image files and label files, described wholly in the recipe: a new domain needs no code.

    data:
      name: folder
      root: ~/data/aerial
      images: "images/{split}"          # as here, if left out
      labels: "labels/{split}"
      label_format: colors              # or ids
      classes:
        - {name: road, color: [128, 64, 128]}
        - {name: car, color: [0, 0, 142], thing: true}
      ignore_colors: [[0, 0, 0]]
      instances: "instances/{split}"    # if things are to be told apart

An image and its label have the same path below their folders, up to the suffix.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable, id_map
from deeplab_tf.core.panoptic import DIVISOR, panoptic_map, thing_classes
from deeplab_tf.lab.data.split import (
    FileSplit,
    IdReader,
    add_instances,
    list_files,
    open_root,
    pair_files,
    split_folder,
)

_CLASS_KEYS = ("id", "name", "color", "thing")


def open_split(
    split: str,
    *,
    root: str,
    classes: Sequence[dict],
    images: str = "images/{split}",
    labels: str = "labels/{split}",
    label_format: str = "ids",
    ignore_ids: Sequence[int] = (IGNORE_LABEL,),
    ignore_colors: Sequence[Sequence[int]] = (),
    image_suffix: str | None = None,
    label_suffix: str = ".png",
    instances: str | None = None,
    instance_suffix: str = ".png",
) -> FileSplit:
    """Opens one split of a described data set.

    Args:
        classes: one row a class, in order: `name`, `color` [R, G, B], `thing` (False if left out), and where the ids in
            the label files are not 0, 1, 2, ... `id`.
        images, labels: folders below `root`; `{split}` stands for the name of the split.
        label_format: "ids", 8-bit PNG with one channel; or "colors", RGB (or palette) PNG with the colours of
            `classes`.
        ignore_ids, ignore_colors: what else label files may hold, which counts in no loss and in no score.
        image_suffix: the end of an image's file name, such as `_rgb.jpg`; .png, .jpg and .jpeg are taken if it is left
            out.
        label_suffix: the end of a label's file name, such as `_labels.png`.
        instances: the folder of instance files, PNG with one channel of 8 or 16 bits: the number of the thing that a
            pixel belongs to, any number above 0 and one a thing; 0 on stuff and on groups that nobody told apart.
        instance_suffix: the end of an instance file's name.
    """
    table = _read_table(classes)
    if label_format == "ids":
        reader = _id_reader(classes, ignore_ids)
    elif label_format == "colors":
        reader = ColorReader(table, ignore_colors)
    else:
        raise DeepLabError(
            f"data.label_format '{label_format}' is unknown. {did_you_mean(str(label_format), ['ids', 'colors'])}"
        )
    folder = open_root(root)
    image_folder = split_folder(folder, images, split)
    label_folder = split_folder(folder, labels, split)
    photos = list_files(image_folder, *([image_suffix] if image_suffix else image_files.IMAGE_SUFFIXES))
    rows = pair_files(photos, list_files(label_folder, label_suffix), image_folder)
    if instances is not None:
        rows = add_instances(rows, list_files(split_folder(folder, instances, split), instance_suffix))
    return FileSplit(table, rows, reader, InstanceReader(table))


class InstanceReader:
    """Reads instance files that hold numbers, and joins them with their label maps."""

    def __init__(self, table: LabelTable):
        self._things = thing_classes(table)

    def __call__(self, path: str, label_map: np.ndarray) -> np.ndarray:
        """(H, W) int32 panoptic map. Raises DeepLabError for another size than the label map's, and a thing number on
        stuff."""
        numbers = image_files.read_instance_ids(path)
        if numbers.shape != label_map.shape:
            sizes = "{}x{} against {}x{}".format(*numbers.shape, *label_map.shape)
            raise DeepLabError(f"Instance map and label map must have the same size, height x width: {sizes} ({path}).")
        single = (numbers > 0) & (label_map != IGNORE_LABEL)
        wrong = np.argwhere(single & ~self._things[label_map])
        if len(wrong):
            y, x = wrong[0]
            raise DeepLabError(
                f"Instance file {path} holds the thing {numbers[y, x]} at row {y}, column {x}, where the label "
                "file has class"
                f" {label_map[y, x]}, which is stuff."
            )
        joined, ids = label_map.astype(np.int64) << 16 | numbers, np.zeros(label_map.shape, np.int32)
        found, positions = np.unique(joined[single], return_inverse=True)
        _, first = np.unique(found >> 16, return_index=True)
        counts = (
            np.arange(len(found)) - np.repeat(first, np.diff([*first, len(found)])) + 1
        )  # 1, 2, 3, ... in each class
        if counts.max(initial=0) >= DIVISOR:
            raise DeepLabError(
                f"Instance file {path} has {counts.max()} things of one class; {DIVISOR - 1} are possible."
            )
        ids[single] = counts[positions]
        return panoptic_map(label_map, ids)


class ColorReader:
    """Reads label files that hold colours, and maps them to class ids."""

    _UNKNOWN = 256

    def __init__(self, table: LabelTable, ignore_colors: Sequence[Sequence[int]]):
        """Raises DeepLabError for two classes of one colour, or a class whose colour is ignored."""
        ignored = [_check_color(color, "data.ignore_colors") for color in ignore_colors]
        meanings = [(label.color, label.id) for label in table] + [
            (color, IGNORE_LABEL) for color in sorted(set(ignored))
        ]
        colors = [color for color, _ in meanings]
        repeated = sorted({color for color in colors if colors.count(color) > 1})
        if repeated:
            raise DeepLabError(
                f"Label colours must differ between classes and data.ignore_colors; {list(repeated[0])} stands twice."
            )
        # All 2^24 colours, 32 MB: one look-up a pixel, whatever the number of classes.
        self._to_class = np.full(1 << 24, self._UNKNOWN, np.uint16)
        for (red, green, blue), class_id in meanings:
            self._to_class[red | green << 8 | blue << 16] = class_id

    def __call__(self, path: str) -> np.ndarray:
        """(H, W) uint8 class ids. Raises DeepLabError for a file that holds an unknown colour."""
        colors = image_files.read_colors(path)
        packed = cv2.cvtColor(colors, cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF
        ids = self._to_class[packed]
        unknown = ids == self._UNKNOWN
        if unknown.any():
            values = np.unique(packed[unknown])
            some = ", ".join(str([int(v) & 255, int(v) >> 8 & 255, int(v) >> 16]) for v in values[:3])
            more = f" and {len(values) - 3} more" if len(values) > 3 else ""
            raise DeepLabError(f"Label file {path} holds colours outside the class table, as [R, G, B]: {some}{more}.")
        return ids.astype(np.uint8)


def _read_table(classes: Sequence[dict]) -> LabelTable:
    if not isinstance(classes, (list, tuple)) or not classes:
        raise DeepLabError(
            "data.classes must be a list of rows such as {name: road, color: [128, 64, 128], thing: false}."
        )
    for row in classes:
        if not isinstance(row, dict) or not {"name", "color"} <= row.keys():
            raise DeepLabError(f"Every row of data.classes needs a name and a color [R, G, B]; got {row}.")
        for key in row.keys() - set(_CLASS_KEYS):
            raise DeepLabError(f"Unknown key '{key}' in a row of data.classes. {did_you_mean(str(key), _CLASS_KEYS)}")
        _check_color(row["color"], f"The color of class '{row['name']}'")
        if not isinstance(row.get("thing", False), bool):
            raise DeepLabError(f"The thing of class '{row['name']}' must be true or false; got {row['thing']}.")
    return LabelTable.from_dicts(classes)


def _id_reader(classes: Sequence[dict], ignore_ids: Sequence[int]) -> IdReader:
    class_ids = [row.get("id", i) for i, row in enumerate(classes)]
    known = [*class_ids, *ignore_ids]
    if not all(isinstance(i, int) and 0 <= i <= 255 for i in known):
        raise DeepLabError(f"Ids in label files are 0 to 255; got {known}.")
    if len(set(class_ids)) < len(class_ids) or set(class_ids) & set(ignore_ids):
        raise DeepLabError(
            f"An id in label files can mean one thing only; classes have {class_ids}, data.ignore_ids "
            f"{list(ignore_ids)}."
        )
    return IdReader(id_map({file_id: i for i, file_id in enumerate(class_ids)}), known)


def _check_color(color: Sequence[int], what: str) -> tuple[int, int, int]:
    values = list(color) if isinstance(color, (list, tuple)) else []
    if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise DeepLabError(f"{what} must be [R, G, B], three whole numbers from 0 to 255; got {color}.")
    return tuple(values)
