"""Sky, horizon and ground: road, pavements, verges, marks, and the shadows of houses; and what the camera shows of its
own car."""

import numpy as np

from deeplab_tf.synth.houses import BUILDING
from deeplab_tf.synth.light import sky
from deeplab_tf.synth.materials import FACADES
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.street import BLOCK, CROSSING, Stage, Street, blocks, edges, has_crossing, style_of
from deeplab_tf.synth.trees import VEGETATION

EGO_VEHICLE, OUT_OF_ROI, ROAD, SIDEWALK, PARKING, RAIL_TRACK, TERRAIN, SKY = 1, 3, 7, 8, 9, 10, 22, 23


def _strip(
    painter: Painter,
    x1: float,
    x2: float,
    z1: float,
    z2: float,
    color,
    code,
    grain: int = 10,
    shade: float = 1.0,
    y: float = 0.0,
) -> None:
    """A band of ground along the street, bent with it."""
    start = max(z1, painter.view.z + 1.2)
    if start >= z2:
        return
    steps = [start]
    while steps[-1] < z2:
        steps.append(min(z2, steps[-1] + max(4.0, 0.5 * (steps[-1] - painter.view.z))))
    for near, far in zip(steps, steps[1:]):
        painter.solid([(x1, y, near), (x1, y, far), (x2, y, far), (x2, y, near)], color, code, grain, shade)


def paint_background(street: Street, painter: Painter, random: np.random.RandomState) -> None:
    """Sky, what stands at the horizon, and bare ground."""
    horizon = int(street.view.horizon * painter.height)
    slack = int(abs(street.view.roll) * painter.width / 2) + 2
    painter.canvas[: horizon + slack] = sky(street.light, (painter.height, painter.width), horizon + slack, random)
    painter.codes[: horizon + slack] = SKY
    z = painter.view.z + 230.0
    for i in range(26):
        r = random.rand(12)
        x, wide, high = -150 + 12 * i + 10 * r[0], 5 + 10 * r[1], 4 + 14 * r[2] * r[3]
        if r[4] < 0.5:
            color = FACADES[int(r[5] * len(FACADES))]
            painter.solid(
                [
                    (x - wide, -4, z),
                    (x - wide, high, z),
                    (x, high + 3 * (r[6] < 0.3), z),
                    (x + wide, high, z),
                    (x + wide, -4, z),
                ],
                color,
                BUILDING,
                12,
            )
        else:
            top = [(x - wide + wide * k / 3.0, high * (0.35 + 0.3 * r[5 + k]), z) for k in range(7)]
            painter.solid([(x - wide, -4, z)] + top + [(x + wide, -4, z)], street.leaves, VEGETATION, 40)
    tone = painter.tone(street.grass, painter.view.z + 150)
    left, right = (int(horizon - sign * street.view.roll * painter.width / 2) for sign in (1, -1))
    painter.fill(
        [
            np.array(
                [(0, left + 2), (painter.width, right + 2), (painter.width, painter.height), (0, painter.height)],
                np.int32,
            )
        ],
        tone,
        TERRAIN,
        40,
    )


def _paint_verges(stage: Stage) -> None:
    """The ground behind the pavement: grass, or more paving up to the houses; grass in tufts of two shades."""
    street, painter = stage.street, stage.painter
    for side in (-1.0, 1.0):
        _, back = edges(street, side)
        for block in blocks(street):
            z1, z2 = block * BLOCK, (block + 1) * BLOCK
            if style_of(stage, side, block) == 0:
                _strip(painter, side * (back - 0.1), side * (back + 40), z1, z2, street.paving, SIDEWALK, 12, 0.95)
                continue
            _strip(painter, side * (back - 0.1), side * (back + 60), z1, z2, street.grass, TERRAIN, 56)
            for r in stage.random(2, block, int(side > 0)).rand(14, 4):
                x, z, size = side * (back + 0.4 + 14 * r[0]), z1 + r[1] * BLOCK, 0.6 + 1.6 * r[2]
                if z > painter.view.z + 3:
                    painter.solid(
                        [(x - size, 0, z), (x, 0, z + size * 1.4), (x + size, 0, z + 0.4), (x, 0, z - size)],
                        street.grass,
                        None,
                        60,
                        0.82 + 0.36 * r[3],
                    )


def _paint_marks(stage: Stage, block: int) -> None:
    """Lines, zebra crossings, patches and covers on the road."""
    street, painter = stage.street, stage.painter
    white, z1 = (206, 204, 196), block * BLOCK
    random = stage.random(3, block)
    for r in random.rand(5, 4):
        x, z, size = (r[0] * 2 - 1) * (street.road - 1.5), z1 + r[1] * BLOCK, 0.5 + 1.2 * r[2]
        if z > painter.view.z + 2.5:
            _strip(painter, x - size, x + size, z, z + size * 2.5, street.asphalt, None, 16, 0.8 + 0.34 * r[3])
    for x in [0.0] + ([-street.road / 2, street.road / 2] if street.lanes == 2 else []):
        if street.tram and x == 0.0:
            continue
        for k in range(8):
            z = z1 + k * 6.0 + 14.0 * has_crossing(street, block)
            if z < z1 + BLOCK - (8 if has_crossing(street, block + 1) else 3):
                _strip(painter, x - 0.08, x + 0.08, z, z + 3.0, white, None, 12)
    if street.tram:
        for x in (street.tram - 0.72, street.tram + 0.72):
            _strip(painter, x - 0.07, x + 0.07, z1, z1 + BLOCK, (70, 68, 68), None, 6)
    if has_crossing(street, block):
        for z in (z1 - 4.0, z1 + CROSSING + 1.0):
            for k in range(int(street.road * 2 / 1.1)):
                x = -street.road + 0.4 + 1.1 * k
                _strip(painter, x, x + 0.55, z, z + 3.0, white, None, 14)


