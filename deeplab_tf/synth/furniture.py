"""Street furniture: lamps, signals, signs, and what no one scores. Metres; `side` is -1 left, 1 right."""

import numpy as np

from deeplab_tf.synth.materials import FACADES, METALS, pick
from deeplab_tf.synth.painter import Frame, Painter, Shape, ellipse, limb, upright

STATIC, POLE, SIGNAL, SIGN = 4, 17, 19, 20


def lamp_post(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """A street lamp, a thin mast, or a bollard. `r`: 4 numbers in 0..1."""
    shape = Shape()
    color = pick(METALS, r[0])
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
        shape.add(
            upright(
                [
                    (reach - 0.45, high + 0.3),
                    (reach + 0.45, high + 0.3),
                    (reach + 0.3, high + 0.5),
                    (reach - 0.3, high + 0.5),
                ]
            ),
            (206, 204, 190),
        )
    painter.draw(shape, Frame(x, z), POLE)


def traffic_light(painter: Painter, side: float, x: float, z: float, r: np.ndarray) -> None:
    """Signals on a mast, sometimes on an arm over the road too. `r`: 3 numbers in 0..1."""
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
        shape.add(
            upright([(a - 0.2, y), (a + 0.2, y), (a + 0.2, y + 1.0), (a - 0.2, y + 1.0)]), (38, 40, 40), 4, code=SIGNAL
        )
        for i, lamp in enumerate(((70, 210, 130), (246, 190, 60), (240, 52, 42))):
            lit = lamp if i == state else tuple(c * 0.24 for c in lamp)
            shape.add(ellipse(a, y + 0.2 + 0.3 * i, 0.12, 0.12, 10), lit, 2, code=SIGNAL)
    painter.draw(shape, Frame(x, z), SIGNAL)


def traffic_sign(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """One or two signs on a post: round, triangular, octagonal, square, or a direction board. `r`: 6 numbers in
    0..1."""
    shape = Shape()
    high = 2.3 + 0.5 * r[0]
    shape.add(upright([(-0.05, 0), (0.05, 0), (0.05, high + 0.5), (-0.05, high + 0.5)]), pick(METALS, r[1]), code=POLE)
    size = 0.36 + 0.1 * r[2]
    edge, plain, blue = (194, 36, 38), (228, 226, 218), (36, 74, 150)
    y = high
    for number in (r[3], r[4])[: 2 if r[5] < 0.3 else 1]:
        kind = int(number * 6)
        if kind in (0, 1):
            shape.add(ellipse(0, y, size, size, 16), edge if kind == 0 else blue)
            shape.add(ellipse(0, y, size * 0.72, size * 0.72, 14), plain if kind == 0 else blue)
            shape.add(
                limb(0, y - size * 0.45, 0, y + size * 0.45, size * 0.3, size * 0.3),
                (40, 40, 42) if kind == 0 else plain,
            )
        elif kind == 2:
            for k, color in ((1.15, edge), (0.72, plain)):
                shape.add(
                    upright(
                        [(-size * k, y - size * 0.6 * k), (size * k, y - size * 0.6 * k), (0, y + size * 1.05 * k)]
                    ),
                    color,
                )
            shape.add(limb(0, y - size * 0.3, 0, y + size * 0.3, 0.07, 0.07), (40, 40, 42))
        elif kind == 3:
            shape.add(ellipse(0, y, size, size, 8), edge)
            shape.add(
                upright(
                    [(-size * 0.6, y - 0.07), (size * 0.6, y - 0.07), (size * 0.6, y + 0.07), (-size * 0.6, y + 0.07)]
                ),
                plain,
            )
        elif kind == 4:
            shape.add(upright([(-size, y - size), (size, y - size), (size, y + size), (-size, y + size)]), blue)
            shape.add(limb(-size * 0.3, y - size * 0.6, -size * 0.3, y + size * 0.6, 0.1, 0.1), plain)
            shape.add(ellipse(0, y + size * 0.25, size * 0.4, size * 0.35, 10), plain)
        else:
            shape.add(
                upright([(-0.75, y - 0.28), (0.6, y - 0.28), (0.85, y), (0.6, y + 0.28), (-0.75, y + 0.28)]),
                (216, 178, 50) if r[2] < 0.5 else plain,
            )
            shape.add(upright([(-0.6, y - 0.06), (0.4, y - 0.06), (0.4, y + 0.06), (-0.6, y + 0.06)]), (44, 44, 46))
        y -= 0.95
    painter.draw(shape, Frame(x, z), SIGN)


def clutter(painter: Painter, x: float, z: float, r: np.ndarray) -> None:
    """A bin, a bench, a switch box or a parasol: things that Cityscapes calls static and no one scores. `r`: 3 numbers
    in 0..1."""
    shape = Shape()
    color = pick(METALS + FACADES, r[1])
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
