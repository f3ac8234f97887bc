"""Names and colors of classes, from files that people keep beside their labels."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

Color = tuple[int, int, int]

FILES = ("classes.txt", "class_names.txt", "labels.txt", "label_names.txt", "names.txt", "label_colors.txt",
         "class_dict.csv", "classes.csv", "objectInfo150.txt", "labelmap.txt", "codes.txt")  # fmt: skip
"""Names of such files, in any letters."""


def class_color(index: int) -> Color:
    """Return the color of a class without one: that of Pascal VOC's color map, which starts with black."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> 0 & 1) << (7 - bit)
        green |= (index >> 1 & 1) << (7 - bit)
        blue |= (index >> 2 & 1) << (7 - bit)
        index >>= 3
    return red, green, blue


def rows(names: Sequence[str], colors: Mapping[str, Color] | None = None, ids: Sequence[int] | None = None) -> list:
    """Return the rows of `classes`: each with a color, and its id where ids are not 0, 1, 2, ..."""
    colors = colors or {}
    numbers = list(range(len(names))) if ids is None else list(ids)
    made = []
    for number, name in zip(numbers, names):
        row: dict = {"name": name, "color": list(colors.get(name, class_color(number)))}
        if numbers != list(range(len(names))):
            row["id"] = number
        made.append(row)
    return made


def named_classes(root: Path) -> tuple[str, list[tuple[int | None, str, Color | None]]] | None:
    """Return the file that names classes, in a folder or the one above `labels`, and its rows: id, name, color.

    None where there is no such file. A line is a name alone, or has an id or a color before or after it.
    """
    wanted = {name.lower() for name in FILES}
    files = [path for path in sorted(root.iterdir()) if path.is_file() and path.name.lower() in wanted]
    for path in files:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [row for row in (_row(line) for line in lines) if row is not None]
        if found:
            return path.name, found
    return None


def _row(line: str):
    """Return id, name and color of a line; None for a line without a name, a comment or a head."""
    line = line.split("#")[0].strip()
    if "\t" in line or "," in line or ";" in line:
        cells = [part.strip() for part in re.split(r"[\t,;:]", line)]
        parts = [part for cell in cells for part in (cell.split() if re.fullmatch(r"[0-9\s]+", cell) else [cell])]
    else:
        parts = [part for part in re.split(r"[\s:]+", line) if part]
    numbers = [part for part in parts if re.fullmatch(r"[0-9.]+", part)]
    words = [part for part in parts if part and part not in numbers]
    if not words or words[0].lower() in ("name", "idx", "label", "id", "class", "r", "pixel_value"):
        return None
    integers = [int(part) for part in numbers if part.isdigit()]
    name = words[0] if "\t" in line or "," in line or ";" in line else " ".join(words)
    color = tuple(integers[-3:]) if len(integers) in (3, 4) and len(numbers) == len(integers) else None
    leading = integers[:1] if parts[0].isdigit() and len(integers) != 3 else []
    return leading[0] if leading else None, name, color
