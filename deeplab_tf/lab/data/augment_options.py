"""The options of the augmentation, apart from `augment`, which needs TensorFlow."""

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import field_validator

from deeplab_tf.lab.schema import BelowOne, Fraction, Section, Side

Factor = Annotated[float, Ge(0.01), Le(100)]


class Augmentation(Section):
    """Random changes to every training image. The defaults change nothing.

    The draws depend on `training.seed` and the number of the sample alone, so a resumed run sees what it would have
    seen. Where rotation, scale or crop reach outside the image, the image is gray and the label ignored.
    """

    crop: Annotated[tuple[Side, Side] | None, "[height, width] of the crop to train on; none: the whole image"] = None
    class_crops: Annotated[
        Fraction, "probability that the crop is laid over a pixel of a class drawn evenly from those in the image"
    ] = 0.0
    flip: Annotated[Fraction, "probability of a left-right flip"] = 0.0
    vertical_flip: Annotated[Fraction, "probability of a top-bottom flip"] = 0.0
    quarter_turns: Annotated[bool, "turn by 0, 90, 180 or 270 degrees, each as often"] = False
    rotation: Annotated[float, Ge(0), Le(180), "degrees, at most, either way"] = 0.0
    scale: Annotated[tuple[Factor, Factor], "[low, high] factor, evenly in the logarithm"] = (1.0, 1.0)
    elastic: Annotated[
        float, Ge(0), Le(1000), "standard deviation, in pixels, of a smooth warp that is drawn at 3x3 points (U-Net's)"
    ] = 0.0
    brightness: Annotated[BelowOne, "0.3: times 0.7 to 1.3"] = 0.0
    contrast: Annotated[BelowOne, "0.3: distance from the image's mean gray, times 0.7 to 1.3"] = 0.0
    saturation: Annotated[Fraction, "0.3: distance from each pixel's gray, times 0.7 to 1.3"] = 0.0
    hue: Annotated[Fraction, "0.1: turned by at most a tenth of the color circle either way"] = 0.0
    white_balance: Annotated[Fraction, "0.1: each channel on its own, times 0.9 to 1.1"] = 0.0
    gamma: Annotated[float, Ge(0), Le(10), "0.3: to a power between 1 / 1.3 and 1.3"] = 0.0
    noise: Annotated[float, Ge(0), Le(255), "standard deviation of Gaussian noise in gray levels, at most"] = 0.0

    @field_validator("scale")
    @classmethod
    def _low_to_high(cls, scale):
        if scale[0] > scale[1]:
            raise ValueError("must be [low, high] with low <= high")
        return scale
