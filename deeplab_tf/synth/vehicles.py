"""Cars, trucks, buses and trams."""

from typing import Tuple

import numpy as np

from deeplab_tf.synth.body import GLASS, Body, block, lights, window_band
from deeplab_tf.synth.painter import Frame, Painter, Shape

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

# Side profiles (a forward, y up), clockwise from the lower rear corner; material of the edge that starts at the corner:
# body, glass, under.
_CARS = (
    (
        4.0,
        0.88,
        (
            (-2.0, 0.3, "body"),
            (-2.0, 0.85, "glass"),
            (-1.72, 1.42, "body"),
            (-1.2, 1.48, "body"),
            (0.25, 1.46, "glass"),
            (0.95, 0.95, "body"),
            (1.85, 0.8, "body"),
            (2.0, 0.55, "body"),
            (2.0, 0.3, "under"),
        ),
    ),  # hatchback
    (
        4.6,
        0.9,
        (
            (-2.3, 0.3, "body"),
            (-2.3, 0.92, "body"),
            (-1.6, 0.98, "glass"),
            (-1.0, 1.4, "body"),
            (0.2, 1.42, "glass"),
            (0.95, 0.96, "body"),
            (2.1, 0.8, "body"),
            (2.3, 0.55, "body"),
            (2.3, 0.3, "under"),
        ),
    ),  # sedan
    (
        4.7,
        0.95,
        (
            (-2.35, 0.35, "body"),
            (-2.35, 1.05, "glass"),
            (-2.1, 1.68, "body"),
            (-1.4, 1.74, "body"),
            (0.3, 1.7, "glass"),
            (1.05, 1.12, "body"),
            (2.15, 1.0, "body"),
            (2.35, 0.7, "body"),
            (2.35, 0.35, "under"),
        ),
    ),  # tall estate
    (
        5.2,
        0.98,
        (
            (-2.6, 0.35, "body"),
            (-2.6, 1.2, "glass"),
            (-2.5, 2.0, "body"),
            (-2.2, 2.08, "body"),
            (1.3, 2.05, "glass"),
            (1.95, 1.2, "body"),
            (2.5, 1.0, "body"),
            (2.6, 0.6, "body"),
            (2.6, 0.35, "under"),
        ),
    ),  # van
)


def _windows(profile) -> Tuple[float, float, float, float]:
    """(rear, front, belt, roof) of a car's side windows, from the corners where its glass begins and ends."""
    glass = [i for i, corner in enumerate(profile) if corner[2] == "glass"]
    rear, front = profile[glass[0]], profile[glass[1] + 1]
    return rear[0], front[0], max(rear[1], front[1]), profile[glass[0] + 1][1]


def car(painter: Painter, frame: Frame, random: np.ndarray, code: int) -> None:
    """A hatchback, sedan, estate or van. `random`: at least 4 numbers in 0..1."""
    length, half, profile = _CARS[(0, 0, 1, 1, 2, 2, 3)[int(random[0] * 7)]]
    paint = tuple(c * (0.8 + 0.4 * random[2]) for c in _PAINTS[int(random[1] * len(_PAINTS))])
    shape = Shape()
    body = Body(painter, shape, frame, half)
    shape.add(
        [
            (-length / 2 + 0.1, -half, 0.12),
            (length / 2 - 0.1, -half, 0.12),
            (length / 2 - 0.1, half, 0.12),
            (-length / 2 + 0.1, half, 0.12),
        ],
        (20, 20, 22),
    )
    end = body.end * length / 2
    body.face(end, [(-half, 0.15), (half, 0.15), (half, 0.4), (-half, 0.4)], (22, 22, 24), shade=1.0)
    body.wheels((-length * 0.3, length * 0.31), 0.31)
    body.extrude(profile, paint, taper=0.22)
    rear, front, belt, roof = _windows(profile)
    inner = roof - 0.1
    middle = (rear + front) / 2 - 0.1
    slope_rear = profile[[c[2] for c in profile].index("glass") + 1][0] + 0.12
    slope_front = front - (front - profile[[c[2] for c in profile].index("glass") + 3][0]) * 0.85
    low = belt + 0.03
    body.flank([(rear + 0.2, low), (slope_rear, inner), (middle - 0.05, inner), (middle - 0.05, low)], GLASS)
    body.flank([(middle + 0.05, low), (middle + 0.05, inner), (slope_front - 0.1, inner), (front - 0.22, low)], GLASS)
    body.flank(
        [(middle - 0.02, 0.35), (middle - 0.02, belt), (middle + 0.01, belt), (middle + 0.01, 0.35)],
        tuple(c * 0.55 for c in paint),
    )
    body.flank(
        [(-length / 2 + 0.1, 0.3), (length / 2 - 0.1, 0.3), (length / 2 - 0.1, 0.38), (-length / 2 + 0.1, 0.38)],
        (40, 40, 42),
    )
    body.flank(
        [
            (middle - 0.35, belt - 0.1),
            (middle - 0.1, belt - 0.1),
            (middle - 0.1, belt - 0.05),
            (middle - 0.35, belt - 0.05),
        ],
        (70, 70, 72),
    )
    body.wheels((-length * 0.3, length * 0.31), 0.31) if body.side else None
    lights(body, end, belt - 0.32 if body.end < 0 else belt - 0.38, belt - 0.12 if body.end < 0 else belt - 0.22, 0.3)
    if random[3] < 0.12:  # a taxi sign or a roof rack
        shape.add(
            [(-0.5, -0.2, roof), (-0.5, 0.2, roof), (-0.5, 0.2, roof + 0.16), (-0.5, -0.2, roof + 0.16)], (226, 190, 60)
        )
    painter.draw(shape, frame, code)


