"""COCO's panoptic format (cocodataset.org/#format-data), which Cityscapes' panoptic benchmark shares.

One JSON file with `categories` (id, name, isthing, color) and `annotations`, one per image: `image_id`, `file_name` and
`segments_info` (id, category_id, iscrowd, ...). One RGB PNG per image, in which a pixel's segment is
R + 256 G + 65536 B, or 0 for none; it lies beside the JSON file, or in a folder of the JSON file's name.
"""

import os
from typing import List

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.core.files import write_json
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, segments_of, thing_classes

PNG_SUFFIX = "_panoptic.png"
JSON_NAME = "panoptic.json"
"""The JSON file that `PanopticWriter` writes."""


def to_colors(ids: np.ndarray) -> np.ndarray:
    """Return (H, W) segment ids below 2 ** 24 as (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(ids.astype("<u4").view(np.uint8).reshape(ids.shape + (4,))[..., :3])


def from_colors(colors: np.ndarray) -> np.ndarray:
    """Return the (H, W) int32 segment ids of RGB colors: the inverse of `to_colors`."""
    ids = np.zeros(colors.shape[:2] + (4,), np.uint8)
    ids[..., :3] = colors
    return ids.view("<i4")[..., 0].astype(np.int32)


def category_ids(table: LabelTable) -> np.ndarray:
    """Return (256,) int32, class id -> category id: label ids for Cityscapes' classes (road is 7), else 1, 2, 3, ..."""
    if table.names == CITYSCAPES.names:
        return CITYSCAPES_FROM_CLASS.astype(np.int32)
    return np.arange(1, 257, dtype=np.int32)


class PanopticWriter:
    """Writes panoptic maps: PNG files as they come, the JSON file at the end."""

    def __init__(self, folder: str, table: LabelTable, method: str):
        """
        Args:
            folder: made if needed.
            table: the classes.
            method: how the maps are made, one of `deeplab_tf.core.panoptic.METHODS`; written into the JSON file.
        """
        self.folder, self.table, self.method = folder, table, method
        self.path = os.path.join(folder, JSON_NAME)
        self._things = thing_classes(table)
        self._categories = category_ids(table)
        self._images: List[dict] = []
        self._annotations: List[dict] = []

    def begin(self) -> None:
        """Remove the JSON file of an earlier writer, whose other files are about to change."""
        if os.path.exists(self.path):
            os.unlink(self.path)

    def add(self, name: str, panoptic: np.ndarray, image: str = "") -> str:
        """Write the PNG of one image and return its path.

        The first one removes the JSON file of an earlier writer, whose PNG files are about to change.

        Args:
            name: of the image; it may have folders in it, its last part is the `image_id`.
            panoptic: (H, W) int32 panoptic map.
            image: the image's file, which the JSON file names.
        """
        values, areas, index = segments_of(panoptic)
        classes, instances = np.minimum(values // DIVISOR, 255), values % DIVISOR
        ids = np.where(values == VOID, 0, self._categories[classes] * DIVISOR + instances)
        segments = [
            {
                "id": int(ids[i]),
                "category_id": int(self._categories[classes[i]]),
                "area": int(areas[i]),
                "bbox": _box(panoptic == values[i]),
                "iscrowd": int(self._things[classes[i]] and instances[i] == 0),
            }
            for i in np.flatnonzero(ids)
        ]
        file_name = name.replace(os.sep, "/") + PNG_SUFFIX
        path = os.path.join(self.folder, file_name)
        if not self._images:
            self.begin()
        write_image(path, to_colors(ids[index].reshape(panoptic.shape)))
        image_id, (height, width) = os.path.basename(name), panoptic.shape
        image = os.path.basename(image) or image_id + ".png"
        self._images.append({"id": image_id, "width": width, "height": height, "file_name": image})
        self._annotations.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})
        return path

    def close(self) -> str:
        """Write the JSON file and return its path."""
        categories = [
            {
                "id": int(self._categories[label.id]),
                "name": label.name,
                "color": list(label.color),
                "isthing": int(label.thing),
                "supercategory": "thing" if label.thing else "stuff",
            }
            for label in self.table
        ]
        whole = {"images": self._images, "annotations": self._annotations, "categories": categories}
        write_json(self.path, dict(whole, info={"pq_method": self.method}))
        return self.path


def _box(mask):
    """Return [x, y, width, height] of the pixels that are set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
