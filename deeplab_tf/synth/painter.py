"""The painter: a pinhole camera, and polygons in metres filled into an image and an instance map alike.

Everything is drawn twice as large as asked, without anti-aliasing; then the image is averaged 2x2 and the map is
thinned out, so that image and labels come from the same polygons. World axes in metres: x to the right, y up from the
road, z ahead.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.synth.light import Color, Light

_SCALE = 2  # drawn this much larger than asked
_NEAR = 0.6  # metres; what is nearer is drawn as if here
_REACH = 16000  # pixels; no coordinate is farther out
_MARGIN = 2  # pixels around the canvas; polygons are cut there, because versions of OpenCV differ in how they cut


class View(NamedTuple):
    """Where the camera is and how it looks. Fractions are of the image's width or height."""

    focal: float  # focal length over width
    center_x: float  # vanishing point of the road, fraction of the width
    horizon: float  # fraction of the height
    height: float  # metres above the road
    x: float
    z: float
    curve: float  # the road bends by curve * distance^2 metres
    roll: float  # slope of the horizon


class Frame(NamedTuple):
    """Where a shape stands, and which way its own axis `a` (forward) points; `b` is to its right."""

    x: float
    z: float
    forward_x: float = 1.0
    forward_z: float = 0.0


def heading(x: float, z: float, degrees: float) -> Frame:
    """A frame turned clockwise from 'away from the camera'. Rounded, so that every machine's sine gives the same."""
    angle = math.radians(degrees)
    return Frame(x, z, round(math.sin(angle), 6), round(math.cos(angle), 6))


def _circle(corners: int) -> List[Tuple[float, float]]:
    return [
        (round(math.cos(2 * math.pi * i / corners), 6), round(math.sin(2 * math.pi * i / corners), 6))
        for i in range(corners)
    ]


_CIRCLES = {corners: _circle(corners) for corners in range(3, 25)}


def ellipse(
    a: float, y: float, radius_a: float, radius_y: float, corners: int = 12, b: float = 0.0
) -> List[Tuple[float, float, float]]:
    """Corners (a, b, y) of an ellipse that stands in the a-y plane."""
    return [(a + radius_a * c, b, y + radius_y * s) for c, s in _CIRCLES[corners]]


def upright(points: Sequence[Tuple[float, float]], b: float = 0.0) -> List[Tuple[float, float, float]]:
    """(a, y) corners as (a, b, y)."""
    return [(a, b, y) for a, y in points]


def limb(a1: float, y1: float, a2: float, y2: float, width1: float, width2: float) -> List[Tuple[float, float, float]]:
    """Corners of a tapering bar from one point to another in the a-y plane."""
    da, dy = a2 - a1, y2 - y1
    length = max(math.sqrt(da * da + dy * dy), 1e-6)
    na, ny = -dy / length / 2, da / length / 2
    return upright(
        [
            (a1 + na * width1, y1 + ny * width1),
            (a2 + na * width2, y2 + ny * width2),
            (a2 - na * width2, y2 - ny * width2),
            (a1 - na * width1, y1 - ny * width1),
        ]
    )


def _cut_off(corners: list, axis: int, limit: int, sign: int) -> list:
    """The part of a polygon at or above (sign 1), or at or below (sign -1), a limit on one axis (Sutherland and
    Hodgman, 1974)."""
    kept = []
    for start, end in zip(corners[-1:] + corners[:-1], corners):
        inside, before = (end[axis] - limit) * sign >= 0, (start[axis] - limit) * sign >= 0
        if inside != before:
            other = start[1 - axis] + (end[1 - axis] - start[1 - axis]) * (limit - start[axis]) / (
                end[axis] - start[axis]
            )
            kept.append([limit, round(other)] if axis == 0 else [round(other), limit])
        if inside:
            kept.append(end)
    return kept


class Shape:
    """Polygons of one object in its own axes (a forward, b right, y up), in the order in which they are painted."""

    def __init__(self):
        self.points = []
        self.parts = []  # (end index, code or None, grain, color or None)

    def add(
        self, points, color: Optional[Color], grain: int = 6, shade: float = 1.0, code: Optional[int] = None
    ) -> None:
        """One polygon. `color` None leaves the image and marks only the instance map: what one sees through a wheel."""
        self.points.extend(points)
        self.parts.append((len(self.points), code, grain, color and tuple(c * shade for c in color)))


