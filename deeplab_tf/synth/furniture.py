"""Street furniture: lamps, traffic lights and signs, clutter. Metres; `side` is -1 left, 1 right."""

import numpy as np

from deeplab_tf.synth.materials import FACADES, METALS, pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import Pose, Shape, ellipse, limb, rectangle, tinted, trapezoid, upright

STATIC, POLE, SIGNAL, SIGN = 4, 17, 19, 20


def lamp_post(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """Draw a street lamp, a thin mast, or a bollard. `r`: 4 numbers in 0..1."""
    shape = Shape()
    color = pick(METALS, r[0])
    if r[1] < 0.15:
        shape.add(upright(rectangle(-0.07, 0.07, 0, 0.95)), color)
        painter.draw(shape, Pose(x, z), POLE)
        return
    high = 4.5 + 4.0 * r[2]
    shape.add(limb(0, 0, 0, high, 0.2, 0.12), color)
    red, green, blue = (min(255.0, c * 1.3) for c in color)
    shape.add(limb(-0.03, 0.4, -0.03, high, 0.05, 0.04), (red, green, blue))
    if r[3] < 0.7:
        reach = -side * (1.4 if r[3] < 0.45 else 0.1)
        shape.add(limb(0, high - 0.05, reach, high + 0.35, 0.12, 0.09), color)
        shape.add(upright(trapezoid(reach, high + 0.3, high + 0.5, 0.45, 0.3)), (206, 204, 190))
    painter.draw(shape, Pose(x, z), POLE)


def traffic_light(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """Draw signals on a mast, sometimes also on an arm over the road. `r`: 3 numbers in 0..1."""
    shape = Shape()
    color = pick(METALS, r[0])
    high = 3.3 if r[1] < 0.6 else 5.6
    shape.add(limb(0, 0, 0, high, 0.17, 0.14), color, code=POLE)
    heads = [(0.0, 2.3)]
    if high > 4:
        shape.add(limb(0, high - 0.1, -side * 4.2, high + 0.1, 0.14, 0.1), color, code=POLE)
        heads.append((-side * 4.0, high - 0.75))
    state = int(r[2] * 3)
    for a, y in heads:
        shape.add(upright(rectangle(a - 0.2, a + 0.2, y, y + 1.0)), (38, 40, 40), 4, code=SIGNAL)
        for i, lamp in enumerate(((70, 210, 130), (246, 190, 60), (240, 52, 42))):
            lit = lamp if i == state else tinted(lamp, 0.24)
            shape.add(ellipse(a, y + 0.2 + 0.3 * i, 0.12, 0.12, 10), lit, 2, code=SIGNAL)
    painter.draw(shape, Pose(x, z), SIGNAL)


def traffic_sign(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """Draw one or two signs on a post. `r`: 6 numbers in 0..1."""
    shape = Shape()
    high = 2.3 + 0.5 * r[0]
    shape.add(upright(rectangle(-0.05, 0.05, 0, high + 0.5)), pick(METALS, r[1]), code=POLE)
    y = high
    for number in (r[3], r[4])[: 2 if r[5] < 0.3 else 1]:
        _sign(shape, int(number * 6), y, 0.36 + 0.1 * r[2], r[2] < 0.5)
        y -= 0.95
    painter.draw(shape, Pose(x, z), SIGN)


def _sign(shape: Shape, kind: int, y: float, size: float, yellow: bool) -> None:
    """Add a sign: round with a red edge, round and blue, triangular, octagonal, square, or a direction board."""
    edge, plain, blue, ink = (194, 36, 38), (228, 226, 218), (36, 74, 150), (40, 40, 42)
    if kind in (0, 1):
        shape.add(ellipse(0, y, size, size, 16), edge if kind == 0 else blue)
        shape.add(ellipse(0, y, size * 0.72, size * 0.72, 14), plain if kind == 0 else blue)
        bar = limb(0, y - size * 0.45, 0, y + size * 0.45, size * 0.3, size * 0.3)
        shape.add(bar, ink if kind == 0 else plain)
    elif kind == 2:
        for k, color in ((1.15, edge), (0.72, plain)):
            triangle = [(-size * k, y - size * 0.6 * k), (size * k, y - size * 0.6 * k), (0, y + size * 1.05 * k)]
            shape.add(upright(triangle), color)
        shape.add(limb(0, y - size * 0.3, 0, y + size * 0.3, 0.07, 0.07), ink)
    elif kind == 3:
        shape.add(ellipse(0, y, size, size, 8), edge)
        shape.add(upright(rectangle(-size * 0.6, size * 0.6, y - 0.07, y + 0.07)), plain)
    elif kind == 4:
        shape.add(upright(rectangle(-size, size, y - size, y + size)), blue)
        shape.add(limb(-size * 0.3, y - size * 0.6, -size * 0.3, y + size * 0.6, 0.1, 0.1), plain)
        shape.add(ellipse(0, y + size * 0.25, size * 0.4, size * 0.35, 10), plain)
    else:
        arrow = [(-0.75, y - 0.28), (0.6, y - 0.28), (0.85, y), (0.6, y + 0.28), (-0.75, y + 0.28)]
        shape.add(upright(arrow), (216, 178, 50) if yellow else plain)
        shape.add(upright(rectangle(-0.6, 0.4, y - 0.06, y + 0.06)), (44, 44, 46))


def clutter(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """Draw a bin, a switch box or a parasol, which are Cityscapes' ignored class static. `r`: 3 numbers in 0..1."""
    shape = Shape()
    color = pick(METALS + FACADES, r[1])
    if r[0] < 0.4:
        shape.add(upright(trapezoid(0, 0, 1.0, 0.28, 0.33)), color)
        shape.add(upright(trapezoid(0, 1.0, 1.12, 0.36, 0.3)), color, shade=0.7)
    elif r[0] < 0.7:
        shape.add(upright(rectangle(-0.45, 0.45, 0, 1.3)), color)
        shape.add(upright(rectangle(-0.02, 0.02, 0.1, 1.2)), color, shade=0.6)
    else:
        shape.add(upright(rectangle(-0.04, 0.04, 0, 2.2)), (90, 90, 92))
        shape.add(upright([(-1.3, 1.95), (1.3, 1.95), (0, 2.6)]), color)
        shape.add(upright([(-0.5, 1.95), (0.4, 1.95), (0, 2.6)]), color, shade=1.15)
    painter.draw(shape, Pose(x, z), STATIC)
