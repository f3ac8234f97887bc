import numpy as np
import pytest

from deeplab_tf.core import draw
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable

TABLE = LabelTable([Label(0, "road", (10, 20, 30), False), Label(1, "car", (200, 100, 0), True)])


def test_colorize_is_the_palette_at_each_id():
    label_map = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    assert np.array_equal(draw.colorize(label_map, CITYSCAPES), CITYSCAPES.palette()[label_map])


def test_colorize_draws_ignored_pixels_black():
    assert draw.colorize(np.array([[0, 1, 2, 255]], np.uint8), TABLE).tolist() == [
        [[10, 20, 30], [200, 100, 0], [0, 0, 0], [0, 0, 0]]
    ]


def test_a_class_that_looks_black_gives_ignored_pixels_another_color():
    black = LabelTable([Label(0, "background", (0, 0, 0), False), Label(1, "pore", (8, 8, 8), False)])
    assert TABLE.ignore_color == "black" and black.ignore_color == "white"
    assert draw.colorize(np.array([[0, 1, 255]], np.uint8), black).tolist() == [[[0] * 3, [8] * 3, [255] * 3]]
    grays = LabelTable(Label(i, str(i), (i, i, i), False) for i in range(255))
    assert grays.ignore_color == "magenta"


def test_overlay_leaves_the_image_where_there_is_no_color():
    """Ignored pixels and those of a black class keep their brightness; other classes are mixed by halves."""
    table = LabelTable([Label(0, "background", (0, 0, 0), False), Label(1, "defect", (200, 0, 0), True)])
    image = np.full((2, 4, 3), 120, np.uint8)
    canvas = np.zeros((2, 9, 3), np.uint8)
    drawn = draw.overlay(image, np.array([[0, 1, 2, 255]] * 2, np.uint8), table, out=canvas[:, 2:6])
    assert drawn[0].tolist() == [[120] * 3, [160, 60, 60], [120] * 3, [120] * 3]
    assert np.array_equal(canvas[:, 2:6], drawn) and not canvas[:, :2].any() and not canvas[:, 6:].any()
    assert (image == 120).all()


def test_overlay_mixes_by_opacity():
    image = np.full((1, 2, 3), 100, np.uint8)
    mixed = draw.overlay(image, np.array([[0, 1]], np.uint8), TABLE, opacity=0.25)
    # 0.75 * 100 + 0.25 * (10, 20, 30) = 77.5, 80, 82.5; 0.75 * 100 + 0.25 * (200, 100, 0) = 125, 100, 75
    assert np.abs(mixed.astype(float) - [[[77.5, 80, 82.5], [125, 100, 75]]]).max() <= 0.5


def test_overlay_resizes_a_smaller_label_map_by_nearest_and_leaves_the_image_alone():
    image = np.zeros((4, 8, 3), np.uint8)
    mixed = draw.overlay(image, np.array([[0, 1]], np.uint8), TABLE, opacity=1.0)
    assert (mixed[:, :4] == (10, 20, 30)).all() and (mixed[:, 4:] == (200, 100, 0)).all()
    assert not image.any()


@pytest.mark.parametrize(
    "length, expected", [(3, [1, 4, 7]), (1, [4]), (9, list(range(9))), (18, [i // 2 for i in range(18)])]
)
def test_labels_are_resized_by_pixel_centers(length, expected):
    line = np.arange(9, dtype=np.uint8)
    assert draw.resize_labels(line[None], (1, length)).tolist() == [expected]
    assert draw.resize_labels(line[:, None], (length, 1))[:, 0].tolist() == expected


@pytest.mark.parametrize("size", [(512, 1024), (31, 7), (720, 100), (100, 720), (1, 1)])
def test_resized_labels_are_those_at_the_centers_of_the_new_pixels(size):
    label_map = np.random.default_rng(0).integers(0, 20, (360, 480), dtype=np.uint8)
    expected = [
        [label_map[y * 360 // (2 * size[0]), x * 480 // (2 * size[1])] for x in range(1, 2 * size[1], 2)]
        for y in (1, size[0] | 1)
    ]
    assert draw.resize_labels(label_map, size)[[0, size[0] // 2]].tolist() == expected


def test_legend_shows_the_asked_classes_and_no_others():
    strip = draw.legend(60, TABLE, class_ids=[1, 255])
    colors = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    assert strip.shape[0] == 60 and (200, 100, 0) in colors and (10, 20, 30) not in colors


@pytest.mark.parametrize("height", [12, 64, 512])
def test_legend_shows_every_class_at_any_height(height):
    strip = draw.legend(height, CITYSCAPES)
    colors = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    assert strip.shape[0] == height and {label.color for label in CITYSCAPES} <= colors


def test_legend_of_nothing_is_white():
    assert (draw.legend(40, TABLE, class_ids=[]) == 255).all()


def test_legend_too_low_is_refused():
    with pytest.raises(DeepLabError, match="at least 12 pixels; got 5"):
        draw.legend(5, TABLE)


def test_side_by_side_keeps_the_panels_and_gives_them_one_height():
    left, right = np.full((40, 30, 3), 7, np.uint8), np.full((80, 120, 3), 9, np.uint8)
    row = draw.side_by_side([left, right], ["image", "a title far too long for sixty pixels of width"])
    assert row.shape == (40 + draw.TITLE_HEIGHT, 30 + 4 + 60, 3)
    assert (row[draw.TITLE_HEIGHT :, :30] == 7).all() and (row[draw.TITLE_HEIGHT :, 34:] == 9).all()
    assert (row[: draw.TITLE_HEIGHT, :30] < 255).any()


def test_side_by_side_without_titles_adds_no_strip():
    panel = np.zeros((5, 6, 3), np.uint8)
    assert draw.side_by_side([panel, panel]).shape == (5, 16, 3)


def test_side_by_side_refuses_nothing_and_a_missing_title():
    with pytest.raises(DeepLabError, match="at least one panel"):
        draw.side_by_side([])
    with pytest.raises(DeepLabError, match="1 titles for 2 panels"):
        draw.side_by_side([np.zeros((5, 6, 3), np.uint8)] * 2, ["one"])


def test_stacked_fills_narrow_images_with_white():
    stack = draw.stacked([np.zeros((2, 3, 3), np.uint8), np.zeros((1, 5, 3), np.uint8)])
    assert stack.shape == (7, 5, 3)
    assert (stack[:2, 3:] == 255).all() and (stack[2:6] == 255).all() and (stack[6] == 0).all()


def test_labels_at_a_stride_go_to_the_pixels_nearest_to_theirs():
    """At a stride of 4 the labels lie on pixels 0, 4, 8: pixel 2 is as near to 0 as to 4, and goes on."""
    labels = np.array([[1, 2, 3]], np.uint8)
    expected = [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    np.testing.assert_array_equal(draw.resize_labels(labels, (4, 12), 4), [expected] * 4)
    np.testing.assert_array_equal(draw.resize_labels(labels, (1, 6), 1), [[1, 1, 2, 2, 3, 3]])
