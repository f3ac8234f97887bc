"""Colors: RGB PNG, or PNG with a palette, in the colors of the classes."""

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.lab.data.label_formats import Color, LabelOptions
from deeplab_tf.lab.data.label_reader import LabelReader, repair
from deeplab_tf.lab.data.split import LabelContent


def open_labels(options: LabelOptions) -> "ColorReader":
    """Return the reader. Raise DeepLabError for two classes of one color, or a class whose color is ignored."""
    return ColorReader(options.table, options.ignore_colors)


_CLOSE = 24
"""Levels by which a channel of a color may differ from that of the class that is probably meant."""


class ColorReader(LabelReader):
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
        self._named = dict.fromkeys(ignore_colors, "an ignored color")
        self._named.update({label.color: f"'{label.name}'" for label in table})
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
                f"{self._about_close(colors)}"
            )
        return ids.astype(np.uint8)

    def _about_close(self, colors):
        """Return what to say of colors that are nearly those of a class, as smoothing and JPEG leave them."""
        for color in colors:
            nearest = min(self._named, key=lambda known: _distance(known, color))
            if _distance(nearest, color) <= _CLOSE:
                return f" {color} is nearly {self._named[nearest]}, {list(nearest)}: smoothing or JPEG changes colors."
        return ""


def _distance(first, second):
    return max(abs(a - b) for a, b in zip(first, second))


def _pack(color):
    return color[0] | color[1] << 8 | color[2] << 16


def _packed(path):
    """Return (H, W) uint32, the colors of a label file in 24 bits."""
    try:
        colors = image_files.read_colors(path)
    except DeepLabError as error:
        raise DeepLabError(f"{error}{repair(path, 'colors')}") from error
    return cv2.cvtColor(colors, cv2.COLOR_RGB2RGBA).view("<u4")[..., 0] & 0xFFFFFF
