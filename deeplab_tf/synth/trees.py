"""Trees and bushes: ragged crowns of leaves. Metres."""

from typing import Tuple

import numpy as np

from deeplab_tf.synth.light import Color
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import Pose, Shape, ellipse, limb, tinted, trapezoid, upright

VEGETATION = 21


def _leaves(
    shape: Shape, blobs: np.ndarray, middle: float, spread: Tuple[float, float], color: Color, size: float
) -> None:
    """Add a crown around (0, middle): dark blobs behind and below, light ones above. `blobs`: (N, 18) in 0..1."""
    order = np.argsort(blobs[:, 1], kind="stable")
    for rank, i in enumerate(order):
        row = blobs[i]
        a = (row[0] - 0.5) * 2 * spread[0] * (1 - 0.55 * abs(row[1] - 0.4))
        y = middle + (row[1] - 0.5) * 2 * spread[1]
        ragged = [
            (a + (pa - a) * (0.76 + 0.36 * k), 0.0, y + (py - y) * (0.76 + 0.36 * k))
            for (pa, _, py), k in zip(ellipse(a, y, size, size * 0.85, 14), row[4:])
        ]
        shape.add(ragged, color, 84, 0.55 + 0.5 * rank / len(order) + 0.22 * row[2])


def tree(painter: Painter, x: float, z: float, color: Color, r: np.ndarray, blobs: np.ndarray) -> None:
    """Draw a conifer or a broadleaf tree, 4 to 10 m high. `r`: 6 numbers, `blobs`: (N, 18) in 0..1."""
    shape = Shape()
    high = 4.0 + 6.0 * r[0]
    bark = (84 + 30 * r[2], 72 + 20 * r[2], 60)
    thick = 0.16 + 0.02 * high
    shape.add(limb(0, 0, 0.2 * (r[3] - 0.5), high * 0.55, thick * 1.3, thick), bark, 24)
    if r[1] < 0.2:  # a conifer: tiers of needles
        for i in range(6):
            low = 0.6 + (high - 0.6) * i / 6.5
            wide = (0.25 * high) * (1 - i / 7.0)
            tips = [-wide + wide * 2 * k / 8.0 for k in range(9)]
            zigzag = [(a, low + (0.35 * blobs[i, 4 + k] if k % 2 else 0.0)) for k, a in enumerate(tips)]
            shape.add(upright([*zigzag, (0.0, low + high / 4.2)]), tinted(color, 0.7), 80, 0.7 + 0.08 * i)
    else:
        for direction in (-1, 1):
            shape.add(limb(0, high * 0.4, direction * high * 0.14, high * 0.62, thick * 0.7, thick * 0.4), bark, 24)
        wide = high * (0.2 + 0.16 * r[4])
        _leaves(shape, blobs, high * 0.68, (wide, high * 0.3), color, 0.105 * high + 0.22)
    painter.draw(shape, Pose(x, z), VEGETATION)


def bush(painter: Painter, x: float, z: float, color: Color, size: float, blobs: np.ndarray) -> None:
    """Draw a bush `size` metres high. `blobs`: (N, 18) numbers in 0..1."""
    shape = Shape()
    shape.add(upright(trapezoid(0, 0, size * 0.5, size * 0.8, size * 0.6)), color, 80, 0.62)
    _leaves(shape, blobs[:12], size * 0.5, (size * 0.7, size * 0.4), color, size * 0.27)
    painter.draw(shape, Pose(x, z), VEGETATION)
