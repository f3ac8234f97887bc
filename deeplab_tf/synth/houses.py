"""Houses: walls, roofs, windows, doors, shops and balconies. Metres; `side` is -1 left, 1 right."""

from typing import List, Tuple

import numpy as np

from deeplab_tf.synth.light import Color
from deeplab_tf.synth.materials import FACADES, METALS, ROOFS, pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import tinted

BUILDING = 11


def near_end(painter: Painter, x: float, z1: float) -> float:
    """Return where an object along the street at x, from z1 on, enters the image: nearer, it is beside the camera."""
    return max(z1, painter.camera.z + max(1.5, 0.8 * abs(x - painter.camera.x)))


def panel(x: float, z1: float, z2: float, y1: float, y2: float) -> List[Tuple[float, float, float]]:
    """Return the world corners of a rectangle along the street."""
    return [(x, y1, z1), (x, y1, z2), (x, y2, z2), (x, y2, z1)]


def _grid(starts, width, floors, rise, place) -> np.ndarray:
    """Return (N, 4, 3): a rectangle per start and floor; `place(s, y)` gives a corner's world coordinates."""
    quads = [
        [place(s, y), place(s + width, y), place(s + width, y + rise), place(s, y + rise)]
        for y in floors
        for s in starts
    ]
    return np.array(quads, np.float64).reshape(-1, 4, 3)


def building(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray) -> None:
    """Draw a house whose front is along the street at distance x, from z1 to z2. `r`: at least 25 numbers in 0..1."""
    floors = 2 + int(r[0] * r[1] * 6 + r[2] * 2)
    rise = 2.9 + 0.5 * r[3]
    high = floors * rise + 0.8
    wall = tinted(pick(FACADES, r[4]), 0.85 + 0.3 * r[5])
    deep = 10.0 + 4 * r[6]
    at, start = side * x, near_end(painter, side * x, z1)
    if start >= z2:
        return
    street, facing = painter.face(-side, 0.0), painter.face(0.0, -1.0)
    if r[7] < 0.5:  # a pitched roof: its slope, and its gable
        ridge, eaves = at + side * deep / 2, at - side * 0.4
        slope = [
            (eaves, high - 0.2, start),
            (eaves, high - 0.2, z2),
            (ridge, high + 3.4, z2),
            (ridge, high + 3.4, start),
        ]
        painter.solid(slope, pick(ROOFS, r[8]), BUILDING, 22, street)
        gable = [(at, high, z1), (at + side * deep, high, z1), (ridge, high + 3.2, z1)]
        painter.solid(gable, wall, BUILDING, 14, facing)
    if z1 > painter.camera.z + 2:
        far = at + side * deep
        painter.solid([(at, 0, z1), (at, high, z1), (far, high, z1), (far, 0, z1)], wall, BUILDING, 14, facing)
    painter.solid(panel(at, start, z2, 0, high), wall, BUILDING, 14, street)
    for y in [0.0] + ([rise * 1.05] if r[9] < 0.6 else []) + [high - 0.45]:
        painter.solid(panel(at, start, z2, y, y + 0.4), tinted(wall, 0.72 + 0.5 * r[10]), BUILDING, 12, street)
    if painter.pixels(z2 - z1, z1) >= 12:
        _openings(painter, r, (side, at, deep), (start, z1, z2), (floors, rise), wall)


def _openings(painter, r, front, reach, stack, wall: Color) -> None:
    """Draw windows on the street front and on the near gable, and a shop or a door below, and balconies."""
    (side, at, deep), (start, z1, z2), (floors, rise) = front, reach, stack
    step, width, tall = 2.0 + 1.6 * r[11], 0.95 + 0.5 * r[12], 1.2 + 0.7 * r[13]
    shop = r[15] < 0.45
    columns = [z1 + 0.7 + i * step for i in range(int((z2 - z1 - 1.2) / step)) if z1 + 0.7 + i * step > start]
    levels = [0.95 + i * rise for i in range(1 if shop else 0, floors)]
    windows = _grid(columns, width, levels, tall, lambda s, y: (at, y, s))
    gable = np.zeros((0, 4, 3))
    if z1 > painter.camera.z + 2:
        starts = [1.0 + i * step for i in range(int((deep - 1.5) / step))]
        gable = _grid(starts, width, levels, tall, lambda s, y: (at + side * s, y, z1))
    odds = np.resize(r[24:], len(windows) + len(gable))
    _windows(painter, r, windows, painter.face(-side, 0.0), odds[: len(windows)], wall)
    _windows(painter, r, gable, painter.face(0.0, -1.0), odds[len(windows) :], wall)
    if shop:
        starts = [c for c in columns[::2] if c + step * 1.6 < z2]
        painter.many(_grid(starts, step * 1.6, [0.5], 2.0, lambda s, y: (at, y, s)), (70, 74, 78), None, 4)
        color = pick(FACADES + ((150, 40, 36), (44, 70, 110), (60, 110, 70), (214, 170, 50)), r[17])
        edge = at - side * 0.9
        awning = [(at, 2.9, start), (at, 2.9, z2), (edge, 2.55, z2), (edge, 2.55, start)]
        painter.solid(awning, color, BUILDING, 8)
        painter.solid(panel(at - side * 0.05, start, z2, 2.9, 3.4), tinted(color, 0.7), BUILDING, 6)
    elif columns:
        door = columns[int(r[18] * len(columns))]
        painter.solid(panel(at, door, door + 1.1, 0, 2.2), pick(ROOFS + FACADES, r[19]), BUILDING, 8)
    if r[20] < 0.4 and columns:  # balconies
        rails, edge = [y - 0.6 for y in levels[1:]], at - side * 0.9
        quads = _grid(columns[1::3], width + 0.6, rails, 0.9, lambda s, y: (edge, y, s - 0.3))
        painter.many(quads, pick(METALS + FACADES, r[21]), BUILDING, 8)


def _windows(painter, r, quads: np.ndarray, shade: float, odds: np.ndarray, wall: Color) -> None:
    """Draw windows with frames and bars; `odds`: a number in 0..1 for each, which decides whether it is lit."""
    if not len(quads):
        return
    frame = (218, 214, 204) if r[14] < 0.6 else tinted(wall, 0.6)
    glass = ((58, 66, 76), (86, 98, 112), (40, 44, 50), (120, 132, 144))
    middle = quads.mean(axis=1, keepdims=True)
    painter.many(middle + (quads - middle) * 1.22, frame, None, 8, shade)
    lit = odds < painter.light.lamps
    painter.many(quads[~lit & (odds < 0.7)], pick(glass, r[16]), None, 4)
    painter.many(quads[~lit & (odds >= 0.7)], pick(glass, r[16] * 0.5 + 0.4), None, 4)
    painter.many(quads[lit], (246, 214, 140), None, 4, 1.0 / max(painter.light.tint[0], 0.6))
    bars = [
        quads[:, i] * a + quads[:, j] * b
        for i, j, a, b in ((0, 1, 0.54, 0.46), (0, 1, 0.46, 0.54), (3, 2, 0.46, 0.54), (3, 2, 0.54, 0.46))
    ]
    painter.many(np.stack(bars, axis=1), frame, None, 8, shade)
