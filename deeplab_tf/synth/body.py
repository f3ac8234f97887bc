"""A vehicle's body: a side profile in metres, extruded over its width, as much of it as the camera sees."""

from typing import List, Tuple

from deeplab_tf.synth.light import Color
from deeplab_tf.synth.painter import Frame, Painter, Shape, ellipse, upright

GLASS = (62, 70, 80)
_RUBBER = (34, 34, 36)


class Body:
    """A profile extruded to a width, seen from where the camera is."""

    def __init__(self, painter: Painter, shape: Shape, frame: Frame, half: float):
        self.painter, self.shape, self.frame, self.half = painter, shape, frame, half
        dx, dz = painter.view.x - frame.x, painter.view.z - frame.z
        self.eye_a = dx * frame.forward_x + dz * frame.forward_z
        self.eye_b = dx * frame.forward_z - dz * frame.forward_x
        self.eye_y = painter.view.height

    def shade(self, normal_a: float, normal_b: float) -> float:
        frame = self.frame
        return self.painter.face(
            normal_a * frame.forward_x + normal_b * frame.forward_z,
            normal_a * frame.forward_z - normal_b * frame.forward_x,
        )

    @property
    def side(self) -> float:
        """Which flank is seen: 1 the right one, -1 the left one, 0 neither."""
        return 0.0 if abs(self.eye_b) <= self.half else (1.0 if self.eye_b > 0 else -1.0)

    @property
    def end(self) -> float:
        """Which end is seen: 1 the front, -1 the rear."""
        return 1.0 if self.eye_a > 0 else -1.0

    def extrude(self, profile, paint: Color, taper: float = 0.0, belt: float = 0.9) -> None:
        """The seen strips between the two flanks, then the seen flank. `taper`: how much narrower per metre above the
        belt line."""

        def width(y):
            return self.half - taper * max(0.0, y - belt)

        for (a1, y1, material), (a2, y2, _) in zip(profile, profile[1:] + profile[:1]):
            normal_a, normal_y = -(y2 - y1), a2 - a1
            if normal_a * (self.eye_a - a1) + normal_y * (self.eye_y - y1) <= 0:
                continue
            length = max((normal_a * normal_a + normal_y * normal_y) ** 0.5, 1e-6)
            quad = [(a1, -width(y1), y1), (a2, -width(y2), y2), (a2, width(y2), y2), (a1, width(y1), y1)]
            shade = self.shade(normal_a / length, 0.0) + 0.2 * normal_y / length
            self.shape.add(quad, paint, shade=shade)
            if material == "glass":
                self.pane(quad)
        if self.side:
            self.shape.add(
                [(a, self.side * width(y), y) for a, y, _ in profile], paint, shade=self.shade(0.0, self.side)
            )

    def pane(self, quad, inset: float = 0.12) -> None:
        """A window within a quad, with a lighter reflection in one half."""
        middle = [sum(c[i] for c in quad) / 4 for i in range(3)]
        inner = [tuple(c[i] + (middle[i] - c[i]) * inset for i in range(3)) for c in quad]
        self.shape.add(inner, GLASS, grain=3)
        half = [
            tuple((inner[1][i] + inner[2][i]) / 2 for i in range(3)),
            inner[2],
            tuple((inner[2][i] + inner[3][i]) / 2 for i in range(3)),
        ]
        self.shape.add(half, (104, 114, 124), grain=3)

    def flank(self, points: List[Tuple[float, float]], color: Color, grain: int = 4, shade: float = 0.0) -> None:
        """A polygon (a, y) on the seen flank."""
        if self.side:
            self.shape.add(upright(points, self.side * self.half), color, grain, shade or self.shade(0.0, self.side))

    def face(
        self, a: float, points: List[Tuple[float, float]], color: Color, grain: int = 4, shade: float = 0.0
    ) -> None:
        """A polygon (b, y) on the seen end, at a."""
        self.shape.add([(a, b, y) for b, y in points], color, grain, shade or self.shade(self.end, 0.0))

    def boxes(self, draw, rows) -> None:
        """Rectangles (from, to, low, high, colour) on the flank or on an end."""
        for first, last, low, high, color in rows:
            draw([(first, low), (last, low), (last, high), (first, high)], color)

    def wheels(self, places, radius: float) -> None:
        """Wheels of the seen flank, and the dark ends of the tyres below the body."""
        for a in places:
            for b in (-self.half, self.half):
                inner = b - 0.24 if b > 0 else b + 0.24
                edge = a + self.end * radius * 0.8
                self.shape.add(
                    [(edge, b, 0.0), (edge, inner, 0.0), (edge, inner, radius * 1.1), (edge, b, radius * 1.1)], _RUBBER
                )
        if self.side:
            flank = self.side * (self.half + 0.01)
            for a in places:
                self.shape.add(ellipse(a, radius, radius * 1.16, radius * 1.16, 14, flank), (24, 24, 26))
                self.shape.add(ellipse(a, radius, radius, radius, 14, flank), _RUBBER)
                self.shape.add(ellipse(a, radius, radius * 0.6, radius * 0.6, 10, flank), (138, 140, 144))
                self.shape.add(ellipse(a, radius, radius * 0.22, radius * 0.22, 6, flank), (60, 60, 64))


def lights(body: Body, a: float, low: float, high: float, wide: float) -> None:
    """Head or tail lights, plate and bumper on the seen end."""
    half = body.half
    front = body.end > 0
    lamp = (238, 236, 222) if front else (178, 30, 26)
    bumper = (52, 52, 56)
    rows = [
        (-half * 0.96, half * 0.96, low - 0.3, low - 0.12, bumper),
        (-half * 0.94, -half * 0.94 + wide, low, high, lamp),
        (half * 0.94 - wide, half * 0.94, low, high, lamp),
        (-0.27, 0.27, low - 0.08, low + 0.06, (224, 222, 208)),
    ]
    if front:
        rows.append((-half * 0.45, half * 0.45, low + 0.08, high, (40, 40, 44)))
    body.boxes(lambda points, color: body.face(a, points, color), rows)


def block(back: float, front: float, low: float, high: float, nose: float = 0.0) -> list:
    """The profile of a box; `nose`: by how much its front leans back at the top."""
    return [
        (back, low, "body"),
        (back, high, "body"),
        (front - nose, high, "body"),
        (front, low + (high - low) * 0.45, "body"),
        (front, low, "under"),
    ]


def window_band(body: Body, back: float, front: float, low: float, high: float, step: float) -> None:
    count = max(1, int((front - back) / step))
    for i in range(count):
        first = back + (front - back) * i / count + 0.06
        last = back + (front - back) * (i + 1) / count - 0.06
        body.flank([(first, low), (last, low), (last, high), (first, high)], GLASS)
        body.flank([(first, low + (high - low) * 0.5), (last, high), (first, high)], (96, 108, 118))


def shadow(painter: Painter, frame: Frame, back: float, front: float, half: float, keep: float = 0.5) -> None:
    """The shadow below a vehicle, a person or a tree, drawn out to the side away from the sun."""
    lean = -painter.light.sun_x * 2.2
    corners = [(back, -half), (back * 0.9, half), (front * 0.9, half), (front, -half)]
    points = [
        (frame.x + a * frame.forward_x + b * frame.forward_z, 0.0, frame.z + a * frame.forward_z - b * frame.forward_x)
        for a, b in corners
    ]
    painter.darken(
        [(x + lean * (x > frame.x) * (lean > 0) + lean * (x < frame.x) * (lean < 0), y, z) for x, y, z in points], keep
    )
