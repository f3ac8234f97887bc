"""Generated image, labelme and COCO files: each is read rightly, or refused in one sentence that names it."""

import copy
import io
import json

import generated
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_generated_files import WRONG, change, changed, places

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import decode_image
from deeplab_tf.core.image_header import parse_header
from deeplab_tf.lab.data import label_formats
from deeplab_tf.lab.data.label_formats import ClassRow, LabelOptions

RGB = np.random.RandomState(0).randint(60, 200, (40, 56, 3)).astype(np.uint8)


def written(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "plain.tif": written("TIFF"),
    "lzw.tif": written("TIFF", compression="tiff_lzw"),
    "a.webp": written("WebP", lossless=True),
    "a.bmp": written("BMP"),
}


@generated.examples(160)
@given(data=st.data())
def test_image_files(data):
    """These formats have no checksums: what is not refused has the header's size, and OpenCV's words stay inside."""
    name = data.draw(st.sampled_from(sorted(FILES)))
    wrong = change(data.draw, FILES[name])
    generated.count(name, wrong)
    with generated.time_limit(name):
        try:
            pixels = decode_image(wrong, name, upright=False)
        except DeepLabError as error:
            assert name in str(error) and "\n" not in str(error)
            return
    assert pixels.dtype == np.uint8 and pixels.shape == (*parse_header(wrong).size, 3)


TABLE = tuple(
    ClassRow(name=name, color=(i, i, i), thing=name == "b") for i, name in enumerate(("background", "a", "b"))
)
SQUARE = [[2, 2], [12, 2], [12, 9], [2, 9]]
LABELME = {
    "shapes": [
        {"label": "a", "points": SQUARE, "shape_type": "polygon"},
        {"label": "b", "points": [[1, 1], [4, 4]], "shape_type": "rectangle"},
        {"label": "b", "points": [[8, 8], [8, 11]], "shape_type": "circle"},
    ],
    "imageHeight": 16,
    "imageWidth": 20,
}
COCO = {
    "images": [{"id": 1, "file_name": "x.png", "height": 16, "width": 20}],
    "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 12, 2, 12, 9, 2, 9]], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"size": [16, 20], "counts": [5, 8, 307]}},
        {"id": 3, "image_id": 1, "category_id": 2, "segmentation": {"size": [16, 20], "counts": "58c9"}, "iscrowd": 1},
    ],
}


def read(label_format, path):
    reader = label_formats.open_labels(label_format, LabelOptions(TABLE))
    if label_format == "labelme":
        return reader(str(path))
    found = reader.find(path, ".png")
    return reader(found["x"])


def is_read_or_refused(tmp_path_factory, data, label_format, file):
    place, drop = data.draw(st.sampled_from(places(file))), data.draw(st.sampled_from([False, False, True]))
    wrong = changed(copy.deepcopy(file), place, None if drop else data.draw(WRONG), drop=drop)
    generated.count(label_format, json.dumps(wrong))
    path = tmp_path_factory.getbasetemp() / f"{label_format}.json"
    path.write_text(json.dumps(wrong))
    with generated.time_limit(label_format):
        try:
            label_map = read(label_format, path)
        except DeepLabError as error:
            assert path.name in str(error) or "data." in str(error), error
            assert "\n" not in str(error)
        except KeyError as error:
            assert error.args == ("x",)  # the image has another name, which `pair_files` says
        else:
            assert label_map.dtype == np.uint8 and set(np.unique(label_map)) <= {0, 1, 2, 255}


@generated.examples(150)
@given(data=st.data())
def test_labelme(tmp_path_factory, data):
    is_read_or_refused(tmp_path_factory, data, "labelme", LABELME)


@generated.examples(150)
@given(data=st.data())
def test_coco(tmp_path_factory, data):
    is_read_or_refused(tmp_path_factory, data, "coco", COCO)


@generated.examples(60)
@given(data=st.data())
def test_polygons_of_coco_cover_what_their_corners_hold(tmp_path_factory, data):
    """A rectangle in whole numbers covers exactly the pixels between its corners."""
    left, top = data.draw(st.integers(0, 18)), data.draw(st.integers(0, 14))
    right, bottom = data.draw(st.integers(left + 1, 20)), data.draw(st.integers(top + 1, 16))
    file = copy.deepcopy(COCO)
    file["annotations"] = [
        {**COCO["annotations"][0], "segmentation": [[left, top, right, top, right, bottom, left, bottom]]}
    ]
    generated.count("rectangle", left, top, right, bottom)
    path = tmp_path_factory.getbasetemp() / "rectangle.json"
    path.write_text(json.dumps(file))
    expected = np.zeros((16, 20), np.uint8)
    expected[top:bottom, left:right] = 1
    np.testing.assert_array_equal(read("coco", path), expected)
