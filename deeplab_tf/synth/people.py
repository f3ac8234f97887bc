"""Persons on foot, bicycles and motorcycles, and who rides them: flat figures that face the camera, in metres."""

import numpy as np

from deeplab_tf.synth.painter import Frame, Painter, Shape, ellipse, limb, upright

PERSON, RIDER, MOTORCYCLE, BICYCLE = 24, 25, 32, 33

_SKINS = ((224, 178, 148), (198, 146, 112), (150, 104, 76), (98, 68, 52))
_HAIRS = ((40, 32, 28), (78, 54, 38), (140, 104, 64), (170, 168, 164), (28, 28, 30))
_CLOTHES = (
    (44, 46, 54),
    (66, 72, 88),
    (36, 44, 74),
    (112, 110, 106),
    (150, 146, 138),
    (196, 192, 184),
    (120, 40, 40),
    (58, 82, 60),
    (140, 104, 66),
    (84, 62, 50),
    (180, 140, 60),
    (74, 104, 138),
    (160, 90, 100),
    (104, 118, 72),
    (220, 214, 206),
    (190, 96, 40),
)


def _cloth(number: float):
    return _CLOTHES[int(number * len(_CLOTHES))]


def _head(shape: Shape, a: float, y: float, random: np.ndarray, helmet: bool = False) -> None:
    """A head of 0.24 m centred at (a, y), with hair, a cap or a helmet."""
    skin, hair = _SKINS[int(random[0] * 4)], _HAIRS[int(random[1] * 5)]
    shape.add(ellipse(a, y, 0.1, 0.135, 12), skin)
    cover = _cloth(random[2]) if helmet or random[3] < 0.15 else hair
    top = 0.15 if helmet else 0.14
    shape.add(
        upright(
            [
                (a - 0.11, y),
                (a - 0.105, y + 0.09),
                (a - 0.05, y + top),
                (a + 0.05, y + top),
                (a + 0.105, y + 0.09),
                (a + 0.11, y + 0.02),
                (a + 0.05, y + 0.05),
            ]
        ),
        cover,
    )
    if not helmet and random[3] > 0.6:  # seen from behind, or long hair
        shape.add(upright([(a - 0.11, y + 0.1), (a + 0.11, y + 0.1), (a + 0.1, y - 0.14), (a - 0.1, y - 0.14)]), hair)


_HIP, _NECK = 0.88, 1.46  # metres above the ground, of somebody 1.77 m tall


def person(painter: Painter, x: float, z: float, random: np.ndarray, code: int, time: float = 0.0) -> None:
    """Somebody who walks or stands, 1.0 to 1.95 m tall. `random`: at least 16 numbers in 0..1."""
    shape = Shape()
    walk = (
        0.0
        if random[0] < 0.25
        else (0.1 + 0.22 * abs((random[1] * 2 + time * 1.6) % 2.0 - 1.0)) * (1 if random[0] < 0.6 else -1)
    )
    coat, broad = _cloth(random[3]), 0.2 + 0.06 * random[4]
    if random[5] < 0.5:  # the far arm
        shape.add(limb(-broad * 0.9, _NECK - 0.06, -broad - walk * 0.6, 0.86, 0.11, 0.08), coat, shade=0.8)
    _legs(shape, walk, _cloth(random[2]))
    if random[6] < 0.25:  # a skirt or a long coat
        skirt = coat if random[7] < 0.5 else tuple(c * 0.8 for c in _cloth(random[2]))
        shape.add(upright([(-broad * 0.8, 1.0), (broad * 0.8, 1.0), (broad * 1.15, 0.5), (-broad * 1.15, 0.5)]), skirt)
    _trunk(shape, broad, coat)
    shape.add(limb(0.0, _NECK - 0.02, 0.0, _NECK + 0.12, 0.12, 0.11), _SKINS[int(random[9] * 4)])
    _head(shape, 0.02 * (1 if walk >= 0 else -1), 1.63, random[9:])
    hand = broad + 0.03 + walk * 0.35
    shape.add(limb(broad * 0.92, _NECK - 0.05, broad + 0.05, 1.15, 0.12, 0.1), coat, shade=0.9)
    shape.add(limb(broad + 0.05, 1.17, hand, 0.9, 0.1, 0.08), coat, shade=0.9)
    shape.add(ellipse(hand, 0.87, 0.045, 0.055, 8), _SKINS[int(random[9] * 4)])
    if random[8] < 0.18:  # a rucksack
        shape.add(
            upright([(-broad * 0.75, 1.0), (broad * 0.75, 1.0), (broad * 0.65, 1.42), (-broad * 0.65, 1.42)]),
            _cloth(random[15]),
        )
    elif random[8] < 0.35:  # a bag in the hand
        shape.add(
            upright([(hand - 0.12, 0.5), (hand + 0.14, 0.5), (hand + 0.12, 0.8), (hand - 0.1, 0.8)]), _cloth(random[15])
        )
    size = 0.6 + 0.2 * random[10] if random[11] < 0.12 else 0.92 + 0.18 * random[10]
    shape.points = [(a * size, b, y * size) for a, b, y in shape.points]
    painter.draw(shape, Frame(x, z, 1.0 if random[12] < 0.5 else -1.0, 0.0), code)


