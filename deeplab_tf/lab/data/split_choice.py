"""Which files of a dataset are in a split: by folder, by a list of names, or a share of the training files by name."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from deeplab_tf.core.errors import DeepLabError, did_you_mean, some_of
from deeplab_tf.core.input_files import read_bytes
from deeplab_tf.lab.data.split import UnknownSplit
from deeplab_tf.lab.schema import WrongOption


class SplitChoice(NamedTuple):
    """What a recipe says about its splits; the options of `folder` have these names."""

    root: Path
    names: dict[str, str]  # the split, as it is asked for -> what it is called on disk
    lists: str | None
    val_fraction: float | None
    seed: int

    def source(self, split: str, images: str, labels: str) -> str:
        """Return the split on disk of which `split` is a part.

        Raises:
            UnknownSplit: all images are in one folder, and `split` is neither `train` nor `val`.
            WrongOption: there is a split `val` on disk, and a share of `train` is to be it.
        """
        if self.val_fraction is None:
            return split
        if split not in ("train", "val"):
            if "{split}" not in images and self.lists is None:
                raise UnknownSplit(f"There is no split '{split}': data.val_fraction makes train and val.")
            return split
        val = self._named("val")
        places = [each for each in (images, self.lists) if each and "{split}" in each]
        there = [str(self.root / each.replace("{split}", val)) for each in places]
        found = there[:1] if all(map(os.path.exists, there)) else []
        found += [str(self.root / labels.replace("{split}", val))] if "{split}" in labels else []
        existing = [path for path in found if os.path.exists(path)]
        if existing:
            raise WrongOption(
                f"There is a validation split, {existing[0]}; data.val_fraction takes it from the training images: "
                "remove one of them.",
                ("data", "val_fraction"),
            )
        return "train"

    def _named(self, split):
        return self.names.get(split, split)

    def place(self, pattern: str, split: str) -> Path:
        """Return the folder or file of a split: `root / pattern` with `{split}` in it filled in.

        Raises:
            UnknownSplit: no such split, with the one that may be meant.
            DeepLabError: no such folder or file.
        """
        if "{split}" in pattern:
            return split_place(self.root, pattern, self._named(split), split)
        path = self.root / pattern
        if not path.exists():
            raise DeepLabError(f"There is no folder {path}: this dataset is not in {self.root}.")
        return path

    def listed(self, split: str, files: dict[str, str], folder: Path) -> list[str] | None:
        """Return the names in the list of a split; None where there are no lists.

        Args:
            files: name without suffix -> path, of all images.
            folder: that of the images.

        Raises:
            DeepLabError: a name is listed twice, or is none of the files.
        """
        if self.lists is None:
            return None
        path = self.place(self.lists, split)
        by_file = {os.path.relpath(file, folder).replace(os.sep, "/"): name for name, file in files.items()}
        lines = [line.strip() for line in _text(path).splitlines()]
        given = [line for line in lines if line and not line.startswith("#")]
        names = [line if line in files else by_file.get(line) for line in given]
        unknown = [line for line, name in zip(given, names) if name is None]
        if unknown:
            raise DeepLabError(
                f"{len(unknown)} of {len(given)} names in {path} are no images in {folder}: {some_of(unknown)}. A line "
                "is a path below data.images, with or without its suffix."
            )
        chosen = [name for name in names if name is not None]
        twice = sorted({name for name in chosen if chosen.count(name) > 1}) if len({*chosen}) < len(chosen) else []
        if twice:
            raise DeepLabError(f"{path} names some images twice: {some_of(twice)}.")
        if not chosen:
            raise DeepLabError(f"The split is empty: {path} names no image.")
        return chosen

    def part(self, names: list[str], split: str) -> set[str]:
        """Return the names, of those on disk, that are in a split: `train` or `val`, where a share of the files is
        `val`. It depends on the names and the seed only. Raise DeepLabError for fewer than two files."""
        if self.val_fraction is None or split not in ("train", "val"):
            return {*names}
        if len(names) < 2:
            raise DeepLabError(f"data.val_fraction needs at least two images; there is {len(names)}.")
        order = sorted(names, key=lambda name: hashlib.sha256(f"{self.seed}:{name}".encode()).digest())
        count = min(max(1, round(self.val_fraction * len(names))), len(names) - 1)
        return {*order[:count]} if split == "val" else {*order[count:]}


def _text(path):
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DeepLabError(f"Cannot read {path}: byte {error.start} is no UTF-8 text.") from None


def split_place(root: Path, pattern: str, name: str, split: str | None = None) -> Path:
    """Return the folder or file of a split: `root / pattern` with `name` in place of `{split}`.

    Args:
        split: the split that is asked for, if it is called otherwise on disk.

    Raises:
        UnknownSplit: no such split, with the one that may be meant.
        DeepLabError: no such folder.
    """
    if "{split}" not in pattern:
        raise DeepLabError(
            f"The folder '{pattern}' must hold {{split}} where the name of the split stands, as in 'images/{{split}}'."
        )
    path = root / pattern.replace("{split}", name)
    if name and path.exists():
        return path
    before, _, after = pattern.partition("{split}")
    parent, _, prefix = before.rpartition("/")
    suffix = after.partition("/")[0]
    if not (root / parent).is_dir():
        raise DeepLabError(f"There is no folder {root / parent}: this dataset is not in {root}.")
    named = [each for each in os.listdir(root / parent) if each.startswith(prefix) and each.endswith(suffix)]
    known = [each[len(prefix) : len(each) - len(suffix)] for each in named]
    known = [each for each in known if each and (root / pattern.replace("{split}", each)).exists()]
    hint = did_you_mean(name, known) if known else "There is none at all."
    if known and split is not None:
        hint += f" If it is called otherwise: data.splits: {{{split}: NAME}}."
    raise UnknownSplit(f"There is no split '{name}' in {root / parent}. {hint}")
