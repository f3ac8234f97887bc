"""EXIF orientation: photos are upright where a person looks at them, and never turned against their labels."""

import json
import os

import numpy as np
import pytest
import tiny_bundle
from click_runner import CliRunner
from exif import turned

from deeplab_tf.cli import group
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_colors, read_image, write_image
from deeplab_tf.core.image_header import read_header
from deeplab_tf.deploy.compare.labeled_frames import load_frames
from deeplab_tf.lab.data import open_split

CORNERS = np.array([[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[9, 9, 9], [120, 120, 120], [250, 250, 250]]], np.uint8)
"""2 x 3 colors: A B C in the first row, D E F in the second."""
UPRIGHT = {
    1: "ABC/DEF",
    2: "CBA/FED",
    3: "FED/CBA",
    4: "DEF/ABC",
    5: "AD/BE/CF",
    6: "DA/EB/FC",
    7: "FC/EB/DA",
    8: "CF/BE/AD",
}
"""What each orientation makes of it (EXIF 2.3, section 4.6.4, tag 274: where the 0th row and column lie)."""


def blocks(letters):
    """Rows of letters as (16 rows, 16 columns) of pixels each."""
    colors = CORNERS.reshape(-1, 3)
    small = np.array([[colors["ABCDEF".index(letter)] for letter in row] for row in letters.split("/")], np.uint8)
    return small.repeat(16, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_all_orientations(orientation, kind, order, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(turned(blocks("ABC/DEF"), orientation, kind, order))
    for upright, letters in ((True, UPRIGHT[orientation]), (False, "ABC/DEF")):
        expected, got = blocks(letters), read_image(path, upright=upright)
        assert got.shape == expected.shape
        assert np.abs(got[8::16, 8::16].astype(int) - expected[8::16, 8::16]).max() < 12  # a JPEG's blocks' centers
    header = read_header(path)
    assert (
        header.orientation == orientation
        and header.size == (32, 48)
        and header.whole
        and (header.kind, header.bits) == ("RGB", 8)
    )
    assert header.upright_size == blocks(UPRIGHT[orientation]).shape[:2]


def test_an_absurd_orientation_is_none(tmp_path):
    for number, value in enumerate((0, 9, 65535)):
        path = tmp_path / str(number)
        path.write_bytes(turned(blocks("ABC/DEF"), value))
        assert read_header(path).orientation == 1 and read_image(path).shape == (32, 48, 3)


def test_label_files_are_never_turned(tmp_path):
    path = tmp_path / "label.png"
    path.write_bytes(turned(blocks("ABC/DEF"), 6, "png"))
    np.testing.assert_array_equal(read_colors(path), blocks("ABC/DEF"))


def dataset(tmp_path, orientation, label_size, photo="ABC/DEF", kind="jpeg"):
    images = tmp_path / "images" / "val"
    images.mkdir(parents=True)
    (images / ("a.jpg" if kind == "jpeg" else "a.png")).write_bytes(turned(blocks(photo), orientation, kind))
    label = np.zeros(label_size, np.uint8)
    label[:, : label_size[1] // 2] = 1
    write_image(tmp_path / "labels" / "val" / "a.png", label)
    classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate("ab")]
    data = {"name": "folder", "root": str(tmp_path), "size": [32, 48], "classes": classes}
    return open_split(data, "val")


@pytest.mark.parametrize(
    "orientation, label_size, photo",
    [
        (2, (32, 48), "ABC/DEF"),
        (3, (32, 48), "ABC/DEF"),
        (4, (32, 48), "ABC/DEF"),
        (6, (32, 32), "AB/DE"),  # a square one: on which, nobody knows
        (5, (32, 32), "AB/DE"),
    ],
)
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_label_that_may_lie_otherwise_than_its_photo_is_refused(orientation, label_size, photo, kind, tmp_path):
    split = dataset(tmp_path, orientation, label_size, photo, kind)
    for read in (split.sample, split.inspect):
        with pytest.raises(DeepLabError, match=f"images/val/a...g is stored turned .*{orientation}.*labels/val/a.png"):
            read(0)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_of_the_upright_size_lies_on_the_upright_photo(orientation, tmp_path):
    split = dataset(tmp_path, orientation, (48, 32))
    split.inspect(0)
    image, label_map = split.sample(0)
    assert image.shape[:2] == label_map.shape == (48, 32)
    expected = blocks(UPRIGHT[orientation])
    assert np.abs(image[8::16, 8::16].astype(int) - expected[8::16, 8::16]).max() < 12


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_label_of_the_stored_size_is_turned_with_its_photo(orientation, tmp_path):
    split = dataset(tmp_path, orientation, (32, 48))
    split.inspect(0)
    image, label_map = split.sample(0)
    assert np.abs(image[8::16, 8::16].astype(int) - blocks(UPRIGHT[orientation])[8::16, 8::16]).max() < 12
    left = blocks(UPRIGHT[orientation])[8::16, 8::16]  # as stored, class 1 is the left half of ABC/DEF: A, D, half of B
    for name in "AD":
        where = (left == CORNERS.reshape(-1, 3)["ABCDEF".index(name)]).all(axis=2)
        assert (label_map[8::16, 8::16][where] == 1).all()
    np.testing.assert_array_equal(split.label_map(0), label_map)


@pytest.mark.parametrize("given, says", [("stored", 1), ("upright", 0)])
def test_a_recipe_says_how_ambiguous_labels_lie(given, says, tmp_path):
    dataset(tmp_path, 3, (32, 48))
    split = again(tmp_path, label_orientation=given)
    split.inspect(0)
    # the photo is turned by 180 degrees; the stored label has class 1 on the left
    assert split.sample(0).label_map[0, -1] == says and split.sample(0).label_map[0, 0] == 1 - says


def again(tmp_path, **options):
    classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate("ab")]
    return open_split({"name": "folder", "root": str(tmp_path), "classes": classes, **options}, "val")


@pytest.mark.parametrize("size, lies", [((48, 32), "upright"), ((32, 48), "stored")])
def test_other_photos_of_the_split_decide(size, lies, tmp_path):
    dataset(tmp_path, 3, (32, 48))
    (tmp_path / "images" / "val" / "b.jpg").write_bytes(turned(blocks("ABC/DEF"), 6))
    write_image(tmp_path / "labels" / "val" / "b.png", np.zeros(size, np.uint8))
    split = again(tmp_path)
    split.inspect(0)
    assert split.sample(0).label_map[0, 0] == (lies == "upright")
    with pytest.raises(DeepLabError, match=f"size of the {lies} photo .*label_orientation: .*; set it to auto"):
        again(tmp_path, label_orientation={"upright": "stored", "stored": "upright"}[lies]).sample(1)
    (tmp_path / "images" / "val" / "c.jpg").write_bytes(turned(blocks("ABC/DEF"), 8))
    write_image(tmp_path / "labels" / "val" / "c.png", np.zeros(size[::-1], np.uint8))
    with pytest.raises(DeepLabError, match="a.jpg is stored turned .*label_orientation.* other photos say both"):
        again(tmp_path).sample(0)


def test_a_label_of_another_size_gets_the_usual_sentence(tmp_path):
    split = dataset(tmp_path, 6, (20, 20))
    for read in (split.sample, split.inspect):
        with pytest.raises(DeepLabError, match="must have the same size"):
            read(0)


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle.write_bundle(tmp_path / "bundle", size=(32, 48))


def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "a.png", blocks("ABC/DEF"))
    for name in "bc":
        (folder / f"{name}.jpg").write_bytes(turned(blocks("ABC/DEF"), 6))
    return folder


