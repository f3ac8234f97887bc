"""A pinhole camera that fills polygons in metres into an image and an instance map alike.

Everything is drawn at twice the size, without anti-aliasing; then the image is averaged 2x2 and the map subsampled, so
that image and labels come from the same polygons. World axes in metres: x to the right, y up from the road, z ahead.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.synth.light import Color, Light
from deeplab_tf.synth.shapes import Pose, Shape

_SCALE = 2  # of the canvas to the finished image
_NEAR = 0.6  # metres; nearer points are drawn as if here
_REACH = 16000  # pixels; no coordinate is farther out
_MARGIN = 2  # pixels around the canvas; polygons are cut there, because versions of OpenCV cut in different ways


class Camera(NamedTuple):
    """Position and geometry of the camera. Fractions are of the image's width or height."""

    focal: float  # focal length over width
    center_x: float  # vanishing point of the road, fraction of the width
    horizon: float  # fraction of the height
    height: float  # metres above the road
    x: float
    z: float
    curve: float  # the road bends by curve * distance^2 metres
    roll: float  # slope of the horizon


def _cut_off(corners: list, axis: int, limit: int, sign: int) -> list:
    """Return the part of a polygon above (sign 1) or below (-1) a limit (Sutherland and Hodgman, 1974)."""
    kept = []
    for start, end in zip(corners[-1:] + corners[:-1], corners):
        inside, before = (end[axis] - limit) * sign >= 0, (start[axis] - limit) * sign >= 0
        if inside != before:
            rise = (end[1 - axis] - start[1 - axis]) * (limit - start[axis])
            other = round(start[1 - axis] + rise / (end[axis] - start[axis]))
            kept.append([limit, other] if axis == 0 else [other, limit])
        if inside:
            kept.append(end)
    return kept