def truck(painter: Painter, frame: Frame, random: np.ndarray, code: int) -> None:
    """A lorry: a cab, and behind it a box, a tank, a flat bed with a load, or a skip. `random`: at least 6 numbers in
    0..1."""
    length, half = 6.5 + 4.0 * random[0], 1.2
    cab = _PAINTS[int(random[1] * len(_PAINTS))]
    load = _PAINTS[int(random[2] * len(_PAINTS))]
    high = 2.9 + 0.8 * random[3]
    shape = Shape()
    body = Body(painter, shape, frame, half)
    back, split, front = -length / 2, length / 2 - 2.0, length / 2
    body.face(
        body.end * length / 2 * 0.96, [(-half, 0.35), (half, 0.35), (half, 0.9), (-half, 0.9)], (30, 30, 32), shade=1.0
    )
    body.wheels((back + 1.2, back + 2.3, front - 1.1), 0.48)

    def cabin():
        body.extrude(block(split + 0.15, front, 0.5, 2.55, 0.25), cab)
        body.flank([(split + 0.8, 1.55), (split + 0.8, 2.25), (front - 0.25, 2.25), (front - 0.1, 1.55)], GLASS)
        if body.end > 0:
            body.boxes(
                lambda points, color: body.face(front, points, color),
                [(-1.05, 1.05, 1.5, 2.3, GLASS), (-0.8, 0.8, 0.75, 1.25, (46, 46, 50))],
            )
            lights(body, front, 0.75, 0.95, 0.35)

    def cargo():
        if random[4] < 0.65:
            body.extrude(block(back, split, 0.85, high), load)
            body.flank(
                [(back + 0.6, 1.6), (split - 0.6, 1.6), (split - 0.6, 2.3), (back + 0.6, 2.3)],
                _PAINTS[int(random[5] * len(_PAINTS))],
            )
        else:
            body.extrude(block(back, split, 0.85, 1.7), load)
            body.flank([(back + i * 0.9, 0.9) for i in (0, 0.1)] + [(back + 0.1, 1.65), (back, 1.65)], (40, 40, 40))
            for i in range(3):
                place = back + 0.3 + i * (split - back - 0.6) / 3
                body.extrude(
                    block(place, place + (split - back) / 3.6, 1.6, 2.1 + random[i] * 0.7),
                    (128 + 60 * random[i + 1], 104, 78),
                )
        body.flank([(back, 0.75), (split, 0.75), (split, 0.9), (back, 0.9)], (42, 42, 44))
        if body.end < 0:
            body.boxes(
                lambda points, color: body.face(back, points, color),
                [
                    (-0.02, 0.02, 0.9, (high if random[4] < 0.65 else 1.7) - 0.1, (60, 60, 62)),
                    (-1.15, 1.15, 0.7, 0.85, (40, 40, 42)),
                    (-1.1, -0.7, 0.55, 0.7, (180, 30, 26)),
                    (0.7, 1.1, 0.55, 0.7, (180, 30, 26)),
                    (-0.26, 0.26, 0.55, 0.68, (220, 220, 210)),
                ],
            )

    for part in (cargo, cabin) if body.end > 0 else (cabin, cargo):
        part()
    if body.side:
        body.wheels((back + 1.2, back + 2.3, front - 1.1), 0.48)
    painter.draw(shape, frame, code)


