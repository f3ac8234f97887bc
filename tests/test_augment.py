import math

import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.lab.data.augment import BORDER, Augmentation, _Draws, augment, change_colors, warp

EVERYTHING = Augmentation(
    crop=(64, 80),
    flip=0.5,
    rotation=20,
    scale=(0.6, 1.8),
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.05,
    white_balance=0.1,
    gamma=0.3,
    noise=4,
)


class Fixed:
    """Draws that are known: the value of each name, or the middle of its range."""

    def __init__(self, **values):
        self.values = values

    def uniform(self, name, low=0.0, high=1.0, shape=()):
        return tf.broadcast_to(tf.cast(self.values.get(name, (low + high) / 2), tf.float32), shape)


def seed(n):
    return tf.constant([11, n], tf.int64)


def scene(rng, height=96, width=128, classes=6):
    """A label map of irregular areas, and an image whose color says which class it is."""
    rows, columns = np.mgrid[:height, :width]
    centers = rng.uniform(0, 1, (12, 2)) * (height, width)
    nearest = ((rows[..., None] - centers[:, 0]) ** 2 + (columns[..., None] - centers[:, 1]) ** 2).argmin(-1)
    label_map = rng.integers(0, classes, 12)[nearest].astype(np.uint8)
    palette = np.array(
        [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 30), (20, 20, 20), (240, 240, 240)], np.uint8
    )
    return palette[label_map], label_map, palette


def decode(image, palette):
    """The class of each pixel by the nearest color."""
    return ((image[..., None, :].astype(int) - palette.astype(int)) ** 2).sum(-1).argmin(-1)


def test_defaults_change_nothing(rng):
    image, label_map, _ = scene(rng)
    out = augment(tf.constant(image), tf.constant(label_map), seed(0), Augmentation())
    np.testing.assert_array_equal(out[0], image)
    np.testing.assert_array_equal(out[1], label_map)


@pytest.mark.parametrize("size", [(96, 128), (97, 129)])
def test_a_warp_that_moves_nothing_is_exact(rng, size):
    image, label_map, _ = scene(rng, *size)
    out = warp(
        tf.constant(image),
        tf.constant(label_map),
        Fixed(flip=1.0),
        Augmentation(flip=0.5, rotation=10, scale=(0.5, 2.0)),
    )
    np.testing.assert_array_equal(out[0], image)
    np.testing.assert_array_equal(out[1], label_map)


@pytest.mark.parametrize("size", [(96, 128), (97, 129)])
def test_flip_mirrors_image_and_label(rng, size):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    label_map = rng.integers(0, 19, size, np.uint8)
    out = augment(tf.constant(image), tf.constant(label_map), seed(0), Augmentation(flip=1.0))
    np.testing.assert_array_equal(out[0], image[:, ::-1])
    np.testing.assert_array_equal(out[1], label_map[:, ::-1])


@pytest.mark.parametrize("size", [(96, 128), (97, 129)])
def test_a_vertical_flip_turns_image_and_label_upside_down(rng, size):
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    label_map = rng.integers(0, 19, size, np.uint8)
    out = augment(tf.constant(image), tf.constant(label_map), seed(0), Augmentation(vertical_flip=1.0))
    np.testing.assert_array_equal(out[0], image[::-1])
    np.testing.assert_array_equal(out[1], label_map[::-1])


def test_quarter_turns_give_all_four_orientations(rng):
    label_map = rng.integers(0, 19, (64, 64), np.uint8)
    image = np.repeat(label_map[..., None] * 12, 3, axis=2)
    seen = set()
    for n in range(20):
        out = augment(tf.constant(image), tf.constant(label_map), seed(n), Augmentation(quarter_turns=True))
        np.testing.assert_array_equal(out[0][..., 0], out[1] * 12)  # image and label moved alike
        seen |= {k for k in range(4) if np.array_equal(out[1], np.rot90(label_map, k))}
    assert seen == {0, 1, 2, 3}