def test_predictions_of_turned_photos_are_upright_and_say_so(bundle, tmp_path):
    folder, out = photos(tmp_path), tmp_path / "out"
    options = ["--out", str(out), "--format", "ids", "--runtime", "onnx", "--json", "-"]
    result = CliRunner().invoke(group, ["predict", str(bundle.path), str(folder), *options])
    assert result.exit_code == 0, result.output
    (warning,) = json.loads(result.stdout)["warnings"]
    assert f"{folder / 'b.jpg'} is stored turned (EXIF orientation 6)" in warning and "upright" in warning
    assert result.stderr.count(warning) == 1
    assert [read_header(out / f"{name}.png").size for name in "abc"] == [(32, 48), (48, 32), (48, 32)]


def test_a_stream_of_turned_photos_says_so(bundle, tmp_path):
    folder = photos(tmp_path)
    options = ["--source", str(folder), "--runtime", "onnx", "--json", "-", "--labels-out", str(tmp_path / "labels")]
    result = CliRunner().invoke(group, ["stream", str(bundle.path), *options])
    assert result.exit_code == 0, result.output
    (warning,) = json.loads(result.stdout)["warnings"]
    assert "b.jpg is stored turned" in warning and result.stderr.count(warning) == 1


def test_no_remark_on_upright_images(bundle, tmp_path):
    folder = photos(tmp_path)
    for name in "bc":
        os.remove(folder / f"{name}.jpg")
    options = ["--out", str(tmp_path / "out"), "--runtime", "onnx", "--json", "-"]
    result = CliRunner().invoke(group, ["predict", str(bundle.path), str(folder), *options])
    assert json.loads(result.stdout)["warnings"] == [] and "Warning" not in result.stderr


@pytest.mark.parametrize(
    "label_size, message",
    [((32, 48), "b.jpg is stored turned"), ((20, 20), "must have the same size"), ((48, 32), None)],
)
def test_labels_of_compare_lie_on_their_photos(label_size, message, bundle, tmp_path):
    folder = photos(tmp_path)
    for name, size in (("a", (32, 48)), ("b", label_size), ("c", (48, 32))):
        write_image(tmp_path / "labels" / f"{name}.png", np.zeros(size, np.uint8))
    load = [str(folder), open_bundle(bundle.path), 3, str(tmp_path / "labels")]
    if message is None:
        assert [truth.shape for truth in load_frames(*load).truth] == [(32, 48), (48, 32), (48, 32)]
    else:
        with pytest.raises(DeepLabError, match=message):
            load_frames(*load)
