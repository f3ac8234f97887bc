"""Where two runtimes disagree, as a picture."""

import os
from typing import List, Sequence

import numpy as np

from deeplab_tf.core import draw
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.compare.runner import Outcome

_RED = (255, 0, 0)


def disagreement(
    image: np.ndarray, first: np.ndarray, other: np.ndarray, table: LabelTable, titles: Sequence[str]
) -> np.ndarray:
    """The frame under the labels of either, and in grey with red where they differ.

    Args:
        image: (H, W, 3) uint8 RGB.
        first, other: (h, w) uint8 label maps.
        titles: of both.
    Returns:
        (H', W', 3) uint8 RGB: three panels beside each other.
    """
    grey = np.repeat((image.mean(axis=2, keepdims=True) * 0.6 + 80).astype(np.uint8), 3, axis=2)
    differs = draw.resize_labels((first != other).astype(np.uint8), image.shape[:2]).astype(bool)
    grey[differs] = _RED
    share = f"they differ on {float((first != other).mean()):.2%}"
    panels = [draw.overlay(image, first, table), draw.overlay(image, other, table), grey]
    return draw.side_by_side(panels, list(titles) + [share])


def write_disagreements(folder: str, images: np.ndarray, outcomes: Sequence[Outcome], table: LabelTable) -> List[str]:
    """Writes, for every runtime but the first, the frame on which it differs most from the first one:
    disagreement_NAME_PRECISION.png."""
    done = [outcome for outcome in outcomes if outcome.error is None]
    paths = []
    for outcome in done[1:]:
        worst = int((outcome.labels != done[0].labels).mean(axis=(1, 2)).argmax())
        titles = [str(done[0].pair), str(outcome.pair)]
        picture = disagreement(images[worst], done[0].labels[worst], outcome.labels[worst], table, titles)
        paths.append(os.path.join(folder, "disagreement_{}_{}.png".format(*outcome.pair)))
        write_image(paths[-1], picture)
    return paths
