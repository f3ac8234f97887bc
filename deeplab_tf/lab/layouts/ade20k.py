"""ADE20K (SceneParse150): images/training, annotations/training, ids 1 to 150, and 0 for what is no class."""

from pathlib import Path

from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._classes import named_classes, rows
from deeplab_tf.lab.layouts._label_files import Content
from deeplab_tf.lab.layouts._pairs import about_split, find_pairs

RANK = 3


def find(folder: Path) -> Found | None:
    """Return ADE20K, which the file objectInfo150.txt tells from others."""
    named, pairs = named_classes(folder), find_pairs(folder)
    if named is None or named[0].lower() != "objectinfo150.txt" or pairs is None:
        return None
    content = Content([label for _, label in pairs.rows])
    if content.mode != "gray":
        return None
    names = _distinct([name for _, name, _ in named[1]])
    assumed = [
        f"{len(pairs.rows)} pairs of ADE20K's {len(names)} classes, ids 1 to {len(names)}; id 0 is ignored.",
        about_split(pairs.splits, len(pairs.rows)),
    ]
    classes = rows(names, ids=range(1, len(names) + 1))
    data = {**pairs.keys(), "label_format": "ids", "classes": classes, "ignore_ids": [0]}
    return Found("ADE20K", data, [image for image, _ in pairs.rows], assumed)


def _distinct(names):
    """Return the first word for a thing, or all, where two things share it."""
    short = [name.split(",")[0].strip() for name in names]
    return [one if short.count(one) == 1 else name for one, name in zip(short, names)]
