"""Walls, fences, building-site barriers and hedges along a street. Metres; `side` is -1 left, 1 right."""

from typing import Sequence

import numpy as np

from deeplab_tf.synth.houses import near_end, panel
from deeplab_tf.synth.light import Color
from deeplab_tf.synth.materials import FACADES, METALS, STONES, pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import across, tinted

WALL, FENCE, GUARD_RAIL, VEGETATION = 12, 13, 14, 21


def wall(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray) -> None:
    """Draw a free-standing wall, 1 to 3.5 m high, with a cap, sometimes with graffiti. `r`: 12 numbers in 0..1."""
    at, high = side * x, 1.1 + 2.4 * r[0] * r[1] ** 0.5
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tinted(pick(STONES + FACADES[:6], r[2]), 0.85 + 0.3 * r[3])
    shade = painter.face(-side, 0.0)
    painter.solid(_end(at, at + side * 0.4, high, z1), color, WALL, 20, painter.face(0.0, -1.0))
    painter.solid(panel(at, start, z2, 0, high), color, WALL, 20, shade)
    _joints(painter, at, (start, z1, z2), high, r[4] < 0.6, tinted(color, 0.78), shade)
    if r[5] < 0.35 and high > 1.2:
        for i in range(3):
            z, top = start + 1 + r[6 + i] * (z2 - start - 2), 0.5 + 0.4 * high * r[6]
            tag = [(at, 0.4, z), (at, top, z + 0.4), (at, 0.45 + 0.5 * high, z + 1.5), (at, 0.5, z + 1.9)]
            painter.solid(tag, (60 + 190 * r[9], 60 + 180 * r[6 + i], 60 + 190 * r[10]), None, 8, shade)
    cap = panel(at - side * 0.06, start, z2, high - 0.1, high + 0.06)
    painter.solid(cap, tinted(color, 0.88), WALL, 12, shade + 0.12)


def _end(near: float, far: float, high: float, z: float):
    """Return the end of a wall or hedge that faces the camera."""
    return [(near, 0, z), (near, high, z), (far, high, z), (far, 0, z)]


def _joints(
    painter: Painter, at: float, reach: Sequence[float], high: float, bricks: bool, color: Color, shade: float
) -> None:
    """Draw the joints of a wall of bricks or of concrete slabs."""
    start, z1, z2 = reach
    rows = np.arange(0.3, high - 0.15, 0.32 if bricks else 0.8)
    pitch = 0.7 if bricks else 2.4
    rise = rows[1] - rows[0] if len(rows) > 1 else 0.3
    upright = [
        (z1 + i * pitch + (row % 2) * pitch / 2, y) for row, y in enumerate(rows) for i in range(int((z2 - z1) / pitch))
    ]
    painter.many([panel(at, start, z2, y, y + 0.035) for y in rows], color, None, 14, shade)
    seen = [panel(at, z, z + 0.05, y, y + rise) for z, y in upright if start < z < start + 22]
    painter.many(seen, color, None, 14, shade)


def fence(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray, label: int = FENCE) -> None:
    """Draw a see-through fence of pales, planks, wire or rails; all of it is labeled. `r`: 6 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.1 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tinted(pick(METALS + ((140, 104, 70), (208, 204, 194), (104, 78, 56)), r[1]), 0.8 + 0.4 * r[2])
    pitch, wide = ((0.24, 0.1), (0.6, 0.54), (0.32, 0.035), (2.0, 0.1))[int(r[3] * 4)]
    thick, rail = 0.07, label == GUARD_RAIL
    if rail:
        high, color, pitch, wide, thick = 0.78, (168, 170, 172), 2.0, 0.1, 0.16
    shade = painter.face(-side, 0.0) + 0.1
    painter.solid(panel(at, start, z2, 0, high), None, label)
    while painter.pixels(pitch, start + (z2 - start) * 0.25) < 1.5 and pitch < 1.9:
        pitch, wide = pitch * 2, wide * 2
    pales = [panel(at, z, z + wide, 0.05, high - 0.06) for z in z1 + np.arange(0, z2 - z1 - wide, pitch) if z > start]
    painter.many(pales, color, None, 10, shade)
    levels = (0.15, 0.5, high - 0.12) if pitch < 1.9 else (0.42, 0.5, 0.58) if rail else (0.3, 0.62, high - 0.1)
    bands = [panel(at, start, z2, y, y + thick) for y in levels]
    painter.many(bands, tinted(color, 0.92), None, 8, shade)
    posts = [panel(at, z, z + 0.12, 0, high + 0.06) for z in z1 + np.arange(0, z2 - z1, 2.4) if z > start]
    painter.many(posts, tinted(color, 0.8), label, 8, shade)


def barrier(painter: Painter, x1: float, x2: float, z: float, r: np.ndarray) -> None:
    """Draw a building-site barrier across: red and white boards, or bars. `r`: 2 numbers in 0..1."""
    high = 1.0 if r[0] < 0.5 else 1.9
    painter.solid(across(x1, x2, 0.1, high, z), None, FENCE)
    step = 0.5 if high < 1.5 else 0.22
    for i in range(int((x2 - x1) / step)):
        left = x1 + i * step
        if high < 1.5:
            color = (196, 44, 40) if i % 2 else (226, 224, 218)
            painter.solid(across(left, left + step, 0.6, 0.95, z), color, None, 6)
        else:
            painter.solid(across(left, left + 0.05, 0.1, high, z), (150, 152, 154), None, 6)
    for y in (0.25, high - 0.05):
        painter.solid(across(x1, x2, y, y + 0.06, z), (120, 120, 122), FENCE, 6)
    for left in (x1, (x1 + x2) / 2, x2 - 0.08):
        painter.solid(across(left, left + 0.08, 0, high, z), (110, 110, 112), FENCE, 6)


def hedge(painter: Painter, side: float, x: float, z1: float, z2: float, color: Color, r: np.ndarray) -> None:
    """Draw a clipped hedge along the street. `r`: at least 12 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.2 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    painter.solid(_end(at, at + side * 0.9, high, z1), color, VEGETATION, 80, painter.face(0, -1) * 0.8)
    top = [(at, high + 0.14 * (r[i % 12] - 0.5), start + (z2 - start) * i / 16) for i in range(17)]
    painter.solid([(at, 0, start), *top, (at, 0, z2)], color, VEGETATION, 80, painter.face(-side, 0.0) * 0.86)
    painter.solid(panel(at, start, z2, 0, 0.25), color, None, 70, 0.5)