def _legs(shape: Shape, walk: float, trousers) -> None:
    """Two legs with shoes; `walk`: how far a foot is ahead of the hip, in metres, negative to walk to the other
    side."""
    toe = 0.096 if walk >= 0 else -0.096
    for direction, shade in ((-1, 0.8), (1, 1.0)):
        foot = direction * (walk + 0.08)
        knee = foot * 0.45 + 0.05 * (1 if walk > 0 else -1) * (walk != 0)
        shape.add(limb(direction * 0.07, _HIP, knee, 0.48, 0.2, 0.15), trousers, shade=shade)
        shape.add(limb(knee, 0.5, foot, 0.06, 0.15, 0.1), trousers, shade=shade)
        heel, instep = foot - 0.06, foot + 0.05
        shape.add(upright([(heel, 0.0), (heel, 0.1), (instep, 0.1), (instep + toe, 0.03), (instep, 0.0)]), (36, 32, 30))


def _trunk(shape: Shape, broad: float, coat) -> None:
    """From the hips to the shoulders, with a darker seam; `broad`: half the width of the shoulders in metres."""
    right = [(0.8, _HIP - 0.06), (0.85, 1.15), (1.0, _NECK - 0.04), (0.5, _NECK + 0.03)]
    outline = [(broad * a, y) for a, y in right] + [(-broad * a, y) for a, y in right[::-1]]
    shape.add(upright(outline), coat)
    shape.add(upright([(-broad * 0.1, _HIP), (0.0, _HIP), (0.0, _NECK), (-broad * 0.1, _NECK)]), coat, shade=0.8)


def _wheel(shape: Shape, a: float, radius: float, thin: float, tyre: float, code: int, disc: bool) -> None:
    """A wheel whose width on the image is `thin` (1 from the side .. 0.1 from behind)."""
    wide = max(radius * thin, tyre)
    outer = ellipse(a, radius, wide, radius, 18)
    if disc or thin < 0.35:
        shape.add(outer, (36, 36, 38), code=code)
        if disc:
            shape.add(ellipse(a, radius, wide * 0.62, radius * 0.62, 12), (120, 120, 124), code=code)
            shape.add(ellipse(a, radius, wide * 0.3, radius * 0.3, 8), (60, 60, 62), code=code)
        return
    shape.add(outer, None, code=code)
    for i in range(18):  # the tyre as a ring of 18 pieces: one sees through the spokes
        (a1, _, y1), (a2, _, y2) = outer[i], outer[(i + 1) % 18]
        shape.add(
            upright(
                [
                    (a1, y1),
                    (a2, y2),
                    (a + (a2 - a) * 0.87, radius + (y2 - radius) * 0.87),
                    (a + (a1 - a) * 0.87, radius + (y1 - radius) * 0.87),
                ]
            ),
            (38, 38, 40),
            code=code,
        )
    for i in (0, 3, 6):
        (a1, _, y1), (a2, _, y2) = outer[i], outer[i + 9]
        shape.add(limb(a1, y1, a2, y2, 0.02, 0.02), (150, 150, 152), code=code)


def _bicycle(shape: Shape, thin: float, color, code: int) -> None:
    for a in (-0.52, 0.52):
        _wheel(shape, a * thin, 0.35, thin, 0.035, code, False)
    bars = (
        (-0.52, 0.35, -0.08, 0.3),
        (-0.52, 0.35, -0.18, 0.82),
        (-0.08, 0.3, -0.2, 0.92),
        (-0.08, 0.3, 0.36, 0.78),
        (-0.18, 0.8, 0.36, 0.84),
        (0.52, 0.35, 0.34, 0.98),
    )
    for a1, y1, a2, y2 in bars:
        shape.add(limb(a1 * thin, y1, a2 * thin, y2, 0.05, 0.05), color, code=code)
    shape.add(
        upright(
            [
                (-0.34 * thin - 0.04, 0.92),
                (-0.06 * thin + 0.04, 0.92),
                (-0.06 * thin + 0.04, 0.98),
                (-0.34 * thin - 0.07, 0.99),
            ]
        ),
        (34, 32, 30),
        code=code,
    )
    spread = 0.28 * (1 - thin) + 0.05
    shape.add(
        upright(
            [
                (0.34 * thin - spread, 0.98),
                (0.34 * thin + spread, 0.98),
                (0.34 * thin + spread, 1.03),
                (0.34 * thin - spread, 1.03),
            ]
        ),
        (44, 44, 46),
        code=code,
    )
    shape.add(ellipse(-0.06 * thin, 0.3, 0.09 * max(thin, 0.3), 0.09, 8), (60, 60, 62), code=code)


