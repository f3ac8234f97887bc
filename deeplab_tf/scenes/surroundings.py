"""What lines a street: houses, walls, fences, trees and grass, poles with lamps, signs and signals. Metres; `side` is -1 left, 1 right."""

import numpy as np

from deeplab_tf.scenes.painter import Frame, Painter, Shape, ellipse, limb, upright

STATIC, GUARD_RAIL = 4, 14
BUILDING, WALL, FENCE, POLE, SIGNAL, SIGN, VEGETATION, TERRAIN = 11, 12, 13, 17, 19, 20, 21, 22

FACADES = (
    (196, 184, 160), (172, 160, 148), (150, 92, 76), (126, 74, 60), (208, 204, 196), (140, 140, 142), (104, 106, 112), (186, 160, 110), (162, 170, 150),
    (120, 130, 146), (206, 176, 150), (92, 84, 78), (176, 122, 96), (128, 136, 118),
)
_ROOFS = ((112, 58, 46), (78, 74, 74), (92, 66, 56), (64, 68, 76))
_STONES = ((150, 146, 138), (120, 118, 114), (136, 96, 80), (170, 166, 158), (110, 104, 92), (128, 132, 126))
_METALS = ((120, 122, 124), (84, 86, 90), (150, 152, 152), (70, 82, 72), (60, 60, 62), (136, 128, 112))


def _pick(colors, number: float):
    return colors[int(number * len(colors)) % len(colors)]


def near_end(painter: Painter, x: float, z1: float) -> float:
    """Where a thing along the street at x enters the picture: nearer than this it is beside the camera."""
    return max(z1, painter.view.z + max(1.5, 0.8 * abs(x - painter.view.x)))


def _panel(x, z1, z2, y1, y2):
    """A rectangle along the street."""
    return [(x, y1, z1), (x, y1, z2), (x, y2, z2), (x, y2, z1)]


def _grid(starts, width, floors, rise, place) -> np.ndarray:
    """(N, 4, 3): a rectangle for every start and floor; `place(s, y)` gives a corner's world coordinates."""
    quads = [[place(s, y), place(s + width, y), place(s + width, y + rise), place(s, y + rise)] for y in floors for s in starts]
    return np.array(quads, np.float64).reshape(-1, 4, 3)


def building(painter: Painter, side: float, x: float, z1: float, z2: float, random: np.random.RandomState) -> None:
    """A house whose front stands along the street at distance x from its middle, from z1 to z2."""
    r = random.rand(24)
    floors = 2 + int(r[0] * r[1] * 6 + r[2] * 2)
    rise = 2.9 + 0.5 * r[3]
    high = floors * rise + 0.8
    wall = tuple(c * (0.85 + 0.3 * r[5]) for c in _pick(FACADES, r[4]))
    deep = 10.0 + 4 * r[6]
    at, start = side * x, near_end(painter, side * x, z1)
    if start >= z2:
        return
    code = BUILDING
    street, facing = painter.face(-side, 0.0), painter.face(0.0, -1.0)
    if r[7] < 0.5:  # a pitched roof: its gable, and its slope where the camera is below it
        roof = _pick(_ROOFS, r[8])
        ridge = at + side * deep / 2
        painter.solid([(at - side * 0.4, high - 0.2, start), (at - side * 0.4, high - 0.2, z2), (ridge, high + 3.4, z2), (ridge, high + 3.4, start)], roof, code, 22, street)
        painter.solid([(at, high, z1), (at + side * deep, high, z1), (ridge, high + 3.2, z1)], wall, code, 14, facing)
    if z1 > painter.view.z + 2:
        painter.solid([(at, 0, z1), (at, high, z1), (at + side * deep, high, z1), (at + side * deep, 0, z1)], wall, code, 14, facing)
    painter.solid(_panel(at, start, z2, 0, high), wall, code, 14, street)
    for y in [0.0] + ([rise * 1.05] if r[9] < 0.6 else []) + [high - 0.45]:
        painter.solid(_panel(at, start, z2, y, y + 0.4), tuple(c * (0.72 + 0.5 * r[10]) for c in wall), code, 12, street)
    if painter.pixels(z2 - z1, z1) < 12:
        return
    _windows(painter, random, r, at, side, deep, (start, z1, z2), (floors, rise), wall)


