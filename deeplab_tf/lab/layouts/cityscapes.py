"""Cityscapes: leftImg8bit/ and gtFine/."""

from pathlib import Path

from deeplab_tf.lab.layouts import Found

RANK = 1


def find(folder: Path) -> Found | None:
    """Return Cityscapes, or what `deeplab-tf sample` draws in its layout."""
    labels = list((folder / "gtFine").glob("*/*/*_gtFine_labelIds.png"))
    images = sorted(map(str, (folder / "leftImg8bit").glob("*/*/*_leftImg8bit.png")))
    if not labels or not images:
        return None
    assumed = [f"{len(images)} images in Cityscapes' layout, with its 19 classes."]
    return Found("Cityscapes", {"name": "cityscapes"}, images, assumed)
