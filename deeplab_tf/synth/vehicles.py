"""Cars, trucks, buses and trams. Metres."""

from typing import NamedTuple, Tuple

import numpy as np

from deeplab_tf.synth.body import GLASS, Body, block, lights, window_band
from deeplab_tf.synth.light import Color
from deeplab_tf.synth.materials import pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import Pose, Shape, rectangle, tinted

CAR, TRUCK, BUS, TRAIN = 26, 27, 28, 31

_PAINTS = (
    (196, 198, 200),
    (150, 152, 156),
    (92, 94, 98),
    (44, 46, 50),
    (232, 232, 228),
    (120, 26, 28),
    (34, 52, 96),
    (60, 92, 132),
    (52, 82, 62),
    (178, 150, 96),
    (196, 120, 44),
    (110, 92, 78),
    (88, 122, 70),
    (206, 178, 60),
    (128, 60, 46),
)


class _Car(NamedTuple):
    """Half the width of a car, and its side profile, clockwise from the lower rear corner."""

    half: float
    glass: Tuple[int, int]  # the corners at which rear window and windscreen begin
    a: Tuple[float, ...]
    y: Tuple[float, ...]


_HATCHBACK = _Car(
    0.88,
    (1, 4),
    (-2.0, -2.0, -1.72, -1.2, 0.25, 0.95, 1.85, 2.0, 2.0),
    (0.3, 0.85, 1.42, 1.48, 1.46, 0.95, 0.8, 0.55, 0.3),
)
_SEDAN = _Car(
    0.9, (2, 4), (-2.3, -2.3, -1.6, -1.0, 0.2, 0.95, 2.1, 2.3, 2.3), (0.3, 0.92, 0.98, 1.4, 1.42, 0.96, 0.8, 0.55, 0.3)
)
_ESTATE = _Car(
    0.95,
    (1, 4),
    (-2.35, -2.35, -2.1, -1.4, 0.3, 1.05, 2.15, 2.35, 2.35),
    (0.35, 1.05, 1.68, 1.74, 1.7, 1.12, 1.0, 0.7, 0.35),
)
_VAN = _Car(
    0.98, (1, 4), (-2.6, -2.6, -2.5, -2.2, 1.3, 1.95, 2.5, 2.6, 2.6), (0.35, 1.2, 2.0, 2.08, 2.05, 1.2, 1.0, 0.6, 0.35)
)
_CARS = (_HATCHBACK, _HATCHBACK, _SEDAN, _SEDAN, _ESTATE, _ESTATE, _VAN)


def car(painter: Painter, pose: Pose, random: np.ndarray, code: int) -> None:
    """Draw a hatchback, sedan, estate or van. `random`: at least 4 numbers in 0..1."""
    kind = _CARS[int(random[0] * 7)]
    half, length = kind.half, 2 * kind.a[-1]
    paint = tinted(pick(_PAINTS, random[1]), 0.8 + 0.4 * random[2])
    shape = Shape()
    body = Body(painter, shape, pose, half)
    floor = rectangle(-length / 2 + 0.1, length / 2 - 0.1, -half, half)
    shape.add([(a, b, 0.12) for a, b in floor], (20, 20, 22))
    end, wheels = body.end * length / 2, (-length * 0.3, length * 0.31)
    body.face(end, rectangle(-half, half, 0.15, 0.4), (22, 22, 24), shade=1.0)
    body.wheels(wheels, 0.31)
    body.extrude(list(zip(kind.a, kind.y)), paint, glass=kind.glass, taper=0.22)
    rear, front = kind.glass[0], kind.glass[1] + 1
    belt, roof = max(kind.y[rear], kind.y[front]), kind.y[rear + 1]
    _car_flank(body, kind, belt, roof, paint)
    if body.side:
        body.wheels(wheels, 0.31)
    lights(body, end, belt - 0.32 if body.end < 0 else belt - 0.38, belt - 0.12 if body.end < 0 else belt - 0.22, 0.3)
    if random[3] < 0.12:  # a taxi sign or a roof rack
        shape.add([(-0.5, b, y) for b, y in rectangle(-0.2, 0.2, roof, roof + 0.16)], (226, 190, 60))
    painter.draw(shape, pose, code)


