"""A folder of images and labels, described in the recipe alone: any domain, no code.

    data:
      name: folder
      root: ~/data/aerial
      images: "images/{split}"          # the default
      labels: "labels/{split}"
      label_format: colors              # or ids
      classes:
        - {name: road, color: [128, 64, 128]}
        - {name: car, color: [0, 0, 142], thing: true}
      ignore_colors: [[0, 0, 0]]
      instances: "instances/{split}"    # for a network that predicts instances

An image and its label have the same path below their folders, up to the suffix. An id or a color that is neither a
class nor ignored is an error that names the file.
"""

from typing import Annotated, Literal

import cv2
import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable, id_map
from deeplab_tf.core.panoptic import DIVISOR, panoptic_map, thing_classes
from deeplab_tf.lab.data import file_split
from deeplab_tf.lab.data.file_split import FileSplit, IdReader, list_files, split_folder
from deeplab_tf.lab.data.split import LabelContent, check_same_size
from deeplab_tf.lab.schema import Byte, Section

Color = tuple[Byte, Byte, Byte]


class ClassRow(Section):
    """A row of `classes`."""

    name: str | Annotated[int, Ge(0), Le(999_999)]
    color: Color
    thing: bool = False
    id: Byte | None = None


def open_split(
    split: str,
    *,
    root: Annotated[str, "the folder of the others"],
    images: Annotated[str, "the folder of the images; `{split}` becomes `train` and `val`"] = ("images/{split}"),
    labels: Annotated[str, "the folder of the labels"] = "labels/{split}",
    classes: Annotated[
        tuple[ClassRow, ...],
        MinLen(1),
        MaxLen(IGNORE_LABEL),
        "a row for each class: `name`, `color` [R, G, B], `thing: true` for what is countable (cars, "
        "not road), and `id` where the ids in label files are not 0, 1, 2, ... in this order",
    ],
    label_format: Annotated[
        Literal["ids", "colors"],
        "`ids`: 8-bit PNG with one channel; `colors`: RGB or palette PNG in the colors of `classes`",
    ] = "ids",
    ignore_ids: Annotated[
        tuple[Byte, ...], "with `ids`: what else label files may hold; it counts in no loss or score"
    ] = (IGNORE_LABEL,),
    ignore_colors: Annotated[tuple[Color, ...], "with `colors`: the same, such as [[0, 0, 0]]"] = (),
    image_suffix: Annotated[
        str | None, "the end of image names, such as `_rgb.jpg`; none: .png, .jpg and .jpeg"
    ] = None,
    label_suffix: Annotated[str, "the end of label names, such as `_labels.png`"] = ".png",
    instances: Annotated[
        str | None,
        "the folder of instance files, such as `instances/{split}`: PNG with one channel of 8 or 16 "
        "bits that holds a number for each instance, 0 on stuff and on crowds",
    ] = None,
    instance_suffix: Annotated[str, "the end of instance names"] = ".png",
) -> FileSplit:
    """Open a split of the folder. Raise DeepLabError for classes, ids or colors that contradict each other."""
    table = LabelTable(Label(i, str(row.name), row.color, row.thing) for i, row in enumerate(classes))
    reader = _id_reader(classes, ignore_ids) if label_format == "ids" else ColorReader(table, ignore_colors)
    folder = file_split.open_root(root)
    image_folder, label_folder = split_folder(folder, images, split), split_folder(folder, labels, split)
    photos = list_files(image_folder, *([image_suffix] if image_suffix else image_files.IMAGE_SUFFIXES))
    rows = file_split.pair_files(photos, list_files(label_folder, label_suffix), image_folder)
    if instances is not None:
        rows = file_split.add_instances(rows, list_files(split_folder(folder, instances, split), instance_suffix))
    return FileSplit(table, rows, reader, InstanceReader(table))


