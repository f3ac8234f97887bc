"""Layouts of datasets that people have, each opened by a recipe alone: what comes out is what was drawn."""

import json
import re

import cv2
import numpy as np
import pytest
from environments import ROOT
from PIL import Image

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.check import check_splits, count_labels
from deeplab_tf.lab.data.split import UnknownSplit

SIZE = (8, 12)
PHOTO = np.random.RandomState(0).randint(0, 256, (*SIZE, 3)).astype(np.uint8)
TRUTH = np.zeros(SIZE, np.uint8)
TRUTH[2:6, 3:9] = 1
"""A rectangle of class 1 on class 0."""
CLASSES = [{"name": "background", "color": [0, 0, 0]}, {"name": "cell", "color": [200, 30, 60]}]


def folder(root, **options):
    return {"name": "folder", "root": str(root), "classes": CLASSES, **options}


def photos(root, *paths):
    for path in paths:
        write_image(root / path, PHOTO)


def labels(root, array, *paths):
    for path in paths:
        write_image(root / path, array)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def check_split(data, split, names, truth=TRUTH):
    """The names, and the label map and image of every sample, by sampling and by checking."""
    opened = open_split(data, split)
    assert opened.names == names
    for index in range(len(names)):
        image, label_map = opened.sample(index)
        np.testing.assert_array_equal(image, PHOTO)
        np.testing.assert_array_equal(label_map, truth)
    expected = [int((truth == i).sum()) * len(names) for i in range(len(opened.table))]
    assert list(count_labels(opened, split).pixels.values()) == expected
    return opened


def test_cityscapes(tmp_path):
    for split, name in (("train", "aachen/aachen_000000_000019"), ("val", "ulm/ulm_000000_000019")):
        photos(tmp_path, f"leftImg8bit/{split}/{name}_leftImg8bit.png")
        labels(tmp_path, np.where(TRUTH, 26, 7).astype(np.uint8), f"gtFine/{split}/{name}_gtFine_labelIds.png")
        labels(tmp_path, PHOTO, f"gtFine/{split}/{name}_gtFine_color.png")
    data = folder(
        tmp_path,
        images="leftImg8bit/{split}",
        image_suffix="_leftImg8bit.png",
        labels="gtFine/{split}",
        label_suffix="_gtFine_labelIds.png",
        classes=[{**CLASSES[0], "id": 7}, {**CLASSES[1], "id": 26}],
        ignore_ids=[*range(7), *range(8, 26), *range(27, 34)],
    )
    check_split(data, "train", ["aachen/aachen_000000_000019"])
    check_split(data, "val", ["ulm/ulm_000000_000019"])


def test_camvid_in_folders_named_after_annotations(tmp_path):
    photos(tmp_path, "train/0001.png", "val/0016.png")
    label = TRUTH.copy()
    label[0, 0] = 11
    labels(tmp_path, label, "trainannot/0001.png", "valannot/0016.png")
    data = folder(tmp_path, images="{split}", labels="{split}annot", ignore_ids=[11])
    check_split(data, "train", ["0001"], np.where(label == 11, 255, label).astype(np.uint8))


