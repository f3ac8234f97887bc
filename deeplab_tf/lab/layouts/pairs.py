"""Folders of images and labels whose names match: images/ and masks/, train/ and trainannot/, or a.jpg and a_mask.png
in one folder."""

from pathlib import Path

from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._label_files import label_keys
from deeplab_tf.lab.layouts._pairs import about_split, find_pairs

RANK = 9


def find(folder: Path) -> Found | None:
    """Return the pairs of images and labels that most files are."""
    pairs = find_pairs(folder)
    if pairs is None:
        return None
    keys, said = label_keys(folder, [label for _, label in pairs.rows])
    where = "side by side" if pairs.images == pairs.labels else f"in {pairs.images} and {pairs.labels}"
    assumed = [
        f"Images and labels are {where}: {len(pairs.rows)} pairs.",
        about_split(pairs.splits, len(pairs.rows)),
        *said,
    ]
    return Found("images and labels of the same names", {**pairs.keys(), **keys}, [i for i, _ in pairs.rows], assumed)
