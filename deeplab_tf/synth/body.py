"""The body of a vehicle: a side profile in metres, extruded over its width, as far as the camera sees it."""

from typing import List, Sequence, Tuple

from deeplab_tf.synth.light import Color
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import Corners, Flat, Pose, Shape, ellipse, rectangle, upright

GLASS = (62, 70, 80)
_RUBBER = (34, 34, 36)

Box = Tuple[float, float, float, float, Color]
"""A rectangle: from, to, low, high, color."""


class Body:
    """A profile extruded to a width, seen from where the camera is."""

    def __init__(self, painter: Painter, shape: Shape, pose: Pose, half: float):
        self.painter, self.shape, self.pose, self.half = painter, shape, pose, half
        dx, dz = painter.camera.x - pose.x, painter.camera.z - pose.z
        self.eye_a = dx * pose.forward_x + dz * pose.forward_z
        self.eye_b = dx * pose.forward_z - dz * pose.forward_x
        self.eye_y = painter.camera.height

    def shade(self, normal_a: float, normal_b: float) -> float:
        """Return the brightness of an upright face with this normal."""
        pose = self.pose
        return self.painter.face(
            normal_a * pose.forward_x + normal_b * pose.forward_z, normal_a * pose.forward_z - normal_b * pose.forward_x
        )

    @property
    def side(self) -> float:
        """The flank in view: 1 the right one, -1 the left one, 0 neither."""
        return 0.0 if abs(self.eye_b) <= self.half else (1.0 if self.eye_b > 0 else -1.0)

    @property
    def end(self) -> float:
        """The end in view: 1 the front, -1 the rear."""
        return 1.0 if self.eye_a > 0 else -1.0

    def extrude(self, profile: Flat, paint: Color, *, glass: Sequence[int] = (), taper: float = 0.0) -> None:
        """Draw the visible strips between the flanks, then the flank in view.

        Args:
            profile: corners (a, y) of the flank, clockwise from the lower rear one.
            glass: the corners at which a strip of glass begins.
            taper: how much narrower the body gets per metre above the belt line, at 0.9 m.
        """

        def width(y):
            return self.half - taper * max(0.0, y - 0.9)

        for i, ((a1, y1), (a2, y2)) in enumerate(zip(profile, (*profile[1:], profile[0]))):
            normal_a, normal_y = -(y2 - y1), a2 - a1
            if normal_a * (self.eye_a - a1) + normal_y * (self.eye_y - y1) <= 0:
                continue
            length = max((normal_a * normal_a + normal_y * normal_y) ** 0.5, 1e-6)
            quad = [(a1, -width(y1), y1), (a2, -width(y2), y2), (a2, width(y2), y2), (a1, width(y1), y1)]
            self.shape.add(quad, paint, shade=self.shade(normal_a / length, 0.0) + 0.2 * normal_y / length)
            if i in glass:
                self.pane(quad)
        if self.side:
            flank = [(a, self.side * width(y), y) for a, y in profile]
            self.shape.add(flank, paint, shade=self.shade(0.0, self.side))

    def pane(self, quad: Corners, inset: float = 0.12) -> None:
        """Draw a window within a quad, with a lighter reflection in one half."""
        middle = _mean(*quad)
        inner = [tuple(c + (m - c) * inset for c, m in zip(corner, middle)) for corner in quad]
        self.shape.add(inner, GLASS, grain=3)
        self.shape.add([_mean(inner[1], inner[2]), inner[2], _mean(inner[2], inner[3])], (104, 114, 124), grain=3)

    def flank(self, points: Flat, color: Color, grain: int = 4, shade: float = 0.0) -> None:
        """Draw a polygon (a, y) on the flank in view."""
        if self.side:
            self.shape.add(upright(points, self.side * self.half), color, grain, shade or self.shade(0.0, self.side))

    def face(self, a: float, points: Flat, color: Color, grain: int = 4, shade: float = 0.0) -> None:
        """Draw a polygon (b, y) on the end in view, at a."""
        self.shape.add([(a, b, y) for b, y in points], color, grain, shade or self.shade(self.end, 0.0))

    def face_boxes(self, a: float, boxes: Sequence[Box]) -> None:
        """Draw rectangles on the end in view, at a."""
        for first, last, low, high, color in boxes:
            self.face(a, rectangle(first, last, low, high), color)

    def wheels(self, places: Sequence[float], radius: float) -> None:
        """Draw the wheels of the flank in view, and the dark ends of the tyres below the body."""
        for a in places:
            for b in (-self.half, self.half):
                inner = b - 0.24 if b > 0 else b + 0.24
                edge = a + self.end * radius * 0.8
                self.shape.add([(edge, *corner) for corner in rectangle(b, inner, 0.0, radius * 1.1)], _RUBBER)
        if self.side:
            flank = self.side * (self.half + 0.01)
            for a in places:
                self.shape.add(ellipse(a, radius, radius * 1.16, radius * 1.16, 14, flank), (24, 24, 26))
                self.shape.add(ellipse(a, radius, radius, radius, 14, flank), _RUBBER)
                self.shape.add(ellipse(a, radius, radius * 0.6, radius * 0.6, 10, flank), (138, 140, 144))
                self.shape.add(ellipse(a, radius, radius * 0.22, radius * 0.22, 6, flank), (60, 60, 64))


def _mean(*corners):
    return tuple(sum(values) / len(corners) for values in zip(*corners))


def lights(body: Body, a: float, low: float, high: float, wide: float) -> None:
    """Draw head or tail lights, plate and bumper on the end in view."""
    half = body.half
    front = body.end > 0
    lamp = (238, 236, 222) if front else (178, 30, 26)
    boxes: List[Box] = [
        (-half * 0.96, half * 0.96, low - 0.3, low - 0.12, (52, 52, 56)),
        (-half * 0.94, -half * 0.94 + wide, low, high, lamp),
        (half * 0.94 - wide, half * 0.94, low, high, lamp),
        (-0.27, 0.27, low - 0.08, low + 0.06, (224, 222, 208)),
    ]
    if front:
        boxes.append((-half * 0.45, half * 0.45, low + 0.08, high, (40, 40, 44)))
    body.face_boxes(a, boxes)


def block(back: float, front: float, low: float, high: float, nose: float = 0.0) -> List[Tuple[float, float]]:
    """Return the profile of a box; `nose`: by how much its front leans back at the top."""
    return [(back, low), (back, high), (front - nose, high), (front, low + (high - low) * 0.45), (front, low)]


def window_band(body: Body, back: float, front: float, low: float, high: float, step: float) -> None:
    """Draw a row of windows on the flank in view, each about `step` metres long."""
    count = max(1, int((front - back) / step))
    for i in range(count):
        first = back + (front - back) * i / count + 0.06
        last = back + (front - back) * (i + 1) / count - 0.06
        body.flank(rectangle(first, last, low, high), GLASS)
        body.flank([(first, low + (high - low) * 0.5), (last, high), (first, high)], (96, 108, 118))


def shadow(painter: Painter, pose: Pose, back: float, front: float, half: float, keep: float = 0.5) -> None:
    """Draw the shadow below an object, stretched to the side away from the sun."""
    lean = -painter.light.sun_x * 2.2
    points = []
    for a, b in ((back, -half), (back * 0.9, half), (front * 0.9, half), (front, -half)):
        x = pose.x + a * pose.forward_x + b * pose.forward_z
        away = (x > pose.x and lean > 0) or (x < pose.x and lean < 0)
        points.append((x + lean * away, 0.0, pose.z + a * pose.forward_z - b * pose.forward_x))
    painter.darken(points, keep)
