"""COCO's panoptic format (cocodataset.org/#format-data): a JSON file for each split, and beside it a folder of its name
with a PNG for each image, in which a pixel's segment is R + 256 G + 65536 B, or 0 for none."""

import os
from typing import Any

import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.panoptic.coco import from_colors
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_formats.coco import CocoReader
from deeplab_tf.lab.data.label_reader import repair


def open_labels(options: LabelOptions) -> "CocoPanopticReader":
    """Return the reader. Raise WrongOption for a background that is no class."""
    return CocoPanopticReader(options)


class CocoPanopticReader(CocoReader):
    """Reads COCO's panoptic annotations as class ids; pixels of no segment are ignored."""

    def files(self, path: str) -> list[str]:
        return [str(path), self._png(path)]

    def _png(self, path):
        file, key = self.annotations_of(path)
        name = self._row(file, key)["file_name"].text()
        folder = os.path.splitext(file.path)[0]
        beside = os.path.join(os.path.dirname(file.path), name)
        return beside if not os.path.isdir(folder) else os.path.join(folder, name)

    def _row(self, file, key: Any):
        rows = file.annotations[key]
        if len(rows) != 1:
            raise DeepLabError(f"{file.path}: image {key!r} must have one annotation; got {len(rows)}.")
        if file.annotations[key][0].mapping().get("segments_info") is None:
            raise DeepLabError(f"{file.path} has no segments_info, as panoptic labels do: label_format: coco.")
        return rows[0]

    def _draw(self, path):
        file, key = self.annotations_of(path)
        png = self._png(path)
        try:
            ids = from_colors(image_files.read_colors(png))
        except DeepLabError as error:
            raise DeepLabError(f"{error}{repair(png, 'coco_panoptic')}") from error
        segments = {row["id"].integer(1, (1 << 24) - 1): row for row in self._row(file, key)["segments_info"].rows()}
        values, positions = np.unique(ids, return_inverse=True)
        unknown = sorted({*values.tolist()} - {0, *segments})
        if unknown:
            raise DeepLabError(f"Label file {png} holds segments that {file.path} does not have: {some_of(unknown)}.")
        classes, numbers = np.full(len(values), IGNORE_LABEL, np.uint8), np.zeros(len(values), np.int32)
        for i, value in enumerate(values.tolist()):
            if value:
                row = segments[value]
                classes[i] = self.class_of(file, row)
                crowd = row.get("iscrowd")
                single = int(classes[i]) in self.things and not (crowd and crowd.integer(0, 1))
                numbers[i] = i + 1 if single else 0
        return classes[positions].reshape(ids.shape), numbers[positions].reshape(ids.shape)