def bus(painter: Painter, frame: Frame, random: np.ndarray, code: int) -> None:
    """A city bus, sometimes with two decks. `random`: at least 5 numbers in 0..1."""
    length, half = 10.0 + 2.0 * random[0], 1.27
    paint, stripe = _PAINTS[int(random[1] * len(_PAINTS))], _PAINTS[int(random[2] * len(_PAINTS))]
    high = 4.1 if random[3] < 0.15 else 3.05
    back, front = -length / 2, length / 2
    shape = Shape()
    body = Body(painter, shape, frame, half)
    body.wheels((back + 2.6, front - 2.6), 0.48)
    body.extrude(block(back, front, 0.32, high, 0.15), paint)
    body.flank([(back, 0.32), (front, 0.32), (front, 0.75), (back, 0.75)], stripe)
    for deck in range(2 if high > 4 else 1):
        window_band(body, back + 0.4, front - 0.2, 1.35 + deck * 1.6, 2.4 + deck * 1.4, 1.5)
    for door in (front - 1.4, back + 5.2):
        body.flank([(door - 0.65, 0.4), (door + 0.65, 0.4), (door + 0.65, 2.5), (door - 0.65, 2.5)], (48, 54, 60))
        body.flank([(door - 0.03, 0.4), (door + 0.03, 0.4), (door + 0.03, 2.5), (door - 0.03, 2.5)], (150, 152, 150))
    end = body.end * length / 2
    rows = [
        (-1.1, 1.1, 1.25, 2.5, GLASS),
        (-0.9, 0.9, 2.58, 2.92, (30, 30, 32)),
        (-0.7, 0.5, 2.66, 2.84, (240, 170, 50)),
    ]
    if body.end < 0:
        rows = [
            (-1.0, 1.0, 1.7, 2.5, GLASS),
            (-0.9, 0.9, 0.8, 1.4, (58, 58, 60)),
            (-0.4, 0.4, 2.62, 2.86, (240, 170, 50)),
        ]
    body.boxes(lambda points, color: body.face(end, points, color), rows)
    lights(body, end, 0.66, 0.9, 0.32)
    if body.side:
        body.wheels((back + 2.6, front - 2.6), 0.48)
    painter.draw(shape, frame, code)


def tram(painter: Painter, frame: Frame, random: np.ndarray, code: int, first: bool, last: bool) -> None:
    """One section (8 m) of a tram or train; the first has the driver's window. `random`: at least 4 numbers, the same
    for all sections."""
    half, high = 1.3, 3.35
    paint, stripe = _PAINTS[int(random[0] * len(_PAINTS))], _PAINTS[int(random[1] * len(_PAINTS))]
    back, front = -3.95, 3.95
    shape = Shape()
    body = Body(painter, shape, frame, half)
    profile = block(back, front, 0.3, high, 0.7 if first else 0.0)
    if last:
        profile = [(back, 0.3, "body"), (back, 1.7, "body"), (back + 0.7, high, "body")] + profile[2:]
    body.extrude(profile, paint)
    body.flank([(back, 0.3), (front, 0.3), (front, 1.0), (back, 1.0)], stripe)
    window_band(body, back + (0.9 if last else 0.2), front - (1.0 if first else 0.2), 1.4, 2.6, 1.9)
    body.flank([(back, 0.05), (front, 0.05), (front, 0.32), (back, 0.32)], (40, 40, 42), shade=1.0)
    body.flank([(-0.7, 0.4), (0.7, 0.4), (0.7, 2.65), (-0.7, 2.65)], tuple(c * 0.75 for c in stripe))
    body.flank([(-0.5, 1.3), (0.5, 1.3), (0.5, 2.5), (-0.5, 2.5)], GLASS)
    seen_end = (first and body.end > 0) or (last and body.end < 0)
    if seen_end and abs(body.eye_a) > front:
        end = body.end * 3.95
        body.face(end, [(-1.25, 0.1), (1.25, 0.1), (1.25, 0.5), (-1.25, 0.5)], (46, 46, 48))
        body.shape.add(
            [
                (end, -1.1, 1.7),
                (end, 1.1, 1.7),
                (end - body.end * 0.55, 1.05, 2.9),
                (end - body.end * 0.55, -1.05, 2.9),
            ],
            (40, 46, 54),
        )
        body.boxes(
            lambda points, color: body.face(end, points, color),
            [
                (-0.95, -0.6, 0.95, 1.2, (240, 236, 214)),
                (0.6, 0.95, 0.95, 1.2, (240, 236, 214)),
                (-1.25, 1.25, 0.62, 0.8, stripe),
            ],
        )
        shape.add(
            [
                (end - body.end * 0.62, -0.7, 3.02),
                (end - body.end * 0.62, 0.7, 3.02),
                (end - body.end * 0.68, 0.7, 3.28),
                (end - body.end * 0.68, -0.7, 3.28),
            ],
            (238, 166, 48),
        )
    if random[2] < 0.8 and first:
        shape.add([(-1.0, -0.5, high), (-0.9, -0.5, high), (0.1, -0.5, 4.4), (0.0, -0.5, 4.4)], (40, 40, 42))
        shape.add([(0.0, -0.9, 4.4), (0.0, 0.9, 4.4), (0.0, 0.9, 4.5), (0.0, -0.9, 4.5)], (40, 40, 42))
    painter.draw(shape, frame, code)
