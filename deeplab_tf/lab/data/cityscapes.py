"""Cityscapes in its official layout (Cordts et al., CVPR 2016), which `deeplab-tf sample` writes too: 19 classes,
2048 x 1024 street scenes. With instance files it can train a network that predicts instances, and every network gets a
panoptic quality.

    ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png        8-bit RGB
    ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png         8-bit ids 0 .. 33
    ROOT/gtFine/SPLIT/CITY/NAME_gtFine_instanceIds.png      16-bit ids, optional
"""

from typing import Annotated

import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import (
    CITYSCAPES,
    CITYSCAPES_FILE_IDS,
    CITYSCAPES_TO_CLASS,
    IMAGE_SUFFIX,
    INSTANCE_SUFFIX,
    LABEL_SUFFIX,
    from_instance_ids,
)
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data import file_split
from deeplab_tf.lab.data.file_split import FileSplit, list_files
from deeplab_tf.lab.data.label_reader import IdReader
from deeplab_tf.lab.data.split import UnknownSplit
from deeplab_tf.lab.data.split_choice import split_place

TABLE = CITYSCAPES

LABEL_READER = IdReader(CITYSCAPES_TO_CLASS, [*CITYSCAPES_FILE_IDS, IGNORE_LABEL])
"""All 34 ids; the 15 that are not scored become IGNORE_LABEL. Id -1, license plate, is 255 in an 8-bit file."""


def open_split(split: str, *, root: Annotated[str, "the folder that holds `leftImg8bit` and `gtFine`"]) -> FileSplit:
    """Open `train` or `val`. Raise UnknownSplit for `test` without labels: the benchmark keeps them to itself."""
    folder = file_split.open_root(root)
    images = split_place(folder, "leftImg8bit/{split}", split)
    if split == "test" and not (folder / "gtFine" / "test").is_dir():
        raise UnknownSplit("The labels of Cityscapes' test split are not public; use 'train' or 'val'.")
    labels = split_place(folder, "gtFine/{split}", split)
    rows = file_split.pair_files(list_files(images, IMAGE_SUFFIX), list_files(labels, LABEL_SUFFIX), images)
    rows = file_split.add_instances(rows, list_files(labels, INSTANCE_SUFFIX))
    return FileSplit(CITYSCAPES, rows, LABEL_READER, read_instances)


def read_instances(path: str, label_map: np.ndarray) -> np.ndarray:
    """Return the (H, W) int32 panoptic map of an instance file. Raise DeepLabError where it does not match its label
    map."""
    panoptic = from_instance_ids(image_files.read_instance_ids(path), path)
    return file_split.check_same_classes(panoptic, label_map, path)
