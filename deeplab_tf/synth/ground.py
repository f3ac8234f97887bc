"""Sky, horizon and ground (road, pavements, verges, marks, shadows of houses), and what the camera shows of its car."""

from typing import Optional

import numpy as np

from deeplab_tf.synth.houses import BUILDING
from deeplab_tf.synth.light import Color, sky
from deeplab_tf.synth.materials import FACADES, pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.street import BLOCK, CROSSING, Scenery, Street, blocks, edges, has_crossing
from deeplab_tf.synth.trees import VEGETATION

EGO_VEHICLE, OUT_OF_ROI, ROAD, SIDEWALK, PARKING, RAIL_TRACK, TERRAIN, SKY = 1, 3, 7, 8, 9, 10, 22, 23
_WHITE = (206, 204, 196)


def _strip(
    painter: Painter,
    x1: float,
    x2: float,
    z1: float,
    z2: float,
    color: Color,
    code: Optional[int],
    grain: int = 10,
    shade: float = 1.0,
) -> None:
    """Draw a band of ground along the street, bent with it."""
    start = max(z1, painter.camera.z + 1.2)
    if start >= z2:
        return
    steps = [start]
    while steps[-1] < z2:
        steps.append(min(z2, steps[-1] + max(4.0, 0.5 * (steps[-1] - painter.camera.z))))
    for near, far in zip(steps, steps[1:]):
        painter.solid([(x1, 0.0, near), (x1, 0.0, far), (x2, 0.0, far), (x2, 0.0, near)], color, code, grain, shade)


def paint_background(street: Street, painter: Painter, random: np.random.RandomState) -> None:
    """Draw the sky, houses and trees at the horizon, and bare ground."""
    horizon = int(street.camera.horizon * painter.height)
    slack = int(abs(street.camera.roll) * painter.width / 2) + 2
    painter.canvas[: horizon + slack] = sky(street.light, (painter.height, painter.width), horizon + slack, random)
    painter.codes[: horizon + slack] = SKY
    z = painter.camera.z + 230.0
    for i in range(26):
        r = random.rand(12)
        x, wide, high = -150 + 12 * i + 10 * r[0], 5 + 10 * r[1], 4 + 14 * r[2] * r[3]
        left, right = x - wide, x + wide
        if r[4] < 0.5:
            house = [(left, -4, z), (left, high, z), (x, high + 3 * (r[6] < 0.3), z), (right, high, z), (right, -4, z)]
            painter.solid(house, pick(FACADES, r[5]), BUILDING, 12)
        else:
            top = [(left + wide * k / 3.0, high * (0.35 + 0.3 * r[5 + k]), z) for k in range(7)]
            painter.solid([(left, -4, z), *top, (right, -4, z)], street.leaves, VEGETATION, 40)
    rise = street.camera.roll * painter.width / 2
    corners = [(0, int(horizon - rise) + 2), (painter.width, int(horizon + rise) + 2)]
    corners += [(painter.width, painter.height), (0, painter.height)]
    painter.fill([np.array(corners, np.int32)], painter.tone(street.grass, painter.camera.z + 150), TERRAIN, 40)


def _paint_verges(scenery: Scenery) -> None:
    """Draw the ground behind the pavement: more paving up to the houses, or grass in tufts of two shades."""
    street, painter = scenery.street, scenery.painter
    for side in (-1.0, 1.0):
        _, back = edges(street, side)
        for block in blocks(street):
            z1, z2 = block * BLOCK, (block + 1) * BLOCK
            if scenery.style(side, block) == 0:
                _strip(painter, side * (back - 0.1), side * (back + 40), z1, z2, street.paving, SIDEWALK, 12, 0.95)
                continue
            _strip(painter, side * (back - 0.1), side * (back + 60), z1, z2, street.grass, TERRAIN, 56)
            for r in scenery.random(2, block, int(side > 0)).rand(14, 4):
                x, z, size = side * (back + 0.4 + 14 * r[0]), z1 + r[1] * BLOCK, 0.6 + 1.6 * r[2]
                if z > painter.camera.z + 3:
                    tuft = [(x - size, 0, z), (x, 0, z + size * 1.4), (x + size, 0, z + 0.4), (x, 0, z - size)]
                    painter.solid(tuft, street.grass, None, 60, 0.82 + 0.36 * r[3])


