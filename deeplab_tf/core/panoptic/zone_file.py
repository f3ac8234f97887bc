"""Reads the lines and zones of a picture from a small YAML file:

    lines:
      gate:
        points: [[0.2, 0.6], [0.8, 0.6]]
    zones:
      crossing:
        points: [[0.1, 0.6], [0.4, 0.6], [0.5, 1.0], [0.0, 1.0]]
        classes: [person]

A point is x and y as shares of the picture's width and height. Each fault is one sentence that names file and line.
"""

import math
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.zones import Place, Region, Regions
from deeplab_tf.core.yaml_text import read_file, show_path

_MAX_NAME = 64
_MAX_POINTS = 1000
_MAX_REGIONS = 100


def read_regions(path: str, table: LabelTable) -> Regions:
    """Return what a file counts.

    Args:
        path: of the YAML file.
        table: the classes; only those of things can be counted.

    Raises:
        DeepLabError: the file cannot be read, or anything in it is wrong; PyYAML is not installed.
    """
    return _Reader(path, table).regions()


class _Reader:
    def __init__(self, path, table):
        self._file, self._table = path, table
        self._text = read_file(path, "zone file")
        self._seen: Dict[str, tuple] = {}  # name -> where

    def _wrong(self, place, problem) -> DeepLabError:
        line = self._text.lines.get(place, 1)
        return DeepLabError(f"{self._file}, line {line}: {problem}".rstrip(".") + ".")

    def regions(self) -> Regions:
        whole = self._mapping((), self._text.value, ("lines", "zones"), "`lines` or `zones`, with names below them")
        found = Regions(*(self._group(kind, whole.get(kind)) for kind in ("lines", "zones")))
        if not (found.lines or found.zones):
            raise self._wrong((), "it names no line and no zone")
        return found

    def _mapping(self, place, value, keys, wanted) -> Dict[str, Any]:
        if not isinstance(value, dict):
            problem = f"expected {wanted}" if not place else f"{show_path(place)} must have {wanted}"
            raise self._wrong(place, problem)
        for key in value:
            if keys is not None and key not in keys:
                where = f" in {show_path(place)}" if place else ""
                raise self._wrong((*place, key), f"there is no key '{key}'{where}. {did_you_mean(key, keys)}")
        return value

    def _group(self, kind, value) -> Tuple[Region, ...]:
        if value is None:
            return ()
        names = self._mapping((kind,), value, None, "names below it")
        if len(names) > _MAX_REGIONS:
            raise self._wrong((kind,), f"{len(names)} {kind} are too many; {_MAX_REGIONS} are the most")
        return tuple(self._region(kind, name, names[name]) for name in names)

    def _region(self, kind, name, value) -> Region:
        place = kind, name
        if name in self._seen:
            other = self._text.lines[self._seen[name]]
            raise self._wrong(place, f"the name '{name}' is given twice, in line {other} too; choose another")
        self._seen[name] = place
        if len(name) > _MAX_NAME:
            raise self._wrong(place, f"a name has at most {_MAX_NAME} characters; this one has {len(name)}")
        fields = self._mapping(place, value, ("points", "classes"), "`points`")
        points = self._points(place, fields.get("points"), kind)
        return Region(name, points, self._classes(place, fields.get("classes")))

    def _points(self, place, value, kind) -> Tuple[Place, ...]:
        where = show_path((*place, "points"))
        if not isinstance(value, list):
            raise self._wrong(place, f"{where} must be a list of [x, y]")
        points = [self._point((*place, "points", i), point) for i, point in enumerate(value)]
        is_line, count = kind == "lines", len(points)
        if (is_line and count != 2) or not 2 < count + is_line <= _MAX_POINTS:
            wanted = "a line has 2 points" if is_line else f"a zone has 3 points or more, up to {_MAX_POINTS}"
            raise self._wrong((*place, "points"), f"{where} has {count}; {wanted}")
        if is_line and points[0] == points[1]:
            raise self._wrong((*place, "points"), f"the two points of {where} are the same")
        if not is_line and abs(_area(points)) < 1e-9:
            raise self._wrong((*place, "points"), f"{where} encloses nothing; give its corners in turn")
        if not is_line and _crosses_itself(points):
            raise self._wrong((*place, "points"), f"edges of {where} cross each other; give its corners in turn")
        return tuple(points)

    def _point(self, place, value) -> Place:
        numbers = isinstance(value, list) and len(value) == 2 and all(type(each) in (int, float) for each in value)
        if not numbers or not all(math.isfinite(each) for each in value):
            raise self._wrong(place, f"{show_path(place)} must be two numbers [x, y]")
        if not all(0 <= each <= 1 for each in value):
            x, y = (f"{each:g}" for each in value)
            raise self._wrong(
                place,
                f"{show_path(place)} is [{x}, {y}], outside the picture: x and y are shares of its width and height, "
                "0 to 1",
            )
        return float(value[0]), float(value[1])

    def _classes(self, place, value) -> Optional[FrozenSet[int]]:
        if value is None:
            return None
        place = (*place, "classes")
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            raise self._wrong(place, f"{show_path(place)} must be a list of class names")
        things = {label.name: label.id for label in self._table if label.thing}
        for i, name in enumerate(value):
            if name not in things:
                known = name in self._table.names
                problem = f"the class '{name}' is not one of things" if known else f"there is no class '{name}'"
                raise self._wrong((*place, i), f"{problem}. {did_you_mean(name, things)}" if things else problem)
        return frozenset(things[name] for name in value)


def _area(points: List[Place]) -> float:
    """Return twice the area of a polygon, with a sign."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]))


def _crosses_itself(points: List[Place]) -> bool:
    """Return whether two edges that have no common corner cross."""
    edges = list(zip(points, points[1:] + points[:1]))
    for i, (a, b) in enumerate(edges):
        for c, d in edges[i + 2 : len(edges) - (i == 0)]:
            if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
                return True
    return False


def _turn(a: Place, b: Place, c: Place) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