def _car_flank(body: Body, kind: _Car, belt: float, roof: float, paint: Color) -> None:
    """Draw side windows, the seam of a door, the sill and a handle."""
    rear, front, length = kind.a[kind.glass[0]], kind.a[kind.glass[1] + 1], 2 * kind.a[-1]
    low, high = belt + 0.03, roof - 0.1
    middle = (rear + front) / 2 - 0.1
    slope_rear = kind.a[kind.glass[0] + 1] + 0.12
    slope_front = front - (front - kind.a[kind.glass[0] + 3]) * 0.85
    body.flank([(rear + 0.2, low), (slope_rear, high), (middle - 0.05, high), (middle - 0.05, low)], GLASS)
    body.flank([(middle + 0.05, low), (middle + 0.05, high), (slope_front - 0.1, high), (front - 0.22, low)], GLASS)
    seam = [(middle - 0.02, 0.35), (middle - 0.02, belt), (middle + 0.01, belt), (middle + 0.01, 0.35)]
    body.flank(seam, tinted(paint, 0.55))
    body.flank(rectangle(-length / 2 + 0.1, length / 2 - 0.1, 0.3, 0.38), (40, 40, 42))
    body.flank(rectangle(middle - 0.35, middle - 0.1, belt - 0.1, belt - 0.05), (70, 70, 72))


def truck(painter: Painter, pose: Pose, random: np.ndarray, code: int) -> None:
    """Draw a truck with a box or a flat bed with a load. `random`: at least 6 numbers in 0..1."""
    length, half = 6.5 + 4.0 * random[0], 1.2
    paint, load = pick(_PAINTS, random[1]), pick(_PAINTS, random[2])
    high = 2.9 + 0.8 * random[3]
    shape = Shape()
    body = Body(painter, shape, pose, half)
    back, split, front = -length / 2, length / 2 - 2.0, length / 2
    wheels = (back + 1.2, back + 2.3, front - 1.1)
    body.face(body.end * length / 2 * 0.96, rectangle(-half, half, 0.35, 0.9), (30, 30, 32), shade=1.0)
    body.wheels(wheels, 0.48)

    def cab():
        body.extrude(block(split + 0.15, front, 0.5, 2.55, 0.25), paint)
        body.flank([(split + 0.8, 1.55), (split + 0.8, 2.25), (front - 0.25, 2.25), (front - 0.1, 1.55)], GLASS)
        if body.end > 0:
            body.face_boxes(front, [(-1.05, 1.05, 1.5, 2.3, GLASS), (-0.8, 0.8, 0.75, 1.25, (46, 46, 50))])
            lights(body, front, 0.75, 0.95, 0.35)

    def cargo():
        top = high
        if random[4] < 0.65:
            body.extrude(block(back, split, 0.85, high), load)
            body.flank(rectangle(back + 0.6, split - 0.6, 1.6, 2.3), pick(_PAINTS, random[5]))
        else:
            top = 1.7
            body.extrude(block(back, split, 0.85, top), load)
            body.flank([(back, 0.9), (back + 0.09, 0.9), (back + 0.1, 1.65), (back, 1.65)], (40, 40, 40))
            for i in range(3):
                place = back + 0.3 + i * (split - back - 0.6) / 3
                crate = block(place, place + (split - back) / 3.6, 1.6, 2.1 + random[i] * 0.7)
                body.extrude(crate, (128 + 60 * random[i + 1], 104, 78))
        body.flank(rectangle(back, split, 0.75, 0.9), (42, 42, 44))
        if body.end < 0:
            boxes = [
                (-0.02, 0.02, 0.9, top - 0.1, (60, 60, 62)),
                (-1.15, 1.15, 0.7, 0.85, (40, 40, 42)),
                (-1.1, -0.7, 0.55, 0.7, (180, 30, 26)),
                (0.7, 1.1, 0.55, 0.7, (180, 30, 26)),
                (-0.26, 0.26, 0.55, 0.68, (220, 220, 210)),
            ]
            body.face_boxes(back, boxes)

    for part in (cargo, cab) if body.end > 0 else (cab, cargo):
        part()
    if body.side:
        body.wheels(wheels, 0.48)
    painter.draw(shape, pose, code)


