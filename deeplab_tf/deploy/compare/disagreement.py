"""Figures of where two runtimes disagree."""

import os
from typing import List, Sequence

import numpy as np

from deeplab_tf.core import draw
from deeplab_tf.core.files import remove_parts
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.compare.plan import Variant
from deeplab_tf.deploy.compare.runner import Outcome

_RED = (255, 0, 0)


def disagreement_figure(
    image: np.ndarray, first: np.ndarray, other: np.ndarray, table: LabelTable, titles: Sequence[str]
) -> np.ndarray:
    """Return the frame under the labels of either runtime, and in gray with red pixels where they differ.

    Args:
        image: (H, W, 3) uint8 RGB.
        first, other: (h, w) uint8 label maps.
        titles: of both.
    Returns:
        (H', W', 3) uint8 RGB: three panels side by side.
    """
    gray = np.repeat((image.mean(axis=2, keepdims=True) * 0.6 + 80).astype(np.uint8), 3, axis=2)
    differs = first != other
    gray[draw.resize_labels(differs.astype(np.uint8), image.shape[:2]).astype(bool)] = _RED
    panels = [draw.overlay(image, first, table), draw.overlay(image, other, table), gray]
    return draw.side_by_side(panels, [*titles, f"they differ on {differs.mean():.2%}"])


def figure_path(folder: str, variant: Variant) -> str:
    """Return the file that `write_disagreements` writes for a runtime."""
    return os.path.join(folder, f"disagreement_{variant.runtime}_{variant.precision}.png")


def write_disagreements(folder: str, images: np.ndarray, outcomes: Sequence[Outcome], table: LabelTable) -> List[str]:
    """Write the frame on which each runtime differs most from the first: disagreement_NAME_PRECISION.png."""
    done = [(each.variant, each.labels) for each in outcomes if each.error is None and each.labels is not None]
    paths = []
    remove_parts(folder)
    for variant, labels in done[1:]:
        reference, first = done[0]
        worst = int(np.not_equal(labels, first).mean(axis=(1, 2)).argmax())
        titles = [str(reference), str(variant)]
        figure = disagreement_figure(images[worst], first[worst], labels[worst], table, titles)
        paths.append(figure_path(folder, variant))
        write_image(paths[-1], figure)
    return paths
