"""COCO's panoptic format: a JSON file for each split, and a folder of its name with PNG files."""

from pathlib import Path

from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts.coco import find_json

RANK = 1


def find(folder: Path) -> Found | None:
    """Return COCO's panoptic annotations."""
    return find_json(
        folder, "coco_panoptic", "COCO panoptic", lambda content: "segments_info" in (content["annotations"] or [{}])[0]
    )
