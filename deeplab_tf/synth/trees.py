"""Trees and bushes: ragged crowns of leaves. Metres."""

import numpy as np

from deeplab_tf.synth.painter import Frame, Painter, Shape, ellipse, limb, upright

VEGETATION = 21


def _leaves(shape: Shape, blobs: np.ndarray, center, spread, color, size: float) -> None:
    """A crown: ragged blobs, dark ones behind and below, light ones above. `blobs`: (N, 4 + 14) numbers in 0..1."""
    order = np.argsort(blobs[:, 1], kind="stable")
    for rank, i in enumerate(order):
        row = blobs[i]
        a = center[0] + (row[0] - 0.5) * 2 * spread[0] * (1 - 0.55 * abs(row[1] - 0.4))
        y = center[1] + (row[1] - 0.5) * 2 * spread[1]
        base = ellipse(a, y, size, size * 0.85, 14)
        ragged = [
            (a + (pa - a) * (0.76 + 0.36 * k), 0.0, y + (py - y) * (0.76 + 0.36 * k))
            for (pa, _, py), k in zip(base, row[4:])
        ]
        shape.add(ragged, color, 84, 0.55 + 0.5 * rank / len(order) + 0.22 * row[2])


def tree(painter: Painter, x: float, z: float, color, r: np.ndarray, blobs: np.ndarray) -> None:
    """A tree of 4 to 10 m: trunk, branches, a crown of leaves (round, tall, or a conifer). `r`: 6 numbers, `blobs`: (N,
    18) in 0..1."""
    shape = Shape()
    high = 4.0 + 6.0 * r[0]
    bark = (84 + 30 * r[2], 72 + 20 * r[2], 60)
    thick = 0.16 + 0.02 * high
    shape.add(limb(0, 0, 0.2 * (r[3] - 0.5), high * 0.55, thick * 1.3, thick), bark, 24)
    if r[1] < 0.2:  # a conifer: tiers of needles
        for i in range(6):
            low = 0.6 + (high - 0.6) * i / 6.5
            wide = (0.25 * high) * (1 - i / 7.0)
            zig = [
                (-wide + wide * 2 * k / 8.0, 0.0, low + (0.35 * blobs[i, 4 + k] if k % 2 else 0.0)) for k in range(9)
            ]
            shape.add(zig + [(0.0, 0.0, low + high / 4.2)], tuple(c * 0.7 for c in color), 80, 0.7 + 0.08 * i)
    else:
        for direction in (-1, 1):
            shape.add(limb(0, high * 0.4, direction * high * 0.14, high * 0.62, thick * 0.7, thick * 0.4), bark, 24)
        wide = high * (0.2 + 0.16 * r[4])
        _leaves(shape, blobs, (0.0, high * 0.68), (wide, high * 0.3), color, 0.105 * high + 0.22)
    painter.draw(shape, Frame(x, z), VEGETATION)


def bush(painter: Painter, x: float, z: float, color, size: float, blobs: np.ndarray) -> None:
    """A bush `size` metres high. `blobs`: (N, 18) numbers in 0..1."""
    shape = Shape()
    shape.add(
        upright([(-size * 0.8, 0), (size * 0.8, 0), (size * 0.6, size * 0.5), (-size * 0.6, size * 0.5)]),
        color,
        80,
        0.62,
    )
    _leaves(shape, blobs[:12], (0.0, size * 0.5), (size * 0.7, size * 0.4), color, size * 0.27)
    painter.draw(shape, Frame(x, z), VEGETATION)
