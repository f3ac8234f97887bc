"""labelme: beside each image a JSON file of its name, with polygons."""

import json
import os
from collections import defaultdict
from pathlib import Path

from deeplab_tf.core.image_files import walk
from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.layouts._classes import named_classes, rows
from deeplab_tf.lab.layouts._pairs import IMAGES, about_split, known_splits, split_keys, split_pattern

RANK = 4
_IGNORED = ("__ignore__", "_background_")


def find(folder: Path) -> Found | None:
    """Return labelme's files: images and JSON in one folder, or in folders of the same splits."""
    jsons: dict[str, dict[str, list[str]]] = defaultdict(dict)  # pattern -> split on disk -> paths
    images: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for parent, names in walk(folder):
        pattern, name = split_pattern(os.path.relpath(parent, folder).replace(os.sep, "/"))
        for kind, ends in ((jsons, (".json",)), (images, IMAGES)):
            chosen = [os.path.join(parent, each) for each in names if each.lower().endswith(ends)]
            if chosen:
                kind[pattern][name] = sorted(chosen)
    shapes = {pattern: _shapes(by_split) for pattern, by_split in jsons.items()}
    labels = max((pattern for pattern in shapes if shapes[pattern]), key=lambda each: len(shapes[each]), default=None)
    if labels is None:
        return None
    place = (
        labels if labels in images else max(images, key=lambda each: sum(map(len, images[each].values())), default="")
    )
    if not place:
        return None
    pictures = [path for paths in images[place].values() for path in paths]
    splits = known_splits(images[place])
    names, ignored = _names(folder, shapes[labels])
    data = {"images": place, "labels": labels, "label_format": "labelme", "classes": rows(names)}
    if ignored:
        data["ignore_names"] = ignored
    data.update(split_keys(splits))
    assumed = [
        f"{len(shapes[labels])} files of labelme; pixels in no polygon are 'background'.",
        about_split(splits, len(pictures)),
    ]
    return Found("labelme", data, pictures, assumed)


def _shapes(by_split):
    """Return the names of the shapes of each file of labelme."""
    found = {}
    for path in (path for paths in by_split.values() for path in paths):
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            found[path] = [str(shape["label"]) for shape in content["shapes"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _names(folder, shapes):
    """Return the classes, background first, and the names that are ignored."""
    used = sorted({name for names in shapes.values() for name in names})
    ignored = [name for name in used if name in _IGNORED]
    listed = named_classes(folder)
    order = [name for _, name, _ in listed[1] if name in used] if listed else []
    names = order + [name for name in used if name not in (*order, *ignored, "background")]
    return ["background", *names], ignored
