"""Draws label maps: colors, an overlay on the image, outlines of instances, a legend, panels beside each other.

All images are (H, W, 3) uint8 RGB. Everything here is a look-up or one OpenCV call, because a video stream draws every
frame.
"""

from typing import Iterable, Optional, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID
from deeplab_tf.core.text import is_plain, put_text, text_width

_FONT_HEIGHT = 22  # of a capital letter at scale 1, in pixels, rounded up
_PAPER = 255
_INK = (0, 0, 0)
TITLE_HEIGHT = 24
"""Height in pixels of the titles above the panels of `side_by_side`."""
LOWEST_LEGEND = 12
"""Pixels of height."""
_LOWEST_ROW = 20  # of a legend with other letters than ASCII, where there is room


def colorize(label_map: np.ndarray, table: LabelTable) -> np.ndarray:
    """Return the (H, W, 3) label map in the colors of the table.

    Args:
        label_map: (H, W) uint8 class ids; ids outside the table, such as ignored pixels, get `table.ignore_color`.
    """
    return cv2.applyColorMap(label_map, table.palette().reshape(256, 1, 3))  # faster than cv2.LUT on three copies


def overlay(
    image: np.ndarray,
    label_map: np.ndarray,
    table: LabelTable,
    opacity: float = 0.5,
    *,
    label_stride: int = 1,
    out: Optional[np.ndarray] = None,
    plain: Iterable[int] = (),
) -> np.ndarray:
    """Return the image with the colors of its label map laid over it.

    The image stays as it is where there is no class, and under a class whose color is black, such as a background.

    Args:
        image: (H, W, 3).
        label_map: (h, w) uint8 class ids of the same view; resized to the image.
        opacity: 0 gives the image, 1 the colors alone.
        label_stride: see `resize_labels`.
        out: (H, W, 3) to draw into, such as a part of a larger image; None for a new array.
        plain: further classes under which the image stays as it is.
    """
    label_map = resize_labels(label_map, image.shape[:2], label_stride)
    drawn = cv2.addWeighted(image, 1.0 - opacity, colorize(label_map, table), opacity, 0.0, dst=out)
    left_alone = np.full(256, 255, np.uint8)
    left_alone[[label.id for label in table if any(label.color) and label.id not in plain]] = 0
    mask = cv2.LUT(label_map, left_alone)
    return cv2.copyTo(image, mask, drawn) if cv2.countNonZero(mask) else drawn


def outline(
    image: np.ndarray, panoptic: np.ndarray, *, label_stride: int = 1, color: Tuple[int, int, int] = (255, 255, 255)
) -> None:
    """Draw a line around every instance into an image.

    Args:
        image: (H, W, 3); changed.
        panoptic: (h, w) int32 panoptic map of the same view; resized to the image.
        label_stride: see `resize_labels`.
    """
    panoptic = resize_labels(panoptic, image.shape[:2], label_stride)
    single = (panoptic % DIVISOR > 0) & (panoptic < VOID)
    edge = np.zeros(panoptic.shape, bool)
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        edge[here] |= (panoptic[here] != panoptic[there]) & (single[here] | single[there])
    image[edge] = color


def resize_labels(label_map: np.ndarray, size: Sequence[int], label_stride: int = 1) -> np.ndarray:
    """Return a map of ids at `size` (height, width) by nearest neighbors; itself if it has that size.

    Label i of a network with a `label_stride` s is that of its input pixel s * i; each pixel takes the label nearest to
    its center. OpenCV's INTER_NEAREST is off by half a step; INTER_NEAREST_EXACT is not in the OpenCV of JetPack 4.
    """
    if label_map.shape[:2] == tuple(size):
        return label_map
    rows, columns = (_nearest(length, source, label_stride) for length, source in zip(size, label_map.shape))
    if size[0] < label_map.shape[0]:  # taking columns is the slower half: on as few rows as possible
        return label_map.take(rows, axis=0).take(columns, axis=1)
    return label_map.take(columns, axis=1).take(rows, axis=0)


