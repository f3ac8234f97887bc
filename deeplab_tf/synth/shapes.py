"""Polygons in metres: where a shape is, its corners, and the parts it is made of."""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

from deeplab_tf.synth.light import Color

Flat = Sequence[Tuple[float, float]]
"""Corners (a, y) of a polygon in an upright plane."""
Corners = Sequence[Sequence[float]]
"""Corners (a, b, y) in a shape's own axes, or (x, y, z) in the world's."""


class Pose(NamedTuple):
    """Where a shape is, and the direction of its axis `a` (forward); `b` is to its right."""

    x: float
    z: float
    forward_x: float = 1.0
    forward_z: float = 0.0


def heading(x: float, z: float, degrees: float) -> Pose:
    """Return a pose turned clockwise from 'away from the camera', rounded: the same on machines with another sine."""
    angle = math.radians(degrees)
    return Pose(x, z, round(math.sin(angle), 6), round(math.cos(angle), 6))


def _circle(corners):
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return [(round(math.cos(angle), 6), round(math.sin(angle), 6)) for angle in angles]


_CIRCLES = {corners: _circle(corners) for corners in range(3, 25)}


def ellipse(a: float, y: float, radius_a: float, radius_y: float, corners: int = 12, b: float = 0.0) -> Corners:
    """Return corners (a, b, y) of an ellipse in the a-y plane."""
    return [(a + radius_a * c, b, y + radius_y * s) for c, s in _CIRCLES[corners]]


def rectangle(left: float, right: float, low: float, high: float) -> List[Tuple[float, float]]:
    """Return the corners (a, y) of a rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def trapezoid(middle: float, low: float, high: float, below: float, above: float) -> List[Tuple[float, float]]:
    """Return the corners (a, y) of a trapezoid; `below` and `above` are half its widths at `low` and `high`."""
    return [(middle - below, low), (middle + below, low), (middle + above, high), (middle - above, high)]


def upright(points: Flat, b: float = 0.0) -> Corners:
    """Return (a, y) corners as (a, b, y)."""
    return [(a, b, y) for a, y in points]


def across(left: float, right: float, low: float, high: float, z: float) -> Corners:
    """Return world corners (x, y, z) of a rectangle that faces the camera."""
    return [(x, y, z) for x, y in rectangle(left, right, low, high)]


def limb(a1: float, y1: float, a2: float, y2: float, width1: float, width2: float) -> Corners:
    """Return the corners of a tapering bar from one point to another in the a-y plane."""
    da, dy = a2 - a1, y2 - y1
    length = max(math.sqrt(da * da + dy * dy), 1e-6)
    na, ny = -dy / length / 2, da / length / 2
    ends = ((a1, y1, width1), (a2, y2, width2), (a2, y2, -width2), (a1, y1, -width1))
    return [(a + na * width, 0.0, y + ny * width) for a, y, width in ends]


def tinted(color: Color, factor: float) -> Color:
    """Return a color times a factor."""
    red, green, blue = color
    return red * factor, green * factor, blue * factor


class Shape:
    """Polygons of one object in its own axes (a forward, b right, y up), in the order in which they are painted."""

    def __init__(self):
        self.points: List[Sequence[float]] = []
        self.parts: List[Tuple[int, Optional[int], int, Optional[Color]]] = []  # end of its points, code, grain, color

    def add(
        self, points: Corners, color: Optional[Color], grain: int = 6, shade: float = 1.0, code: Optional[int] = None
    ) -> None:
        """Add a polygon; `color` None marks only the instance map, such as what is seen through a wheel."""
        self.points.extend(points)
        self.parts.append((len(self.points), code, grain, color and tinted(color, shade)))
