"""Frames of a run's dataset, or of folders: to calibrate on and to score on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import IMAGE_KINDS, list_images, read_image, resize_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.data.split import Split, Subset
from deeplab_tf.lab.evaluation.folders import open_folders
from deeplab_tf.lab.runs import open_run_split

Size = tuple[int, int]


def calibration_frames(
    trained, size: Size, count: int, *, images: str | None = None, root: str | None = None
) -> Iterator[np.ndarray]:
    """Return (H, W, 3) uint8 RGB frames at `size`, evenly spread over the run's train split or a folder of images.

    Args:
        trained: the run's recipe or network; see `open_run_split`.

    Raises:
        DeepLabError: there are none.
    """
    if images is None:
        split = Subset(open_run_split(trained, "train", root), count)
        return (resize_image(split.sample(i).image, size) for i in range(len(split)))
    paths = list_images(images, recursive=True)
    if not paths:
        raise DeepLabError(
            f"Calibration needs real images, and the folder {images} has no image in it ({IMAGE_KINDS})."
        )
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)]
    return (resize_image(read_image(path), size) for path in chosen)


class ScoringFrames(NamedTuple):
    """Images at the network's size with their labels at their own.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        whole: the same images at their own sizes.
        truth: label maps.
        panoptic: panoptic maps, where the data has instances.
        label_ids: see `Split`.
        available: how many images there are, of which `images` are an even selection.
    """

    images: np.ndarray
    whole: list[np.ndarray]
    truth: list[np.ndarray]
    panoptic: list[np.ndarray] | None
    label_ids: dict[int, int] | None
    available: int


def scoring_frames(
    trained,
    table: LabelTable,
    size: Size,
    count: int,
    *,
    images: str | None = None,
    labels: str | None = None,
    root: str | None = None,
) -> ScoringFrames:
    """Return at most `count` frames, evenly spread over the run's val split or over folders of images and labels."""
    if images is not None and labels is not None:
        split: Split = open_folders(images, labels, table, trained.data)
    else:
        split = open_run_split(trained, "val", root)
    some = Subset(split, count)
    samples = [some.scored_sample(i) for i in range(len(some))]
    panoptic = [some.required(some.panoptic_map(i), i) for i in range(len(some))] if some.has_instances() else None
    return ScoringFrames(
        np.stack([resize_image(sample.image, size) for sample in samples]),
        [sample.image for sample in samples],
        [sample.label_map for sample in samples],
        panoptic,
        split.label_ids,
        len(split),
    )