def _paint_shadows(stage: Stage) -> None:
    """The shadow that the houses of one side throw on the ground, where the sun is out."""
    street, painter = stage.street, stage.painter
    if street.light.shadow >= 0.7:
        return
    lean = -1.0 if street.light.sun_x > 0 else 1.0
    back = edges(street, -lean)[1]
    reach = 2.0 + 10.0 * abs(street.light.sun_x)
    for block in blocks(street):
        if style_of(stage, -lean, block) == 0:
            near = max(block * BLOCK + (CROSSING if has_crossing(street, block) else 0), painter.view.z + 1.2)
            if near < (block + 1) * BLOCK:
                far, a, b = (block + 1) * BLOCK, -lean * back, -lean * back + lean * reach
                painter.darken([(a, 0, near), (b, 0, near + 2), (b, 0, far), (a, 0, far)], street.light.shadow)


def paint_ground(stage: Stage) -> None:
    """Road, pavements with kerbs and slabs, parking bays, tracks, side streets, and the shadows of houses and trees."""
    street, painter = stage.street, stage.painter
    z1, z2 = painter.view.z, painter.view.z + 260.0
    _paint_verges(stage)
    for side in (-1.0, 1.0):
        kerb, back = edges(street, side)
        _strip(painter, side * kerb, side * back, z1, z2, street.paving, SIDEWALK, 12)
        for k in range(1, 4):
            x = side * (kerb + (back - kerb) * k / 4)
            _strip(painter, x - 0.02, x + 0.02, z1, z1 + 25, street.paving, None, 10, 0.82)
        for k in range(int(z1), int(z1) + 26, 2):
            _strip(painter, side * kerb, side * back, k, k + 0.05, street.paving, None, 10, 0.84)
        if street.verge:
            _strip(painter, side * kerb, side * (kerb * 0.65 + back * 0.35), z1, z2, street.grass, TERRAIN, 56)
        if street.parking == 2:
            _strip(painter, side * (street.road - 0.1), side * kerb, z1, z2, street.paving, PARKING, 14, 0.85)
        _strip(painter, side * (kerb - 0.02), side * (kerb + 0.2), z1, z2, street.paving, SIDEWALK, 8, 1.14)
    _strip(painter, -street.road, street.road, z1, z2, street.asphalt, ROAD, 14)
    for x in (0.45, 0.95, 1.25):
        _strip(
            painter, street.road * 0.4 * x - 0.3, street.road * 0.4 * x + 0.3, z1, z2, street.asphalt, None, 12, 0.94
        )
    if street.tram and street.tram_bed:
        _strip(
            painter,
            street.tram - 1.3,
            street.tram + 1.3,
            z1,
            z2,
            street.grass if street.walkers < 1 else (120, 108, 96),
            RAIL_TRACK,
            34,
        )
    for block in blocks(street):
        if has_crossing(street, block):
            start = block * BLOCK
            painter.solid(
                [
                    (-90, 0, max(start, z1 + 1.2)),
                    (90, 0, max(start, z1 + 1.2)),
                    (90, 0, max(start + CROSSING - 2, z1 + 1.2)),
                    (-90, 0, max(start + CROSSING - 2, z1 + 1.2)),
                ],
                street.asphalt,
                ROAD,
                14,
            )
        _paint_marks(stage, block)
    _paint_shadows(stage)


def paint_camera(street: Street, painter: Painter) -> None:
    """What belongs to the camera: the own bonnet at the lower edge, and columns without a picture."""
    height, width = painter.height, painter.width
    if street.hood:
        top = int(height * (1 - street.hood))
        arc = [(int(width * k / 16), top + int(height * street.hood * 0.6 * ((k - 8) / 8.0) ** 2)) for k in range(17)]
        painter.fill([np.array([(0, height)] + arc + [(width, height)], np.int32)], (52, 54, 60), EGO_VEHICLE, 4)
        inner = [(x, y + int(height * 0.012)) for x, y in arc]
        painter.fill([np.array([(0, height)] + inner + [(width, height)], np.int32)], (38, 40, 44), EGO_VEHICLE, 4)
    if street.border:
        edge = int(width * street.border)
        for left in (0, width - edge):
            painter.fill(
                [np.array([(left, 0), (left + edge, 0), (left + edge, height), (left, height)], np.int32)],
                (0, 0, 0),
                OUT_OF_ROI,
                0,
            )
