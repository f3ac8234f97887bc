"""Formats of labels: pixels as another rasterizer has them, or worked out by hand, and errors that name the repair."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.lab.data import label_formats, open_split
from deeplab_tf.lab.data.label_formats import ClassRow, LabelOptions

SIZE = (40, 60)
TABLE = tuple(ClassRow(name=name, color=(i, i, i)) for i, name in enumerate(("background", "a", "b")))


def reader(name, **options):
    return label_formats.open_labels(name, LabelOptions(**{"classes": TABLE, **options}))


def test_a_format_is_a_file():
    assert label_formats.names() == ["binary", "coco", "coco_panoptic", "colors", "ids", "labelme", "palette"]
    for name in label_formats.names():
        classes = TABLE[:2] if name == "binary" else TABLE
        assert callable(reader(name, classes=classes))


IDS = np.random.RandomState(0).randint(0, 2, SIZE).astype(np.uint8)
FILES = {
    "ids": lambda path: write_image(path, IDS * 2),
    "masks": lambda path: write_image(path, IDS * 255),
    "0/1": lambda path: write_image(path, IDS),
    "colors": lambda path: write_image(path, np.dstack([IDS * 200, IDS, IDS * 3])),
    "palette": lambda path: Image.fromarray(np.dstack([IDS * 200, IDS, IDS * 3])).convert("P").save(path),
    "wide masks": lambda path: cv2.imwrite(str(path), (IDS > 0).astype(np.uint16) * 65535),
    "polygons": lambda path: path.write_text(json.dumps({"shapes": []})),
}


@pytest.mark.parametrize(
    "label_format, file, repair",
    [
        ("ids", "colors", "These are colors: label_format: colors."),
        ("ids", "palette", "These are ids with a palette: label_format: palette."),
        ("ids", "wide masks", "These are 0/255 masks: label_format: binary."),
        ("ids", "polygons", "These are polygons: label_format: labelme, or coco."),
        ("palette", "ids", "These are gray id maps: label_format: ids."),
        ("palette", "masks", "These are 0/255 masks: label_format: binary."),
        ("palette", "colors", "These are colors: label_format: colors."),
        ("colors", "ids", "These are gray id maps: label_format: ids."),
        ("colors", "masks", "These are 0/255 masks: label_format: binary."),
        ("binary", "0/1", "These are gray id maps: label_format: ids."),
        ("binary", "colors", "These are colors: label_format: colors."),
        ("labelme", "ids", "These are gray id maps: label_format: ids."),
    ],
)
def test_labels_of_another_format_name_it(label_format, file, repair, tmp_path):
    path = tmp_path / ("a.json" if file == "polygons" else "a.png")
    FILES[file](path)
    with pytest.raises(DeepLabError) as caught:
        reader(label_format, classes=TABLE[:2] if label_format == "binary" else TABLE)(str(path))
    assert str(caught.value).endswith(repair) and str(path) in str(caught.value)


def test_0_255_masks_as_ids_name_the_format(tmp_path):
    FILES["masks"](tmp_path / "a.png")
    with pytest.raises(DeepLabError, match="a.png holds ids outside .* 255; .* 0/255 masks: label_format: binary"):
        reader("ids", ignore_ids=())(str(tmp_path / "a.png"))


def test_an_id_that_is_ignored_names_the_repair():
    rows = (TABLE[0], ClassRow(name="cell", color=(9, 9, 9), id=255))
    with pytest.raises(DeepLabError, match=r"id: 255 needs ignore_ids: \[\]\."):
        reader("ids", classes=rows)
    with pytest.raises(DeepLabError, match=r"id: 255 needs ignore_ids: \[7\]\."):
        reader("ids", classes=rows, ignore_ids=(7, 255))
    with pytest.raises(DeepLabError, match="label_format: binary has two classes.* Got 3"):
        reader("binary")


@pytest.mark.parametrize("largest", [255, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_masks_of_16_bits_keep_0_and_255(largest, channels, tmp_path):
    path = tmp_path / "a.png"
    mask = IDS.astype(np.uint16) * largest
    cv2.imwrite(str(path), mask if channels == 1 else np.dstack([mask] * 3))
    np.testing.assert_array_equal(reader("binary", classes=TABLE[:2])(str(path)), IDS)
    np.testing.assert_array_equal(reader("binary", classes=TABLE[:2], threshold=128)(str(path)), IDS)


def test_16_bit_masks_of_0_and_1_are_ids(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), IDS.astype(np.uint16))
    with pytest.raises(DeepLabError, match="outside the class table: 1; .* gray id maps: label_format: ids."):
        reader("binary", classes=TABLE[:2])(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(reader("ids", classes=TABLE[:2])(str(tmp_path / "a.png")), IDS)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_depth(bits, tmp_path):
    ids = np.random.RandomState(bits).randint(0, min(1 << bits, 3), SIZE).astype(np.uint8)
    image = Image.frombytes("P", SIZE[::-1], ids.tobytes())
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 250] + [1] * (3 * (1 << bits) - 9 if bits > 1 else 0))
    image.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(reader("palette")(str(tmp_path / "a.png")), ids)


def write_labelme(path, *shapes, **changes):
    rows = [{"label": name, "points": points, "shape_type": kind, **more} for name, kind, points, more in shapes]
    file = {"shapes": rows, "imageHeight": SIZE[0], "imageWidth": SIZE[1], **changes}
    path.write_text(json.dumps(file))
    return str(path)


def by_pillow(*polygons):
    """As labelme draws: class by class, in order."""
    image = Image.new("L", SIZE[::-1])
    for value, points in polygons:
        ImageDraw.Draw(image).polygon([tuple(point) for point in points], fill=value, outline=value)
    return np.asarray(image)


OUTER, HOLE = [[5, 4], [50, 6], [44, 35], [8, 30]], [[15, 10], [30, 12], [22, 25]]


def test_a_later_shape_of_labelme_is_a_hole(tmp_path):
    path = write_labelme(
        tmp_path / "a.json",
        ("a", "polygon", OUTER, {}),
        ("_background_", "polygon", HOLE, {}),
        ("b", None, [[0, 0], [3, 0], [0, 3]], {}),
    )
    drawn = reader("labelme")(path)
    expected = by_pillow((1, OUTER), (0, HOLE), (2, [[0, 0], [3, 0], [0, 3]]))
    assert drawn[15, 22] == 0 and drawn[8, 10] == 1 and drawn[0, 0] == 2
    edges = cv2.arcLength(np.float32(OUTER), True) + cv2.arcLength(np.float32(HOLE), True)
    assert (drawn != expected).sum() < 0.5 * edges, "but for pixels that an edge halves"


def test_polygons_of_labelme_are_those_of_pillow_within_half_a_pixel(tmp_path, rng):
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        points = np.stack([30 + 25 * np.cos(angles), 20 + 17 * np.sin(angles)], axis=1).tolist()
        drawn = reader("labelme")(write_labelme(tmp_path / "a.json", ("a", "polygon", points, {})))
        assert (drawn != by_pillow((1, points))).sum() <= 0.5 * cv2.arcLength(np.float32(points), True)


@pytest.mark.parametrize("kind", ["polygon", "rectangle"])
def test_edges_of_labelme_belong_to_the_shape(kind, tmp_path):
    """As labelme draws it, with Pillow: 11x11 pixels between 10 and 20."""
    corners = [[10, 10], [20, 10], [20, 20], [10, 20]]
    points = corners if kind == "polygon" else corners[::2]
    drawn = reader("labelme")(write_labelme(tmp_path / "a.json", ("a", kind, points, {})))
    expected = np.zeros(SIZE, np.uint8)
    expected[10:21, 10:21] = 1
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(by_pillow((1, corners)), expected)


def test_circles_and_masks_of_labelme(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.array([[True, False], [True, True]])).save(buffer, "png")
    mask = {"mask": base64.b64encode(buffer.getvalue()).decode()}
    path = write_labelme(
        tmp_path / "a.json", ("a", "circle", [[30, 20], [30, 26]], {}), ("b", "mask", [[58, 38], [60, 40]], mask)
    )
    drawn = reader("labelme")(path)
    y, x = np.indices(SIZE)
    distance = np.hypot(y - 20, x - 30)
    assert (drawn[distance < 5.4] == 1).all() and (drawn[(distance > 6.6) & (x < 50)] == 0).all()
    assert drawn[38:, 58:].tolist() == [[2, 0], [2, 2]]


def test_names_and_backgrounds_of_polygons(tmp_path):
    path = write_labelme(tmp_path / "a.json", ("c", "polygon", OUTER, {}), ("__ignore__", "polygon", HOLE, {}))
    with pytest.raises(DeepLabError, match=r"a.json holds names that are no class: c; .*ignore_names: \['c'\]"):
        reader("labelme")(path)
    many = write_labelme(tmp_path / "b.json", *((name, "polygon", OUTER, {}) for name in "gfedca"))
    with pytest.raises(DeepLabError, match=r"ignore_names: \['z', 'c', 'd', 'e', 'f', 'g'\]\."):
        reader("labelme", ignore_names=("z",))(many)
    reader("labelme", ignore_names=tuple("zcdefg"))(many)
    drawn = reader("labelme", ignore_names=("c",), background="b")(path)
    assert drawn[15, 22] == drawn[8, 10] == 255 and drawn[0, 0] == 2
    assert reader("labelme", ignore_names=("c",), background=None)(path)[0, 0] == 255
    with pytest.raises(DeepLabError, match="data.background must be the name of a class.*Did you mean 'background'"):
        reader("labelme", background="backgrund")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shape_type": "line", "points": [[0, 0], [5, 5]]}, r"shapes\[0\] is a line, which has no area"),
        ({"points": [[0, 0], [5, 5]]}, r"shapes\[0\] is a polygon and must have 3 points or more; got 2"),
        ({"points": [[0, 0], [5, "x"], [2, 2]]}, r"shapes\[0\].points\[1\]\[1\] must be a number"),
        ({"shape_type": "mask", "points": [[0, 0], [5, 5]], "mask": "!!"}, "mask must be a PNG in base64"),
        ({"label": None}, r"shapes\[0\].label must be text"),
    ],
)
def test_a_wrong_shape_is_named(change, message, tmp_path):
    row = {"label": "a", "points": OUTER, "shape_type": "polygon", **change}
    with pytest.raises(DeepLabError, match=f"a.json.*{message}"):
        reader("labelme")(write_labelme(tmp_path / "a.json", shapes=[row]))


def open_coco(tmp_path, *annotations, classes=TABLE, **options):
    file = {
        "images": [{"id": 7, "file_name": "x/a.jpg", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [{"id": i, "image_id": 7, **row} for i, row in enumerate(annotations)],
        "categories": [{"id": 3, "name": "a"}, {"id": 9, "name": "b"}, {"id": 1, "name": "other"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(file))
    coco = reader("coco", classes=classes, **{"ignore_names": ("other",), **options})
    found = coco.find(tmp_path / "a.json", ".png")
    assert [*found] == ["x/a"]
    return coco, found["x/a"]


RING = np.zeros(SIZE, np.uint8)
cv2.circle(RING, (30, 20), 15, 1, 5)
"""With a hole, which polygons of COCO cannot have."""


def runs(mask):
    """Lengths of runs of 0 and 1 in the columns of a mask, which is RLE by its definition."""
    flat = mask.ravel(order="F")
    ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
    return [0] * int(flat[0]) + np.diff([0, *ends]).tolist()


@pytest.mark.parametrize("compressed", [False, True])
def test_rle_with_a_hole(compressed, tmp_path):
    counts = runs(RING)
    if compressed:
        counts = coco_mask.encode(np.asfortranarray(RING))["counts"].decode()
    row = {"category_id": 9, "segmentation": {"size": list(SIZE), "counts": counts}}
    coco, label = open_coco(tmp_path, row)
    np.testing.assert_array_equal(coco(label), RING * 2)


def test_the_smaller_annotation_is_on_top_and_parts_are_joined(tmp_path):
    small = {"category_id": 9, "segmentation": [[10, 10, 14, 10, 14, 14, 10, 14]]}
    parts = [[5, 5, 20, 5, 20, 20, 5, 20], [40, 5, 50, 5, 50, 10, 40, 10]]
    large = {"category_id": 3, "segmentation": parts, "iscrowd": 0}
    ignored = {"category_id": 1, "segmentation": [[0, 30, 4, 30, 4, 34, 0, 34]]}
    things = (TABLE[0], *(row.model_copy(update={"thing": True}) for row in TABLE[1:]))
    coco, label = open_coco(tmp_path, small, large, ignored, classes=things)
    expected = np.zeros(SIZE, np.uint8)
    expected[5:20, 5:20] = expected[5:10, 40:50] = 1
    expected[10:14, 10:14], expected[30:34, :4] = 2, 255
    np.testing.assert_array_equal(coco(label), expected)
    numbers = coco.instance_ids(label)
    assert numbers[7, 42] == numbers[6, 6] != numbers[11, 11] and numbers[0, 0] == numbers[31, 1] == 0


@pytest.mark.parametrize(
    "row, message",
    [
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "size is 9x9, and its image is 40x60"),
        ({"segmentation": {"size": [40, 60], "counts": [5, 6]}}, "counts does not cover the 40x60 pixels"),
        ({"segmentation": {"size": [40, 60], "counts": "abc"}}, "counts does not cover the 40x60 pixels"),
        ({"segmentation": [[1, 2, 3, 4]]}, "must have 6 or more values; got 4"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "must be polygons"),
        ({"segmentation": [], "category_id": 4}, "category_id is 4, and no category has that id"),
        ({"segmentation": [], "image_id": 8}, "image_id is 8, and no image has that id"),
    ],
)
def test_a_wrong_annotation_is_named(row, message, tmp_path):
    with pytest.raises(DeepLabError, match=f"a.json.*{message}"):
        coco, label = open_coco(tmp_path, {"category_id": 3, **row})
        coco(label)


def test_categories_and_classes_must_be_the_same(tmp_path):
    with pytest.raises(DeepLabError, match=r"categories that are no class: other; .* ignore_names: \['other'\]"):
        open_coco(tmp_path, ignore_names=())
    file = json.loads((tmp_path / "a.json").read_text())
    file["categories"] += [{"id": 20 + i, "name": name} for i, name in enumerate("gfed")]
    (tmp_path / "a.json").write_text(json.dumps(file))
    with pytest.raises(DeepLabError, match=r"ignore_names: \['other', 'd', 'e', 'f', 'g'\]\."):
        reader("coco", ignore_names=("other",)).find(tmp_path / "a.json", ".png")
    reader("coco", ignore_names=("other", *"defg")).find(tmp_path / "a.json", ".png")
    more = (*TABLE, ClassRow(name="c", color=(7, 7, 7)))
    with pytest.raises(DeepLabError, match="no category for the classes c; it has a, b, other"):
        open_coco(tmp_path, classes=more)


def test_records_of_coco_are_old_once_its_file_has_changed(tmp_path):
    from deeplab_tf.lab.data.source_files import changed_files, describe_files

    for split in ("train", "val"):
        write_image(tmp_path / split / "a.png", np.zeros((*SIZE, 3), np.uint8))
        file = {
            "images": [{"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 20, 5, 20, 20, 5, 20]]}],
            "categories": [{"id": 1, "name": "a"}],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(file))
    classes = [row.model_dump(exclude_none=True) for row in TABLE[:2]]
    places = {"images": "{split}", "labels": "{split}.json", "label_format": "coco"}
    data = {"name": "folder", "root": str(tmp_path), "classes": classes, **places}
    before = describe_files(open_split(data, "val"), "val")
    assert changed_files(open_split(data, "val"), before) == []
    (tmp_path / "val.json").write_text(json.dumps({**file, "annotations": []}))
    assert changed_files(open_split(data, "val"), before) == [str(tmp_path / "val.json")]