def _paint_marks(scenery: Scenery, block: int) -> None:
    """Draw patches, lines, rails and zebra crossings on the road."""
    street, painter = scenery.street, scenery.painter
    z1 = block * BLOCK
    for r in scenery.random(3, block).rand(5, 4):
        x, z, size = (r[0] * 2 - 1) * (street.road - 1.5), z1 + r[1] * BLOCK, 0.5 + 1.2 * r[2]
        if z > painter.camera.z + 2.5:
            _strip(painter, x - size, x + size, z, z + size * 2.5, street.asphalt, None, 16, 0.8 + 0.34 * r[3])
    for x in [0.0] + ([-street.road / 2, street.road / 2] if street.lanes == 2 else []):
        if street.tram and x == 0.0:
            continue
        for k in range(8):
            z = z1 + k * 6.0 + 14.0 * has_crossing(street, block)
            if z < z1 + BLOCK - (8 if has_crossing(street, block + 1) else 3):
                _strip(painter, x - 0.08, x + 0.08, z, z + 3.0, _WHITE, None, 12)
    if street.tram:
        for x in (street.tram - 0.72, street.tram + 0.72):
            _strip(painter, x - 0.07, x + 0.07, z1, z1 + BLOCK, (70, 68, 68), None, 6)
    if has_crossing(street, block):
        for z in (z1 - 4.0, z1 + CROSSING + 1.0):
            for k in range(int(street.road * 2 / 1.1)):
                x = -street.road + 0.4 + 1.1 * k
                _strip(painter, x, x + 0.55, z, z + 3.0, _WHITE, None, 14)


def _paint_shadows(scenery: Scenery) -> None:
    """Draw the shadow of the houses of one side on the ground, if the sun is out."""
    street, painter = scenery.street, scenery.painter
    if street.light.shadow >= 0.7:
        return
    lean = -1.0 if street.light.sun_x > 0 else 1.0
    near_x = -lean * edges(street, -lean)[1]
    far_x = near_x + lean * (2.0 + 10.0 * abs(street.light.sun_x))
    for block in blocks(street):
        if scenery.style(-lean, block) == 0:
            near = max(block * BLOCK + (CROSSING if has_crossing(street, block) else 0), painter.camera.z + 1.2)
            far = (block + 1) * BLOCK
            if near < far:
                corners = [(near_x, 0, near), (far_x, 0, near + 2), (far_x, 0, far), (near_x, 0, far)]
                painter.darken(corners, street.light.shadow)


def _paint_pavement(scenery: Scenery, side: float, z1: float, z2: float) -> None:
    """Draw slabs, verge, parking bays and kerb of one side."""
    street, painter = scenery.street, scenery.painter
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


def paint_ground(scenery: Scenery) -> None:
    """Draw verges, pavements, road, tracks, side streets, marks, and the shadows of houses."""
    street, painter = scenery.street, scenery.painter
    z1, z2 = painter.camera.z, painter.camera.z + 260.0
    _paint_verges(scenery)
    for side in (-1.0, 1.0):
        _paint_pavement(scenery, side, z1, z2)
    _strip(painter, -street.road, street.road, z1, z2, street.asphalt, ROAD, 14)
    for x in (0.45, 0.95, 1.25):
        x *= street.road * 0.4
        _strip(painter, x - 0.3, x + 0.3, z1, z2, street.asphalt, None, 12, 0.94)
    if street.tram and street.tram_bed:
        bed = street.grass if street.walkers < 1 else (120, 108, 96)
        _strip(painter, street.tram - 1.3, street.tram + 1.3, z1, z2, bed, RAIL_TRACK, 34)
    for block in blocks(street):
        if has_crossing(street, block):
            near, far = (max(block * BLOCK + depth, z1 + 1.2) for depth in (0, CROSSING - 2))
            painter.solid([(-90, 0, near), (90, 0, near), (90, 0, far), (-90, 0, far)], street.asphalt, ROAD, 14)
        _paint_marks(scenery, block)
    _paint_shadows(scenery)


def paint_camera(street: Street, painter: Painter) -> None:
    """Draw what belongs to the camera: the own bonnet at the lower edge, and columns without image."""
    height, width = painter.height, painter.width
    if street.hood:
        top = int(height * (1 - street.hood))
        arc = [(int(width * k / 16), top + int(height * street.hood * 0.6 * ((k - 8) / 8.0) ** 2)) for k in range(17)]
        inner = [(x, y + int(height * 0.012)) for x, y in arc]
        for edge, color in ((arc, (52, 54, 60)), (inner, (38, 40, 44))):
            painter.fill([np.array([(0, height), *edge, (width, height)], np.int32)], color, EGO_VEHICLE, 4)
    if street.border:
        wide = int(width * street.border)
        for left, right in ((0, wide), (width - wide, width)):
            corners = [(left, 0), (right, 0), (right, height), (left, height)]
            painter.fill([np.array(corners, np.int32)], (0, 0, 0), OUT_OF_ROI, 0)