class Painter:
    """Fills polygons into an image (with the roughness of the surface as fourth channel) and into a map of instance
    ids."""

    def __init__(self, size: Tuple[int, int], view: View, light: Light):
        self.size, self.view, self.light = size, view, light
        self.height, self.width = size[0] * _SCALE, size[1] * _SCALE
        self._canvas = np.zeros((self.height + 2 * _MARGIN, self.width + 2 * _MARGIN, 4), np.uint8)
        self._codes = np.zeros(self._canvas.shape[:2], np.uint16)
        self.canvas = self._canvas[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        self.codes = self._codes[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        self._focal = view.focal * self.width
        self._instances = {}

    def instance(self, label_id: int) -> int:
        """A fresh instance id of a class: label id * 1000 + 0, 1, 2, ..."""
        count = self._instances.get(label_id, 0)
        self._instances[label_id] = count + 1
        return label_id * 1000 + count

    def pixels(self, meters: float, z: float) -> float:
        """How many pixels of the finished image a length covers at depth z of the world."""
        return meters * self._focal / _SCALE / max(z - self.view.z, _NEAR)

    def project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(N, 2) int32 pixels of the canvas for (N,) world coordinates."""
        view = self.view
        depth = np.maximum(z - view.z, _NEAR)
        scale = self._focal / depth
        u = view.center_x * self.width + (x - view.x) * scale + view.curve * self._focal * depth
        v = view.horizon * self.height + (view.height - y) * scale + view.roll * (u - self.width / 2)
        pixels = np.empty((len(u), 2), np.float64)
        pixels[:, 0], pixels[:, 1] = u, v
        return np.rint(np.minimum(np.maximum(pixels, -_REACH), _REACH)).astype(np.int32)

    def tone(self, color: Color, z: float, shade: float = 1.0) -> Tuple[int, int, int]:
        """A colour in this light, through the haze at depth z."""
        depth = max(z - self.view.z, 0.0)
        keep = self.light.haze_depth / (self.light.haze_depth + depth)
        (red, green, blue), tint, haze = color, self.light.tint, self.light.sky_low
        lit, rest = shade * keep, 1 - keep
        return (
            int(min(255.0, red * lit * tint[0] + haze[0] * rest)),
            int(min(255.0, green * lit * tint[1] + haze[1] * rest)),
            int(min(255.0, blue * lit * tint[2] + haze[2] * rest)),
        )

    def face(self, normal_x: float, normal_z: float) -> float:
        """How bright an upright face is that looks along (normal_x, normal_z)."""
        return 0.84 + self.light.sun_x * normal_x + self.light.sun_z * normal_z

    def fill(
        self, polygons: List[np.ndarray], color: Optional[Tuple[int, int, int]], code: Optional[int], grain: int = 6
    ) -> None:
        """Polygons in canvas pixels. Where several overlap, an even number of layers leaves a hole (OpenCV's rule)."""
        polygons = self._cut(polygons)
        if polygons and color is not None:
            cv2.fillPoly(self._canvas, polygons, (color[0], color[1], color[2], grain), offset=(_MARGIN, _MARGIN))
        if polygons and code is not None:
            cv2.fillPoly(self._codes, polygons, (code,), offset=(_MARGIN, _MARGIN))

    def _cut(self, polygons: List[np.ndarray]) -> List[np.ndarray]:
        """The polygons as far as they lie on the canvas and its margin."""
        cut = []
        for polygon in polygons:
            x, y, width, height = cv2.boundingRect(polygon)
            if x >= 0 and y >= 0 and x + width <= self.width and y + height <= self.height:
                cut.append(polygon)
            elif x < self.width and y < self.height and x + width > 0 and y + height > 0:
                corners = polygon.tolist()
                for axis, last in ((0, self.width), (1, self.height)):
                    corners = _cut_off(_cut_off(corners, axis, 1 - _MARGIN, 1), axis, last + _MARGIN - 2, -1)
                if corners:
                    cut.append(np.array(corners, np.int32))
        return cut

    def solid(self, points, color: Optional[Color], code: Optional[int], grain: int = 6, shade: float = 1.0) -> None:
        """One polygon of world points (x, y, z)."""
        world = np.array(points, np.float64)
        tone = color and self.tone(color, float(world[:, 2].mean()), shade)
        self.fill([self.project(world[:, 0], world[:, 1], world[:, 2])], tone, code, grain)

    def many(self, polygons: np.ndarray, color: Color, code: Optional[int], grain: int = 6, shade: float = 1.0) -> None:
        """(N, corners, 3) world polygons of one colour that do not overlap."""
        if len(polygons):
            flat = polygons.reshape(-1, 3)
            pixels = self.project(flat[:, 0], flat[:, 1], flat[:, 2]).reshape(len(polygons), -1, 2)
            self.fill(list(pixels), self.tone(color, float(flat[:, 2].mean()), shade), code, grain)

    def draw(self, shape: Shape, frame: Frame, code: int) -> None:
        """A shape where its frame stands; parts without a code of their own get `code`."""
        local = np.array(shape.points, np.float64)
        x = frame.x + local[:, 0] * frame.forward_x + local[:, 1] * frame.forward_z
        z = frame.z + local[:, 0] * frame.forward_z - local[:, 1] * frame.forward_x
        pixels = self.project(x, local[:, 2], z)
        start = 0
        for end, own, grain, color in shape.parts:
            self.fill([pixels[start:end]], color and self.tone(color, frame.z), code if own is None else own, grain)
            start = end

    def darken(self, points, keep: float) -> None:
        """A shadow: what lies in the polygon of world points keeps this share of its light."""
        world = np.array(points, np.float64)
        pixels = self.project(world[:, 0], world[:, 1], world[:, 2])
        levels = np.arange(256)
        table = np.stack([levels * int(keep * 256) >> 8] * 3 + [levels], axis=-1).astype(np.uint8)  # roughness stays
        for polygon in self._cut([pixels]):
            x, y, width, height = cv2.boundingRect(polygon)
            mask = np.zeros((height, width), np.uint8)
            cv2.fillPoly(mask, [polygon], (1,), offset=(-x, -y))
            part = self._canvas[y + _MARGIN : y + _MARGIN + height, x + _MARGIN : x + _MARGIN + width]
            cv2.copyTo(cv2.LUT(part, table[None]), mask, part)

    def finish(self) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 image, (H, W) uint8 roughness, (H, W) uint16 instance ids."""
        small = cv2.resize(self.canvas, (self.size[1], self.size[0]), interpolation=cv2.INTER_AREA)
        codes = cv2.resize(self.codes, (self.size[1], self.size[0]), interpolation=cv2.INTER_NEAREST)
        return cv2.cvtColor(small, cv2.COLOR_BGRA2BGR), cv2.extractChannel(small, 3), codes