class InstanceReader:
    """Reads instance files of numbers, and joins them with their label maps."""

    def __init__(self, table: LabelTable):
        self._things = thing_classes(table)

    def __call__(self, path: str, label_map: np.ndarray) -> np.ndarray:
        """Return the (H, W) int32 panoptic map. Raise DeepLabError for another size than the label map's, and for an
        instance on stuff."""
        numbers = image_files.read_instance_ids(path)
        check_same_size(numbers, label_map, f"Instance map {path} and its label map")
        single = (numbers > 0) & (label_map != IGNORE_LABEL)
        wrong = np.argwhere(single & ~self._things[label_map])
        if len(wrong):
            y, x = wrong[0]
            raise DeepLabError(
                f"Instance file {path} holds the instance {numbers[y, x]} at row {y}, column {x}, where the label file "
                f"has class {label_map[y, x]}, which is stuff."
            )
        joined, ids = label_map.astype(np.int64) << 16 | numbers, np.zeros(label_map.shape, np.int32)
        found, positions = np.unique(joined[single], return_inverse=True)
        _, first = np.unique(found >> 16, return_index=True)
        counts = np.arange(len(found)) - np.repeat(first, np.diff([*first, len(found)])) + 1  # 1, 2, ... in each class
        if counts.max(initial=0) >= DIVISOR:
            raise DeepLabError(
                f"Instance file {path} has {counts.max()} instances of one class; {DIVISOR - 1} are possible."
            )
        ids[single] = counts[positions]
        return panoptic_map(label_map, ids)


class ColorReader:
    """Reads label files of colors as class ids."""

    _UNKNOWN = 256

    def __init__(self, table: LabelTable, ignore_colors: tuple[Color, ...]):
        """Raise DeepLabError for two classes of one color, or a class whose color is ignored."""
        meanings = [(label.color, label.id) for label in table] + [(color, IGNORE_LABEL) for color in {*ignore_colors}]
        colors = [color for color, _ in meanings]
        repeated = sorted({color for color in colors if colors.count(color) > 1})
        if repeated:
            raise DeepLabError(
                f"Colors in data.classes and data.ignore_colors must differ; {list(repeated[0])} appears twice."
            )
        self._ignored = {*ignore_colors}
        # All 2^24 colors, 32 MB: one look-up per pixel, whatever the number of classes.
        self._to_class = np.full(1 << 24, self._UNKNOWN, np.uint16)
        for color, class_id in meanings:
            self._to_class[_pack(color)] = class_id

    def __call__(self, path: str) -> np.ndarray:
        """Return (H, W) uint8 class ids. Raise DeepLabError for a file that holds an unknown color."""
        return self._to_ids(_packed(path), path)

    def content(self, path: str, classes: int) -> tuple[LabelContent, tuple[int, ...]]:
        """Return what a file holds, and its height and width. Raise DeepLabError as a call does."""
        packed = _packed(path)
        counts = np.bincount(self._to_ids(packed, path).ravel(), minlength=256)
        ignored = {str(list(color)): cv2.countNonZero(np.uint8(packed == _pack(color))) for color in self._ignored}
        return LabelContent(counts[:classes], {color: count for color, count in ignored.items() if count}), packed.shape

    def _to_ids(self, packed, path):
        ids = self._to_class[packed]
        unknown = ids == self._UNKNOWN
        if unknown.any():
            colors = [[int(value) >> shift & 255 for shift in (0, 8, 16)] for value in np.unique(packed[unknown])]
            raise DeepLabError(
                f"Label file {path} holds colors outside the class table, as [R, G, B]: {some_of(colors)}."
            )
        return ids.astype(np.uint8)


def _pack(color):
    return color[0] | color[1] << 8 | color[2] << 16


def _packed(path):
    """Return (H, W) uint32, the colors of a label file in 24 bits."""
    return cv2.cvtColor(image_files.read_colors(path), cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF


def _id_reader(classes: tuple[ClassRow, ...], ignore_ids: tuple[int, ...]) -> IdReader:
    class_ids = [i if row.id is None else row.id for i, row in enumerate(classes)]
    if len({*class_ids}) < len(class_ids) or {*class_ids} & {*ignore_ids}:
        raise DeepLabError(
            f"An id in label files must have one meaning; data.classes have {class_ids}, data.ignore_ids "
            f"{list(ignore_ids)}."
        )
    return IdReader(id_map({file_id: i for i, file_id in enumerate(class_ids)}), [*class_ids, *ignore_ids])
