"""COCO's JSON files: instances (polygons, RLE), also as Roboflow writes them."""

import json
import os
from pathlib import Path

from deeplab_tf.core.image_files import walk
from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._classes import rows
from deeplab_tf.lab.layouts._pairs import about_split, known_splits, split_keys, split_pattern

RANK = 2


def find(folder: Path) -> Found | None:
    """Return COCO's instances."""
    return find_json(folder, "coco", "COCO", lambda content: "segments_info" not in (content["annotations"] or [{}])[0])


def find_json(folder: Path, label_format: str, title: str, accepts) -> Found | None:
    """Return the JSON files of COCO that `accepts` says yes to.

    Args:
        label_format: its name in recipes.
        title: its name for a person.
        accepts: the content of a file -> whether it is of this format.
    """
    files: dict[str, dict[str, str]] = {}  # pattern -> name of the split on disk -> path
    for parent, names in walk(folder):
        for name in (name for name in names if name.lower().endswith(".json")):
            pattern, split = split_pattern(os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/"))
            files.setdefault(pattern, {})[split] = os.path.join(parent, name)
    for pattern, by_split in sorted(files.items(), key=lambda item: -len(item[1])):
        content = _content(min(by_split.values(), key=os.path.getsize))
        if content is not None and accepts(content):
            return _found(folder, label_format, title, pattern, by_split, content)
    return None


def _content(path):
    """Return a file of COCO; None for another."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known = all(isinstance(content[key], list) for key in ("images", "annotations", "categories"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if known and content["images"] and content["categories"] else None


def _found(folder, label_format, title, pattern, by_split, content):
    splits = known_splits(by_split)
    place = _image_place(
        folder, content["images"][0]["file_name"], min(by_split, key=lambda each: os.path.getsize(by_split[each]))
    )
    if place is None:
        return None
    names = [category["name"] for category in content["categories"]]
    things = {category["name"] for category in content["categories"] if category.get("isthing", label_format == "coco")}
    colors = {category["name"]: category["color"] for category in content["categories"] if "color" in category}
    if label_format == "coco" and "background" not in names:
        names = ["background", *names]
    classes = [{**row, "thing": True} if row["name"] in things else row for row in rows(names, colors)]
    data = {"images": place, "labels": pattern, "label_format": label_format, "classes": classes, **split_keys(splits)}
    rest = "pixels in no polygon are 'background'" if label_format == "coco" else "pixels of no segment are ignored"
    assumed = [
        f"{title}: {len(content['categories'])} categories; {rest}.",
        about_split(splits, len(content["images"])),
    ]
    images = [str(folder / place.replace("{split}", name) / row["file_name"])
              for name in by_split for row in content["images"]]  # fmt: skip
    return Found(title, data, [path for path in images if os.path.isfile(path)], assumed)


def _image_place(folder, file_name, split):
    """Return the folder in which images of the JSON of a split are, with {split} in it; None where they are not."""
    for parent, names in walk(folder):
        if os.path.basename(file_name) in names and os.path.join(parent, os.path.basename(file_name)).endswith(
            file_name
        ):
            inside = os.path.join(parent, os.path.basename(file_name))[: -len(file_name)].rstrip(os.sep)
            place = os.path.relpath(inside, folder).replace(os.sep, "/")
            pattern, name = split_pattern(place)
            return pattern if name == split and split else place
    return None
