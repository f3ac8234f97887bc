"""What borders a street: walls, fences, building-site barriers and hedges. Metres; `side` is -1 left, 1 right."""

import numpy as np

from deeplab_tf.synth.houses import near_end, panel
from deeplab_tf.synth.materials import FACADES, METALS, STONES, pick
from deeplab_tf.synth.painter import Painter

WALL, FENCE, GUARD_RAIL, VEGETATION = 12, 13, 14, 21


def wall(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray) -> None:
    """A free-standing wall of stones, bricks or concrete, 1 to 3.5 m high, with a cap, sometimes painted on. `r`: 12
    numbers in 0..1."""
    at, high = side * x, 1.1 + 2.4 * r[0] * r[1] ** 0.5
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tuple(c * (0.85 + 0.3 * r[3]) for c in pick(STONES + FACADES[:6], r[2]))
    shade = painter.face(-side, 0.0)
    painter.solid(
        [(at, 0, z1), (at, high, z1), (at + side * 0.4, high, z1), (at + side * 0.4, 0, z1)],
        color,
        WALL,
        20,
        painter.face(0.0, -1.0),
    )
    painter.solid(panel(at, start, z2, 0, high), color, WALL, 20, shade)
    line = tuple(c * 0.78 for c in color)
    rows = np.arange(0.3, high - 0.15, 0.32 if r[4] < 0.6 else 0.8)
    painter.many(np.array([panel(at, start, z2, y, y + 0.035) for y in rows]).reshape(-1, 4, 3), line, None, 14, shade)
    pitch = 0.7 if r[4] < 0.6 else 2.4
    joints = [
        (z1 + i * pitch + (row % 2) * pitch / 2, y) for row, y in enumerate(rows) for i in range(int((z2 - z1) / pitch))
    ]
    rise = rows[1] - rows[0] if len(rows) > 1 else 0.3
    painter.many(
        np.array([panel(at, z, z + 0.05, y, y + rise) for z, y in joints if start < z < start + 22]).reshape(-1, 4, 3),
        line,
        None,
        14,
        shade,
    )
    if r[5] < 0.35 and high > 1.2:  # paint on the wall
        for i in range(3):
            z = start + 1 + r[6 + i] * (z2 - start - 2)
            painter.solid(
                [
                    (at, 0.4, z),
                    (at, 0.5 + 0.4 * high * r[6], z + 0.4),
                    (at, 0.45 + 0.5 * high, z + 1.5),
                    (at, 0.5, z + 1.9),
                ],
                (60 + 190 * r[9], 60 + 180 * r[(6 + i)], 60 + 190 * r[10]),
                None,
                8,
                shade,
            )
    painter.solid(
        panel(at - side * 0.06, start, z2, high - 0.1, high + 0.06),
        tuple(c * 0.88 for c in color),
        WALL,
        12,
        shade + 0.12,
    )


def fence(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray, label: int = FENCE) -> None:
    """A fence of pales, planks, wire or rails that one sees through; all of it is labelled. `r`: 6 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.1 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tuple(c * (0.8 + 0.4 * r[2]) for c in pick(METALS + ((140, 104, 70), (208, 204, 194), (104, 78, 56)), r[1]))
    shade = painter.face(-side, 0.0) + 0.1
    if label == GUARD_RAIL:
        high, color = 0.78, (168, 170, 172)
    painter.solid(panel(at, start, z2, 0, high), None, label)
    pitch, wide = ((0.24, 0.1), (0.6, 0.54), (0.32, 0.035), (2.0, 0.1))[3 if label == GUARD_RAIL else int(r[3] * 4)]
    while painter.pixels(pitch, start + (z2 - start) * 0.25) < 1.5 and pitch < 1.9:
        pitch, wide = pitch * 2, wide * 2
    posts = np.array(
        [panel(at, z, z + wide, 0.05, high - 0.06) for z in z1 + np.arange(0, z2 - z1 - wide, pitch) if z > start]
    )
    painter.many(posts.reshape(-1, 4, 3), color, None, 10, shade)
    bands = (
        (0.15, 0.5, high - 0.12)
        if pitch < 1.9
        else ((0.42, 0.5, 0.58) if label == GUARD_RAIL else (0.3, 0.62, high - 0.1))
    )
    thick = 0.16 if label == GUARD_RAIL else 0.07
    painter.many(
        np.array([panel(at, start, z2, y, y + thick) for y in bands]), tuple(c * 0.92 for c in color), None, 8, shade
    )
    pillars = np.array([panel(at, z, z + 0.12, 0, high + 0.06) for z in z1 + np.arange(0, z2 - z1, 2.4) if z > start])
    painter.many(pillars.reshape(-1, 4, 3), tuple(c * 0.8 for c in color), label, 8, shade)


def barrier(painter: Painter, x1: float, x2: float, z: float, r: np.ndarray) -> None:
    """A building-site fence across: panels with red and white boards. `r`: 2 numbers in 0..1."""
    high = 1.0 if r[0] < 0.5 else 1.9
    painter.solid([(x1, 0.1, z), (x2, 0.1, z), (x2, high, z), (x1, high, z)], None, FENCE)
    step = 0.5 if high < 1.5 else 0.22
    for i in range(int((x2 - x1) / step)):
        left = x1 + i * step
        if high < 1.5:
            color = (196, 44, 40) if i % 2 else (226, 224, 218)
            painter.solid(
                [(left, 0.6, z), (left + step, 0.6, z), (left + step, 0.95, z), (left, 0.95, z)], color, None, 6
            )
        else:
            painter.solid(
                [(left, 0.1, z), (left + 0.05, 0.1, z), (left + 0.05, high, z), (left, high, z)],
                (150, 152, 154),
                None,
                6,
            )
    for y in (0.25, high - 0.05):
        painter.solid([(x1, y, z), (x2, y, z), (x2, y + 0.06, z), (x1, y + 0.06, z)], (120, 120, 122), FENCE, 6)
    for left in (x1, (x1 + x2) / 2, x2 - 0.08):
        painter.solid(
            [(left, 0, z), (left + 0.08, 0, z), (left + 0.08, high, z), (left, high, z)], (110, 110, 112), FENCE, 6
        )


def hedge(painter: Painter, side: float, x: float, z1: float, z2: float, color, r: np.ndarray) -> None:
    """A clipped hedge along the street. `r`: at least 12 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.2 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    painter.solid(
        [(at, 0, z1), (at, high, z1), (at + side * 0.9, high, z1), (at + side * 0.9, 0, z1)],
        color,
        VEGETATION,
        80,
        painter.face(0, -1) * 0.8,
    )
    count = 16
    top = [(at, high + 0.14 * (r[i % 12] - 0.5), start + (z2 - start) * i / count) for i in range(count + 1)]
    painter.solid([(at, 0, start)] + top + [(at, 0, z2)], color, VEGETATION, 80, painter.face(-side, 0.0) * 0.86)
    painter.solid(panel(at, start, z2, 0, 0.25), color, None, 70, 0.5)
