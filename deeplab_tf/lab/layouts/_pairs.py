"""Finds which folders hold images, which hold labels, and what their names have in common."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deeplab_tf.core.image_files import walk

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
"""Names of splits on disk, by their names in recipes."""

_LABEL_WORD = re.compile(
    r"(labels?|masks?|annot(ations?)?|gt|ground_?truth|seg(mentations?)?|segmentationclass|targets?)(?![a-z])", re.I
)
_LABEL_END = re.compile(r"[_.-](label(id)?s?|masks?|gt|seg(mentation)?|annot(ation)?|l)\.(png|tif|tiff|bmp)$", re.I)
_SPLIT_WORD = re.compile(
    "(?<![a-z])(" + "|".join(sorted((n for names in SPLITS.values() for n in names), key=len, reverse=True)) + ")"
    "(?=[^a-z]|$|annot|images?|labels?|masks?)",
    re.I,
)


class Pairs(NamedTuple):
    """Images and labels that belong together."""

    images: str  # folder, with {split} where a split stands
    labels: str
    image_suffix: str | None
    label_suffix: str
    splits: Mapping[str, str]  # split -> its name on disk; empty without splits
    rows: Sequence[tuple[str, str]]  # paths of image and label

    def keys(self) -> dict:
        """Return the keys of a recipe's `data` section; a `val_fraction` where there is no val."""
        data: dict = {"images": self.images, "labels": self.labels}
        if self.image_suffix is not None:
            data["image_suffix"] = self.image_suffix
        if self.label_suffix != ".png":
            data["label_suffix"] = self.label_suffix
        data.update(split_keys(self.splits))
        return data


def split_keys(splits: Mapping[str, str]) -> dict:
    """Return the keys that say what splits are called, or that a share of the images is val."""
    keys: dict = {}
    if {name: name for name in splits} != dict(splits):
        keys["splits"] = {name: there for name, there in splits.items() if name != there}
    if "val" not in splits:
        keys["val_fraction"] = 0.2
    return keys


def about_split(splits: Mapping[str, str], count: int) -> str:
    """Return the sentence about which images are val."""
    if "val" in splits:
        return f"The validation split is {splits['val']}."
    return f"There is no validation split: a fifth of the {count} training images is held out (val_fraction: 0.2)."


def image_folders(root: Path) -> dict[str, list[str]]:
    """Return the folders below a root that hold images, relative to it ("." is itself) -> their names, sorted."""
    found = {}
    for parent, names in walk(root):
        images = sorted(name for name in names if name.lower().endswith(IMAGES) and not name.startswith("."))
        if images:
            found[os.path.relpath(parent, root).replace(os.sep, "/")] = images
    return found


def find_pairs(root: Path) -> Pairs | None:
    """Return the images and labels that most files below a folder are; None where there are no two that match."""
    folders = image_folders(root)
    patterns: dict[str, dict[str, str]] = defaultdict(dict)  # pattern -> name of the split on disk -> folder
    for folder in folders:
        pattern, name = split_pattern(folder)
        patterns[pattern].setdefault(name, folder)
    found = [_in_two(root, folders, patterns, one, two) for one in patterns for two in patterns if one != two]
    found += [_in_one(root, folders, patterns, one) for one in patterns]
    return max(filter(None, found), key=lambda pairs: len(pairs.rows), default=None)


def split_pattern(folder: str) -> tuple[str, str]:
    """Return a folder with {split} in place of the name of a split, and that name; the folder and "" without one."""
    matches = list(_SPLIT_WORD.finditer(folder))
    if not matches:
        return folder, ""
    first, last = matches[-1].span()
    return f"{folder[:first]}{{split}}{folder[last:]}", matches[-1].group()


def known_splits(names) -> dict[str, str]:
    """Return which split each of these names on disk is."""
    found = {}
    for split, words in SPLITS.items():
        named = [name for name in names if name.lower() in words]
        if named:
            found[split] = named[0]
    return found


def _in_two(root, folders, patterns, images, labels) -> Pairs | None:
    """Pairs with images and labels in folders of their own."""
    if not _LABEL_WORD.search(labels) or len(_LABEL_WORD.findall(images)) >= len(_LABEL_WORD.findall(labels)):
        return None
    shared = [name for name in patterns[images] if name in patterns[labels]]
    if not shared:
        return None
    pictures = [(name, file) for name in shared for file in folders[patterns[images][name]]]
    truths = {(name, file) for name in shared for file in folders[patterns[labels][name]]}
    suffixes = _suffixes([file for _, file in pictures], [file for _, file in truths])
    if suffixes is None:
        return None
    image_suffix, label_suffix = suffixes
    rows = []
    for name, file in pictures:
        stem = file[: -len(image_suffix)] if image_suffix else os.path.splitext(file)[0]
        if (name, stem + label_suffix) in truths:
            there = os.path.join(root, patterns[images][name], file), os.path.join(root, patterns[labels][name], "")
            rows.append((there[0], there[1] + stem + label_suffix))
    return Pairs(images, labels, image_suffix, label_suffix, known_splits(shared), rows) if rows else None


def _suffixes(pictures: Sequence[str], truths: Sequence[str]) -> tuple[str | None, str] | None:
    """Return the ends of image names (None: the ending alone) and of label names that make most names the same."""
    best: tuple[int, tuple[str | None, str]] | None = None
    truth_ends = Counter(end for file in truths[:200] for end in _ends(file))
    image_ends = Counter(end for file in pictures[:200] for end in _ends(file)[1:])
    for label_end in [end for end, count in truth_ends.items() if count > len(truths[:200]) // 2]:
        stems = {file[: -len(label_end)] for file in truths if file.endswith(label_end)}
        common = [end for end, count in image_ends.items() if count > len(pictures[:200]) // 2]
        for image_end in [None, *common]:
            cut = [file[: -len(image_end)] if image_end and file.endswith(image_end) else os.path.splitext(file)[0]
                   for file in pictures]  # fmt: skip
            score = len(stems & {*cut})
            if score and (best is None or score > best[0]):
                best = score, (image_end, label_end)
    return None if best is None else best[1]


def _ends(file: str) -> list[str]:
    """Return the ending of a name, and longer ends that begin with _ - or a dot."""
    stem, ending = os.path.splitext(file)
    return [ending] + [stem[match.start() :] + ending for match in re.finditer(r"[_.-]", stem)][::-1]


def _in_one(root, folders, patterns, pattern) -> Pairs | None:
    """Pairs with images and labels side by side, such as a.jpg and a_mask.png."""
    rows: list[tuple[str, str]] = []
    ends: Counter[str] = Counter()
    for folder in patterns[pattern].values():
        names = {*folders[folder]}
        stems = {os.path.splitext(name)[0]: name for name in names if not _LABEL_END.search(name)}
        for name in names:
            match = _LABEL_END.search(name)
            if match and name[: match.start()] in stems:
                ends[match.group()] += 1
                place = os.path.join(root, folder)
                rows.append((os.path.join(place, stems[name[: match.start()]]), os.path.join(place, name)))
    if not rows:
        return None
    end = ends.most_common(1)[0][0]
    splits = known_splits(patterns[pattern])
    return Pairs(pattern, pattern, None, end, splits, sorted(row for row in rows if row[1].endswith(end)))
