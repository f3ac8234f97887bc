"""Cityscapes in its official layout (Cordts et al., CVPR 2016): 19 scored classes, 2048 x 1024 street scenes.

ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png        8-bit RGB
ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png         8-bit ids 0 .. 33
ROOT/gtFine/SPLIT/CITY/NAME_gtFine_instanceIds.png      16-bit ids, optional here
"""

import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FILE_IDS, CITYSCAPES_TO_CLASS, from_instance_ids
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.split import (
    FileSplit,
    IdReader,
    UnknownSplit,
    add_instances,
    check_same_classes,
    list_files,
    open_root,
    pair_files,
    split_folder,
)

LABEL_READER = IdReader(CITYSCAPES_TO_CLASS, [*CITYSCAPES_FILE_IDS, IGNORE_LABEL])
"""All 34 ids; the 15 that are not scored become IGNORE_LABEL. Id -1, licence plate, is 255 in an 8-bit file."""


def open_split(split: str, *, root: str) -> FileSplit:
    """Opens `train` or `val`; instance maps are there where the files are.

    Raises UnknownSplit for `test` without labels: the benchmark keeps them to itself.
    """
    folder = open_root(root)
    images = split_folder(folder, "leftImg8bit/{split}", split)
    if split == "test" and not (folder / "gtFine" / "test").is_dir():
        raise UnknownSplit("The labels of Cityscapes' test split are not public; use 'train' or 'val'.")
    labels = split_folder(folder, "gtFine/{split}", split)
    rows = pair_files(list_files(images, "_leftImg8bit.png"), list_files(labels, "_gtFine_labelIds.png"), images)
    instances = list_files(labels, "_gtFine_instanceIds.png")
    return FileSplit(CITYSCAPES, add_instances(rows, instances), LABEL_READER, read_instances)


def read_instances(path: str, label_map: np.ndarray) -> np.ndarray:
    """(H, W) int32 panoptic map of an instance file. Raises DeepLabError where it does not match its label map."""
    return check_same_classes(from_instance_ids(image_files.read_instance_ids(path), path), label_map, path)