def _windows(painter, random, r, at, side, deep, reach, stack, wall) -> None:
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
    draws = random.rand(len(front) + len(gable))
    for quads, shade, odds in ((front, painter.face(-side, 0.0), draws[:len(front)]), (gable, painter.face(0.0, -1.0), draws[len(front):])):
        if not len(quads):
            continue
        middle = quads.mean(axis=1, keepdims=True)
        painter.many(middle + (quads - middle) * 1.22, frame, None, 8, shade)
        lit = odds < painter.light.lamps
        painter.many(quads[~lit & (odds < 0.7)], _pick(glass, r[16]), None, 4)
        painter.many(quads[~lit & (odds >= 0.7)], _pick(glass, r[16] * 0.5 + 0.4), None, 4)
        painter.many(quads[lit], (246, 214, 140), None, 4, 1.0 / max(painter.light.tint[0], 0.6))
        bars = np.stack([quads[:, 0] * 0.54 + quads[:, 1] * 0.46, quads[:, 0] * 0.46 + quads[:, 1] * 0.54,
                         quads[:, 3] * 0.46 + quads[:, 2] * 0.54, quads[:, 3] * 0.54 + quads[:, 2] * 0.46], axis=1)
        painter.many(bars, frame, None, 8, shade)
    if shop:
        panes = _grid([c for c in columns[::2] if c + step * 1.6 < z2], step * 1.6, [0.5], 2.0, lambda s, y: (at, y, s))
        painter.many(panes, (70, 74, 78), None, 4)
        awning = _pick(FACADES + ((150, 40, 36), (44, 70, 110), (60, 110, 70), (214, 170, 50)), r[17])
        painter.solid([(at, 2.9, start), (at, 2.9, z2), (at - side * 0.9, 2.55, z2), (at - side * 0.9, 2.55, start)], awning, BUILDING, 8)
        painter.solid(_panel(at - side * 0.05, start, z2, 2.9, 3.4), tuple(c * 0.7 for c in awning), BUILDING, 6)
    elif columns:
        door = columns[int(r[18] * len(columns))]
        painter.solid(_panel(at, door, door + 1.1, 0, 2.2), _pick(_ROOFS + FACADES, r[19]), BUILDING, 8)
    if r[20] < 0.4 and columns:  # balconies
        rails = _grid(columns[1::3], width + 0.6, [y - 0.6 for y in levels[1:]], 0.9, lambda s, y: (at - side * 0.9, y, s - 0.3))
        painter.many(rails, _pick(_METALS + FACADES, r[21]), BUILDING, 8)


def wall(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray) -> None:
    """A free-standing wall of stones, bricks or concrete, 1 to 3.5 m high, with a cap, sometimes painted on. `r`: 12 numbers in 0..1."""
    at, high = side * x, 1.0 + 2.6 * r[0] * r[1]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tuple(c * (0.85 + 0.3 * r[3]) for c in _pick(_STONES + FACADES[:6], r[2]))
    shade = painter.face(-side, 0.0)
    painter.solid([(at, 0, z1), (at, high, z1), (at + side * 0.4, high, z1), (at + side * 0.4, 0, z1)], color, WALL, 20, painter.face(0.0, -1.0))
    painter.solid(_panel(at, start, z2, 0, high), color, WALL, 20, shade)
    line = tuple(c * 0.78 for c in color)
    rows = np.arange(0.3, high - 0.15, 0.32 if r[4] < 0.6 else 0.8)
    painter.many(np.array([_panel(at, start, z2, y, y + 0.035) for y in rows]).reshape(-1, 4, 3), line, None, 14, shade)
    pitch = 0.7 if r[4] < 0.6 else 2.4
    joints = [(z1 + i * pitch + (row % 2) * pitch / 2, y) for row, y in enumerate(rows) for i in range(int((z2 - z1) / pitch))]
    rise = rows[1] - rows[0] if len(rows) > 1 else 0.3
    painter.many(np.array([_panel(at, z, z + 0.05, y, y + rise) for z, y in joints if start < z < start + 22]).reshape(-1, 4, 3), line, None, 14, shade)
    if r[5] < 0.35 and high > 1.2:  # paint on the wall
        for i in range(3):
            z = start + 1 + r[6 + i] * (z2 - start - 2)
            painter.solid([(at, 0.4, z), (at, 0.5 + 0.4 * high * r[6], z + 0.4), (at, 0.45 + 0.5 * high, z + 1.5), (at, 0.5, z + 1.9)],
                          (60 + 190 * r[9], 60 + 180 * r[(6 + i)], 60 + 190 * r[10]), None, 8, shade)
    painter.solid(_panel(at - side * 0.06, start, z2, high - 0.1, high + 0.06), tuple(c * 0.88 for c in color), WALL, 12, shade + 0.12)


