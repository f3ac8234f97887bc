"""COCO's panoptic format (cocodataset.org/#format-data), which Cityscapes' panoptic benchmark shares.

One JSON file with `categories` (id, name, isthing, color) and `annotations`, one per image: `image_id`, `file_name` and
`segments_info` (id, category_id, iscrowd, ...; in a video also `track_id`, the number that a thing keeps). One RGB PNG
per image, in which a pixel's segment is R + 256 G + 65536 B, or 0 for none; it lies beside the JSON file, or in a
folder of the JSON file's name.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from typing import List, Mapping, Optional

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.core.files import replacing
from deeplab_tf.core.image_files import read_colors, write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, distinct, segments_of, thing_classes
from deeplab_tf.core.parts import WHOLE, Part

PNG_SUFFIX = "_panoptic.png"
JSON_NAME = "panoptic.json"
"""The JSON file that `PanopticWriter` writes, but of a part."""
_PART_NAME = re.compile(r"panoptic\.part-([0-9]{1,6})-of-([0-9]{1,6})\.json")


def json_name(part: Part) -> str:
    """Return the name of the JSON file of a part of the images."""
    return JSON_NAME if part == WHOLE else f"panoptic.part-{part.file_name}.json"


def part_of(name: str) -> Optional[Part]:
    """Return the part whose JSON file has this name; None for another file, such as that of all images."""
    found = _PART_NAME.fullmatch(name)
    return Part(int(found.group(1)), int(found.group(2))) if found else None


def stale_json(folder: str, own: str) -> List[str]:
    """Return the JSON files in a folder that the writer of the file `own` removes: that one, those of another division
    into parts, and that of all images."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    mine = part_of(own)
    parts = [name for name in names if part_of(name)]
    stale = [name for name in parts if mine is None or part_of(name).total != mine.total]  # type: ignore[union-attr]
    return [os.path.join(folder, name) for name in sorted({JSON_NAME, own, *stale} & set(names))]


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
    """Writes panoptic maps: PNG files as they come; the JSON file, which grows beside them, gets its name at the end.

    As a context it removes an unfinished JSON file.
    """

    def __init__(self, folder: str, table: LabelTable, method: str, *, part: Part = WHOLE):
        """
        Args:
            folder: made if needed.
            table: the classes.
            method: how the maps are made, one of `deeplab_tf.core.panoptic.METHODS`; written into the JSON file.
            part: of the images; the JSON files of all parts together are those of the folder.
        """
        self.folder, self.table, self.method = folder, table, method
        self.path = os.path.join(folder, json_name(part))
        self._things = thing_classes(table)
        self._categories = category_ids(table)
        self._json: Optional[_JsonLists] = None

    def __enter__(self) -> "PanopticWriter":
        return self

    def __exit__(self, *error) -> None:
        if self._json is not None:
            self._json.discard()

    def begin(self) -> "_JsonLists":
        """Return the lists of the JSON file. The first time, remove those of earlier writers, whose other files are
        about to change; those of other parts of the same division stay."""
        if self._json is None:
            for path in stale_json(self.folder, os.path.basename(self.path)):
                with contextlib.suppress(FileNotFoundError):  # another part has just removed it
                    os.unlink(path)
            self._json = _JsonLists(self.path)
        return self._json

    def add(
        self, name: str, panoptic: np.ndarray, image: str = "", *, track_ids: Optional[Mapping[int, int]] = None
    ) -> str:
        """Write the PNG of one image and return its path.

        Args:
            name: of the image; it may have folders in it, its last part is the `image_id`.
            panoptic: (H, W) int32 panoptic map.
            image: the image's file, which the JSON file names.
            track_ids: numbers that things keep through a video, by their values in the map; they become `track_id`.
        """
        values, areas, index = segments_of(panoptic)
        classes, instances = np.minimum(values // DIVISOR, 255), values % DIVISOR
        ids = np.where(values == VOID, 0, self._categories[classes] * DIVISOR + instances)
        segments = [
            self._segment(int(ids[i]), int(classes[i]), int(areas[i]), panoptic == values[i])
            for i in np.flatnonzero(ids)
        ]
        numbers = track_ids or {}
        for segment, value in zip(segments, values[ids > 0].tolist()):
            if value in numbers:
                segment["track_id"] = int(numbers[value])
        self.begin()
        path = self._png(name)
        write_image(path, to_colors(ids[index].reshape(panoptic.shape)))
        self._list(name, image, panoptic.shape, segments)
        return path

    def keep(self, name: str, image: str = "") -> None:
        """List an image whose PNG an earlier writer of the same classes has written; arguments are those of `add`."""
        self.begin()
        pixels = from_colors(read_colors(self._png(name)))
        ids, areas, _ = distinct(pixels.reshape(-1))
        class_of = {int(self._categories[label.id]): label.id for label in self.table}
        segments = {}
        for i, area in zip(ids.tolist(), areas.tolist()):
            if i:
                class_id = class_of[i // DIVISOR]
                segments[class_id, i % DIVISOR] = self._segment(i, class_id, area, pixels == i)
        self._list(name, image, pixels.shape, [segments[key] for key in sorted(segments)])

    def _png(self, name):
        return os.path.join(self.folder, name.replace(os.sep, "/") + PNG_SUFFIX)

    def _segment(self, i, class_id, area, mask):
        crowd = int(self._things[class_id] and i % DIVISOR == 0)
        category = int(self._categories[class_id])
        return {"id": i, "category_id": category, "area": area, "bbox": _box(mask), "iscrowd": crowd}

    def _list(self, name, image, size, segments):
        image_id, file_name = os.path.basename(name), name.replace(os.sep, "/") + PNG_SUFFIX
        image = os.path.basename(image) or image_id + ".png"
        self.begin().add(
            {"id": image_id, "width": size[1], "height": size[0], "file_name": image},
            {"image_id": image_id, "file_name": file_name, "segments_info": segments},
        )

    def close(self) -> str:
        """Complete the JSON file and return its path."""
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
        self.begin().close({"categories": categories, "info": {"pq_method": self.method}})
        return self.path


class _JsonLists:
    """A file {"images": [...], "annotations": [...], ...} as `write_json` writes it, but row by row.

    The annotations wait in a temporary file without a name, in the same folder.
    """

    def __init__(self, path: str):
        self._stack = contextlib.ExitStack()
        enter, folder = self._stack.enter_context, os.path.dirname(os.path.realpath(path))
        self._file = enter(open(enter(replacing(path)), "w", encoding="utf-8"))  # noqa: SIM115
        self._waiting = enter(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder))  # noqa: SIM115
        self._file.write('{\n  "images": [')
        self._count = 0

    def add(self, image: dict, annotation: dict) -> None:
        """Append to both lists."""
        for file, row in ((self._file, image), (self._waiting, annotation)):
            file.write("," * bool(self._count) + "\n    " + json.dumps(row, indent=2).replace("\n", "\n    "))
        self._count += 1

    def close(self, rest: dict) -> None:
        """Complete the file with further keys, and give it its name."""
        end = "\n  ]" if self._count else "]"
        self._file.write(end + ',\n  "annotations": [')
        self._waiting.seek(0)
        shutil.copyfileobj(self._waiting, self._file)
        self._file.write(end + "," + json.dumps(rest, indent=2)[1:] + "\n")
        self._stack.close()

    def discard(self) -> None:
        """Remove the file, unless it is complete."""
        self._stack.__exit__(InterruptedError, InterruptedError(), None)


def _box(mask):
    """Return [x, y, width, height] of the pixels that are set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
