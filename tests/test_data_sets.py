"""Datasets: label maps from their files, and errors that name a bad file."""

import socket
import zipfile

import numpy as np
import pytest

from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.camvid import CAMVID
from deeplab_tf.synth import draw_scene

RANDOM = np.random.RandomState(0)
IMAGE = RANDOM.randint(0, 256, (8, 12, 3)).astype(np.uint8)


def write_camvid(root, *, names=("b", "a"), split="train", ids=None):
    """Frames whose label holds all of `ids` (0 .. 11 if left out), 8 x 12 pixels."""
    label = np.resize(np.arange(12) if ids is None else ids, (8, 12)).astype(np.uint8)
    for name in names:
        image_files.write_image(root / "images" / split / f"{name}.png", IMAGE)
        image_files.write_image(root / "labels" / split / f"{name}.png", label)
    return {"name": "camvid", "root": str(root)}


def test_camvid_ids_become_classes(tmp_path):
    split = open_split(write_camvid(tmp_path), "train")
    assert split.names == ["a", "b"] and len(split) == 2 and split.table == CAMVID
    frame = split.sample(1)
    np.testing.assert_array_equal(frame.image, IMAGE)
    np.testing.assert_array_equal(frame.label_map[0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255])
    np.testing.assert_array_equal(split.label_map(1), frame.label_map)
    assert split.panoptic_map(0) is None and not split.has_instances()
    assert split.paths(1) == [
        str(tmp_path / "images" / "train" / "b.png"),
        str(tmp_path / "labels" / "train" / "b.png"),
    ]


def test_opening_reads_no_file(tmp_path, monkeypatch):
    data = write_camvid(tmp_path)
    monkeypatch.setattr(image_files, "read_bytes", None)
    assert len(open_split(data, "train")) == 2


def remove_label(root):
    (root / "labels" / "train" / "a.png").unlink()


def remove_image(root):
    (root / "images" / "train" / "b.png").unlink()


def remove_all(root):
    for path in root.rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    "break_it, message",
    [
        (remove_label, "1 image has no label: .*images/train/a.png"),
        (remove_image, "1 label has no image: .*labels/train/b.png"),
        (remove_all, "split is empty: there is no image in .*images/train"),
    ],
)
def test_images_and_labels_must_pair(break_it, message, tmp_path):
    data = write_camvid(tmp_path)
    break_it(tmp_path)
    with pytest.raises(DeepLabError, match=message):
        open_split(data, "train")


def test_three_of_many_missing_labels_are_named(tmp_path):
    data = write_camvid(tmp_path, names="abcdefg")
    for path in (tmp_path / "labels" / "train").iterdir():
        path.unlink()
    with pytest.raises(DeepLabError, match="7 images have no label: .*a.png, .*b.png, .*c.png and 4 more"):
        open_split(data, "train")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


BAD_FILES = [
    ("images", lambda path: path.write_bytes(b""), "is empty"),
    ("images", lambda path: path.write_bytes(b"hello"), "not a PNG or JPEG"),
    ("images", cut, "truncated"),
    ("images", lambda path: image_files.write_image(path, IMAGE[:4]), "same size, height x width: 4x12 against 8x12"),
    ("labels", lambda path: path.write_bytes(b""), "is empty"),
    ("labels", cut, "truncated"),
    ("labels", lambda path: image_files.write_image(path, IMAGE), "one channel of ids, got 8-bit RGB"),
    (
        "labels",
        lambda path: image_files.write_image(path, np.full((8, 12), 12, np.uint8)),
        "ids outside the class table: 12; known are 0-11",
    ),
    (
        "labels",
        lambda path: image_files.write_image(path, np.resize([3, 99, 20, 40, 255], (8, 12)).astype(np.uint8)),
        ": 20, 40, 99 and 1 more",
    ),
]


@pytest.mark.parametrize(
    "kind, break_it, message", BAD_FILES, ids=[f"{kind}: {message}" for kind, _, message in BAD_FILES]
)
def test_a_bad_file_is_named(kind, break_it, message, tmp_path, capfd):
    data = write_camvid(tmp_path)
    path = tmp_path / kind / "train" / "a.png"
    break_it(path)
    split = open_split(data, "train")
    split.sample(1)  # the other one is untouched
    with pytest.raises(DeepLabError) as caught:
        split.sample(0)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_split_or_folder(tmp_path):
    data = write_camvid(tmp_path / "set")
    with pytest.raises(DeepLabError, match="no split 'trian' in .*Did you mean 'train'"):
        open_split(data, "trian")
    with pytest.raises(DeepLabError, match="folder .*gone does not exist; set data.root"):
        open_split({**data, "root": str(tmp_path / "gone")}, "train")
    with pytest.raises(DeepLabError, match="no folder .*images"):
        open_split({**data, "root": str(tmp_path)}, "train")


