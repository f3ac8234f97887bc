"""Colors of facades, roofs, stones and metals (RGB, before the light of the scene); classes overlap on purpose."""

from typing import Sequence

from deeplab_tf.synth.light import Color

FACADES = (
    (196, 184, 160),
    (172, 160, 148),
    (150, 92, 76),
    (126, 74, 60),
    (208, 204, 196),
    (140, 140, 142),
    (104, 106, 112),
    (186, 160, 110),
    (162, 170, 150),
    (120, 130, 146),
    (206, 176, 150),
    (92, 84, 78),
    (176, 122, 96),
    (128, 136, 118),
)
ROOFS = ((112, 58, 46), (78, 74, 74), (92, 66, 56), (64, 68, 76))
STONES = ((150, 146, 138), (120, 118, 114), (136, 96, 80), (170, 166, 158), (110, 104, 92), (128, 132, 126))
METALS = ((120, 122, 124), (84, 86, 90), (150, 152, 152), (70, 82, 72), (60, 60, 62), (136, 128, 112))


def pick(colors: Sequence[Color], number: float) -> Color:
    """Return the color for a number in 0..1."""
    return colors[int(number * len(colors)) % len(colors)]
