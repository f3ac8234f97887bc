"""The pictures of a report: the confusion matrix, and images beside their truth and what was predicted for them."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deeplab_tf.core.draw import colorize, legend, outline, resize_labels, side_by_side, stacked
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix

PANEL_WIDTH = 512
"""Pixels; wider images are shrunk to it in a report's pictures."""


def confusion_figure(confusion: ConfusionMatrix, table: LabelTable, title: str) -> np.ndarray:
    """The confusion matrix as a picture, (H, W, 3) uint8 RGB: each row is a true class, normalised to 1.

    A last column, what was predicted as no class, is drawn where it is not empty. Values are printed in per cent where
    they reach 0.5; the row of a class without pixels is left grey.
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
        axes.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.55 else "black",
        )
    figure.colorbar(drawn, ax=axes, label="share of the true class's pixels", shrink=0.7)
    return pixels(figure)


def pixels(figure: Figure) -> np.ndarray:
    """A matplotlib figure as (H, W, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def comparison(rows: Sequence[tuple], table: LabelTable) -> np.ndarray:
    """Images in rows, each beside its label maps, with a legend of the classes that appear.

    Args:
        rows: for each image: (image (H, W, 3) uint8 RGB, its title, [(label map (H, W) uint8, its title), ...]); a
            third item of a pair, an (H, W) int32 panoptic map, puts a line around every thing.

    Returns:
        (height, width, 3) uint8 RGB; ignored pixels are black.
    """
    pictures, present = [], set()
    for image, title, label_maps in rows:
        size = _panel_size(image.shape[:2])
        panels = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)]
        for label_map, _, *panoptic in label_maps:
            present.update(np.unique(label_map).tolist())
            panels.append(colorize(resize_labels(label_map, size), table))
            if panoptic:
                outline(panels[-1], panoptic[0])
        pictures.append(side_by_side(panels, [title, *(each[1] for each in label_maps)]))
    picture = stacked(pictures)
    return side_by_side([picture, legend(picture.shape[0], table, present)])


def _panel_size(size):
    height, width = size
    shrink = min(1.0, PANEL_WIDTH / width)
    return max(1, round(height * shrink)), max(1, round(width * shrink))
