"""Pedestrians, bicycles, motorcycles and their riders: flat figures that face the camera. Metres.

`thin` is how much of a cycle's flank is in view: 1 from the side, towards 0 from an end.
"""

import numpy as np

from deeplab_tf.synth.light import Color
from deeplab_tf.synth.materials import pick
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.shapes import Flat, Pose, Shape, ellipse, limb, rectangle, tinted, trapezoid, upright

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
_HIP, _NECK = 0.88, 1.46  # metres above the ground, of a person 1.77 m tall


def _head(shape: Shape, a: float, y: float, random: np.ndarray, code=None, *, helmet: bool = False) -> None:
    """Add a head of 0.24 m centered at (a, y), with hair, a cap or a helmet."""
    skin, hair = pick(_SKINS, random[0]), pick(_HAIRS, random[1])
    shape.add(ellipse(a, y, 0.1, 0.135, 12), skin, code=code)
    cover = pick(_CLOTHES, random[2]) if helmet or random[3] < 0.15 else hair
    top = y + (0.15 if helmet else 0.14)
    left = [(a - 0.11, y), (a - 0.105, y + 0.09), (a - 0.05, top)]
    right = [(a + 0.05, top), (a + 0.105, y + 0.09), (a + 0.11, y + 0.02), (a + 0.05, y + 0.05)]
    shape.add(upright(left + right), cover, code=code)
    if not helmet and random[3] > 0.6:  # seen from behind, or long hair
        shape.add(upright(trapezoid(a, y + 0.1, y - 0.14, 0.11, 0.1)), hair, code=code)


def person(painter: Painter, x: float, z: float, random: np.ndarray, code: int, time: float = 0.0) -> None:
    """Draw a person who walks or stands, 1.0 to 1.95 m tall. `random`: at least 16 numbers in 0..1."""
    shape, walk = Shape(), 0.0
    if random[0] >= 0.25:
        stride = 0.1 + 0.22 * abs((random[1] * 2 + time * 1.6) % 2.0 - 1.0)
        walk = stride if random[0] < 0.6 else -stride
    coat, trousers, skin = pick(_CLOTHES, random[3]), pick(_CLOTHES, random[2]), pick(_SKINS, random[9])
    broad = 0.2 + 0.06 * random[4]
    if random[5] < 0.5:  # the far arm
        shape.add(limb(-broad * 0.9, _NECK - 0.06, -broad - walk * 0.6, 0.86, 0.11, 0.08), coat, shade=0.8)
    _legs(shape, walk, trousers)
    if random[6] < 0.25:  # a skirt or a long coat
        skirt = coat if random[7] < 0.5 else tinted(trousers, 0.8)
        shape.add(upright(trapezoid(0, 1.0, 0.5, broad * 0.8, broad * 1.15)), skirt)
    _trunk(shape, broad, coat)
    shape.add(limb(0.0, _NECK - 0.02, 0.0, _NECK + 0.12, 0.12, 0.11), skin)
    _head(shape, 0.02 if walk >= 0 else -0.02, 1.63, random[9:])
    hand = broad + 0.03 + walk * 0.35
    shape.add(limb(broad * 0.92, _NECK - 0.05, broad + 0.05, 1.15, 0.12, 0.1), coat, shade=0.9)
    shape.add(limb(broad + 0.05, 1.17, hand, 0.9, 0.1, 0.08), coat, shade=0.9)
    shape.add(ellipse(hand, 0.87, 0.045, 0.055, 8), skin)
    if random[8] < 0.18:  # a rucksack
        shape.add(upright(trapezoid(0, 1.0, 1.42, broad * 0.75, broad * 0.65)), pick(_CLOTHES, random[15]))
    elif random[8] < 0.35:  # a bag in the hand
        bag = [(hand - 0.12, 0.5), (hand + 0.14, 0.5), (hand + 0.12, 0.8), (hand - 0.1, 0.8)]
        shape.add(upright(bag), pick(_CLOTHES, random[15]))
    size = 0.6 + 0.2 * random[10] if random[11] < 0.12 else 0.92 + 0.18 * random[10]
    shape.points = [(a * size, b, y * size) for a, b, y in shape.points]
    painter.draw(shape, Pose(x, z, 1.0 if random[12] < 0.5 else -1.0, 0.0), code)