def write_cityscapes(root, *, split="val", instances=True):
    stem = "frankfurt_000000_000294"
    ids = np.resize(np.r_[np.arange(34), 255], (8, 12)).astype(np.uint8)
    image_files.write_image(root / "leftImg8bit" / split / "frankfurt" / f"{stem}_leftImg8bit.png", IMAGE)
    image_files.write_image(root / "gtFine" / split / "frankfurt" / f"{stem}_gtFine_labelIds.png", ids)
    image_files.write_image(
        root / "gtFine" / split / "frankfurt" / f"{stem}_gtFine_color.png", IMAGE
    )  # the archives hold it too
    if instances:
        wide = np.where(ids == 255, 0, ids).astype(np.uint16)
        wide[2] = np.where(
            (wide[2] >= 24) & (wide[2] < 34), wide[2] * 1000 + 3, wide[2]
        )  # single things in one row, groups elsewhere
        image_files.write_image(root / "gtFine" / split / "frankfurt" / f"{stem}_gtFine_instanceIds.png", wide)
    return {"name": "cityscapes", "root": str(root)}, ids


def test_cityscapes_maps_every_id_as_the_benchmark_does(tmp_path):
    benchmark = pytest.importorskip("cityscapesscripts.helpers.labels").id2label
    data, ids = write_cityscapes(tmp_path)
    split = open_split(data, "val")
    assert split.names == ["frankfurt/frankfurt_000000_000294"] and split.table == CITYSCAPES
    expected = [255 if i == 255 else benchmark[i].trainId for i in ids.ravel()]
    np.testing.assert_array_equal(split.sample(0).label_map.ravel(), expected)
    assert split.has_instances()
    panoptic, things = split.panoptic_map(0), [benchmark[i].hasInstances for i in np.where(ids[2] == 255, 0, ids[2])]
    assert (panoptic[1] % 1000 == 0).all(), "groups and stuff"
    for column, i in enumerate(ids[2]):
        train_id = 255 if i == 255 else benchmark[i].trainId
        expected = (
            255000 if train_id == 255 else train_id * 1000 + 4 * things[column]
        )  # the file counts from 0, a panoptic map from 1
        assert panoptic[2, column] == expected


def test_cityscapes_without_instances(tmp_path):
    data, _ = write_cityscapes(tmp_path, instances=False)
    assert open_split(data, "val").panoptic_map(0) is None


def test_cityscapes_has_no_labels_for_test(tmp_path):
    data, _ = write_cityscapes(tmp_path)
    image_files.write_image(
        tmp_path / "leftImg8bit" / "test" / "berlin" / "berlin_000000_000019_leftImg8bit.png", IMAGE
    )
    with pytest.raises(DeepLabError, match="'train' or 'val'"):
        open_split(data, "test")


def test_a_cityscapes_id_above_33_is_an_error(tmp_path):
    data, ids = write_cityscapes(tmp_path)
    path = tmp_path / "gtFine" / "val" / "frankfurt" / "frankfurt_000000_000294_gtFine_labelIds.png"
    image_files.write_image(path, np.where(ids == 33, 34, ids))
    with pytest.raises(DeepLabError, match="labelIds.png holds ids outside the class table: 34; known are 0-33, 255"):
        open_split(data, "val").sample(0)


AERIAL = {
    "name": "folder",
    "images": "{split}/photos",
    "labels": "{split}/truth",
    "image_suffix": "_rgb.jpg",
    "label_suffix": "_label.png",
    "classes": [{"name": "water", "color": [0, 0, 255]}, {"name": "car", "color": [1, 2, 3], "thing": True}],
}


def write_aerial(root, label):
    image_files.write_image(root / "train" / "photos" / "tile" / "1_rgb.jpg", IMAGE)
    image_files.write_image(root / "train" / "truth" / "tile" / "1_label.png", label)
    return {**AERIAL, "root": str(root)}


