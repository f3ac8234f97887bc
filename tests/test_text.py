"""Text in any script in images."""

import cv2
import numpy as np
import pytest

from deeplab_tf.core import draw
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.text import _glyph, in_order, put_text, text_width


def drawn(text, scale=10 / 22.0, size=(24, 200)):
    """The text at the font's own size, as booleans."""
    image = np.full(size + (3,), 255, np.uint8)
    put_text(image, text, (4, 18), scale, (0, 0, 0))
    return image[:, :, 0] < 128


def test_ascii_is_drawn_by_opencv():
    expected, image = np.full((40, 200, 3), 255, np.uint8), np.full((40, 200, 3), 255, np.uint8)
    cv2.putText(expected, "road 12", (4, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (9, 8, 7), 1, cv2.LINE_AA)
    put_text(image, "road 12", (4, 30), 0.7, (9, 8, 7))
    assert np.array_equal(image, expected)
    assert text_width("road 12", 0.7) == cv2.getTextSize("road 12", cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)[0][0]


def test_a_glyph_is_that_of_the_published_font():
    """U+00DF of unifont.hex: 000000003844444858444442425A504000 in rows of eight bits has a stem at the left."""
    rows = ["".join("#" if dot else "." for dot in row) for row in _glyph("\u00df")]
    assert rows[4] == "..###..." and all(row[1] == "#" for row in rows[6:13])
    assert _glyph("\u9053").shape == (16, 16) and _glyph("\u00df").shape == (16, 8)


@pytest.mark.parametrize("name", ["Straße", "道路", "дорога", "طريق", "כביש", "도로", "Đường", "ถนน"])
def test_names_are_drawn_with_their_own_glyphs(name):
    """Each letter stands in its cell, as wide as its glyph, nothing outside."""
    glyphs = np.concatenate([_glyph(letter) for letter in in_order(name)], axis=1)
    found = drawn(name)
    assert np.array_equal(found[4:20, 4 : 4 + glyphs.shape[1]], glyphs)
    assert found.sum() == glyphs.sum() and text_width(name, 10 / 22.0) == glyphs.shape[1]


def test_a_mark_stands_on_its_letter():
    plain, marked = _glyph("\u0448"), drawn("\u0448\u0303")
    assert text_width("\u0448\u0303", 10 / 22.0) == 8
    assert np.array_equal(marked[4:20, 4:12], plain | _glyph("\u0303")) and marked.sum() > plain.sum()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("road", "road"),
        ("כביש", "שיבכ"),
        ("כביש 12", "12 שיבכ"),
        ("A כב", "A בכ"),
        ("ب", "\ufe8f"),  # isolated
        ("بب", "\ufe90\ufe91"),  # initial at the right, final at the left
        ("ببب", "\ufe90\ufe92\ufe91"),  # medial between them
        ("دب", "\ufe8f\ufea9"),  # dal does not join what follows
    ],
)
def test_text_is_put_in_order(text, expected):
    assert in_order(text) == expected


def test_text_at_the_edge_is_cut_off():
    image = np.full((10, 10, 3), 255, np.uint8)
    for origin in ((-5, 5), (5, 2), (8, 20), (50, 50)):
        put_text(image, "道路", origin, 0.5, (0, 0, 0))
    assert image.min() < 128


def test_a_legend_has_room_for_its_letters():
    """Rows of 20 pixels where a name is not ASCII, so 96 pixels hold four of six classes; as wide as the names."""
    table = LabelTable([Label(i, "道路" * (i + 1), (200, 10 * i, 0), False) for i in range(6)])
    legend = draw.legend(96, table)
    boxes = [np.argwhere((legend == label.color).all(axis=2)).min(axis=0).tolist() for label in table]
    assert [box[0] for box in boxes] == [2, 22, 42, 62, 2, 22]
    plain = draw.legend(96, LabelTable([Label(i, f"road {i}", (200, 10 * i, 0), False) for i in range(6)]))
    assert plain.shape[1] < legend.shape[1]
    assert (legend[:20] != 255).any(axis=2)[:, 40:].any()