def bus(painter: Painter, pose: Pose, random: np.ndarray, code: int) -> None:
    """Draw a city bus, sometimes with two decks. `random`: at least 5 numbers in 0..1."""
    length, half = 10.0 + 2.0 * random[0], 1.27
    high = 4.1 if random[3] < 0.15 else 3.05
    back, front = -length / 2, length / 2
    shape = Shape()
    body = Body(painter, shape, pose, half)
    body.wheels((back + 2.6, front - 2.6), 0.48)
    body.extrude(block(back, front, 0.32, high, 0.15), pick(_PAINTS, random[1]))
    body.flank(rectangle(back, front, 0.32, 0.75), pick(_PAINTS, random[2]))
    for deck in range(2 if high > 4 else 1):
        window_band(body, back + 0.4, front - 0.2, 1.35 + deck * 1.6, 2.4 + deck * 1.4, 1.5)
    for door in (front - 1.4, back + 5.2):
        body.flank(rectangle(door - 0.65, door + 0.65, 0.4, 2.5), (48, 54, 60))
        body.flank(rectangle(door - 0.03, door + 0.03, 0.4, 2.5), (150, 152, 150))
    boxes = [
        (-1.1, 1.1, 1.25, 2.5, GLASS),
        (-0.9, 0.9, 2.58, 2.92, (30, 30, 32)),
        (-0.7, 0.5, 2.66, 2.84, (240, 170, 50)),
    ]
    if body.end < 0:
        boxes = [
            (-1.0, 1.0, 1.7, 2.5, GLASS),
            (-0.9, 0.9, 0.8, 1.4, (58, 58, 60)),
            (-0.4, 0.4, 2.62, 2.86, (240, 170, 50)),
        ]
    end = body.end * length / 2
    body.face_boxes(end, boxes)
    lights(body, end, 0.66, 0.9, 0.32)
    if body.side:
        body.wheels((back + 2.6, front - 2.6), 0.48)
    painter.draw(shape, pose, code)


def tram(painter: Painter, pose: Pose, random: np.ndarray, code: int, first: bool, last: bool) -> None:
    """Draw a section (8 m) of a tram, with a cab if it is the first or the last.

    Args:
        random: at least 4 numbers in 0..1, the same for all sections.
    """
    half, high = 1.3, 3.35
    paint, stripe = pick(_PAINTS, random[0]), pick(_PAINTS, random[1])
    back, front = -3.95, 3.95
    shape = Shape()
    body = Body(painter, shape, pose, half)
    profile = block(back, front, 0.3, high, 0.7 if first else 0.0)
    if last:
        profile = [(back, 0.3), (back, 1.7), (back + 0.7, high)] + profile[2:]
    body.extrude(profile, paint)
    body.flank(rectangle(back, front, 0.3, 1.0), stripe)
    window_band(body, back + (0.9 if last else 0.2), front - (1.0 if first else 0.2), 1.4, 2.6, 1.9)
    body.flank(rectangle(back, front, 0.05, 0.32), (40, 40, 42), shade=1.0)
    body.flank(rectangle(-0.7, 0.7, 0.4, 2.65), tinted(stripe, 0.75))
    body.flank(rectangle(-0.5, 0.5, 1.3, 2.5), GLASS)
    if (first and body.end > 0) or (last and body.end < 0):
        _tram_end(body, front, stripe)
    if random[2] < 0.8 and first:  # a pantograph
        shape.add([(-1.0, -0.5, high), (-0.9, -0.5, high), (0.1, -0.5, 4.4), (0.0, -0.5, 4.4)], (40, 40, 42))
        shape.add([(0.0, b, y) for b, y in rectangle(-0.9, 0.9, 4.4, 4.5)], (40, 40, 42))
    painter.draw(shape, pose, code)


def _tram_end(body: Body, front: float, stripe: Color) -> None:
    """Draw windscreen, lights and destination on the end in view, unless the camera is beside it."""
    if abs(body.eye_a) <= front:
        return
    end, back = body.end * front, body.end
    body.face(end, rectangle(-1.25, 1.25, 0.1, 0.5), (46, 46, 48))
    windscreen = [(end, -1.1, 1.7), (end, 1.1, 1.7), (end - back * 0.55, 1.05, 2.9), (end - back * 0.55, -1.05, 2.9)]
    body.shape.add(windscreen, (40, 46, 54))
    lamp = (240, 236, 214)
    body.face_boxes(
        end, [(-0.95, -0.6, 0.95, 1.2, lamp), (0.6, 0.95, 0.95, 1.2, lamp), (-1.25, 1.25, 0.62, 0.8, stripe)]
    )
    low, high = end - back * 0.62, end - back * 0.68
    body.shape.add([(low, -0.7, 3.02), (low, 0.7, 3.02), (high, 0.7, 3.28), (high, -0.7, 3.28)], (238, 166, 48))