def _legs(shape: Shape, walk: float, trousers: Color) -> None:
    """Add two legs with shoes; `walk`: how far a foot is ahead of the hip, negative to walk to the other side."""
    toe = 0.096 if walk >= 0 else -0.096
    for direction, shade in ((-1, 0.8), (1, 1.0)):
        foot = direction * (walk + 0.08)
        knee = foot * 0.45 + 0.05 * (1 if walk > 0 else -1) * (walk != 0)
        shape.add(limb(direction * 0.07, _HIP, knee, 0.48, 0.2, 0.15), trousers, shade=shade)
        shape.add(limb(knee, 0.5, foot, 0.06, 0.15, 0.1), trousers, shade=shade)
        heel, instep = foot - 0.06, foot + 0.05
        shape.add(upright([(heel, 0.0), (heel, 0.1), (instep, 0.1), (instep + toe, 0.03), (instep, 0.0)]), (36, 32, 30))


def _trunk(shape: Shape, broad: float, coat: Color) -> None:
    """Add the body from the hips to the shoulders, with a darker seam; `broad`: half the width of the shoulders."""
    right = [(0.8, _HIP - 0.06), (0.85, 1.15), (1.0, _NECK - 0.04), (0.5, _NECK + 0.03)]
    outline = [(broad * a, y) for a, y in right] + [(-broad * a, y) for a, y in right[::-1]]
    shape.add(upright(outline), coat)
    shape.add(upright(rectangle(-broad * 0.1, 0.0, _HIP, _NECK)), coat, shade=0.8)


def _wheel(shape: Shape, a: float, radius: float, thin: float, tyre: float, code: int, disc: bool) -> None:
    """Add a wheel, as a disc or with spokes."""
    wide = max(radius * thin, tyre)
    outer = ellipse(a, radius, wide, radius, 18)
    if disc or thin < 0.35:
        shape.add(outer, (36, 36, 38), code=code)
        if disc:
            shape.add(ellipse(a, radius, wide * 0.62, radius * 0.62, 12), (120, 120, 124), code=code)
            shape.add(ellipse(a, radius, wide * 0.3, radius * 0.3, 8), (60, 60, 62), code=code)
        return
    shape.add(outer, None, code=code)
    inner = [(a + (a1 - a) * 0.87, radius + (y1 - radius) * 0.87) for a1, _, y1 in outer]
    for i in range(18):  # the tyre as a ring of 18 pieces, transparent between the spokes
        j = (i + 1) % 18
        piece = [(outer[i][0], outer[i][2]), (outer[j][0], outer[j][2]), inner[j], inner[i]]
        shape.add(upright(piece), (38, 38, 40), code=code)
    for i in (0, 3, 6):
        (a1, _, y1), (a2, _, y2) = outer[i], outer[i + 9]
        shape.add(limb(a1, y1, a2, y2, 0.02, 0.02), (150, 150, 152), code=code)


def _bicycle(shape: Shape, thin: float, color: Color, code: int) -> None:
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
    rear, front = -0.34 * thin, -0.06 * thin + 0.04
    saddle = [(rear - 0.04, 0.92), (front, 0.92), (front, 0.98), (rear - 0.07, 0.99)]
    shape.add(upright(saddle), (34, 32, 30), code=code)
    _handlebar(shape, 0.34 * thin, 0.28 * (1 - thin) + 0.05, 0.98, 1.03, (44, 44, 46), code)
    shape.add(ellipse(-0.06 * thin, 0.3, 0.09 * max(thin, 0.3), 0.09, 8), (60, 60, 62), code=code)


def _handlebar(shape: Shape, a: float, spread: float, low: float, high: float, color: Color, code: int) -> None:
    shape.add(upright(rectangle(a - spread, a + spread, low, high)), color, code=code)