def test_a_turned_crop_stays_inside_a_larger_image():
    """A 40x60 crop of a 60x90 image, turned, is 60 rows by 40 columns of it: none of its pixels is outside."""
    image, label_map = np.zeros((60, 90, 3), np.uint8), np.zeros((60, 90), np.uint8)
    for n in range(20):
        out = augment(
            tf.constant(image), tf.constant(label_map), seed(n), Augmentation(crop=(40, 60), quarter_turns=True)
        )
        assert out[1].shape == (40, 60) and not np.any(out[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_an_elastic_warp_moves_image_and_label_alike(rng, dtype):
    """Where the label is painted into the image, it is still there afterwards, but for blended edges."""
    label_map = (np.kron(rng.integers(0, 4, (6, 8)), np.ones((16, 16))) * 60).astype(dtype)
    image = np.repeat(label_map[..., None], 3, axis=2).astype(np.uint8)
    options = Augmentation(elastic=6.0)
    out = [
        tensor.numpy() for tensor in augment(tf.constant(image), tf.constant(label_map), seed(1), options, outside=255)
    ]
    inside = out[1] != 255
    assert out[1].dtype == dtype and 0.2 < np.mean(out[1] != label_map) < 0.9
    assert np.mean(out[0][..., 0][inside] == out[1][inside]) > 0.8
    again = augment(tf.constant(image), tf.constant(label_map), seed(1), options, outside=255)
    np.testing.assert_array_equal(again[1], out[1])


@pytest.mark.parametrize("unit", [1, 1000])
def test_crops_over_classes_find_rare_ones(unit):
    """One pixel of class 2 in 200x200: a 32x32 crop holds it in about 1 of 30 draws, or in half of them where the class
    is drawn first."""
    label_map = np.zeros((200, 200), np.uint8 if unit == 1 else np.int32)
    label_map[150, 45] = 2 * unit
    image = tf.zeros((200, 200, 3), tf.uint8)
    for probability, low, high in ((0.0, 0, 17), (1.0, 70, 130)):  # of 200: 100, give or take four deviations of 7
        options = Augmentation(crop=(32, 32), class_crops=probability)
        found = [np.any(augment(image, tf.constant(label_map), seed(n), options)[1] == 2 * unit) for n in range(200)]
        assert low <= sum(found) <= high


def test_crops_over_classes_of_an_image_without_any_go_anywhere():
    ignored = tf.fill((40, 40), tf.constant(IGNORE_LABEL, tf.uint8))
    options = Augmentation(crop=(32, 32), class_crops=1.0)
    assert augment(tf.zeros((40, 40, 3), tf.uint8), ignored, seed(0), options)[1].shape == (32, 32)


def test_half_of_the_images_are_flipped():
    column = tf.constant(np.arange(32, dtype=np.uint8)[None].repeat(2, 0))
    image = tf.zeros((2, 32, 3), tf.uint8)
    flipped = [int(augment(image, column, seed(n), Augmentation(flip=0.5))[1][0, 0]) == 31 for n in range(200)]
    assert 70 <= sum(flipped) <= 130  # 100, give or take four deviations of 7


def warp_in_numpy(label_map, crop, *, angle=0.0, scale=1.0, flip=False, top=0.0, left=0.0):
    """Where a pixel of the crop comes from, worked out one by one: mirrored, turned, shrunk, moved."""
    height, width = label_map.shape
    out = np.full(crop, IGNORE_LABEL, np.uint8)
    for row in range(crop[0]):
        for column in range(crop[1]):
            down, right = row - (crop[0] - 1) / 2, column - (crop[1] - 1) / 2
            right = -right if flip else right
            turned = complex(right, down) * complex(math.cos(angle), math.sin(angle)) / scale
            y = (height - 1) / 2 + top * abs(height - crop[0] / scale) / 2 + turned.imag
            x = (width - 1) / 2 + left * abs(width - crop[1] / scale) / 2 + turned.real
            y, x = math.floor(y + 0.5), math.floor(x + 0.5)
            if 0 <= y < height and 0 <= x < width:
                out[row, column] = label_map[y, x]
    return out


@pytest.mark.parametrize(
    "known",
    [
        {"angle": math.radians(30)},
        {"angle": math.radians(-7), "scale": 1.3},
        {"scale": 2.0, "top": -1.0, "left": 1.0},
        {"scale": 0.5, "top": 1.0, "left": -1.0},
        {"angle": math.radians(15), "scale": 0.8, "flip": True, "top": 0.3, "left": -0.6},
    ],
)
@pytest.mark.parametrize("crop", [(96, 128), (64, 50)])
def test_warp_by_known_numbers(rng, known, crop):
    image, label_map, palette = scene(rng)
    draws = {"rotation": math.degrees(known.get("angle", 0.0)), "flip": 0.0 if known.get("flip") else 1.0}
    draws.update({name: known.get(name, 0.0) for name in ("top", "left")})
    options = Augmentation(crop=crop, flip=0.5, rotation=45, scale=(known.get("scale", 1.0),) * 2)
    out_image, out = (
        tensor.numpy() for tensor in warp(tf.constant(image), tf.constant(label_map), Fixed(**draws), options)
    )
    expected = warp_in_numpy(label_map, crop, **known)
    # half-way positions may go either way by rounding in float32: rows of them only where nothing is turned
    assert np.mean(out == expected) > 0.995
    assert set(np.unique(out)) <= {*np.unique(label_map), IGNORE_LABEL}
    outside = wide(expected == IGNORE_LABEL, np.all)
    np.testing.assert_array_equal(out_image[outside], int(BORDER))


def wide(mask, reduce):
    """All or any over the 5x5 neighbors of each pixel; the frame of the picture counts as False."""
    padded = np.pad(mask, 2)
    return reduce(np.lib.stride_tricks.sliding_window_view(padded, (5, 5)), axis=(2, 3))


def test_a_smaller_scale_shows_the_whole_image():
    image, label_map = np.full((40, 60, 3), 200, np.uint8), np.full((40, 60), 3, np.uint8)
    for n in range(10):
        out_image, out = augment(tf.constant(image), tf.constant(label_map), seed(n), Augmentation(scale=(0.5, 0.5)))
        inside = out.numpy() == 3
        assert abs(inside.sum() - 20 * 30) <= 30 + 20  # a quarter of the area; half a pixel at its sides
        assert set(np.unique(out)) == {3, IGNORE_LABEL}
        assert out_image.numpy()[~wide(inside, np.any)].tolist() == [[int(BORDER)] * 3] * int(
            (~wide(inside, np.any)).sum()
        )


def test_image_and_label_stay_together(rng):
    image, label_map, palette = scene(rng)
    options = Augmentation(crop=(64, 80), flip=0.5, rotation=20, scale=(0.6, 1.8))
    for n in range(20):
        out_image, out = (
            tensor.numpy() for tensor in augment(tf.constant(image), tf.constant(label_map), seed(n), options)
        )
        assert out_image.shape == (64, 80, 3) and out.shape == (64, 80) and out_image.dtype == out.dtype == np.uint8
        inner = np.zeros(out.shape, bool)
        for value in set(np.unique(out)) - {IGNORE_LABEL}:
            inner |= wide(out == value, np.all)
        assert inner.sum() > 500
        assert np.mean(decode(out_image, palette)[inner] == out[inner]) >= 0.99


def test_the_seed_decides(rng):
    image, label_map, _ = scene(rng)
    image = image // 2 + rng.integers(0, 100, image.shape, np.uint8)
    out = [augment(tf.constant(image), tf.constant(label_map), seed(n), EVERYTHING) for n in (1, 1, 2)]
    traced = tf.function(lambda i, m, s: augment(i, m, s, EVERYTHING), jit_compile=False)(image, label_map, seed(1))
    for i in range(2):
        np.testing.assert_array_equal(out[0][i], out[1][i])
        assert np.mean(out[0][i].numpy() != out[2][i].numpy()) > 0.2
        assert np.mean(out[0][i].numpy() != traced[i].numpy()) < 1e-3  # rounding of a fused multiplication


def test_draws_do_not_depend_on_one_another():
    """What is drawn for one augmentation is the same whether another is on or off."""
    names, draw = _Draws.NAMES, _Draws(seed(3))
    together = [float(draw.uniform(name)) for name in names]
    assert [float(_Draws(seed(3)).uniform(name)) for name in reversed(names)] == together[::-1]
    assert len(set(together)) == len(names)


def test_augmentations_do_not_shift_draws(rng):
    image, label_map, _ = scene(rng)
    geometry = {"crop": (64, 80), "flip": 0.5, "rotation": 20, "scale": (0.6, 1.8)}
    colored = augment(tf.constant(image), tf.constant(label_map), seed(5), EVERYTHING)[1]
    plain = augment(tf.constant(image), tf.constant(label_map), seed(5), Augmentation(**geometry))[1]
    np.testing.assert_array_equal(colored, plain)
    # on an even gray, contrast, saturation and hue have nothing to change: brightness comes through as drawn
    gray = tf.fill((8, 8, 3), tf.constant(100, tf.uint8))
    alone = augment(gray, gray[..., 0], seed(6), Augmentation(brightness=0.3))[0]
    among = augment(gray, gray[..., 0], seed(6), Augmentation(brightness=0.3, contrast=0.5, saturation=0.5, hue=0.3))[0]
    assert abs(int(alone[0, 0, 0]) - 100) > 2
    np.testing.assert_allclose(among, alone, atol=1)


LUMA = np.array([0.299, 0.587, 0.114])


def colors_in_numpy(image, *, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, white_balance=(0.0, 0.0, 0.0)):
    """Each change as a picture editor does it, one after the other: hue, saturation, channels and brightness,
    contrast."""
    x = image / 255.0
    luma = (x @ LUMA)[..., None]
    axis, angle = np.ones(3) / math.sqrt(3), -2 * math.pi * hue
    difference = x - luma
    turned = difference * math.cos(angle) + np.cross(axis, difference) * math.sin(angle)
    turned = turned + axis * (difference @ axis)[..., None] * (1 - math.cos(angle))
    turned = turned - (turned @ LUMA)[..., None]
    x = luma + (1 + saturation) * turned
    x = x * (1 + np.array(white_balance)) * (1 + brightness)
    mean = (x @ LUMA).mean()
    x = mean + (1 + contrast) * (x - mean)
    return np.round(np.clip(x, 0, 1) * 255)


@pytest.mark.parametrize(
    "changes",
    [
        {"brightness": 0.3},
        {"contrast": -0.4},
        {"contrast": 0.5},
        {"saturation": -1.0},
        {"saturation": 0.5},
        {"hue": 0.1},
        {"hue": -0.25},
        {"white_balance": (0.1, -0.1, 0.05)},
        {"brightness": -0.2, "contrast": 0.3, "saturation": -0.3, "hue": 0.05, "white_balance": (-0.1, 0.0, 0.1)},
    ],
)
def test_colors_by_known_numbers(rng, changes):
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    options = Augmentation(brightness=0.9, contrast=0.9, saturation=1.0, hue=0.5, white_balance=0.5)
    out = change_colors(tf.constant(image), Fixed(**changes_as_draws(changes)), options).numpy()
    np.testing.assert_allclose(out, colors_in_numpy(image, **changes), atol=1)


def changes_as_draws(changes):
    return {name: np.array(value, np.float32) for name, value in changes.items()}


def test_hue_keeps_grays_and_brightness(rng):
    image = rng.integers(80, 170, (20, 30, 3), np.uint8)
    image[:10] = image[:10, :, :1]
    out = change_colors(tf.constant(image), Fixed(hue=0.2), Augmentation(hue=0.5)).numpy()
    np.testing.assert_array_equal(out[:10], image[:10])
    np.testing.assert_allclose(out @ LUMA, image @ LUMA, atol=1)
    assert np.abs(out[10:].astype(int) - image[10:]).mean() > 10


def test_no_saturation_is_luma(rng):
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    out = change_colors(tf.constant(image), Fixed(saturation=-1.0), Augmentation(saturation=1.0)).numpy()
    np.testing.assert_allclose(out, np.repeat((image @ LUMA)[..., None], 3, -1), atol=1)


def test_gamma_keeps_black_and_white():
    image = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1)
    middle = []
    for n in range(30):
        out = change_colors(tf.constant(image), _Draws(seed(n)), Augmentation(gamma=0.5)).numpy()
        assert out[0, 0, 0] == 0 and out[0, 255, 0] == 255
        assert (np.diff(out[0, :, 0].astype(int)) >= 0).all()
        middle.append(math.log(out[0, 128, 0] / 255) / math.log(128 / 255))
    assert 1 / 1.52 < min(middle) < 0.8 and 1.25 < max(middle) < 1.52


def test_noise_is_as_strong_as_drawn():
    gray = tf.fill((64, 64, 3), tf.constant(128, tf.uint8))
    spread = []
    for n in range(20):
        out = change_colors(gray, _Draws(seed(n)), Augmentation(noise=8.0)).numpy().astype(float)
        assert abs(out.mean() - 128) < 0.5
        spread.append(out.std())
    assert max(spread) < 8.3 and min(spread) < 3 < 5 < max(spread)
