"""Houses: walls, roofs, windows, doors and shops. Metres; `side` is -1 left, 1 right."""

import numpy as np

from deeplab_tf.synth.materials import FACADES, METALS, ROOFS, pick
from deeplab_tf.synth.painter import Painter

BUILDING = 11


def near_end(painter: Painter, x: float, z1: float) -> float:
    """Where a thing along the street at x enters the picture: nearer than this it is beside the camera."""
    return max(z1, painter.view.z + max(1.5, 0.8 * abs(x - painter.view.x)))


def panel(x, z1, z2, y1, y2):
    """A rectangle along the street."""
    return [(x, y1, z1), (x, y1, z2), (x, y2, z2), (x, y2, z1)]


def _grid(starts, width, floors, rise, place) -> np.ndarray:
    """(N, 4, 3): a rectangle for every start and floor; `place(s, y)` gives a corner's world coordinates."""
    quads = [
        [place(s, y), place(s + width, y), place(s + width, y + rise), place(s, y + rise)]
        for y in floors
        for s in starts
    ]
    return np.array(quads, np.float64).reshape(-1, 4, 3)


def building(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray) -> None:
    """A house whose front stands along the street at distance x from its middle, from z1 to z2. `r`: at least 25
    numbers in 0..1."""
    floors = 2 + int(r[0] * r[1] * 6 + r[2] * 2)
    rise = 2.9 + 0.5 * r[3]
    high = floors * rise + 0.8
    wall = tuple(c * (0.85 + 0.3 * r[5]) for c in pick(FACADES, r[4]))
    deep = 10.0 + 4 * r[6]
    at, start = side * x, near_end(painter, side * x, z1)
    if start >= z2:
        return
    code = BUILDING
    street, facing = painter.face(-side, 0.0), painter.face(0.0, -1.0)
    if r[7] < 0.5:  # a pitched roof: its gable, and its slope where the camera is below it
        roof = pick(ROOFS, r[8])
        ridge = at + side * deep / 2
        painter.solid(
            [
                (at - side * 0.4, high - 0.2, start),
                (at - side * 0.4, high - 0.2, z2),
                (ridge, high + 3.4, z2),
                (ridge, high + 3.4, start),
            ],
            roof,
            code,
            22,
            street,
        )
        painter.solid([(at, high, z1), (at + side * deep, high, z1), (ridge, high + 3.2, z1)], wall, code, 14, facing)
    if z1 > painter.view.z + 2:
        painter.solid(
            [(at, 0, z1), (at, high, z1), (at + side * deep, high, z1), (at + side * deep, 0, z1)],
            wall,
            code,
            14,
            facing,
        )
    painter.solid(panel(at, start, z2, 0, high), wall, code, 14, street)
    for y in [0.0] + ([rise * 1.05] if r[9] < 0.6 else []) + [high - 0.45]:
        painter.solid(panel(at, start, z2, y, y + 0.4), tuple(c * (0.72 + 0.5 * r[10]) for c in wall), code, 12, street)
    if painter.pixels(z2 - z1, z1) < 12:
        return
    _windows(painter, r, at, side, deep, (start, z1, z2), (floors, rise), wall)


def _windows(painter, r, at, side, deep, reach, stack, wall) -> None:
    """Windows with frames on the street front and on the near gable, lit or dark; shops on the ground floor."""
    (start, z1, z2), (floors, rise) = reach, stack
    step, width, tall = 2.0 + 1.6 * r[11], 0.95 + 0.5 * r[12], 1.2 + 0.7 * r[13]
    frame = (218, 214, 204) if r[14] < 0.6 else tuple(c * 0.6 for c in wall)
    glass = [(58, 66, 76), (86, 98, 112), (40, 44, 50), (120, 132, 144)]
    shop = r[15] < 0.45
    columns = [z1 + 0.7 + i * step for i in range(int((z2 - z1 - 1.2) / step)) if z1 + 0.7 + i * step > start]
    levels = [0.95 + i * rise for i in range(1 if shop else 0, floors)]
    front = _grid(columns, width, levels, tall, lambda s, y: (at, y, s))
    gable = np.zeros((0, 4, 3))
    if z1 > painter.view.z + 2:
        across = [1.0 + i * step for i in range(int((deep - 1.5) / step))]
        gable = _grid(across, width, levels, tall, lambda s, y: (at + side * s, y, z1))
    draws = np.resize(r[24:], len(front) + len(gable))
    for quads, shade, odds in (
        (front, painter.face(-side, 0.0), draws[: len(front)]),
        (gable, painter.face(0.0, -1.0), draws[len(front) :]),
    ):
        if not len(quads):
            continue
        middle = quads.mean(axis=1, keepdims=True)
        painter.many(middle + (quads - middle) * 1.22, frame, None, 8, shade)
        lit = odds < painter.light.lamps
        painter.many(quads[~lit & (odds < 0.7)], pick(glass, r[16]), None, 4)
        painter.many(quads[~lit & (odds >= 0.7)], pick(glass, r[16] * 0.5 + 0.4), None, 4)
        painter.many(quads[lit], (246, 214, 140), None, 4, 1.0 / max(painter.light.tint[0], 0.6))
        bars = np.stack(
            [
                quads[:, 0] * 0.54 + quads[:, 1] * 0.46,
                quads[:, 0] * 0.46 + quads[:, 1] * 0.54,
                quads[:, 3] * 0.46 + quads[:, 2] * 0.54,
                quads[:, 3] * 0.54 + quads[:, 2] * 0.46,
            ],
            axis=1,
        )
        painter.many(bars, frame, None, 8, shade)
    if shop:
        panes = _grid([c for c in columns[::2] if c + step * 1.6 < z2], step * 1.6, [0.5], 2.0, lambda s, y: (at, y, s))
        painter.many(panes, (70, 74, 78), None, 4)
        awning = pick(FACADES + ((150, 40, 36), (44, 70, 110), (60, 110, 70), (214, 170, 50)), r[17])
        painter.solid(
            [(at, 2.9, start), (at, 2.9, z2), (at - side * 0.9, 2.55, z2), (at - side * 0.9, 2.55, start)],
            awning,
            BUILDING,
            8,
        )
        painter.solid(panel(at - side * 0.05, start, z2, 2.9, 3.4), tuple(c * 0.7 for c in awning), BUILDING, 6)
    elif columns:
        door = columns[int(r[18] * len(columns))]
        painter.solid(panel(at, door, door + 1.1, 0, 2.2), pick(ROOFS + FACADES, r[19]), BUILDING, 8)
    if r[20] < 0.4 and columns:  # balconies
        rails = _grid(
            columns[1::3], width + 0.6, [y - 0.6 for y in levels[1:]], 0.9, lambda s, y: (at - side * 0.9, y, s - 0.3)
        )
        painter.many(rails, pick(METALS + FACADES, r[21]), BUILDING, 8)