class Painter:
    """Fills polygons into an image, whose fourth channel is the roughness of the surface, and into an instance map."""

    def __init__(
        self,
        size: Tuple[int, int],
        camera: Camera,
        light: Light,
        numbers: Optional[Dict[Tuple[int, bytes], int]] = None,
    ):
        """Take the size and the view; `numbers` as for `draw_scene`."""
        self._numbers = numbers
        self.size, self.camera, self.light = size, camera, light
        self.height, self.width = size[0] * _SCALE, size[1] * _SCALE
        self._canvas = np.zeros((self.height + 2 * _MARGIN, self.width + 2 * _MARGIN, 4), np.uint8)
        self._codes = np.zeros(self._canvas.shape[:2], np.uint16)
        self.canvas = self._canvas[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        self.codes = self._codes[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        self._focal = camera.focal * self.width
        self._instances: Dict[int, int] = {}

    def instance(self, label_id: int, traits: np.ndarray) -> int:
        """Return the instance id of a thing of a class: label id * 1000 + 0, 1, 2, ... as they come.

        Args:
            label_id: of the class.
            traits: the random numbers that make the thing what it is, at all times.
        """
        if self._numbers is not None:
            count = sum(1 for label, _ in self._numbers if label == label_id)
            number = self._numbers.setdefault((label_id, traits.tobytes()), count)
            if number > 998:
                raise DeepLabError("A drive has more than 999 things of a class, which is the most; draw fewer frames.")
            return label_id * 1000 + number
        count = self._instances.get(label_id, 0)
        self._instances[label_id] = count + 1
        return label_id * 1000 + count

    def pixels(self, meters: float, z: float) -> float:
        """Return how many pixels of the finished image a length covers at depth z of the world."""
        return meters * self._focal / _SCALE / max(z - self.camera.z, _NEAR)

    def project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return (N, 2) int32 pixels of the canvas for (N,) world coordinates."""
        camera = self.camera
        depth = np.maximum(z - camera.z, _NEAR)
        scale = self._focal / depth
        u = camera.center_x * self.width + (x - camera.x) * scale + camera.curve * self._focal * depth
        v = camera.horizon * self.height + (camera.height - y) * scale + camera.roll * (u - self.width / 2)
        pixels = np.empty((len(u), 2), np.float64)
        pixels[:, 0], pixels[:, 1] = u, v
        return np.rint(np.minimum(np.maximum(pixels, -_REACH), _REACH)).astype(np.int32)

    def tone(self, color: Color, z: float, shade: float = 1.0) -> Tuple[int, int, int]:
        """Return a color in this light, through the haze at depth z."""
        depth = max(z - self.camera.z, 0.0)
        keep = self.light.haze_depth / (self.light.haze_depth + depth)
        lit, rest = shade * keep, 1 - keep
        red, green, blue = (
            int(min(255.0, channel * lit * tint + haze * rest))
            for channel, tint, haze in zip(color, self.light.tint, self.light.sky_low)
        )
        return red, green, blue

    def face(self, normal_x: float, normal_z: float) -> float:
        """Return the brightness of an upright face with the normal (normal_x, normal_z)."""
        return 0.84 + self.light.sun_x * normal_x + self.light.sun_z * normal_z

    def fill(
        self, polygons: List[np.ndarray], color: Optional[Tuple[int, int, int]], code: Optional[int], grain: int = 6
    ) -> None:
        """Fill polygons in canvas pixels. An even number of overlapping layers leaves a hole (OpenCV's rule)."""
        polygons = self._cut(polygons)
        if polygons and color is not None:
            cv2.fillPoly(self._canvas, polygons, (*color, grain), offset=(_MARGIN, _MARGIN))
        if polygons and code is not None:
            cv2.fillPoly(self._codes, polygons, (code,), offset=(_MARGIN, _MARGIN))

    def _cut(self, polygons: List[np.ndarray]) -> List[np.ndarray]:
        """Return the parts of polygons that lie on the canvas and its margin."""
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

    def solid(
        self, points: Sequence, color: Optional[Color], code: Optional[int], grain: int = 6, shade: float = 1.0
    ) -> None:
        """Fill a polygon of world points (x, y, z)."""
        world = np.array(points, np.float64)
        tone = color and self.tone(color, float(world[:, 2].mean()), shade)
        self.fill([self.project(world[:, 0], world[:, 1], world[:, 2])], tone, code, grain)

    def many(self, polygons: Sequence, color: Color, code: Optional[int], grain: int = 6, shade: float = 1.0) -> None:
        """Fill (N, 4, 3) world polygons of one color that do not overlap."""
        if len(polygons):
            flat = np.array(polygons, np.float64).reshape(-1, 3)
            pixels = self.project(flat[:, 0], flat[:, 1], flat[:, 2]).reshape(-1, 4, 2)
            self.fill(list(pixels), self.tone(color, float(flat[:, 2].mean()), shade), code, grain)

    def draw(self, shape: Shape, pose: Pose, code: int) -> None:
        """Draw a shape at its pose; parts without a code of their own get `code`."""
        local = np.array(shape.points, np.float64)
        x = pose.x + local[:, 0] * pose.forward_x + local[:, 1] * pose.forward_z
        z = pose.z + local[:, 0] * pose.forward_z - local[:, 1] * pose.forward_x
        pixels = self.project(x, local[:, 2], z)
        start = 0
        for end, own, grain, color in shape.parts:
            self.fill([pixels[start:end]], color and self.tone(color, pose.z), code if own is None else own, grain)
            start = end

    def darken(self, points: Sequence, keep: float) -> None:
        """Draw a shadow: the polygon of world points keeps this share of its light."""
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
        """Return (H, W, 3) uint8 image, (H, W) uint8 roughness, (H, W) uint16 instance ids."""
        small = cv2.resize(self.canvas, (self.size[1], self.size[0]), interpolation=cv2.INTER_AREA)
        codes = cv2.resize(self.codes, (self.size[1], self.size[0]), interpolation=cv2.INTER_NEAREST)
        return cv2.cvtColor(small, cv2.COLOR_BGRA2BGR), cv2.extractChannel(small, 3), codes
