"""Figures of a report: the confusion matrix, and images beside their truth and predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deeplab_tf.core.draw import colorize, legend, outline, resize_labels, side_by_side, stacked
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix

PANEL_WIDTH = 512
"""Pixels; wider images are shrunk to it."""


class LabelPanel(NamedTuple):
    """One label map of a comparison."""

    label_map: np.ndarray  # (H, W) uint8
    title: str
    panoptic: np.ndarray | None = None  # (H, W) int32 panoptic map, whose instances are outlined


def confusion_figure(confusion: ConfusionMatrix, table: LabelTable, title: str) -> np.ndarray:
    """Draw a confusion matrix as (H, W, 3) uint8 RGB: each row is a true class, normalized to 1.

    A last column, predictions of no class, is drawn where it is not empty. Values are printed in per cent from 0.5 on;
    the row of a class without pixels is gray.
    """
    counts = confusion.matrix.astype(np.float64)  # (C, C + 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    if not confusion.matrix[:, -1].any():
        shares = shares[:, :-1]
    rows, columns = shares.shape
    figure = Figure(figsize=(3.2 + 0.42 * columns, 2.6 + 0.4 * rows), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")
    drawn = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(columns), (table.names + ["(none)"])[:columns], rotation=90)
    axes.set_yticks(range(rows), table.names)
    axes.set(xlabel="predicted", ylabel="truth", title=title)
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        color = "white" if share > 0.55 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=color)
    figure.colorbar(drawn, ax=axes, label="share of the true class's pixels", shrink=0.7)
    return pixels(figure)


def reliability_figure(report: dict, title: str) -> np.ndarray:
    """Draw the share of pixels that are right by confidence as (H, W, 3) uint8 RGB, above how many there are.

    Args:
        report: `ece` and `calibration_bins`, of `core.metrics.reliability`.
    """
    bins = report["calibration_bins"]
    figure = Figure(figsize=(4.4, 5.2), layout="constrained")
    above, below = figure.subplots(2, height_ratios=(3, 1), sharex=True)
    place = [0.5 * (each["low"] + each["high"]) for each in bins]
    width = [0.9 * (each["high"] - each["low"]) for each in bins]
    above.bar(place, [each["accuracy"] for each in bins], width, color="tab:blue")
    above.plot([0, 1], [0, 1], "--", color="0.4")
    above.set(ylabel="share that is right", title=title, xlim=(0, 1), ylim=(0, 1))
    below.bar(place, [each["pixels"] for each in bins], width, color="0.6")
    below.set(xlabel="confidence", ylabel="pixels", yscale="log")
    return pixels(figure)


def pixels(figure: Figure) -> np.ndarray:
    """Return a matplotlib figure as (H, W, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def comparison(rows: Sequence[tuple[np.ndarray, str, Sequence[tuple]]], table: LabelTable) -> np.ndarray:
    """Draw images in rows, each beside its label maps, with a legend of the classes that appear.

    Args:
        rows: for each (H, W, 3) uint8 RGB image, the image, its title, and its label maps as `LabelPanel`.

    Returns:
        (height, width, 3) uint8 RGB; ignored pixels have the table's `ignore_color`.
    """
    drawn, present = [], set()
    for image, title, label_maps in rows:
        panels = [LabelPanel(*each) for each in label_maps]
        size = _panel_size(image.shape[:2])
        columns = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)]
        for panel in panels:
            present.update(np.unique(panel.label_map).tolist())
            columns.append(colorize(resize_labels(panel.label_map, size), table))
            if panel.panoptic is not None:
                outline(columns[-1], panel.panoptic)
        drawn.append(side_by_side(columns, [title, *(panel.title for panel in panels)]))
    whole = stacked(drawn)
    return side_by_side([whole, legend(whole.shape[0], table, present)])


def truth_title(table: LabelTable) -> str:
    """Return the title of a true label map, which says what ignored pixels look like."""
    return f"truth ({table.ignore_color}: ignored)"


def _panel_size(size):
    height, width = size
    shrink = min(1.0, PANEL_WIDTH / width)
    return max(1, round(height * shrink)), max(1, round(width * shrink))
