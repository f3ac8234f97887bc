"""CamVid as released with SegNet: ids 0 to 10, and 11 for unlabeled, in train and trainannot or images and labels."""

from pathlib import Path

from deeplab_tf.lab.data.camvid import CAMVID, UNLABELED
from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._label_files import Content
from deeplab_tf.lab.layouts._pairs import about_split, find_pairs

RANK = 3
FEWEST_IDS = 8
"""Of the 12, without id 11; fewer are the ids of another dataset."""


def find(folder: Path) -> Found | None:
    """Return CamVid: pairs in `trainannot`, or below a folder with camvid in its name, of 12 ids."""
    pairs = find_pairs(folder)
    if pairs is None or not (pairs.labels.endswith("annot") or "camvid" in folder.resolve().name.lower()):
        return None
    content = Content([label for _, label in pairs.rows])
    known = UNLABELED in content.ids or len(content.ids) >= FEWEST_IDS
    if content.mode != "gray" or not known or not set(content.ids) <= {*range(UNLABELED + 1)}:
        return None
    classes = [{"name": label.name, "color": list(label.color)} for label in CAMVID]
    assumed = [
        f"{len(pairs.rows)} pairs of CamVid's 11 classes; id 11 is unlabeled, and ignored.",
        about_split(pairs.splits, len(pairs.rows)),
    ]
    data = {**pairs.keys(), "label_format": "ids", "classes": classes, "ignore_ids": [UNLABELED]}
    return Found("CamVid", data, [image for image, _ in pairs.rows], assumed)
