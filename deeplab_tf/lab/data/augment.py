"""Augmentation of a training image and its label map: one geometric warp, one color transform.

Flip, rotation, scale and crop are one affine map from the crop's pixels to the image's, so that a pixel is interpolated
once. Brightness, contrast, saturation, hue and white balance are one affine map of RGB. All draws are stateless: the
same seed gives the same crop, on any run.
"""

import math
from typing import Annotated

import tensorflow as tf
from annotated_types import Ge, Le
from pydantic import field_validator

from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.schema import BelowOne, Fraction, Section, Side

BORDER = 114.0
"""Gray level of image pixels that a warp brings in from outside."""

COLOR_CHANGES = ("brightness", "contrast", "saturation", "hue", "white_balance", "gamma", "noise")

Factor = Annotated[float, Ge(0.01), Le(100)]

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


class Augmentation(Section):
    """Random changes to every training image. The defaults change nothing.

    The draws depend on `training.seed` and the number of the sample alone, so a resumed run sees what it would have
    seen. Where rotation, scale or crop reach outside the image, the image is gray and the label ignored.
    """

    crop: Annotated[tuple[Side, Side] | None, "[height, width] of the crop to train on; none: the whole image"] = None
    flip: Annotated[Fraction, "probability of a left-right flip"] = 0.0
    rotation: Annotated[float, Ge(0), Le(180), "degrees, at most, either way"] = 0.0
    scale: Annotated[tuple[Factor, Factor], "[low, high] factor, evenly in the logarithm"] = (1.0, 1.0)
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


def augment(image, label_map, seed, options: Augmentation, *, outside: int = IGNORE_LABEL):
    """Return an image and its label map, changed at random.

    Args:
        image: (H, W, 3) uint8.
        label_map: (H, W) uint8, or int32 for a panoptic map; nearest neighbor.
        seed: (2,) int64; all that the draws depend on.
        options: how far.
        outside: the label where the warp reaches outside the image.

    Returns:
        image (h, w, 3) uint8 and label_map (h, w), of its own type, of the crop's size.
    """
    draw = _Draws(seed)
    image, label_map = warp(image, label_map, draw, options, outside)
    return change_colors(image, draw, options), label_map


class _Draws:
    """Random numbers by name: an augmentation that is switched off does not shift the draws of the others."""

    NAMES = ("flip", "rotation", "scale", "top", "left", *COLOR_CHANGES)

    def __init__(self, seed):
        self.seed = seed

    def of(self, name):
        return tf.random.fold_in(self.seed, self.NAMES.index(name))

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        return tf.random.stateless_uniform(shape, self.of(name), low, high)


def warp(image, label_map, draw, options: Augmentation, outside: int = IGNORE_LABEL):
    """Flip, rotate, scale and crop, in one interpolation."""
    crop = options.crop or tuple(image.shape[:2])
    moved = options.flip or options.rotation or options.scale != (1.0, 1.0)
    if not moved and tuple(crop) == tuple(image.shape[:2]):
        return image, label_map
    size = tf.cast(tf.shape(image)[:2], tf.float32)  # H, W
    low, high = options.scale
    scale = tf.constant(low, tf.float32)
    if low != high:
        scale = tf.exp(draw.uniform("scale", math.log(low), math.log(high)))
    angle = draw.uniform("rotation", -options.rotation, options.rotation) * math.pi / 180
    sign = tf.where(draw.uniform("flip") < options.flip, -1.0, 1.0)
    # The crop's center in the image: anywhere the crop fits; where it is larger than the scaled image, anywhere the
    # image fits into it.
    room = (size - tf.constant(crop, tf.float32) / scale) / 2
    offset = tf.stack([draw.uniform("top", -1.0, 1.0), draw.uniform("left", -1.0, 1.0)]) * tf.abs(room)
    center = (size - 1) / 2 + offset
    transform = _affine(crop, center, scale, angle, sign)
    image = _apply(tf.cast(image, tf.float32), transform, crop, "BILINEAR", BORDER)
    label_map = _apply(label_map[..., None], transform, crop, "NEAREST", float(outside))[..., 0]
    return tf.cast(tf.round(image), tf.uint8), label_map


def _affine(crop, center, scale, angle, sign):
    """Return the eight numbers of ImageProjectiveTransformV3: crop pixel (x, y) -> image pixel."""
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    y0, x0 = (crop[0] - 1) / 2, (crop[1] - 1) / 2
    a, b, c, d = sign * cos, -sin, sign * sin, cos
    return tf.stack([a, b, center[1] - a * x0 - b * y0, c, d, center[0] - c * x0 - d * y0, 0.0, 0.0])[None]


def _apply(image, transform, crop, interpolation, fill):
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=transform,
        output_shape=crop,
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )[0]
    return tf.ensure_shape(warped, (*crop, image.shape[-1]))


def change_colors(image, draw, options: Augmentation):
    """Change brightness, contrast, saturation, hue and white balance by one 3x3 matrix and an offset, then gamma and
    noise."""
    if not any(getattr(options, name) for name in COLOR_CHANGES):
        return image
    x = tf.cast(image, tf.float32) / 255
    gray = tf.constant(_GRAY)
    contrast = 1 + draw.uniform("contrast", -options.contrast, options.contrast)
    gain = (1 + draw.uniform("brightness", -options.brightness, options.brightness)) * contrast
    channels = 1 + draw.uniform("white_balance", -options.white_balance, options.white_balance, (3,))
    matrix = _saturation_and_hue(draw, options) * channels * gain  # (3, 3): row vector of RGB times it
    mean = tf.reduce_mean(x, axis=(0, 1))
    offset = (1 - contrast) / contrast * tf.reduce_sum(tf.linalg.matvec(matrix, mean, transpose_a=True) * gray)
    x = tf.clip_by_value(tf.tensordot(x, matrix, 1) + offset, 0, 1)
    if options.gamma:
        limit = math.log(1 + options.gamma)
        x = tf.pow(x, tf.exp(draw.uniform("gamma", -limit, limit)))
    if options.noise:
        strength, noise = tf.unstack(tf.random.split(draw.of("noise"), 2))
        x += tf.random.stateless_normal(tf.shape(x), noise) * tf.random.stateless_uniform(
            (), strength, 0, options.noise / 255
        )
    return tf.cast(tf.round(tf.clip_by_value(x, 0, 1) * 255), tf.uint8)


def _saturation_and_hue(draw, options):
    """(3, 3): color differences from gray, stretched and turned about the gray axis."""
    gray = tf.constant(_GRAY)
    saturation = 1 + draw.uniform("saturation", -options.saturation, options.saturation)
    angle = draw.uniform("hue", -options.hue, options.hue) * 2 * math.pi
    # Rodrigues' rotation about (1, 1, 1) keeps grays; what it changes in luma is put back by `to_gray`.
    cos, sin, third = tf.cos(angle), tf.sin(angle), (1 - tf.cos(angle)) / 3
    root = sin / math.sqrt(3)
    same, left, right = cos + third, third - root, third + root
    turn = tf.stack([[same, left, right], [right, same, left], [left, right, same]])
    to_gray = tf.tile(gray[:, None], (1, 3))  # (3, 3): RGB -> its luma in each channel
    color = tf.linalg.matmul(tf.eye(3) - to_gray, turn)
    color -= tf.linalg.matmul(color, to_gray)
    return to_gray + saturation * color