def test_a_folder_of_colors(tmp_path):
    colors = np.array([[[0, 0, 255], [1, 2, 3], [9, 9, 9], [0, 0, 0]]], np.uint8).repeat(8, axis=0).repeat(3, axis=1)
    data = {**write_aerial(tmp_path, colors), "label_format": "colors", "ignore_colors": [[9, 9, 9], [0, 0, 0]]}
    split = open_split(data, "train")
    assert (
        split.names == ["tile/1"]
        and split.table.names == ["water", "car"]
        and [label.thing for label in split.table] == [False, True]
    )
    np.testing.assert_array_equal(split.sample(0).label_map[3], np.repeat([0, 1, 255, 255], 3))
    with pytest.raises(DeepLabError, match=r"1_label.png holds colors outside .* \[0, 0, 0\], \[9, 9, 9\]\."):
        open_split({**data, "ignore_colors": []}, "train").sample(0)


def test_a_folder_of_any_ids(tmp_path):
    label = np.resize([40, 7, 0, 255], (8, 12)).astype(np.uint8)
    data = write_aerial(tmp_path, label)
    data["classes"] = [{**data["classes"][0], "id": 7}, {**data["classes"][1], "id": 40}]
    split = open_split({**data, "ignore_ids": [0, 255]}, "train")
    np.testing.assert_array_equal(split.label_map(0)[0, :4], [1, 0, 255, 255])
    with pytest.raises(DeepLabError, match="ids outside the class table: 0; known are 7, 40, 255"):
        open_split(data, "train").label_map(0)


def test_ids_are_merged_to_one_class(tmp_path):
    label = np.resize([40, 7, 8, 255], (8, 12)).astype(np.uint8)
    data = write_aerial(tmp_path, label)
    data["classes"] = [{**data["classes"][0], "id": [7, 8]}, {**data["classes"][1], "id": 40}]
    np.testing.assert_array_equal(open_split(data, "train").label_map(0)[0, :4], [1, 0, 0, 255])
    data["classes"][1]["id"] = [40, 8]
    with pytest.raises(DeepLabError, match=r"must have one meaning; data.classes have \[7, 8, 40, 8\]"):
        open_split(data, "train")


def described(tmp_path, **changes):
    """The message for a description that is wrong."""
    with pytest.raises(DeepLabError) as caught:
        open_split({**write_aerial(tmp_path, np.zeros((8, 12), np.uint8)), **changes}, "train")
    return str(caught.value)


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("root", 5, "a string"),
        ("records", 7, "a string or none"),
        ("images", 5, "a string"),
        ("image_suffix", [".png"], "a string or none"),
        ("label_format", 1, "one of binary, coco, coco_panoptic, colors, ids, labelme, palette"),
        ("label_format", "color", "Did you mean 'colors'?"),
        ("classes", 3, "a list of mappings"),
        ("classes", [], "a list of mappings"),
        ("classes", {"name": "road"}, "a list of mappings"),
        ("ignore_ids", 255, "a list of integers"),
        ("ignore_ids", "255", "a list of integers"),
        ("ignore_ids", [[255]], "a list of integers"),
        ("ignore_ids", [256], "from 0 to 255"),
        ("ignore_colors", 0, "a list of lists of 3 integers"),
        ("ignore_colors", [0, 0, 0], "a list of lists of 3 integers"),
        ("ignore_colors", [[1, 2, 300]], "from 0 to 255"),
    ],
)
def test_a_wrong_option_reports_what_is_expected(key, value, expected, tmp_path):
    text = described(tmp_path, **{key: value})
    assert f"data.{key} must be" in text and expected in text


@pytest.mark.parametrize(
    "row, fact",
    [
        ({"name": "a"}, "data.classes[0].color is missing"),
        ({"name": "a", "color": [0, 0]}, "data.classes[0].color must be a list of 3 integers"),
        ({"name": "a", "color": [0, 0, 0], "think": True}, "data.classes[0].think. Did you mean 'thing'?"),
        ({"name": "a", "color": [0, 0, 0], "thing": "x"}, "data.classes[0].thing must be true or false. Got x"),
        ({"name": "a", "color": [0, 0, 0], "id": 256}, "data.classes[0].id must be"),
    ],
)
def test_a_wrong_class_is_named_by_its_row(row, fact, tmp_path):
    assert fact in described(tmp_path, classes=[row])


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"label_format": "colors", "ignore_colors": [[1, 2, 3]]}, ("[1, 2, 3]", "data.ignore_colors")),
        ({"ignore_ids": [1]}, ("[0, 1]", "[1]", "data.ignore_ids")),
        ({"images": "photos", "labels": "truth"}, ("'photos'", "{split}", "data.split_lists", "data.val_fraction")),
        ({"label_suffix": "_id.png"}, ("1 image has no label",)),
    ],
)
def test_a_description_that_contradicts_itself(changes, facts, tmp_path):
    text = described(tmp_path, **changes)
    assert all(fact in text for fact in facts)