def _motorcycle(shape: Shape, thin: float, color: Color, code: int) -> None:
    for a in (-0.7, 0.68):
        _wheel(shape, a * thin, 0.32, thin, 0.075, code, True)
    wide = 0.17 * (1 - thin)
    for part, shade, paint in (
        ([(-0.25, 0.25), (-0.3, 0.6), (0.3, 0.6), (0.35, 0.3)], 1.0, (66, 66, 70)),
        ([(-0.95, 0.8), (-0.35, 0.66), (0.0, 0.7), (0.0, 0.84), (-0.6, 0.88)], 1.0, (40, 38, 38)),
        ([(-0.1, 0.62), (-0.05, 0.9), (0.3, 0.96), (0.48, 0.8), (0.4, 0.6)], 1.0, color),
        ([(0.36, 0.62), (0.34, 1.05), (0.5, 1.12), (0.66, 0.8), (0.6, 0.6)], 0.85, color),
    ):
        left, right = [(a * thin - wide, y) for a, y in part], [(a * thin + wide, y) for a, y in part]
        shape.add(upright(left if thin > 0.5 else _hull(left + right)), paint, shade=shade, code=code)
    shape.add(limb(0.68 * thin, 0.32, 0.42 * thin, 1.0, 0.08, 0.08), (120, 120, 124), code=code)
    shape.add(limb(-0.75 * thin, 0.3, 0.1 * thin, 0.28, 0.1, 0.07), (168, 168, 170), code=code)
    _handlebar(shape, 0.3 * thin, 0.34 * (1 - thin) + 0.08, 1.04, 1.1, (40, 40, 42), code)
    shape.add(ellipse(0.55 * thin, 0.88, 0.1 * max(thin, 0.7), 0.1, 10), (232, 228, 206), code=code)


def _hull(points: Flat):
    """Return the bounding box of points: a body seen from its end."""
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    low, high = min(p[1] for p in points), max(p[1] for p in points)
    return [(first, low), (first, high), (last, high), (last, low)]


def _rider(shape: Shape, thin: float, random: np.ndarray, code: int, motor: bool) -> None:
    """Add a person in the saddle: bent forward, feet on the pedals, hands on the handlebar."""
    coat, trousers = pick(_CLOTHES, random[2]), pick(_CLOTHES, random[3])
    seat = 0.84 if motor else 0.98
    hip_a, hip_y = -0.2 * thin, seat + 0.04
    neck_a, neck_y = (0.02 if motor else 0.12) * thin, seat + 0.56
    knee_a, knee_y = (0.22 if motor else 0.2) * thin, seat - 0.28
    foot_a, foot_y, hand_a, hand_y = (-0.02 if motor else 0.02) * thin, 0.32, 0.36 * thin, 1.05
    for direction in (-1, 1):
        shift, shade = direction * 0.14 * (1 - thin), 0.85 if direction < 0 else 1.0
        thigh = limb(hip_a + shift * 0.6, hip_y, knee_a + shift, knee_y, 0.19, 0.14)
        shape.add(thigh, trousers, shade=shade, code=code)
        low = foot_y + 0.12 * direction * (not motor) * 0.5
        shape.add(limb(knee_a + shift, knee_y + 0.04, foot_a + shift, low, 0.14, 0.1), trousers, shade=shade, code=code)
        toe = foot_a + shift + 0.13 * thin + 0.05
        shape.add(limb(foot_a + shift - 0.03, low, toe, low - 0.03, 0.1, 0.07), (34, 32, 32), code=code)
    wide = 0.24 + 0.16 * (1 - thin)
    shape.add(limb(hip_a, hip_y - 0.08, neck_a, neck_y + 0.03, wide, wide * 0.95), coat, code=code)
    for direction in (-1, 1):
        shift = direction * (0.22 * (1 - thin) + 0.02)
        arm = limb(neck_a + shift * 0.9, neck_y - 0.04, hand_a + shift, hand_y + 0.02, 0.12, 0.08)
        shape.add(arm, coat, shade=0.8 if direction < 0 else 0.92, code=code)
    _head(shape, neck_a + 0.06 * thin, neck_y + 0.2, random[4:], code, helmet=motor or random[9] < 0.45)


def cycle(painter: Painter, x: float, z: float, turn: float, random: np.ndarray, code: int, rider: int = 0) -> None:
    """Draw a bicycle or a motorcycle (the class of `code`), with a rider if `rider`, an instance id, is given.

    Args:
        turn: how much of the flank is in view: 1 or -1 from the side, towards 0 from an end.
        random: at least 16 numbers in 0..1.
    """
    thin = max(abs(turn), 0.12)
    motor = MOTORCYCLE in (code, code // 1000)
    shape = Shape()
    (_motorcycle if motor else _bicycle)(shape, thin, pick(_CLOTHES, random[0]), code)
    if rider:
        _rider(shape, thin, random[1:], rider, motor)
    painter.draw(shape, Pose(x, z, 1.0 if turn >= 0 else -1.0, 0.0), code)
