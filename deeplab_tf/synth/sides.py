"""Both sides of a street: houses, parks, walls, fences and gardens; trees, poles, signs and bins at the kerb."""

import numpy as np

from deeplab_tf.synth import barriers, furniture, houses, trees
from deeplab_tf.synth.body import shadow
from deeplab_tf.synth.light import Color
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import heading, tinted
from deeplab_tf.synth.street import BLOCK, CROSSING, Scenery, blocks, edges, has_crossing


def place_sides(scenery: Scenery) -> None:
    """Add both sides, block by block."""
    for side in (-1.0, 1.0):
        for block in blocks(scenery.street):
            start = block * BLOCK + (CROSSING if has_crossing(scenery.street, block) else 0.0)
            _place_backs(scenery, side, block, start)
            _place_kerb(scenery, side, block, start)


def _place_houses(
    scenery: Scenery, side: float, x: float, start: float, end: float, random: np.random.RandomState, gaps: float
) -> None:
    z = start
    while z < end - 5:
        length = min(7 + 13 * random.rand(), end - z)
        own = random.rand(280)
        skip, setback = random.rand(2)
        if skip >= gaps:
            scenery.put(z + length, houses.building, scenery.painter, side, x + 0.8 * setback, z, z + length, own)
        z += length + (3.0 * random.rand() if skip < gaps * 3 else 0.0)


def _place_greens(
    scenery: Scenery, side: float, x: float, start: float, end: float, random: np.random.RandomState, count: int
) -> None:
    """Add trees and bushes over a strip of 12 m."""
    painter = scenery.painter
    for _ in range(count):
        r, blobs = random.rand(10), random.rand(24, 18)
        z, at = start + r[0] * (end - start), side * (x + r[1] * 12.0)
        color = tinted(scenery.street.leaves, 0.82 + 0.36 * r[2])
        if r[3] < 0.6:
            scenery.put_ahead(z, 0.0, _tree, painter, at, z, color, r[4:], blobs)
        else:
            scenery.put_ahead(z, 0.0, trees.bush, painter, at, z, color, 0.6 + 1.4 * r[4], blobs)


def _tree(painter: Painter, x: float, z: float, color: Color, r: np.ndarray, blobs: np.ndarray) -> None:
    """Draw a tree and its shadow."""
    if painter.light.shadow < 0.7:
        shadow(painter, heading(x, z, 0), -1.5, 1.5, 1.7, painter.light.shadow)
    trees.tree(painter, x, z, color, r, blobs)


def _place_backs(scenery: Scenery, side: float, block: int, start: float) -> None:
    """Add what is behind the pavement."""
    street, painter, end = scenery.street, scenery.painter, (block + 1) * BLOCK
    style = scenery.style(side, block)
    random = scenery.random(4, block, int(side > 0))
    x = edges(street, side)[1]
    r = random.rand(16)
    if style == 0:
        _place_houses(scenery, side, x, start, end, random, 0.06)
        return
    if r[12] < 0.75:
        _place_houses(scenery, side, x + 9 + 10 * r[13], start, end, random, 0.2 if style == 4 else 0.45)
    _place_greens(scenery, side, x + 1.5, start, end, random, (0, 12, 6, 6, 5)[style])
    if style == 2:
        scenery.put(end, barriers.wall, painter, side, x, start, end, r)
    elif style == 3 or (style == 1 and r[14] < 0.4):
        kind = barriers.GUARD_RAIL if r[15] < 0.1 else barriers.FENCE
        scenery.put(end, barriers.fence, painter, side, x, start, end, r, kind)
    elif style == 4:
        middle = start + (end - start) * (0.3 + 0.4 * r[11])
        scenery.put(end, barriers.hedge, painter, side, x, middle + 2.5, end, street.leaves, r)
        if r[10] < 0.5:
            scenery.put(middle, barriers.hedge, painter, side, x, start, middle, street.leaves, r[::-1])
        else:
            scenery.put(middle, barriers.fence, painter, side, x, start, middle, r[::-1])


def _place_kerb(scenery: Scenery, side: float, block: int, start: float) -> None:
    """Add what is between road and pavement."""
    street, painter = scenery.street, scenery.painter
    random = scenery.random(5, block, int(side > 0))
    kerb, back = edges(street, side)
    near = side * (kerb + 0.5)
    if has_crossing(street, block):
        for z in (block * BLOCK - 1.0, start - 0.2):
            r = random.rand(4)
            if r[3] < 0.75:
                scenery.put_ahead(z, 0.0, furniture.traffic_light, painter, side, near, z, r)
    for slot in range(6):
        r = random.rand(16)
        z = block * BLOCK + 8.0 * slot + 5.0 * r[0]
        if z < start:
            continue
        if r[1] < 0.36:
            scenery.put_ahead(z, 0.0, furniture.lamp_post, painter, side, near, z, r[2:])
        elif r[1] < 0.62:
            scenery.put_ahead(z, 0.0, furniture.traffic_sign, painter, near, z, r[2:])
        elif r[1] < 0.72:
            scenery.put_ahead(z, 0.0, furniture.clutter, painter, side * (back - 0.7), z, r[2:])
        blobs = random.rand(24, 18)
        if r[8] < street.trees:
            scenery.put_ahead(z + 3, 0.0, _tree, painter, near + side * 0.3, z + 3, street.leaves, r[9:], blobs)
        if r[10] < 0.05:
            scenery.put_ahead(z, 0.0, barriers.barrier, painter, near - 1.2, near + 1.6, z, r[11:])
