"""Layouts of datasets on disk, one file each, which `deeplab-tf init` knows without help.

A layout is a file in this folder with `find(folder) -> Found | None` and RANK: of those that are found, the one with
the lowest rank is taken, because it is the most particular.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deeplab_tf.core.errors import DeepLabError


class Found(NamedTuple):
    """A dataset that a layout has recognized."""

    layout: str  # its name, for a person
    data: dict  # keys of a recipe's `data` section, without `root` and `size`
    images: Sequence[str]  # paths of images, for their sizes
    assumed: Sequence[str]  # a sentence for each thing that is not certain


def layouts() -> list[str]:
    """Return the names of the layouts, the most particular first."""
    names = [path.stem for path in Path(__file__).parent.glob("[!_]*.py")]
    return sorted(names, key=lambda name: (load_layout(name).RANK, name))


def load_layout(name: str):
    """Return the module of a layout."""
    return importlib.import_module(f"{__name__}.{name}")


def describe(folder: str) -> Found:
    """Return what a folder holds. Raise DeepLabError for a folder in which no layout finds images with labels."""
    path = Path(folder)
    if not path.is_dir():
        raise DeepLabError(f"There is no folder {folder}.")
    for name in layouts():
        found = load_layout(name).find(path)
        if found is not None:
            return found
    raise DeepLabError(
        f"There are no images with labels in {folder}: expected folders such as images/ and labels/ (or masks/) with "
        "files of the same names, one folder with names such as a.jpg and a_mask.png, or JSON files of labelme or "
        "COCO. See docs/your-data.md."
    )
