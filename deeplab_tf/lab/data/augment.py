"""Augmentation of a training image and its label map: one affine warp, an elastic one, one color transform.

Flip, rotation, scale and crop are one affine map from the crop's pixels to the image's, so that a pixel is interpolated
once; an elastic warp is a second time. Brightness, contrast, saturation, hue and white balance are one affine map of
RGB. All draws are stateless: the same seed gives the same crop, on any run.
"""

import math

import cv2
import numpy as np
import tensorflow as tf

from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.panoptic import DIVISOR
from deeplab_tf.lab.data.augment_options import Augmentation

BORDER = 114.0
"""Gray level of image pixels that a warp brings in from outside."""

COLOR_CHANGES = ("brightness", "contrast", "saturation", "hue", "white_balance", "gamma", "noise")

_GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma


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
    if options.elastic:
        image, label_map = bend(image, label_map, draw, options, outside)
    return change_colors(image, draw, options), label_map


class _Draws:
    """Random numbers by name: an augmentation that is switched off does not shift the draws of the others."""

    NAMES = (
        "flip",
        "rotation",
        "scale",
        "top",
        "left",
        *COLOR_CHANGES,
        "vertical_flip",
        "quarter_turns",
        "elastic",
        "class_crops",
    )

    def __init__(self, seed):
        self.seed = seed

    def of(self, name):
        return tf.random.fold_in(self.seed, self.NAMES.index(name))

    def integer(self, name, count):
        return tf.random.stateless_uniform((), self.of(name), 0, count, tf.int32)

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        return tf.random.stateless_uniform(shape, self.of(name), low, high)


def warp(image, label_map, draw, options: Augmentation, outside: int = IGNORE_LABEL):
    """Flip, turn, rotate, scale and crop, in one interpolation."""
    crop = options.crop or tuple(image.shape[:2])
    flipped = options.flip or options.vertical_flip or options.quarter_turns
    moved = flipped or options.rotation or options.scale != (1.0, 1.0)
    if not moved and tuple(crop) == tuple(image.shape[:2]):
        return image, label_map
    size = tf.cast(tf.shape(image)[:2], tf.float32)  # H, W
    low, high = options.scale
    scale = tf.constant(low, tf.float32)
    if low != high:
        scale = tf.exp(draw.uniform("scale", math.log(low), math.log(high)))
    angle = draw.uniform("rotation", -options.rotation, options.rotation) * math.pi / 180
    sign = tf.where(draw.uniform("flip") < options.flip, -1.0, 1.0)
    if options.vertical_flip:  # a left-right flip and half a turn
        turned = tf.where(draw.uniform("vertical_flip") < options.vertical_flip, 1.0, 0.0)
        sign, angle = sign * (1 - 2 * turned), angle + math.pi * turned
    turn = draw.integer("quarter_turns", 4) if options.quarter_turns else tf.constant(0)
    angle += tf.cast(turn, tf.float32) * (math.pi / 2)
    # The crop's center in the image: anywhere the crop fits; where it is larger than the scaled image, anywhere the
    # image fits into it.
    covered = tf.constant(crop, tf.float32) / scale
    room = (size - tf.where(turn % 2 == 1, covered[::-1], covered)) / 2
    offset = tf.stack([draw.uniform("top", -1.0, 1.0), draw.uniform("left", -1.0, 1.0)]) * tf.abs(room)
    if options.class_crops:
        offset = _over_a_class(label_map, offset, tf.abs(room), draw, options.class_crops)
    center = (size - 1) / 2 + offset
    transform = _affine(crop, center, scale, angle, sign)
    image = _apply(tf.cast(image, tf.float32), transform, crop, "BILINEAR", BORDER)
    label_map = _apply(label_map[..., None], transform, crop, "NEAREST", float(outside))[..., 0]
    return tf.cast(tf.round(image), tf.uint8), label_map


def _over_a_class(label_map, offset, room, draw, probability):
    """Return, with a probability, the offset of a crop at a pixel of a class that is drawn evenly from those in the
    image, as far as there is room; else the given one."""
    seeds = tf.unstack(tf.random.split(draw.of("class_crops"), 3))
    ids = label_map // DIVISOR if label_map.dtype == tf.int32 else tf.cast(label_map, tf.int32)
    ids = tf.reshape(ids, (-1,))
    classes = tf.where(tf.math.bincount(ids, minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL] > 0)[:, 0]

    def drawn(values, seed):
        return values[tf.random.stateless_uniform((), seed, 0, tf.size(values), tf.int32)]

    def over():
        place = drawn(tf.where(ids == tf.cast(drawn(classes, seeds[1]), tf.int32))[:, 0], seeds[2])
        width = tf.shape(label_map, tf.int64)[1]
        pixel = tf.cast(tf.stack([place // width, place % width]), tf.float32)
        middle = (tf.cast(tf.shape(label_map), tf.float32) - 1) / 2
        return tf.clip_by_value(pixel - middle, -room, room)

    wanted = tf.random.stateless_uniform((), seeds[0]) < probability
    return tf.cond(wanted & (tf.size(classes) > 0), over, lambda: offset)


def bend(image, label_map, draw, options: Augmentation, outside: int = IGNORE_LABEL):
    """Move the pixels by a smooth field: displacements at 3x3 points, and a cubic between them (Ronneberger et al.,
    MICCAI 2015)."""
    size = tuple(image.shape[:2])
    points = tf.random.stateless_normal((1, 3, 3, 2), draw.of("elastic"), 0.0, options.elastic)
    field = tf.image.resize(points, size, method="bicubic")[0]  # (H, W, 2): columns, rows

    def remap(image, label_map, field):
        rows, columns = np.indices(size, np.float32)
        maps = columns + field[..., 0], rows + field[..., 1]
        options = {"borderMode": cv2.BORDER_CONSTANT}
        moved = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderValue=(BORDER,) * 3, **options)
        labels = label_map.astype(np.float64)  # holds panoptic ids exactly; OpenCV does not remap int32
        labels = cv2.remap(labels, *maps, cv2.INTER_NEAREST, borderValue=float(outside), **options)
        return moved, labels.astype(label_map.dtype)

    kinds = (image.dtype, label_map.dtype)
    moved, labels = tf.numpy_function(remap, [image, label_map, field], kinds, stateful=False)
    return tf.ensure_shape(moved, (*size, 3)), tf.ensure_shape(labels, size)


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