def fence(painter: Painter, side: float, x: float, z1: float, z2: float, r: np.ndarray, label: int = FENCE) -> None:
    """A fence of pales, planks, wire or rails that one sees through; all of it is labelled. `r`: 6 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.1 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    color = tuple(c * (0.8 + 0.4 * r[2]) for c in _pick(_METALS + ((140, 104, 70), (208, 204, 194), (104, 78, 56)), r[1]))
    shade = painter.face(-side, 0.0) + 0.1
    if label == GUARD_RAIL:
        high, color = 0.78, (168, 170, 172)
    painter.solid(_panel(at, start, z2, 0, high), None, label)
    pitch, wide = ((0.24, 0.1), (0.6, 0.54), (0.32, 0.035), (2.0, 0.1))[3 if label == GUARD_RAIL else int(r[3] * 4)]
    while painter.pixels(pitch, start + (z2 - start) * 0.25) < 1.5 and pitch < 1.9:
        pitch, wide = pitch * 2, wide * 2
    posts = np.array([_panel(at, z, z + wide, 0.05, high - 0.06) for z in z1 + np.arange(0, z2 - z1 - wide, pitch) if z > start])
    painter.many(posts.reshape(-1, 4, 3), color, None, 10, shade)
    bands = (0.15, 0.5, high - 0.12) if pitch < 1.9 else ((0.42, 0.5, 0.58) if label == GUARD_RAIL else (0.3, 0.62, high - 0.1))
    thick = 0.16 if label == GUARD_RAIL else 0.07
    painter.many(np.array([_panel(at, start, z2, y, y + thick) for y in bands]), tuple(c * 0.92 for c in color), None, 8, shade)
    pillars = np.array([_panel(at, z, z + 0.12, 0, high + 0.06) for z in z1 + np.arange(0, z2 - z1, 2.4) if z > start])
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
            painter.solid([(left, 0.6, z), (left + step, 0.6, z), (left + step, 0.95, z), (left, 0.95, z)], color, None, 6)
        else:
            painter.solid([(left, 0.1, z), (left + 0.05, 0.1, z), (left + 0.05, high, z), (left, high, z)], (150, 152, 154), None, 6)
    for y in (0.25, high - 0.05):
        painter.solid([(x1, y, z), (x2, y, z), (x2, y + 0.06, z), (x1, y + 0.06, z)], (120, 120, 122), FENCE, 6)
    for left in (x1, (x1 + x2) / 2, x2 - 0.08):
        painter.solid([(left, 0, z), (left + 0.08, 0, z), (left + 0.08, high, z), (left, high, z)], (110, 110, 112), FENCE, 6)


def _leaves(shape: Shape, blobs: np.ndarray, center, spread, color, size: float) -> None:
    """A crown: ragged blobs, dark ones behind and below, light ones above. `blobs`: (N, 4 + 9) numbers in 0..1."""
    order = np.argsort(blobs[:, 1], kind="stable")
    for rank, i in enumerate(order):
        row = blobs[i]
        a = center[0] + (row[0] - 0.5) * 2 * spread[0] * (1 - 0.55 * abs(row[1] - 0.4))
        y = center[1] + (row[1] - 0.5) * 2 * spread[1]
        base = ellipse(a, y, size, size * 0.85, 9)
        ragged = [(a + (pa - a) * (0.62 + 0.6 * k), 0.0, y + (py - y) * (0.62 + 0.6 * k)) for (pa, _, py), k in zip(base, row[4:])]
        shape.add(ragged, color, 56, 0.55 + 0.5 * rank / len(order) + 0.22 * row[2])


def tree(painter: Painter, x: float, z: float, color, r: np.ndarray, blobs: np.ndarray) -> None:
    """A tree of 4 to 10 m: trunk, branches, a crown of leaves (round, tall, or a conifer). `r`: 6 numbers, `blobs`: (N, 13) in 0..1."""
    shape = Shape()
    high = 4.0 + 6.0 * r[0]
    bark = (84 + 30 * r[2], 72 + 20 * r[2], 60)
    thick = 0.16 + 0.02 * high
    shape.add(limb(0, 0, 0.2 * (r[3] - 0.5), high * 0.55, thick * 1.3, thick), bark, 24)
    if r[1] < 0.2:  # a conifer: tiers of needles
        for i in range(6):
            low = 0.6 + (high - 0.6) * i / 6.5
            wide = (0.25 * high) * (1 - i / 7.0)
            zig = [(-wide + wide * 2 * k / 8.0, 0.0, low + (0.35 * blobs[i, 4 + k] if k % 2 else 0.0)) for k in range(9)]
            shape.add(zig + [(0.0, 0.0, low + high / 4.2)], tuple(c * 0.7 for c in color), 50, 0.7 + 0.08 * i)
    else:
        for direction in (-1, 1):
            shape.add(limb(0, high * 0.4, direction * high * 0.14, high * 0.62, thick * 0.7, thick * 0.4), bark, 24)
        wide = high * (0.2 + 0.16 * r[4])
        _leaves(shape, blobs, (0.0, high * 0.68), (wide, high * 0.3), color, 0.13 * high + 0.25)
    painter.draw(shape, Frame(x, z), VEGETATION)


def bush(painter: Painter, x: float, z: float, color, size: float, blobs: np.ndarray) -> None:
    """A bush `size` metres high. `blobs`: (N, 13) numbers in 0..1."""
    shape = Shape()
    shape.add(upright([(-size * 0.8, 0), (size * 0.8, 0), (size * 0.6, size * 0.5), (-size * 0.6, size * 0.5)]), color, 50, 0.62)
    _leaves(shape, blobs[:8], (0.0, size * 0.5), (size * 0.7, size * 0.4), color, size * 0.34)
    painter.draw(shape, Frame(x, z), VEGETATION)


def hedge(painter: Painter, side: float, x: float, z1: float, z2: float, color, r: np.ndarray) -> None:
    """A clipped hedge along the street. `r`: at least 12 numbers in 0..1."""
    at, high = side * x, 0.9 + 1.2 * r[0]
    start = near_end(painter, at, z1)
    if start >= z2:
        return
    painter.solid([(at, 0, z1), (at, high, z1), (at + side * 0.9, high, z1), (at + side * 0.9, 0, z1)], color, VEGETATION, 56, painter.face(0, -1) * 0.8)
    count = 16
    top = [(at, high + 0.14 * (r[i % 12] - 0.5), start + (z2 - start) * i / count) for i in range(count + 1)]
    painter.solid([(at, 0, start)] + top + [(at, 0, z2)], color, VEGETATION, 56, painter.face(-side, 0.0) * 0.86)
    painter.solid(_panel(at, start, z2, 0, 0.25), color, None, 40, 0.5)


def lamp_post(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """A street lamp, a thin mast, or a bollard. `r`: 4 numbers in 0..1."""
    shape = Shape()
    color = _pick(_METALS, r[0])
    if r[1] < 0.15:
        shape.add(upright([(-0.07, 0), (0.07, 0), (0.07, 0.95), (-0.07, 0.95)]), color)
        painter.draw(shape, Frame(x, z), POLE)
        return
    high = 4.5 + 4.0 * r[2]
    shape.add(limb(0, 0, 0, high, 0.2, 0.12), color)
    shape.add(limb(-0.03, 0.4, -0.03, high, 0.05, 0.04), tuple(min(255.0, c * 1.3) for c in color))
    if r[3] < 0.7:
        reach = -side * (1.4 if r[3] < 0.45 else 0.1)
        shape.add(limb(0, high - 0.05, reach, high + 0.35, 0.12, 0.09), color)
        shape.add(upright([(reach - 0.45, high + 0.3), (reach + 0.45, high + 0.3), (reach + 0.3, high + 0.5), (reach - 0.3, high + 0.5)]), (206, 204, 190))
    painter.draw(shape, Frame(x, z), POLE)


def traffic_light(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """Signals on a mast, sometimes on an arm over the road too. `r`: 3 numbers in 0..1."""
    shape = Shape()
    color = _pick(_METALS, r[0])
    high = 3.3 if r[1] < 0.6 else 5.6
    shape.add(limb(0, 0, 0, high, 0.17, 0.14), color, code=POLE)
    heads = [(0.0, 2.3)]
    if high > 4:
        shape.add(limb(0, high - 0.1, -side * 4.2, high + 0.1, 0.14, 0.1), color, code=POLE)
        heads.append((-side * 4.0, high - 0.75))
    state = int(r[2] * 3)
    for a, y in heads:
        shape.add(upright([(a - 0.2, y), (a + 0.2, y), (a + 0.2, y + 1.0), (a - 0.2, y + 1.0)]), (38, 40, 40), 4, code=SIGNAL)
        for i, lamp in enumerate(((70, 210, 130), (246, 190, 60), (240, 52, 42))):
            lit = lamp if i == state else tuple(c * 0.24 for c in lamp)
            shape.add(ellipse(a, y + 0.2 + 0.3 * i, 0.12, 0.12, 10), lit, 2, code=SIGNAL)
    painter.draw(shape, Frame(x, z), SIGNAL)


def traffic_sign(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """One or two signs on a post: round, triangular, octagonal, square, or a direction board. `r`: 6 numbers in 0..1."""
    shape = Shape()
    high = 2.3 + 0.5 * r[0]
    shape.add(upright([(-0.05, 0), (0.05, 0), (0.05, high + 0.5), (-0.05, high + 0.5)]), _pick(_METALS, r[1]), code=POLE)
    size = 0.36 + 0.1 * r[2]
    edge, plain, blue = (194, 36, 38), (228, 226, 218), (36, 74, 150)
    y = high
    for number in (r[3], r[4])[:2 if r[5] < 0.3 else 1]:
        kind = int(number * 6)
        if kind in (0, 1):
            shape.add(ellipse(0, y, size, size, 16), edge if kind == 0 else blue)
            shape.add(ellipse(0, y, size * 0.72, size * 0.72, 14), plain if kind == 0 else blue)
            shape.add(limb(0, y - size * 0.45, 0, y + size * 0.45, size * 0.3, size * 0.3), (40, 40, 42) if kind == 0 else plain)
        elif kind == 2:
            for k, color in ((1.15, edge), (0.72, plain)):
                shape.add(upright([(-size * k, y - size * 0.6 * k), (size * k, y - size * 0.6 * k), (0, y + size * 1.05 * k)]), color)
            shape.add(limb(0, y - size * 0.3, 0, y + size * 0.3, 0.07, 0.07), (40, 40, 42))
        elif kind == 3:
            shape.add(ellipse(0, y, size, size, 8), edge)
            shape.add(upright([(-size * 0.6, y - 0.07), (size * 0.6, y - 0.07), (size * 0.6, y + 0.07), (-size * 0.6, y + 0.07)]), plain)
        elif kind == 4:
            shape.add(upright([(-size, y - size), (size, y - size), (size, y + size), (-size, y + size)]), blue)
            shape.add(limb(-size * 0.3, y - size * 0.6, -size * 0.3, y + size * 0.6, 0.1, 0.1), plain)
            shape.add(ellipse(0, y + size * 0.25, size * 0.4, size * 0.35, 10), plain)
        else:
            shape.add(upright([(-0.75, y - 0.28), (0.6, y - 0.28), (0.85, y), (0.6, y + 0.28), (-0.75, y + 0.28)]), (216, 178, 50) if r[2] < 0.5 else plain)
            shape.add(upright([(-0.6, y - 0.06), (0.4, y - 0.06), (0.4, y + 0.06), (-0.6, y + 0.06)]), (44, 44, 46))
        y -= 0.95
    painter.draw(shape, Frame(x, z), SIGN)


def clutter(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """A bin, a bench, a switch box or a parasol: things that Cityscapes calls static and no one scores. `r`: 3 numbers in 0..1."""
    shape = Shape()
    color = _pick(_METALS + FACADES, r[1])
    if r[0] < 0.4:
        shape.add(upright([(-0.28, 0), (0.28, 0), (0.33, 1.0), (-0.33, 1.0)]), color)
        shape.add(upright([(-0.36, 1.0), (0.36, 1.0), (0.3, 1.12), (-0.3, 1.12)]), color, shade=0.7)
    elif r[0] < 0.7:
        shape.add(upright([(-0.45, 0), (0.45, 0), (0.45, 1.3), (-0.45, 1.3)]), color)
        shape.add(upright([(-0.02, 0.1), (0.02, 0.1), (0.02, 1.2), (-0.02, 1.2)]), color, shade=0.6)
    else:
        shape.add(upright([(-0.04, 0), (0.04, 0), (0.04, 2.2), (-0.04, 2.2)]), (90, 90, 92))
        shape.add(upright([(-1.3, 1.95), (1.3, 1.95), (0, 2.6)]), color)
        shape.add(upright([(-0.5, 1.95), (0.4, 1.95), (0, 2.6)]), color, shade=1.15)
    painter.draw(shape, Frame(x, z), STATIC)
