"""Pascal VOC: JPEGImages, SegmentationClass (PNG with a palette) and lists of names in ImageSets/Segmentation."""

from pathlib import Path

from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._classes import named_classes, rows
from deeplab_tf.lab.layouts._label_files import Content, label_keys
from deeplab_tf.lab.layouts._pairs import IMAGES, known_splits

RANK = 2

_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def find(folder: Path) -> Found | None:
    """Return Pascal VOC, in the folder or below VOCdevkit/VOC2012."""
    places = [path.parent for depth in ("", "*/", "*/*/") for path in sorted(folder.glob(f"{depth}SegmentationClass"))]
    place = next((each for each in places if (each / "JPEGImages").is_dir()), None)
    if place is None:
        return None
    below = place.relative_to(folder).as_posix()
    prefix = "" if below == "." else f"{below}/"
    labels = sorted(map(str, (place / "SegmentationClass").glob("*.png")))
    images = sorted(str(path) for path in (place / "JPEGImages").iterdir() if path.suffix.lower() in IMAGES)
    if not labels:
        return None
    data: dict = {"images": f"{prefix}JPEGImages", "labels": f"{prefix}SegmentationClass"}
    lists = place / "ImageSets" / "Segmentation"
    splits = known_splits([path.stem for path in lists.glob("*.txt")])
    assumed = [f"{len(labels)} labels in the layout of Pascal VOC."]
    if {"train", "val"} <= splits.keys():
        data["split_lists"] = f"{prefix}ImageSets/Segmentation/{{split}}.txt"
        assumed.append(f"The splits are the lists in {prefix}ImageSets/Segmentation.")
    else:
        data["val_fraction"] = 0.2
        assumed.append("There are no lists of train and val: a fifth of the images is held out (val_fraction: 0.2).")
    content = Content(labels)
    if content.mode in ("palette", "gray") and named_classes(folder) is None and {*content.ids} <= {*range(21), 255}:
        data.update(label_format="palette" if content.mode == "palette" else "ids", classes=rows(_NAMES))
        assumed.append("Classes are Pascal VOC's 21; id 255, the outline of things, is ignored.")
        return Found("Pascal VOC", data, images, assumed)
    keys, said = label_keys(folder, labels)
    return Found("Pascal VOC", {**data, **keys}, images, [*assumed, *said])