def palette_png(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    image.putpalette([value for i in range(256) for value in (i * 37 % 256, i * 91 % 256, i * 3 % 256)])
    image.save(path)


def test_pascal_voc(tmp_path):
    """Images of three tasks in one folder, indices of a palette, lists of names."""
    photos(tmp_path, *(f"JPEGImages/2007_{i:06}.png" for i in (32, 39, 63, 68)))
    label = TRUTH.copy()
    label[2:6, 2] = 255
    for i in (32, 39, 63):
        palette_png(tmp_path / "SegmentationClass" / f"2007_{i:06}.png", label)
    text(tmp_path / "ImageSets/Segmentation/train.txt", "2007_000063\n2007_000032\n")
    text(tmp_path / "ImageSets/Segmentation/val.txt", "\ufeff# one\n\n2007_000039.png\n")  # as Windows' editor saves
    lists = "ImageSets/Segmentation/{split}.txt"
    places = {"images": "JPEGImages", "labels": "SegmentationClass", "split_lists": lists}
    data = folder(tmp_path, **places, label_format="palette")
    check_split(data, "train", ["2007_000032", "2007_000063"], label)
    check_split(data, "val", ["2007_000039"], label)
    with pytest.raises(DeepLabError, match="label_format: palette"):
        open_split({**data, "label_format": "ids"}, "val").sample(0)
    with pytest.raises(DeepLabError, match="no split 'test' in .*Segmentation"):
        open_split(data, "test")
    text(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000039\n2007_000040\n")
    with pytest.raises(DeepLabError, match="1 of 2 names in .*val.txt are no images in .*JPEGImages: 2007_000040"):
        open_split(data, "val")
    text(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000068\n")
    with pytest.raises(DeepLabError, match="1 image has no label: .*2007_000068"):
        open_split(data, "val")
    text(tmp_path / "ImageSets/Segmentation/val.txt", "2007_000039\n2007_000039.png\n")
    with pytest.raises(DeepLabError, match="val.txt names some images twice: 2007_000039"):
        open_split(data, "val")


def test_ade20k_calls_its_splits_otherwise(tmp_path):
    photos(tmp_path, "images/training/ADE_train_00000001.png", "images/validation/ADE_val_00000001.png")
    ids = np.where(TRUTH, 13, 0).astype(np.uint8)
    ids[7] = 1
    labels(tmp_path, ids, "annotations/training/ADE_train_00000001.png", "annotations/validation/ADE_val_00000001.png")
    data = folder(
        tmp_path,
        labels="annotations/{split}",
        splits={"train": "training", "val": "validation"},
        classes=[{"name": "wall", "color": [9, 9, 9], "id": 1}, {"name": "person", "color": [8, 8, 8], "id": 13}],
        ignore_ids=[0],
    )
    truth = np.select([ids == 1, ids == 13], [0, 1], 255).astype(np.uint8)
    check_split(data, "train", ["ADE_train_00000001"], truth)
    check_split(data, "val", ["ADE_val_00000001"], truth)
    with pytest.raises(UnknownSplit, match=r"no split 'val' .*data.splits: \{val: NAME\}"):
        open_split({**data, "splits": {}}, "val")


def test_one_folder_with_suffixes_and_masks(tmp_path):
    names = [f"f{i}" for i in range(1, 11)]
    photos(tmp_path, *(f"{name}.png" for name in names))
    labels(tmp_path, TRUTH * 255, *(f"{name}_mask.png" for name in names))
    data = folder(tmp_path, images=".", labels=".", label_suffix="_mask.png", label_format="binary", val_fraction=0.2)
    train, val = open_split(data, "train"), open_split(data, "val")
    assert len(train) == 8 and len(val) == 2
    assert sorted(train.names + val.names, key=lambda name: int(name[1:])) == names
    check_split(data, "train", sorted(train.names, key=lambda name: int(name[1:])))  # f2 is before f10
    assert open_split(data, "val").names == val.names
    others = {tuple(open_split({**data, "split_seed": seed}, "val").names) for seed in range(8)}
    assert len(others) > 3, "the seed chooses"
    photos(tmp_path, "other.png")
    labels(tmp_path, TRUTH * 255, "other_mask.png")
    more = open_split(data, "val").names
    assert len({*val.names} - {*more}) <= 1, "a new image leaves the others where they are, but for the share"
    with pytest.raises(UnknownSplit, match="no split 'test': data.val_fraction makes train and val"):
        open_split(data, "test")


def test_a_share_of_the_training_folder_where_there_is_no_val(tmp_path):
    for i in range(4):
        photos(tmp_path, f"images/train/{i}.png")
        labels(tmp_path, TRUTH, f"labels/train/{i}.png")
    data = folder(tmp_path, val_fraction=0.5)
    train, val = open_split(data, "train").names, open_split(data, "val").names
    assert len(train) == len(val) == 2 and not {*train} & {*val}
    photos(tmp_path, "images/val/9.png")
    with pytest.raises(DeepLabError, match="There is a validation split, .*images/val; data.val_fraction"):
        open_split(data, "val")
    labels(tmp_path, TRUTH, "labels/val/9.png")
    for i in range(4):
        photos(tmp_path, f"photos/{i}.png")
    with pytest.raises(DeepLabError, match="There is a validation split, .*labels/val; data.val_fraction"):
        open_split({**data, "images": "photos"}, "val")


BOX = [[3, 2], [8, 5]]
CORNERS = [[3, 2], [8, 2], [8, 5], [3, 5]]


def labelme(*shapes, size=SIZE):
    rows = [{"label": name, "points": points, "shape_type": kind} for name, points, kind in shapes]
    return {"version": "5.4.1", "shapes": rows, "imageHeight": size[0], "imageWidth": size[1], "imageData": None}


@pytest.mark.parametrize("kind, points", [("polygon", CORNERS), ("rectangle", BOX)])
def test_labelme_beside_the_images(kind, points, tmp_path):
    photos(tmp_path, "a.png", "b.png")
    for name in "ab":
        text(tmp_path / f"{name}.json", labelme(("cell", points, kind)))
    data = folder(tmp_path, images=".", labels=".", label_format="labelme", val_fraction=0.5)
    for split in ("train", "val"):
        check_split(data, split, open_split(data, split).names)


def coco(file_names, annotations, categories=("cell",)):
    return {
        "images": [
            {"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(file_names)
        ],
        "annotations": [{"id": i, **row} for i, row in enumerate(annotations)],
        "categories": [{"id": 10 + i, "name": name} for i, name in enumerate(categories)],
    }


POLYGON = [3, 2, 9, 2, 9, 6, 3, 6]
"""In COCO's coordinates, which are corners of pixels."""


def test_coco_polygons(tmp_path):
    for split, names in (("train", ["b.png", "a.png"]), ("val", ["c.png"])):
        photos(tmp_path, *(f"{split}2017/{name}" for name in names))
        rows = [{"image_id": i, "category_id": 10, "segmentation": [POLYGON]} for i in range(len(names))]
        text(tmp_path / f"annotations/instances_{split}2017.json", coco(names, rows))
    places = {"images": "{split}2017", "labels": "annotations/instances_{split}2017.json"}
    data = folder(tmp_path, **places, label_format="coco")
    opened = check_split(data, "train", ["a", "b"])
    assert not opened.has_instances()
    check_split(data, "val", ["c"])
    assert opened.files(0)[1] == str(tmp_path / "annotations/instances_train2017.json")
    things = [CLASSES[0], {**CLASSES[1], "thing": True}]
    panoptic = open_split({**data, "classes": things}, "val").panoptic_map(0)
    np.testing.assert_array_equal(panoptic, TRUTH * 1001)


def test_coco_with_one_image_folder_the_json_says_the_split(tmp_path):
    photos(tmp_path, "images/a.png", "images/b.png", "images/unlabeled.png")
    row = {"image_id": 0, "category_id": 10, "segmentation": [POLYGON]}
    for split, name in (("train", "a"), ("val", "b")):
        text(tmp_path / f"{split}.json", coco([f"{name}.png"], [row]))
    data = folder(tmp_path, images="images", labels="{split}.json", label_format="coco")
    check_split(data, "train", ["a"])
    check_split(data, "val", ["b"])


def test_coco_panoptic(tmp_path):
    for split in ("train", "val"):
        photos(tmp_path, f"{split}2017/000000000139.png")
        ids = np.where(TRUTH, 70_001, 5)
        ids[0, 0] = 0
        colors = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
        write_image(tmp_path / f"annotations/panoptic_{split}2017/000000000139.png", colors)
        segments = [{"id": 70_001, "category_id": 10, "iscrowd": 0}, {"id": 5, "category_id": 11, "iscrowd": 0}]
        row = {"image_id": 0, "file_name": "000000000139.png", "segments_info": segments}
        described = coco(["000000000139.png"], [row], categories=("cell", "background"))
        text(tmp_path / f"annotations/panoptic_{split}2017.json", described)
    data = folder(
        tmp_path,
        images="{split}2017",
        labels="annotations/panoptic_{split}2017.json",
        label_format="coco_panoptic",
        classes=[CLASSES[0], {**CLASSES[1], "thing": True}],
    )
    truth = np.where(ids == 0, 255, TRUTH).astype(np.uint8)
    opened = check_split(data, "train", ["000000000139"], truth)
    panoptic = opened.panoptic_map(0)
    assert panoptic[0, 0] == 255_000 and panoptic[0, 1] == 0 and panoptic[3, 4] == 1001
    assert opened.files(0)[1:] == [
        str(tmp_path / "annotations/panoptic_train2017.json"),
        str(tmp_path / "annotations/panoptic_train2017/000000000139.png"),
    ]


@pytest.mark.parametrize("kind", ["gray", "one bit", "RGB", "palette", "RGBA"])
def test_masks_of_0_and_255(kind, tmp_path):
    for split in ("train", "valid"):
        photos(tmp_path, f"images/{split}/a.png")
        path = tmp_path / f"labels/{split}/a.png"
        path.parent.mkdir(parents=True)
        mask = Image.fromarray(TRUTH * 255)
        modes = {"gray": "L", "one bit": "1", "RGB": "RGB", "palette": "P", "RGBA": "RGBA"}
        mask.convert(modes[kind]).save(path)
    data = folder(tmp_path, label_format="binary", splits={"val": "valid"})
    check_split(data, "train", ["a"])
    check_split(data, "val", ["a"])


def test_soft_masks_need_a_threshold(tmp_path):
    photos(tmp_path, "images/train/a.png")
    soft = cv2.GaussianBlur(TRUTH * 255, (3, 3), 0)
    labels(tmp_path, soft, "labels/train/a.png")
    data = folder(tmp_path, label_format="binary")
    with pytest.raises(DeepLabError, match="a.png holds ids outside .* set data.threshold, .* such as 128"):
        open_split(data, "train").sample(0)
    check_split({**data, "threshold": 200}, "train", ["a"], (soft >= 200).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "labels/train/a.jpg"), TRUTH * 255, [cv2.IMWRITE_JPEG_QUALITY, 100])
    jpeg = folder(tmp_path, label_format="binary", label_suffix=".jpg")
    with pytest.raises(DeepLabError, match="a.jpg is a JPEG, whose values are not exact; set data.threshold"):
        open_split(jpeg, "train").sample(0)
    check_split({**jpeg, "threshold": 128}, "train", ["a"])


def test_the_dataset_in_code_of_the_documents(tmp_path):
    page = (ROOT / "docs" / "your-data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(# cells.py\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert (
        len([line for line in code.splitlines() if line.strip() and not line.startswith(("#", "import", "from"))]) <= 10
    )
    (tmp_path / "cells.py").write_text(code)
    for split, count in (("train", 3), ("val", 2)):
        np.savez(
            tmp_path / f"{split}.npz", pixels=np.stack([PHOTO[..., 0]] * count), masks=np.stack([TRUTH > 0] * count)
        )
    data = {"name": str(tmp_path / "cells.py"), "root": str(tmp_path)}
    opened = open_split(data, "val")
    assert opened.names == ["0", "1"] and opened.table.names == ["rest", "cell"]
    np.testing.assert_array_equal(opened.sample(1).label_map, TRUTH)
    np.testing.assert_array_equal(opened.sample(1).image[..., 2], PHOTO[..., 0])
    checked = check_splits({split: open_split(data, split) for split in ("train", "val")}, data)
    assert checked.warnings == [] and checked.counts["train"].pixels["cell"] == 3 * int(TRUTH.sum())
