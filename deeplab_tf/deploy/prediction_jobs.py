"""Which images `predict` predicts, in which order, and what it writes for each; a million of them in bounded memory."""

import hashlib
import json
import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from deeplab_tf.core import __version__
from deeplab_tf.core.cityscapes import IMAGE_SUFFIX
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import sha256
from deeplab_tf.core.image_files import IMAGE_KINDS, each_image
from deeplab_tf.core.input_files import natural_key
from deeplab_tf.core.listing import SortedRows
from deeplab_tf.core.parts import WHOLE, Part


class Jobs:
    """The images of a part, in natural order of their names below the output folder.

    Iterating yields the path of an image and the path of its outputs without suffix.

    Attributes:
        found: the number of images in all parts.
    """

    def __init__(self, rows: SortedRows, found: int):
        self._rows, self.found = rows, found
        self._count = sum(1 for _ in self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tuple[str, str]]:
        """Raise DeepLabError for two images of one output name."""
        last: Optional[Tuple[str, str]] = None
        for key, path, stem in self._rows:
            if last is None or last[0] != key:
                yield path, stem
            elif os.path.realpath(last[1]) != os.path.realpath(path):
                raise DeepLabError(
                    f"{last[1]} and {path} would both be written as {stem}; predict them into two folders."
                )
            last = key, path

    def images(self) -> "Images":
        """Return the images' paths alone, each time that it is iterated over."""
        return Images(self)

    def outputs(self, suffixes: Sequence[str], more: Sequence[str] = ()) -> "Outputs":
        """Return the paths of all files, each time that it is iterated over: of each image those with `suffixes`, and
        `more`."""
        return Outputs(self, suffixes, more)


class Images:
    """See `Jobs.images`."""

    def __init__(self, jobs: Jobs):
        self._jobs = jobs

    def __iter__(self) -> Iterator[str]:
        return (image for image, _ in self._jobs)


class Outputs:
    """See `Jobs.outputs`."""

    def __init__(self, jobs: Jobs, suffixes: Sequence[str], more: Sequence[str]):
        self._jobs, self._suffixes, self._more = jobs, suffixes, more

    def __iter__(self) -> Iterator[str]:
        for _, stem in self._jobs:
            for suffix in self._suffixes:
                yield stem + suffix
        yield from self._more


def plan(inputs: Sequence[str], out: str, layout: str, *, part: Part = WHOLE) -> Jobs:
    """Return what to predict.

    Folders are searched with their subfolders, which are kept below `out`; if `out` is one of them, its files are no
    inputs.

    Args:
        inputs: images, and folders of them.
        out: the output folder.
        layout: "color", "ids", "cityscapes" or "panoptic"; panoptic maps are known by their names without folders.
        part: take only these images; their names decide, and nothing else.

    Raises:
        DeepLabError: a missing path, a folder without images, and two images of one output name.
    """
    cityscapes = os.path.splitext(IMAGE_SUFFIX)[0]
    rows, found = SortedRows(key=lambda row: natural_key(row[0])), 0
    for path, name in _inputs(inputs, out):
        if layout in ("cityscapes", "panoptic") and name.endswith(cityscapes):
            name = name[: -len(cityscapes)]
        key = os.path.basename(name) if layout == "panoptic" else name
        found += 1
        if part.has(key):
            rows.add((key, path, os.path.join(out, name)))
    return Jobs(rows, found)


def _inputs(inputs, out) -> Iterator[Tuple[str, str]]:
    """Yield the path of each image and its name below `out`, without suffix."""
    out_real = os.path.join(os.path.realpath(out), "")
    for given in inputs:
        if not os.path.isdir(given):
            if not os.path.exists(given):
                raise DeepLabError(f"There is no image or folder {given}.")
            yield given, os.path.splitext(os.path.basename(given))[0]
            continue
        inside = out_real.startswith(os.path.join(os.path.realpath(given), ""))
        inside = inside and out_real != os.path.join(os.path.realpath(given), "")
        count = 0
        for path in each_image(given, recursive=True):
            if not inside or not os.path.realpath(path).startswith(out_real):
                count += 1
                yield path, os.path.splitext(os.path.relpath(path, given))[0]
        if not count:
            raise DeepLabError(f"The folder {given} has no image in it ({IMAGE_KINDS}).")


def network_digest(files: Sequence[str], settings: Dict[str, Any]) -> str:
    """Return a digest of what decides the predictions beside the image: the network's files, and the settings."""
    digests: List[str] = [sha256(path) for path in files]
    return _digest([__version__, digests, settings])


def image_digest(network: str, image: str) -> str:
    """Return a digest of a network, see `network_digest`, and an image's name, size and time."""
    status = os.stat(image)
    return _digest([network, os.path.basename(image), status.st_size, status.st_mtime_ns])


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