def _motorcycle(shape: Shape, thin: float, color, code: int) -> None:
    for a in (-0.7, 0.68):
        _wheel(shape, a * thin, 0.32, thin, 0.075, code, True)
    wide = 0.17 * (1 - thin)

    def add(points, shade, shape_color):
        left, right = [(a * thin - wide, y) for a, y in points], [(a * thin + wide, y) for a, y in points]
        shape.add(upright(left if thin > 0.5 else _hull(left + right)), shape_color, shade=shade, code=code)

    add([(-0.25, 0.25), (-0.3, 0.6), (0.3, 0.6), (0.35, 0.3)], 1.0, (66, 66, 70))
    add([(-0.95, 0.8), (-0.35, 0.66), (0.0, 0.7), (0.0, 0.84), (-0.6, 0.88)], 1.0, (40, 38, 38))
    add([(-0.1, 0.62), (-0.05, 0.9), (0.3, 0.96), (0.48, 0.8), (0.4, 0.6)], 1.0, color)
    add([(0.36, 0.62), (0.34, 1.05), (0.5, 1.12), (0.66, 0.8), (0.6, 0.6)], 0.85, color)
    shape.add(limb(0.68 * thin, 0.32, 0.42 * thin, 1.0, 0.08, 0.08), (120, 120, 124), code=code)
    shape.add(limb(-0.75 * thin, 0.3, 0.1 * thin, 0.28, 0.1, 0.07), (168, 168, 170), code=code)
    spread = 0.34 * (1 - thin) + 0.08
    shape.add(
        upright(
            [
                (0.3 * thin - spread, 1.04),
                (0.3 * thin + spread, 1.04),
                (0.3 * thin + spread, 1.1),
                (0.3 * thin - spread, 1.1),
            ]
        ),
        (40, 40, 42),
        code=code,
    )
    shape.add(ellipse(0.55 * thin, 0.88, 0.1 * max(thin, 0.7), 0.1, 10), (232, 228, 206), code=code)


def _hull(points):
    """The box around points: what a body looks like from its end."""
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    return [(first, low), (first, high), (last, high), (last, low)]


def _rider(shape: Shape, thin: float, random: np.ndarray, code: int, motor: bool) -> None:
    """Somebody in the saddle: bent forward, feet on the pedals, hands at the bars."""
    coat, trousers = _cloth(random[2]), _cloth(random[3])
    seat = 0.84 if motor else 0.98
    hip, shoulder = (-0.2 * thin, seat + 0.04), ((0.02 if motor else 0.12) * thin, seat + 0.56)
    hand, foot = (0.36 * thin, 1.05), ((-0.02 if motor else 0.02) * thin, 0.32)
    wide = 0.24 + 0.16 * (1 - thin)
    spread = 0.14 * (1 - thin)
    knee = ((0.22 if motor else 0.2) * thin, seat - 0.28)
    for direction in (-1, 1):
        shift = direction * spread
        shape.add(
            limb(hip[0] + shift * 0.6, hip[1], knee[0] + shift, knee[1], 0.19, 0.14),
            trousers,
            shade=0.85 if direction < 0 else 1.0,
            code=code,
        )
        rise = 0.12 * direction * (not motor)
        shape.add(
            limb(knee[0] + shift, knee[1] + 0.04, foot[0] + shift, foot[1] + rise * 0.5, 0.14, 0.1),
            trousers,
            shade=0.85 if direction < 0 else 1.0,
            code=code,
        )
        shape.add(
            limb(
                foot[0] + shift - 0.03,
                foot[1] + rise * 0.5,
                foot[0] + shift + 0.13 * thin + 0.05,
                foot[1] + rise * 0.5 - 0.03,
                0.1,
                0.07,
            ),
            (34, 32, 32),
            code=code,
        )
    shape.add(limb(hip[0], hip[1] - 0.08, shoulder[0], shoulder[1] + 0.03, wide, wide * 0.95), coat, code=code)
    for direction in (-1, 1):
        shift = direction * (0.22 * (1 - thin) + 0.02)
        shape.add(
            limb(shoulder[0] + shift * 0.9, shoulder[1] - 0.04, hand[0] + shift, hand[1] + 0.02, 0.12, 0.08),
            coat,
            shade=0.8 if direction < 0 else 0.92,
            code=code,
        )
    head = Shape()
    _head(head, shoulder[0] + 0.06 * thin, shoulder[1] + 0.2, random[4:], motor or random[9] < 0.45)
    start = 0
    for end, _, grain, color in head.parts:
        shape.add(head.points[start:end], color, grain, code=code)
        start = end


def cycle(painter: Painter, x: float, z: float, turn: float, random: np.ndarray, code: int, rider: int = 0) -> None:
    """A bicycle or a motorcycle (the class of `code`), with a rider where `rider`, an instance id, is given.

    Args:
        turn: how much of the flank is seen: 1 or -1 from the side, towards 0 from an end.
        random: at least 16 numbers in 0..1.
    """
    thin = max(abs(turn), 0.12)
    motor = code // 1000 == MOTORCYCLE or code == MOTORCYCLE
    color = _CLOTHES[int(random[0] * len(_CLOTHES))]
    shape = Shape()
    (_motorcycle if motor else _bicycle)(shape, thin, color, code)
    if rider:
        _rider(shape, thin, random[1:], rider, motor)
    painter.draw(shape, Frame(x, z, 1.0 if turn >= 0 else -1.0, 0.0), code)
