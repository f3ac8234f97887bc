"""A folder of images and labels, described in the recipe alone: any domain, no code.

    data:
      name: folder
      root: ~/data/aerial
      images: "images/{split}"          # the default
      labels: "labels/{split}"
      label_format: colors              # or another file of label_formats/
      classes:
        - {name: road, color: [128, 64, 128]}
        - {name: car, color: [0, 0, 142], thing: true}
      ignore_colors: [[0, 0, 0]]
      instances: "instances/{split}"    # for a network that predicts instances

An image and its label have the same path below their folders, up to the suffix. An id or a color that is neither a
class nor ignored is an error that names the file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, panoptic_map, thing_classes
from deeplab_tf.lab.data import file_split, label_formats
from deeplab_tf.lab.data.file_split import FileRow, FileSplit, list_files
from deeplab_tf.lab.data.label_formats import ClassRow, Color, LabelOptions
from deeplab_tf.lab.data.label_reader import LabelReader
from deeplab_tf.lab.data.split import check_same_size
from deeplab_tf.lab.data.split_choice import SplitChoice
from deeplab_tf.lab.schema import Byte, WrongOption

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(label_formats.names())]


def open_split(
    split: str,
    *,
    root: Annotated[str, "the folder of the others"],
    images: Annotated[
        str,
        "the folder of the images; `{split}` becomes `train` and `val`. It may be missing where the labels, "
        "`split_lists` or `val_fraction` say which image is in which split",
    ] = ("images/{split}"),
    labels: Annotated[
        str,
        "the folder of the labels, which may be that of the images; with `coco` and `coco_panoptic` the JSON file, "
        "such as `annotations/instances_{split}2017.json`",
    ] = "labels/{split}",
    classes: Annotated[
        tuple[ClassRow, ...],
        MinLen(1),
        MaxLen(IGNORE_LABEL),
        "a row for each class: `name`, `color` [R, G, B], `thing: true` for what is countable (cars, "
        "not road), and `id` where the ids in label files are not 0, 1, 2, ... in this order: one, or a list of "
        "ids that are merged. Polygons have the names of their classes",
    ],
    label_format: Annotated[
        FormatName,
        "`ids`: PNG with one channel; `palette`: the indices of a PNG with a palette; `colors`: PNG in the colors of "
        "`classes`; `binary`: masks of 0 (the first of two classes) and 255; `labelme`: a JSON file of polygons for "
        "each image; `coco`, `coco_panoptic`: a JSON file for each split, see `labels`",
    ] = "ids",
    ignore_ids: Annotated[
        tuple[Byte, ...] | None,
        "with `ids`, `palette` and `binary`: what else label files may hold; it counts in no loss or score; none: "
        "[255], with `binary` []",
    ] = None,
    ignore_colors: Annotated[tuple[Color, ...], "with `colors`: the same, such as [[0, 0, 0]]"] = (),
    ignore_names: Annotated[tuple[str, ...], "with polygons: names of what counts in no loss or score"] = (),
    background: Annotated[
        str | None, "with polygons: the class of pixels in none, where there is such a class; else they are ignored"
    ] = "background",
    threshold: Annotated[
        Annotated[int, Ge(1), Le(255)] | None,
        "with `binary`: gray values from this on are 255, smaller ones 0, for masks with soft edges",
    ] = None,
    image_suffix: Annotated[
        str | None,
        "the end of image names, such as `_rgb.jpg`; none: any of .png, .jpg, .jpeg, .tif, .tiff, .webp, .bmp. A file "
        "with the end of labels in their folder is no image",
    ] = None,
    label_suffix: Annotated[
        str | None, "the end of label names, such as `_mask.png`; none: .png, of `labelme` .json"
    ] = None,
    splits: Annotated[
        dict[str, str] | None, "what splits are called on disk, such as {train: training, val: validation}"
    ] = None,
    split_lists: Annotated[
        str | None,
        "a file for each split, such as `ImageSets/Segmentation/{split}.txt`, with the names of its images, one a "
        "line, below `images`",
    ] = None,
    val_fraction: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None,
        "where there is no split `val`: the share of the training images that is, chosen by their names",
    ] = None,
    split_seed: Annotated[int, Ge(0), Le(2**32 - 1), "of `val_fraction`: another seed is another choice"] = 0,
    label_orientation: Annotated[
        Literal["auto", "upright", "stored"],
        "where photos have an EXIF orientation: whether labels lie on the `upright` photo or on its pixels as "
        "`stored`; `auto`: as the sizes say",
    ] = "auto",
    instances: Annotated[
        str | None,
        "the folder of instance files, such as `instances/{split}`: PNG with one channel of 8 or 16 "
        "bits that holds a number for each instance, 0 on stuff and on crowds",
    ] = None,
    instance_suffix: Annotated[str, "the end of instance names"] = ".png",
) -> FileSplit:
    """Open a split of the folder. Raise DeepLabError for classes, ids or colors that contradict each other."""
    options = LabelOptions(classes, ignore_ids, ignore_colors, ignore_names, background, threshold)
    table, reader = options.table, label_formats.open_labels(label_format, options)
    if not any("{split}" in each for each in (images, labels, split_lists or "")) and val_fraction is None:
        raise DeepLabError(
            f"Neither the folder '{images}' nor '{labels}' holds {{split}} where the name of the split stands, as in "
            "'images/{split}'; without it, set data.split_lists or data.val_fraction: 0.2."
        )
    choice = SplitChoice(file_split.open_root(root), splits or {}, split_lists, val_fraction, split_seed)
    source = choice.source(split, images, labels)
    rows = _find_rows(choice, source, reader, images, labels, image_suffix, label_suffix or reader.suffix)
    if instances is not None:
        found = list_files(choice.place(instances, source), instance_suffix)
        if not all("{split}" in each for each in (images, instances)):
            found = {row.name: found[row.name] for row in rows if row.name in found}
        rows = file_split.add_instances(rows, found)
    elif reader.has_instances:
        rows = [row._replace(instances=row.label) for row in rows]
    chosen = choice.part([row.name for row in rows], split)
    read_instances = InstanceReader(table, reader.instance_ids if instances is None else image_files.read_instance_ids)
    return FileSplit(table, [row for row in rows if row.name in chosen], reader, read_instances, label_orientation)


def _find_rows(
    choice: SplitChoice,
    split: str,
    reader: LabelReader,
    images: str,
    labels: str,
    image_suffix: str | None,
    label_suffix: str,
) -> list[FileRow]:
    """Return the images of a split on disk with their labels."""
    folder, place = choice.place(images, split), choice.place(labels, split)
    label_files, own = reader.find(place, label_suffix), set[str]()
    if label_files is None:
        if not place.is_dir():
            raise WrongOption(f"data.labels must be a folder of label files; {place} is none.", ("data", "labels"))
        label_files = list_files(place, label_suffix)
        own = {*label_files.values()}
    photos = list_files(folder, *([image_suffix] if image_suffix else image_files.IMAGE_SUFFIXES), but=own)
    listed = choice.listed(split, photos, folder)
    if listed is not None:
        photos = {name: photos[name] for name in listed}
        label_files = {name: label_files[name] for name in listed if name in label_files}
    elif "{split}" in labels and "{split}" not in images:
        photos = {name: path for name, path in photos.items() if name in label_files}
    elif "{split}" in images and "{split}" not in labels:
        label_files = {name: path for name, path in label_files.items() if name in photos}
    return file_split.pair_files(photos, label_files, folder)


class InstanceReader:
    """Reads instance files of numbers, and joins them with their label maps."""

    def __init__(self, table: LabelTable, read: Callable[[str], np.ndarray] = image_files.read_instance_ids):
        """
        Args:
            table: the classes.
            read: path of an instance file -> (H, W) int32 numbers.
        """
        self._things, self._read = thing_classes(table), read

    def __call__(self, path: str, label_map: np.ndarray) -> np.ndarray:
        """Return the (H, W) int32 panoptic map. Raise DeepLabError for another size than the label map's, and for an
        instance on stuff."""
        numbers = self._read(path)
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
