"""What `convert` takes from a run: images to calibrate on, and images with labels to score on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import list_images, read_image, resize_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.data.split import Split, Subset
from deeplab_tf.lab.evaluation.folders import open_folders
from deeplab_tf.lab.runs import open_run_split

Size = tuple[int, int]


def calibration_frames(
    config, size: Size, count: int, *, images: str | None = None, root: str | None = None
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB frames at `size`, evenly spread over the run's training split, or over the images of a
    folder.

    Raises:
        DeepLabError: there are none.
    """
    if images is None:
        split = Subset(open_run_split(config, "train", root), count)
        return (resize_image(split.sample(i).image, size) for i in range(len(split)))
    paths = list_images(images, recursive=True)
    if not paths:
        raise DeepLabError(f"Calibration needs real images, and the folder {images} has no PNG or JPEG image in it.")
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)]
    return (resize_image(read_image(path), size) for path in chosen)


class Scored(NamedTuple):
    """Images at the network's size with their labels at their own."""

    images: np.ndarray  # (N, H, W, 3) uint8 RGB
    truth: list[np.ndarray]
    panoptic: list[np.ndarray] | None  # where the data has instances
    label_ids: dict[int, int] | None  # see `Split`


def scored_frames(
    config,
    table: LabelTable,
    size: Size,
    count: int,
    *,
    images: str | None = None,
    labels: str | None = None,
    root: str | None = None,
) -> Scored:
    """At most `count` frames, evenly spread over the run's validation split, or over folders of images and labels."""
    if labels is not None:
        split: Split = open_folders(images, labels, table, config.data)
    else:
        split = open_run_split(config, "val", root)
    some = Subset(split, count)
    frames = [some.scored_sample(i) for i in range(len(some))]
    panoptic = [some.panoptic_map(i) for i in range(len(some))] if some.has_instances() else None
    images = np.stack([resize_image(frame.image, size) for frame in frames])
    return Scored(images, [frame.label_map for frame in frames], panoptic, split.label_ids)
