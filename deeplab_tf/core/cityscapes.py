"""Cityscapes (Cordts et al., CVPR 2016): its classes, the ids in its files, and how the files are named.

Files are called CITY_SEQUENCE_FRAME and one of these suffixes.
"""

import os
import re
from typing import Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable, id_map
from deeplab_tf.core.panoptic import DIVISOR, panoptic_map

IMAGE_SUFFIX = "_leftImg8bit.png"
LABEL_SUFFIX = "_gtFine_labelIds.png"
INSTANCE_SUFFIX = "_gtFine_instanceIds.png"

_FRAME = re.compile(r"([^_/]+_\d+_\d+)[_.]")

# The 19 scored classes in the order of their train ids, with their ids in *_labelIds.png files; colors and ids are
# the benchmark's own.
#   labelId  name             color (RGB)      thing
_CLASSES = (
    (7, "road", (128, 64, 128), False),
    (8, "sidewalk", (244, 35, 232), False),
    (11, "building", (70, 70, 70), False),
    (12, "wall", (102, 102, 156), False),
    (13, "fence", (190, 153, 153), False),
    (17, "pole", (153, 153, 153), False),
    (19, "traffic light", (250, 170, 30), False),
    (20, "traffic sign", (220, 220, 0), False),
    (21, "vegetation", (107, 142, 35), False),
    (22, "terrain", (152, 251, 152), False),
    (23, "sky", (70, 130, 180), False),
    (24, "person", (220, 20, 60), True),
    (25, "rider", (255, 0, 0), True),
    (26, "car", (0, 0, 142), True),
    (27, "truck", (0, 0, 70), True),
    (28, "bus", (0, 60, 100), True),
    (31, "train", (0, 80, 100), True),
    (32, "motorcycle", (0, 0, 230), True),
    (33, "bicycle", (119, 11, 32), True),
)

CITYSCAPES = LabelTable(Label(i, name, color, thing) for i, (_, name, color, thing) in enumerate(_CLASSES))

CITYSCAPES_FILE_IDS = tuple(range(34))
"""Every id that a *_labelIds.png file may hold; training and scores ignore the 15 that are not in CITYSCAPES."""

CITYSCAPES_TO_CLASS = id_map({file_id: i for i, (file_id, *_) in enumerate(_CLASSES)})
"""(256,) uint8: id in a *_labelIds.png file -> class id, or IGNORE_LABEL."""

CITYSCAPES_FROM_CLASS = np.array([file_id for file_id, *_ in _CLASSES] + [0] * (256 - len(_CLASSES)), np.uint8)
"""(256,) uint8: class id -> id in a *_labelIds.png file; IGNORE_LABEL becomes 0, unlabeled."""


def frame_of(path) -> Optional[str]:
    """Return the frame that a file belongs to, such as "aachen_000000_000019"; None for another kind of name."""
    found = _FRAME.match(os.path.basename(os.fspath(path)))
    return found.group(1) if found else None


def from_instance_ids(ids: np.ndarray, name) -> np.ndarray:
    """Return the (H, W) int32 panoptic map of an instance file.

    Args:
        ids: (H, W) of 16 bits: label id * 1000 + 0, 1, 2, ... for an instance, the label id alone for stuff and for
            groups of things.
        name: the file, for errors.

    Raises:
        DeepLabError: an id that Cityscapes does not have.
    """
    panoptic = _PANOPTIC[ids]
    if panoptic.min() < 0:
        unknown = int(ids[panoptic < 0][0])
        label_id = unknown // DIVISOR if unknown >= DIVISOR else unknown
        if label_id in CITYSCAPES_FILE_IDS:
            raise DeepLabError(f"Instance file {name} holds {unknown}: instances of a class are 0 to {DIVISOR - 2}.")
        raise DeepLabError(f"Instance file {name} holds the label id {label_id}; Cityscapes has 0 to 33.")
    return panoptic


def _panoptic_values():
    """Return (65536,) int32: value in an instance file -> value in a panoptic map; -1 for an id that does not exist."""
    values = np.arange(1 << 16)
    single = values >= DIVISOR
    label_ids = np.where(single, values // DIVISOR, values)
    # instances count from 1 in a panoptic map: 999 would be one too many
    known = (label_ids < len(CITYSCAPES_FILE_IDS)) & (values % DIVISOR < DIVISOR - 1)
    found = panoptic_map(CITYSCAPES_TO_CLASS[np.where(known, label_ids, 0)], np.where(single, values % DIVISOR + 1, 0))
    return np.where(known, found, -1).astype(np.int32)


_PANOPTIC = _panoptic_values()
