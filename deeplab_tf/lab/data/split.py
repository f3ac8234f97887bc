"""Splits: what a dataset gives, for training and for scoring, in NumPy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable


class UnknownSplit(DeepLabError):
    """The dataset has no split of this name."""


class Sample(NamedTuple):
    """An image with its label map."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label_map: np.ndarray  # (H, W) uint8: class ids and IGNORE_LABEL


class LabelContent(NamedTuple):
    """What a label holds."""

    classes: np.ndarray  # (C,) int64: pixels of each class
    ignored: dict[str, int]  # an ignored id or color, as the file has it -> its pixels
    remarks: tuple[str, ...] = ()  # what is done to the image's pixels, such as "is 16-bit, ..."


class Split:
    """A sequence of samples in a fixed order.

    Attributes:
        table: the classes of the label maps.
        names: one for each sample, all different, usable as a relative path without suffix, such as
            `frankfurt/frankfurt_000000_000294`.
        label_ids: every id that a label file may hold -> its class id or IGNORE_LABEL; None where label files hold no
            ids.
        remarks: what a report on this data must say, a sentence each.
        counts: the fields of `check.LabelCounts`, where the labels have been counted already.
    """

    table: LabelTable
    names: list[str]
    label_ids: dict[int, int] | None = None
    remarks: Sequence[str] = ()
    counts: Mapping | None = None

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> Sample:
        """Return an image and its label map, of the same size. Raise DeepLabError, with the file, for bad ones."""
        raise NotImplementedError

    def scored_sample(self, index: int) -> Sample:
        """Return a sample with the label map at its own resolution, at which it is scored; the image may be smaller."""
        return self.sample(index)

    def label_map(self, index: int) -> np.ndarray:
        """Return a label map at its own resolution, if possible without reading the image."""
        return self.sample(index).label_map

    def panoptic_map(self, index: int) -> np.ndarray | None:
        """Return the (H, W) int32 panoptic map (`deeplab_tf.core.panoptic`) at the label's own resolution, if there is
        one."""
        return None

    def panoptic_sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image and its panoptic map. Raise DeepLabError where there is none, and as `sample` does."""
        return self.sample(index).image, self.required(self.panoptic_map(index), index)

    def required(self, panoptic: np.ndarray | None, index: int) -> np.ndarray:
        """Return a panoptic map. Raise DeepLabError where it is None."""
        if panoptic is None:
            raise DeepLabError(f"{self.names[index]} has no instance file.")
        return panoptic

    def without_instances(self) -> list[str]:
        """Return the samples that have no panoptic map, by a name for messages."""
        return self.names

    def has_instances(self) -> bool:
        """Return whether every sample has a panoptic map."""
        return not self.without_instances()

    def paths(self, index: int) -> list[str]:
        """Return the files of a sample, for messages: image, label."""
        return [self.names[index]]

    def files(self, index: int) -> list[str]:
        """Return all files that a sample is read from, the image first; none where it is not read from files."""
        return []

    def inspect(self, index: int) -> LabelContent:
        """Read a label, and check the image as far as that is fast. Raise DeepLabError as `sample` does."""
        return content_of(self.label_map(index), self.table)


def content_of(label_map: np.ndarray, table: LabelTable) -> LabelContent:
    """Return what an (H, W) uint8 label map holds."""
    counts = np.bincount(label_map.ravel(), minlength=256)
    ignored = int(counts[IGNORE_LABEL])
    return LabelContent(counts[: len(table)], {str(IGNORE_LABEL): ignored} if ignored else {})


class Chosen(Split):
    """Samples of a split, by their indices."""

    def __init__(self, split: Split, indices: Sequence[int]):
        self.split, self.table, self.label_ids, self.remarks = split, split.table, split.label_ids, split.remarks
        self.indices = list(indices)
        self.names = [split.names[i] for i in self.indices]

    def sample(self, index: int) -> Sample:
        return self.split.sample(self.indices[index])

    def scored_sample(self, index: int) -> Sample:
        return self.split.scored_sample(self.indices[index])

    def panoptic_map(self, index: int) -> np.ndarray | None:
        return self.split.panoptic_map(self.indices[index])

    def without_instances(self) -> list[str]:
        return self.split.without_instances()

    def files(self, index: int) -> list[str]:
        return self.split.files(self.indices[index])

    def inspect(self, index: int) -> LabelContent:
        return self.split.inspect(self.indices[index])


class Subset(Chosen):
    """Samples of a split, evenly spread over it."""

    def __init__(self, split: Split, count: int):
        spread = np.linspace(0, len(split) - 1, min(count, len(split)))
        super().__init__(split, spread.round().astype(int).tolist())


def require_instances(split: Split, name: str) -> None:
    """Raise DeepLabError unless every sample of a split, which has this name, has a panoptic map."""
    without = split.without_instances()
    if len(without) == len(split):
        raise DeepLabError(
            f"This network predicts instances, and the split {name} of the dataset has none; take a recipe for "
            "deeplab_v3_plus, such as configs/sample_small.yaml."
        )
    if without:
        raise DeepLabError(
            f"{len(without)} of {len(split)} images of {name} have no instance file; the first is that of {without[0]}."
        )


def check_same_size(first: np.ndarray, second: np.ndarray, names: str) -> None:
    """Raise DeepLabError unless two arrays, which have these names, have the same height and width."""
    check_sizes(first.shape[:2], second.shape[:2], names)


def check_sizes(first: Sequence[int], second: Sequence[int], names: str) -> None:
    """Raise DeepLabError unless two sizes (height, width) of files that have these names are the same."""
    if tuple(first) != tuple(second):
        sizes = "{}x{} against {}x{}".format(*first, *second)
        raise DeepLabError(f"{names} must have the same size, height x width: {sizes}.")
