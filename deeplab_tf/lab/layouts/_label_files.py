"""What label images hold: their format, and the ids or colors in them."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.lab.layouts._classes import Color, named_classes, rows

MAX_READ = 400
"""Label files that are read, evenly spread."""
MAX_COLORS = 64
"""Colors of more classes than this are the noise of JPEG or of soft edges."""
IGNORED = 255


class Content:
    """What some label files hold, together."""

    def __init__(self, paths: Sequence[str]):
        chosen = sorted({round(i) for i in np.linspace(0, len(paths) - 1, min(len(paths), MAX_READ))})
        self.read = len(chosen)
        self.modes: Counter[str] = Counter()
        self.ids: Counter[int] = Counter()
        self.colors: Counter[Color] = Counter()
        self.palette: list[int] | None = None
        self.lossy = False
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for mode, values, palette in threads.map(_values, [paths[i] for i in chosen]):
                self.modes[mode] += 1
                (self.colors if mode == "RGB" else self.ids).update(values)
                self.palette = self.palette or palette
        self.lossy = any(paths[i].lower().endswith((".jpg", ".jpeg")) for i in chosen)
        self.mode = self.modes.most_common(1)[0][0]


def _values(path):
    """Return the kind of a file ("gray", "palette", "RGB"), how many pixels each id or color has, and its palette."""
    try:
        with Image.open(path) as image:
            palette = image.getpalette() if image.mode == "P" else None
            mode = image.mode
            pixels = np.asarray(image if mode in ("P", "L", "I;16", "I", "1") else image.convert("RGB"))
    except (OSError, ValueError):
        return "bad", {}, None
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]  # gray in three channels
    if pixels.ndim == 2:
        found, counts = np.unique(pixels, return_counts=True)
        return "palette" if palette else "gray", dict(zip(found.tolist(), counts.tolist())), palette
    packed = pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    found, counts = np.unique(packed, return_counts=True)
    colors = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in found]
    return "RGB", dict(zip(colors, counts.tolist())), None


def label_keys(root: Path, paths: Sequence[str]) -> tuple[dict, list[str]]:
    """Return the keys of a recipe's `data` section that describe label images, and what was assumed.

    Args:
        root: where a file may name the classes.
        paths: of the label files.

    Raises:
        DeepLabError: they hold more values than classes can be.
    """
    content, named = Content(paths), named_classes(root)
    if content.read < len(paths):
        said = [f"Classes are those in {content.read} of {len(paths)} label files, evenly spread."]
    else:
        said = []
    if content.mode == "bad":
        raise DeepLabError(f"The label files cannot be read; the first is {paths[0]}.")
    if content.mode == "RGB":
        keys, more = _of_colors(content, named, paths)
    elif content.mode == "gray" and _is_binary(content):
        keys, more = _binary(content, named)
    else:
        keys, more = _of_ids(content, named, paths)
    return keys, said + more


def _is_binary(content):
    """Return whether gray labels are masks of 0 and 255, or of soft edges between them."""
    total = sum(content.ids.values())
    ends = sum(count for value, count in content.ids.items() if value < 16 or 239 < value < 256)
    if set(content.ids) <= {0, 255}:
        return 255 in content.ids
    both = {value < 128 for value in content.ids} == {True, False}
    inexact = content.lossy or any(239 < value < IGNORED for value in content.ids)
    if both and ends == total and inexact:  # exact ids beside 255 are classes, and 255 is ignored
        return True
    return len(content.ids) > 32 and ends > 0.6 * total and max(content.ids) < 256


def _binary(content, named):
    names = [name for _, name, _ in named[1]] if named and len(named[1]) == 2 else ["background", "foreground"]
    classes = [{"name": names[0], "color": [0, 0, 0]}, {"name": names[1], "color": [255, 64, 64]}]
    keys: dict = {"label_format": "binary", "classes": classes}
    said = [f"Labels are masks: 0 is '{names[0]}', 255 is '{names[1]}'."]
    if content.lossy or not set(content.ids) <= {0, 255}:
        keys["threshold"] = 128
        why = "are JPEG files, whose values are not exact" if content.lossy else "have soft edges"
        said.append(f"The masks {why}: gray values from 128 on are 255 (threshold: 128).")
    return keys, said


def _of_ids(content, named, paths):
    found = sorted(content.ids)
    if found[-1] > 255 or len(found) > 250:
        raise DeepLabError(
            f"The gray labels hold {len(found)} values up to {found[-1]}; ids must be 0 to 255, one a class. The first "
            f"is {paths[0]}."
        )
    ids = [i for i in found if i != IGNORED or found == [IGNORED]]
    names, colors, said = _named_ids(ids, named)
    if content.palette and not colors:
        palette = np.array(content.palette[:768]).reshape(-1, 3).tolist()
        colors = {name: tuple(palette[i]) for i, name in names.items() if i < len(palette)}
        if len(set(colors.values())) < len(colors):
            colors = {}
    chosen = sorted(names)
    keys: dict = {
        "label_format": "palette" if content.mode == "palette" else "ids",
        "classes": rows([names[i] for i in chosen], colors, chosen),
    }
    ignored = sorted({IGNORED, *[i for i in ids if i not in names]} - {*chosen})
    if ignored != [IGNORED]:
        keys["ignore_ids"] = ignored
        said.append(f"Ignored: the ids {some_of(ignored)}.")
    elif IGNORED in content.ids:
        said.append("Pixels of id 255 are ignored.")
    return keys, said


def _named_ids(ids, named):
    """Return the name of each class by its id, colors by name, and what was assumed."""
    if not named:
        names = {i: f"class_{i}" for i in ids}
        return names, {}, [f"No file names the classes: they are called {some_of(list(names.values()))}; rename them."]
    file, entries = named
    numbers = [i for i, _, _ in entries]
    if None in numbers or len({*numbers}) < len(numbers):
        start = 1 if ids and ids[-1] == len(entries) else 0
        numbers = list(range(start, start + len(entries)))
    names = {i: name for i, (_, name, _) in zip(numbers, entries) if i < 256}
    colors = {name: color for _, name, color in entries if color}
    said = [f"Classes are named by {file}: {some_of(list(names.values()))}."]
    return names, colors, said


def _of_colors(content, named, paths):
    colors = [color for color, _ in content.colors.most_common()]
    if named and any(color for _, _, color in named[1]):
        file, entries = named
        known = {color: name for _, name, color in entries if color}
        ignored = [list(color) for color in colors if color not in known]
        if len(ignored) <= MAX_COLORS:
            keys: dict = {
                "label_format": "colors",
                "classes": rows([*known.values()], {n: c for c, n in known.items()}),
            }
            said = [f"Classes and colors are those of {file}: {some_of([*known.values()])}."]
            if ignored:
                keys["ignore_colors"] = ignored
                said.append(f"Colors that it does not name are ignored: {some_of(ignored)}.")
            return keys, said
    if len(colors) > MAX_COLORS:
        lossy = ": a JPEG changes colors; save labels as PNG" if content.lossy else ""
        raise DeepLabError(
            f"The labels hold {len(colors)} colors, which are no classes{lossy}. If some are, list them in "
            f"label_colors.txt (a line each: red green blue name). The first label is {paths[0]}."
        )
    names = ["color_{}_{}_{}".format(*color) for color in sorted(colors)]
    classes = rows(names, dict(zip(names, sorted(colors))))
    said = [f"No file names the colors: the classes are called {some_of(names)}; rename them."]
    return {"label_format": "colors", "classes": classes}, said
