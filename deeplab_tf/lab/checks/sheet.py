"""The sheet of `check`: images of each split under their labels, and the share of each class."""

from collections.abc import Mapping

import cv2
import numpy as np

from deeplab_tf.core.draw import overlay, stacked
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.text import put_text
from deeplab_tf.lab.checks.scan import Scan
from deeplab_tf.lab.data.check import TITLES

CELL = 200
"""Height of an image in pixels."""
COLUMNS = 4
ROWS = 2
"""Of images, for a split; each image stands beside its overlay."""
_INK, _PAPER = (40, 40, 40), 255
_BAR = 240
_ROW = 22


def draw_sheet(scans: Mapping[str, Scan]) -> np.ndarray | None:
    """Return the (H, W, 3) sheet of splits that were read; None where nothing can be shown."""
    shown = {name: scan for name, scan in scans.items() if scan.split is not None and scan.good()}
    if not shown:
        return None
    parts = []
    for name, scan in shown.items():
        pictures = [_pair(scan, index) for index in _chosen(scan)]
        rows = [_row(pictures[first : first + COLUMNS]) for first in range(0, len(pictures), COLUMNS)]
        parts += [_text(f"{TITLES.get(name, name)}: {len(scan.good())} images", rows[0].shape[1]), *rows]
    table = next(iter(shown.values())).split.table  # type: ignore[union-attr]
    parts.append(_histogram({name: scan.counts() for name, scan in shown.items()}, table))
    return stacked(parts)


def _chosen(scan: Scan) -> list[int]:
    """Return the samples to show: for each class, the rarest first, one that has much of it, then others, evenly
    spread."""
    good, count = scan.good(), COLUMNS * ROWS
    shares = np.array([each.content.classes for each in scan.read if each], np.float64)
    chosen: list[int] = []
    for class_id in np.argsort(shares.sum(axis=0)):
        best = good[int(shares[:, class_id].argmax())]
        if shares[:, class_id].any() and best not in chosen and len(chosen) < count // 2:
            chosen.append(best)
    spread = [good[i] for i in np.linspace(0, len(good) - 1, min(count, len(good))).round().astype(int)]
    return (chosen + [index for index in spread if index not in chosen])[:count]


def _pair(scan, index):
    image, label_map = scan.split.sample(index)
    width = max(1, round(CELL * image.shape[1] / image.shape[0]))
    image = resize_image(image, (CELL, min(width, 3 * CELL)))
    laid = overlay(image, label_map, scan.split.table, 0.6)
    pair = np.concatenate([image, laid], axis=1)
    return np.concatenate([_text(scan.split.names[index], pair.shape[1], 0.38), pair], axis=0)


def _row(pictures):
    gap = np.full((pictures[0].shape[0], 6, 3), _PAPER, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def _text(text, width, scale=0.5):
    strip = np.full((20, width, 3), _PAPER, np.uint8)
    put_text(strip, text, (4, 14), scale, _INK)
    return strip


def _histogram(counts, table: LabelTable):
    """Draw, for each class, its share of each split's labeled pixels, as a bar as long as its square root."""
    return np.concatenate([_names(table), *(_bars(name, each, table) for name, each in counts.items())], axis=1)


def _names(table):
    column = np.full((_ROW * (len(table) + 1), 180, 3), _PAPER, np.uint8)
    for label in table:
        top = _ROW * (label.id + 1)
        cv2.rectangle(column, (4, top + 3), (20, top + _ROW - 4), tuple(int(c) for c in label.color), -1)
        cv2.rectangle(column, (4, top + 3), (20, top + _ROW - 4), (160, 160, 160), 1)
        column[top : top + 20, 24:] = _text(label.name, 156, 0.42)
    return column


def _bars(name, counts, table):
    column = np.full((_ROW * (len(table) + 1), _BAR + 190, 3), _PAPER, np.uint8)
    column[:20] = _text(f"share of labeled pixels, {TITLES.get(name, name)}", _BAR + 190, 0.42)
    total = max(1, sum(counts.pixels.values()))
    for label in table:
        share, top = counts.pixels[label.name] / total, _ROW * (label.id + 1)
        length = round(_BAR * share**0.5)
        cv2.rectangle(column, (4, top + 4), (4 + length, top + _ROW - 5), tuple(int(c) for c in label.color), -1)
        cv2.rectangle(column, (4, top + 4), (4 + length, top + _ROW - 5), (160, 160, 160), 1)
        text = f"{share:.3%} in {counts.images_with[label.name]} images"
        column[top : top + 20, length + 8 : length + 198] = _text(text, 190, 0.38)[:, : _BAR + 182 - length]
    return column