def _nearest(length: int, source: int, stride: int) -> np.ndarray:
    """Return which of `source` labels in a line are nearest to the centers of `length` pixels over the same line.

    Pixel i's center lies at x = (i + 0.5) * stride * source / length - 0.5 of the network's pixels, where label k lies
    at stride * k: so k = floor(x / stride + 0.5), which is floor((i + 0.5) * source / length) for a stride of 1.
    """
    nearest = ((2 * np.arange(length) + 1) * source * stride + (stride - 1) * length) // (2 * length * stride)
    return np.minimum(nearest, source - 1)


def legend(height: int, table: LabelTable, class_ids: Optional[Iterable[int]] = None) -> np.ndarray:
    """Return a (height, width, 3) legend: a box and a name per class, in as many columns as the height requires.

    Args:
        height: in pixels, at least LOWEST_LEGEND.
        class_ids: the classes to show, in the table's order; ids outside the table are skipped. None for all. An empty
            choice gives an empty column.
    """
    if height < LOWEST_LEGEND:
        raise DeepLabError(f"A legend needs a height of at least {LOWEST_LEGEND} pixels; got {height}.")
    wanted = set(range(len(table))) if class_ids is None else {int(i) for i in class_ids}
    labels = [label for label in table if label.id in wanted]
    lowest = LOWEST_LEGEND if all(is_plain(label.name) for label in labels) else min(_LOWEST_ROW, height)
    row = max(lowest, min(28, height // max(1, len(labels))))  # pixels a row
    rows = height // row
    columns = [labels[start : start + rows] for start in range(0, len(labels), rows)] or [[]]
    return np.concatenate([_legend_column(height, row, column) for column in columns], axis=1)


def _legend_column(height: int, row: int, labels: Sequence) -> np.ndarray:
    scale, box = 0.55 * row / _FONT_HEIGHT, row - 4
    text_widths = [text_width(label.name, scale) for label in labels]
    strip = np.full((height, box + 16 + max(text_widths + [24]), 3), _PAPER, np.uint8)
    for i, label in enumerate(labels):
        top = i * row + 2
        cv2.rectangle(strip, (4, top), (4 + box, top + box - 1), tuple(int(c) for c in label.color), thickness=-1)
        put_text(strip, label.name, (10 + box, top + int(0.75 * box)), scale, _INK)
    return strip


def side_by_side(panels: Sequence[np.ndarray], titles: Optional[Sequence[str]] = None) -> np.ndarray:
    """Return images in one row, each under its title, with 4 white pixels between them.

    Args:
        panels: (H, W, 3) images; resized to the height of the first, keeping their aspect ratio.
        titles: one per panel; long ones are drawn smaller. None for no titles,
            which otherwise take TITLE_HEIGHT more pixels.
    """
    if not panels:
        raise DeepLabError("side_by_side needs at least one panel; got none.")
    if titles is not None and len(titles) != len(panels):
        raise DeepLabError(f"side_by_side needs one title a panel; got {len(titles)} titles for {len(panels)} panels.")
    height, columns = panels[0].shape[0], []
    for i, panel in enumerate(panels):
        column = _to_height(panel, height)
        if titles is not None:
            column = np.concatenate([_title(titles[i], column.shape[1]), column], axis=0)
        if i:
            columns.append(np.full((column.shape[0], 4, 3), _PAPER, np.uint8))
        columns.append(column)
    return np.concatenate(columns, axis=1)


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return images below each other, with 4 white pixels between them and white to the right of narrower ones."""
    if not images:
        raise DeepLabError("stacked needs at least one image; got none.")
    width, white = max(image.shape[1] for image in images), (_PAPER,) * 3
    rows = [
        cv2.copyMakeBorder(image, 4 if i else 0, 0, 0, width - image.shape[1], cv2.BORDER_CONSTANT, value=white)
        for i, image in enumerate(images)
    ]
    return np.concatenate(rows, axis=0)


def _to_height(panel: np.ndarray, height: int) -> np.ndarray:
    if panel.shape[0] == height:
        return panel
    width = max(1, int(round(panel.shape[1] * height / panel.shape[0])))
    shrinks = panel.shape[0] > height
    return cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _title(text: str, width: int) -> np.ndarray:
    strip = np.full((TITLE_HEIGHT, width, 3), _PAPER, np.uint8)
    scale = 0.5 * min(1.0, (width - 8) / float(max(1, text_width(text, 0.5))))
    if scale > 0:
        put_text(strip, text, (4, TITLE_HEIGHT - 8), scale, _INK)
    return strip
