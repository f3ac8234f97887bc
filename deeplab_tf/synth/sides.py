"""What stands along both sides of the street: houses, parks, walls, fences and gardens; trees, poles, signs and bins at
the kerb."""

import numpy as np

from deeplab_tf.synth import barriers, furniture, houses, trees
from deeplab_tf.synth.body import shadow
from deeplab_tf.synth.painter import Painter, heading
from deeplab_tf.synth.street import BLOCK, CROSSING, Stage, blocks, edges, has_crossing, style_of


def place_sides(stage: Stage) -> None:
    """Along both sides, block by block: houses, parks, walls, fences and gardens; kerb trees, poles, signs, bins."""
    for side in (-1.0, 1.0):
        for block in blocks(stage.street):
            start = block * BLOCK + (CROSSING if has_crossing(stage.street, block) else 0.0)
            _place_backs(stage, side, block, start)
            _place_kerb(stage, side, block, start)


def _houses(
    stage: Stage, side: float, x: float, start: float, end: float, random: np.random.RandomState, gaps: float
) -> None:
    z = start
    while z < end - 5:
        length = min(7 + 13 * random.rand(), end - z)
        own = random.rand(280)
        skip, setback = random.rand(2)
        if skip >= gaps:
            stage.put(z + length, houses.building, stage.painter, side, x + 0.8 * setback, z, z + length, own)
        z += length + (3.0 * random.rand() if skip < gaps * 3 else 0.0)


def _greens(
    stage: Stage,
    side: float,
    x: float,
    depth: float,
    start: float,
    end: float,
    random: np.random.RandomState,
    count: int,
) -> None:
    for _ in range(count):
        r, blobs = random.rand(10), random.rand(24, 18)
        z, at = start + r[0] * (end - start), side * (x + r[1] * depth)
        color = tuple(c * (0.82 + 0.36 * r[2]) for c in stage.street.leaves)
        if r[3] < 0.6:
            stage.object(z, 0.0, lambda z=z, at=at, c=color, r=r, b=blobs: _tree(stage.painter, at, z, c, r[4:], b))
        else:
            stage.object(
                z,
                0.0,
                lambda z=z, at=at, c=color, r=r, b=blobs: trees.bush(stage.painter, at, z, c, 0.6 + 1.4 * r[4], b),
            )


def _tree(painter: Painter, x: float, z: float, color, r: np.ndarray, blobs: np.ndarray) -> None:
    if painter.light.shadow < 0.7:
        shadow(painter, heading(x, z, 0), -1.5, 1.5, 1.7, painter.light.shadow)
    trees.tree(painter, x, z, color, r, blobs)


def _place_backs(stage: Stage, side: float, block: int, start: float) -> None:
    street, painter, end = stage.street, stage.painter, (block + 1) * BLOCK
    style = style_of(stage, side, block)
    random = stage.random(4, block, int(side > 0))
    x = edges(street, side)[1]
    r = random.rand(16)
    if style == 0:
        _houses(stage, side, x, start, end, random, 0.06)
        return
    if r[12] < 0.75:
        _houses(stage, side, x + 9 + 10 * r[13], start, end, random, 0.2 if style == 4 else 0.45)
    _greens(stage, side, x + 1.5, 12.0, start, end, random, (0, 12, 6, 6, 5)[style])
    if style == 2:
        stage.put(end, barriers.wall, painter, side, x, start, end, r)
    elif style == 3 or (style == 1 and r[14] < 0.4):
        kind = barriers.GUARD_RAIL if r[15] < 0.1 else barriers.FENCE
        stage.put(end, barriers.fence, painter, side, x, start, end, r, kind)
    elif style == 4:
        middle = start + (end - start) * (0.3 + 0.4 * r[11])
        stage.put(end, barriers.hedge, painter, side, x, middle + 2.5, end, street.leaves, r)
        stage.put(
            middle,
            barriers.hedge if r[10] < 0.5 else barriers.fence,
            painter,
            side,
            x,
            start,
            middle,
            *((street.leaves, r[::-1]) if r[10] < 0.5 else (r[::-1],)),
        )


def _place_kerb(stage: Stage, side: float, block: int, start: float) -> None:
    street, painter = stage.street, stage.painter
    random = stage.random(5, block, int(side > 0))
    kerb, back = edges(street, side)
    near = side * (kerb + 0.5)
    if has_crossing(street, block):
        for z in (block * BLOCK - 1.0, start - 0.2):
            r = random.rand(4)
            if r[3] < 0.75:
                stage.object(z, 0.0, lambda z=z, r=r: furniture.traffic_light(painter, side, near, z, r))
    for slot in range(6):
        r = random.rand(16)
        z = block * BLOCK + 8.0 * slot + 5.0 * r[0]
        if z < start:
            continue
        if r[1] < 0.36:
            stage.object(z, 0.0, lambda z=z, r=r: furniture.lamp_post(painter, side, near, z, r[2:]))
        elif r[1] < 0.62:
            stage.object(z, 0.0, lambda z=z, r=r: furniture.traffic_sign(painter, near, z, r[2:]))
        elif r[1] < 0.72:
            stage.object(z, 0.0, lambda z=z, r=r: furniture.clutter(painter, side * (back - 0.7), z, r[2:]))
        blobs = random.rand(24, 18)
        if r[8] < street.trees:
            stage.object(
                z + 3, 0.0, lambda z=z + 3, r=r, b=blobs: _tree(painter, near + side * 0.3, z, street.leaves, r[9:], b)
            )
        if r[10] < 0.05:
            stage.object(z, 0.0, lambda z=z, r=r: barriers.barrier(painter, near - 1.2, near + 1.6, z, r[11:]))
