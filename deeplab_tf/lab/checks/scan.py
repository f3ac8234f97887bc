"""Reads every image and label of a split, and keeps what `faults` judges; a bad file stops nothing."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.checks.duplicates import Fingerprint, fingerprint
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.check import TITLES, LabelCounts, counts_of
from deeplab_tf.lab.data.file_split import collecting
from deeplab_tf.lab.data.split import LabelContent, Split


class Read(NamedTuple):
    """What is kept of a sample that can be trained on."""

    content: LabelContent
    size: tuple[int, int]  # height, width of the image
    fingerprint: Fingerprint


class Scan(NamedTuple):
    """A split that was read.

    Attributes:
        split: None where it cannot be opened.
        read: by index; None for a sample that cannot be read.
        errors: a sentence for each bad sample, and each file without a partner.
    """

    split: Split | None
    read: list[Read | None]
    errors: list[str]

    def good(self) -> list[int]:
        """Return the indices of the samples that can be read."""
        return [index for index, each in enumerate(self.read) if each]

    def counts(self) -> LabelCounts | None:
        """Return what the labels that can be read hold; None where there are none."""
        good = [(each, name) for each, name in zip(self.read, self.split.names if self.split else []) if each]
        if self.split is None or not good:
            return None
        return counts_of(self.split, [each.content for each, _ in good], [name for _, name in good])

    def sizes(self) -> dict[str, int]:
        """Return how many images have each size, such as {"360x480": 367}, the most frequent first."""
        found = Counter("{}x{}".format(*each.size) for each in self.read if each)
        return dict(found.most_common())


def scan(data: dict, name: str) -> Scan:
    """Open the split of this name of a recipe's `data` section, and read it on all processors."""
    try:
        with collecting() as unpaired:
            split = open_split(data, name)
    except DeepLabError as error:
        return Scan(None, [], [str(error)])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(lambda index: _read(split, index), range(len(split)))
        results = list(progress(found, f"check {TITLES.get(name, name)} data", total=len(split)))
    errors = [str(each) for each in results if isinstance(each, DeepLabError)]
    return Scan(split, [each if isinstance(each, Read) else None for each in results], [*map(str, unpaired), *errors])


def _read(split: Split, index: int) -> Read | DeepLabError:
    try:
        content = split.inspect(index)
        image = split.sample(index).image
        height, width = image.shape[:2]
        return Read(content, (height, width), fingerprint(image))
    except DeepLabError as error:
        return error