def test_a_class_may_have_a_number_for_a_name(tmp_path):
    data = write_aerial(tmp_path, np.zeros((8, 12), np.uint8))
    assert open_split({**data, "classes": [{"name": 7, "color": [0, 0, 0]}]}, "train").table.names == ["7"]


def test_suffixes_in_capital_letters_are_found(tmp_path):
    image_files.write_image(tmp_path / "images" / "train" / "IMG_1.JPG", IMAGE)
    image_files.write_image(tmp_path / "labels" / "train" / "IMG_1.PNG", np.zeros((8, 12), np.uint8))
    data = {"name": "folder", "root": str(tmp_path), "classes": AERIAL["classes"]}
    split = open_split(data, "train")
    assert split.names == ["IMG_1"] and split.sample(0).image.shape == IMAGE.shape


def test_two_images_of_one_name_are_refused(tmp_path):
    data = write_camvid(tmp_path)
    data = {
        "name": "folder",
        "root": str(tmp_path),
        "classes": [{"name": str(i), "color": [i, 0, 0]} for i in range(12)],
    }
    image_files.write_image(tmp_path / "images" / "train" / "a.jpg", IMAGE)
    with pytest.raises(DeepLabError, match="Two files have the same name: .*a\\..* and .*a\\."):
        open_split(data, "train")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a network connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


ZIPPED = [("train", "aachen"), ("train", "aachen"), ("train", "bochum"), ("val", "munster"), ("test", "berlin")]


def zip_scenes(folder):
    """Scenes under the official archives' names and layout; returns {(split, name): (image, 34 label ids)}."""
    scenes = {}
    folder.mkdir(parents=True)
    images = zipfile.ZipFile(folder / "leftImg8bit_trainvaltest.zip", "w")
    labels = zipfile.ZipFile(folder / "gtFine_trainvaltest.zip", "w")
    with images, labels:
        for n, (split, city) in enumerate(ZIPPED):
            name = f"{city}_{n:06}_000019"
            image, ids, _ = draw_scene(0, n, (1024, 2048))
            images.writestr(
                f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", image_files.encode_image(image, ".png")
            )
            labels.writestr(f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png", image_files.encode_image(ids, ".png"))
            labels.writestr(f"gtFine/{split}/{city}/{name}_gtFine_polygons.json", "{}")
            scenes[split, f"{city}/{name}"] = image, ids
    return scenes


def test_cityscapes_through_tfds(tmp_path, no_network):
    scenes = zip_scenes(tmp_path / "archives")
    data = {"name": "tfds", "root": str(tmp_path / "tfds"), "manual_dir": str(tmp_path / "archives")}
    for split_name in ("train", "val"):
        split = open_split(data, split_name)
        assert (
            sorted(split.names) == [name for which, name in scenes if which == split_name] and split.table == CITYSCAPES
        )
        for i, name in enumerate(split.names):
            image, ids = scenes[split_name, name]
            np.testing.assert_array_equal(split.sample(i).image, image)
            np.testing.assert_array_equal(split.label_map(i), CITYSCAPES_TO_CLASS[ids])
    again = open_split({"name": "tfds", "root": data["root"]}, "train")  # the archives are not needed any more
    assert again.names == open_split(data, "train").names


def test_tfds_names_missing_archives(tmp_path, no_network):
    data = {"name": "tfds", "root": str(tmp_path), "manual_dir": str(tmp_path)}
    with pytest.raises(
        DeepLabError, match="by hand .*leftImg8bit_trainvaltest.zip, .*gtFine_trainvaltest.zip .*data.manual_dir"
    ):
        open_split(data, "val")
    with pytest.raises(DeepLabError, match="no split 'test' with labels"):
        open_split(data, "test")
