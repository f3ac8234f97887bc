"""`deeplab-tf init`: layouts that people have, each made small, become a recipe that opens them."""

import json

import cv2
import numpy as np
import pytest
import yaml
from click_runner import CliRunner
from PIL import Image

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.lab.config.first_recipe import Step, cheaper_step, look, steps_for, training_size
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.layouts import describe
from deeplab_tf.lab.layouts._classes import _row
from deeplab_tf.lab.layouts._pairs import split_pattern

SIZE = (40, 64)
TRUTH = np.zeros(SIZE, np.uint8)
TRUTH[10:30, 20:50] = 1
"""A rectangle of class 1 on class 0."""


def photo(path, seed=0):
    write_image(path, np.random.RandomState(seed).randint(0, 256, (*SIZE, 3)).astype(np.uint8))


def write_text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def palette_png(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [9] * (252 * 3))
    image.save(path)


def init(root, *options, code=0):
    """Run the command: the recipe, and what was said."""
    out = root.parent / "recipe.yaml"
    result = CliRunner().invoke(group, ["init", str(root), "--out", str(out), *(options or ("--steps", "40"))])
    assert result.exit_code == code, result.output
    return (yaml.safe_load(out.read_text()) if code == 0 else None), result.output


def opened(recipe, split="train"):
    data = {key: value for key, value in recipe["data"].items() if value is not None}
    return open_split(data, split)


def check_truth(recipe, names=None, truth=TRUTH):
    """Every label map of both splits is the rectangle; the first classes have these names."""
    for split in ("train", "val"):
        files = opened(recipe, split)
        assert len(files) and (names is None or files.table.names[: len(names)] == names)
        for index in range(len(files)):
            assert np.array_equal(files.sample(index).label_map, truth)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mine"


# Layouts -------------------------------------------------------------------------------------------------------------


def test_cityscapes(root):
    for split, name in (("train", "aachen/aachen_000000_000019"), ("val", "ulm/ulm_000000_000019")):
        photo(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png")
        write_image(root / "gtFine" / split / f"{name}_gtFine_labelIds.png", np.where(TRUTH, 26, 7).astype(np.uint8))
    recipe, said = init(root)
    assert recipe["data"] == {"name": "cityscapes", "root": str(root), "size": list(SIZE)}
    assert "Cityscapes" in said
    check_truth(recipe, truth=np.where(TRUTH, 13, 0))  # car, road


@pytest.mark.parametrize("pattern", [("{}", "{}annot"), ("images/{}", "labels/{}")], ids=["segnet", "split folders"])
def test_camvid(pattern, tmp_path):
    root = tmp_path / "CamVid"
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            photo(root / pattern[0].format(split) / f"{name}.png")
            write_image(root / pattern[1].format(split) / f"{name}.png", np.where(TRUTH, 8, 11).astype(np.uint8))
    recipe, said = init(root)
    assert recipe["data"]["ignore_ids"] == [11] and "id 11 is unlabeled, and ignored" in said
    assert recipe["data"]["labels"] == pattern[1].format("{split}")
    check_truth(recipe, ["sky", "building", "pole"], np.where(TRUTH, 8, 255))


@pytest.mark.parametrize("place", ["", "VOCdevkit/VOC2012/"])
def test_pascal_voc(place, root):
    for name in "abc":
        photo(root / f"{place}JPEGImages/{name}.jpg")
        if name != "c":  # without a label, and in no list
            palette_png(root / f"{place}SegmentationClass/{name}.png", np.where(TRUTH, 2, 255).astype(np.uint8))
    write_text(root / f"{place}ImageSets/Segmentation/train.txt", "a\n")
    write_text(root / f"{place}ImageSets/Segmentation/val.txt", "b\n")
    recipe, _ = init(root)
    assert recipe["data"]["label_format"] == "palette" and len(recipe["data"]["classes"]) == 21
    assert recipe["data"]["classes"][2] == {"name": "bicycle", "color": [0, 128, 0]}
    assert opened(recipe).names == ["a"] and opened(recipe, "val").names == ["b"]
    check_truth(recipe, ["background", "aeroplane", "bicycle"], np.where(TRUTH, 2, 255))


def test_ade20k(root):
    for split in ("training", "validation"):
        photo(root / "images" / split / "ADE_1.jpg")
        write_image(root / "annotations" / split / "ADE_1.png", np.where(TRUTH, 2, 0).astype(np.uint8))
    lines = [
        "Idx\tRatio\tTrain\tVal\tStuff\tName",
        "1\t0.1576\t11664\t1172\t1\twall",
        "2\t0.1\t1\t1\t1\tbuilding, edifice",
    ]
    write_text(root / "objectInfo150.txt", "\n".join(lines))
    recipe, said = init(root)
    assert recipe["data"]["splits"] == {"train": "training", "val": "validation"}
    assert [(row["name"], row["id"]) for row in recipe["data"]["classes"]] == [("wall", 1), ("building", 2)]
    assert recipe["data"]["ignore_ids"] == [0] and "ADE20K" in said
    check_truth(recipe, ["wall", "building"], np.where(TRUTH, 1, 255))


def test_one_folder_with_mask_suffixes(root):
    for number in range(5):
        photo(root / f"cell {number}.jpg", number)
        write_image(root / f"cell {number}_mask.png", TRUTH * 255)
    recipe, said = init(root)
    data = recipe["data"]
    assert (data["images"], data["labels"], data["label_suffix"]) == (".", ".", "_mask.png")
    assert data["label_format"] == "binary" and data["val_fraction"] == 0.2
    assert len(opened(recipe)) == 4 and len(opened(recipe, "val")) == 1
    assert "0 is 'background', 255 is 'foreground'" in said and "side by side: 5 pairs" in said
    check_truth(recipe, ["background", "foreground"])


def test_labelme(root):
    for number in range(5):
        photo(root / f"{number}.jpg", number)
        corners = [[20, 10], [50, 10], [50, 30], [20, 30]]
        shape = {"label": "leaf", "points": corners, "shape_type": "polygon", "group_id": None, "flags": {}}
        size = {"imageData": None, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        content = {"version": "5.0", "flags": {}, "shapes": [shape], "imagePath": f"{number}.jpg", **size}
        write_text(root / f"{number}.json", content)
    recipe, said = init(root)
    assert recipe["data"]["label_format"] == "labelme" and "pixels in no polygon are 'background'" in said
    files = opened(recipe)
    assert files.table.names == ["background", "leaf"]
    label_map = files.sample(0).label_map
    assert label_map[11:29, 21:49].all() and not label_map[:9].any() and not label_map[32:].any()


def coco(names):
    """Annotations of images that each hold the rectangle as a polygon."""
    return {
        "images": [{"id": i, "file_name": f"{name}.jpg", "height": 40, "width": 64} for i, name in enumerate(names)],
        "annotations": [
            {"id": 10 + i, "image_id": i, "category_id": 7, "iscrowd": 0, "bbox": [20, 10, 30, 20], "area": 600,
             "segmentation": [[20, 10, 50, 10, 50, 30, 20, 30]]}
            for i in range(len(names))
        ],
        "categories": [{"id": 7, "name": "cat", "supercategory": "animal"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "image, annotation",
    [
        ("{}2017/{}.jpg", "annotations/instances_{}2017.json"),
        ("{}/{}.jpg", "{}/_annotations.coco.json"),
        ("images/{}/{}.jpg", "annotations/{}.json"),
    ],
    ids=["COCO", "Roboflow", "folders"],
)
def test_coco_polygons(image, annotation, root):
    pytest.importorskip("pycocotools")
    for split, names in (("train", "ab"), ("val", "c")):
        for name in names:
            photo(root / image.format(split, name))
        write_text(root / annotation.format(split), coco(list(names)))
    recipe, _ = init(root)
    assert recipe["data"]["label_format"] == "coco" and recipe["data"]["labels"] == annotation.format("{split}")
    assert recipe["data"]["classes"][1] == {"name": "cat", "color": [128, 0, 0], "thing": True}
    check_truth(recipe, ["background", "cat"])


def test_coco_panoptic(root):
    pytest.importorskip("pycocotools")
    for split, name in (("train", "a"), ("val", "b")):
        photo(root / f"{split}2017/{name}.jpg")
        segments = [{"id": 5, "category_id": 1, "iscrowd": 0}, {"id": 300, "category_id": 4, "iscrowd": 0}]
        content = {
            "images": [{"id": 1, "file_name": f"{name}.jpg", "height": 40, "width": 64}],
            "annotations": [{"image_id": 1, "file_name": f"{name}.png", "segments_info": segments}],
            "categories": [
                {"id": 1, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
                {"id": 4, "name": "bird", "isthing": 1, "color": [4, 5, 6]},
            ],
        }
        write_text(root / f"annotations/panoptic_{split}2017.json", content)
        ids = np.where(TRUTH, 300, 5)
        write_image(root / f"annotations/panoptic_{split}2017/{name}.png",
                    np.stack([ids % 256, ids // 256, ids * 0], axis=-1).astype(np.uint8))  # fmt: skip
    recipe, said = init(root)
    assert recipe["data"]["label_format"] == "coco_panoptic" and "pixels of no segment are ignored" in said
    assert recipe["data"]["classes"] == [
        {"name": "sky", "color": [1, 2, 3]},
        {"name": "bird", "color": [4, 5, 6], "thing": True},
    ]
    check_truth(recipe, ["sky", "bird"])


@pytest.mark.parametrize("kind", ["gray", "RGB", "soft"])
def test_masks_in_a_folder_of_their_own(kind, root):
    rng = np.random.default_rng(1)
    for number in range(5):
        gray = rng.integers(0, 256, SIZE).astype(np.uint8)
        write_image(root / "images" / f"{number}.png", gray)
        mask = TRUTH * 255
        if kind == "soft":
            mask = cv2.GaussianBlur(np.kron(mask, np.ones((4, 4), np.uint8)), (0, 0), 5)
            write_image(root / "images" / f"{number}.png", np.kron(gray, np.ones((4, 4), np.uint8)))
        write_image(root / "masks" / f"{number}.png", np.stack([mask] * 3, axis=-1) if kind == "RGB" else mask)
    recipe, said = init(root)
    assert recipe["data"]["label_format"] == "binary" and "saturation" not in recipe["augment"]
    if kind == "soft":
        assert recipe["data"]["threshold"] == 128 and "soft edges" in said
    else:
        check_truth(recipe, ["background", "foreground"])


@pytest.mark.parametrize("values, kind", [((0, 255), ".jpg"), ((3, 250), ".jpg"), ((0, 1, 254, 255), ".png")])
def test_masks_whose_values_are_not_exact_get_a_threshold(values, kind, root):
    steps = np.array(values, np.uint8)[np.arange(SIZE[1]) * len(values) // SIZE[1]]
    for number in range(3):
        photo(root / "images" / f"{number}.png", number)
        (root / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(root / "masks" / f"{number}{kind}"), steps[None].repeat(SIZE[0], axis=0))
    data = init(root)[0]["data"]
    assert (data["label_format"], data["threshold"]) == ("binary", 128)
    check_truth({"data": data}, truth=(steps >= 128)[None].repeat(SIZE[0], axis=0))


def test_ids_beside_255_are_classes_and_255_is_ignored(root):
    ids = TRUTH.copy()
    ids[:2], ids[-2:] = 255, 2
    for number in range(3):
        photo(root / "images" / f"{number}.png", number)
        write_image(root / "labels" / f"{number}.png", ids)
    recipe, said = init(root)
    assert recipe["data"]["label_format"] == "ids" and "Pixels of id 255 are ignored" in said
    check_truth(recipe, ["class_0", "class_1", "class_2"], ids)


def test_a_file_without_a_partner_is_listed_and_the_check_refuses_it(root):
    for name in "abcd":
        photo(root / "images" / f"{name}.png", ord(name))
        write_image(root / "masks" / f"{name}.png", TRUTH * 255)
    (root / "masks" / "b.png").unlink()
    (root / "images" / "d.png").unlink()
    _, said = init(root)
    assert "2 files without a partner" in said
    assert said.count(f"{root}/images/b.png has no label.") == said.count(f"{root}/masks/d.png has no image.") == 1
    recipe, out = str(root.parent / "recipe.yaml"), str(root.parent / "checks")
    checked = CliRunner().invoke(group, ["check", recipe, "--out", out])
    assert checked.exit_code == 1 and "images/b.png has no label" in checked.output


def test_colors_with_a_file_of_names_and_another_name_for_val(root):
    colors = np.array([[10, 20, 30], [0, 200, 0], [255, 255, 255]], np.uint8)
    for split, count in (("train", 3), ("valid", 1)):
        for number in range(count):
            photo(root / "images" / split / f"{number}_rgb.png", number)
            ids = TRUTH.copy()
            ids[0] = 2
            write_image(root / "labels" / split / f"{number}_label.png", colors[ids])
    write_text(root / "label_colors.txt", "10 20 30 soil\n0 200 0 sugar beet\n")
    recipe, said = init(root)
    data = recipe["data"]
    assert (data["image_suffix"], data["label_suffix"]) == ("_rgb.png", "_label.png")
    assert data["splits"] == {"val": "valid"} and data["ignore_colors"] == [[255, 255, 255]]
    assert "named by" not in said and "Classes and colors are those of label_colors.txt: soil, sugar beet" in said
    truth = np.where(np.arange(SIZE[0])[:, None] == 0, 255, TRUTH)
    check_truth(recipe, ["soil", "sugar beet"], truth)


def test_ids_without_names_are_classes_of_their_number(root):
    for number in range(3):
        photo(root / "images" / f"{number}.png", number)
        write_image(root / "annotations" / f"{number}.png", np.where(TRUTH, 9, 4).astype(np.uint8))
    recipe, said = init(root)
    assert [(row["name"], row["id"]) for row in recipe["data"]["classes"]] == [("class_4", 4), ("class_9", 9)]
    assert "No file names the classes" in said
    check_truth(recipe, ["class_4", "class_9"])


# What is refused, and what is chosen ---------------------------------------------------------------------------------


def test_a_recipe_is_never_replaced(root):
    photo(root / "a.jpg")
    write_image(root / "a_mask.png", TRUTH * 255)
    (root.parent / "recipe.yaml").write_text("mine")
    for options in ((), ("--overwrite",)):
        _, said = init(root, *options, code=2)
        assert "is not replaced" in said
    assert (root.parent / "recipe.yaml").read_text() == "mine"


def test_a_folder_without_labels_says_what_was_expected(root):
    photo(root / "a.jpg")
    _, said = init(root, code=1)
    assert "There are no images with labels" in said and "a_mask.png" in said
    assert not (root.parent / "recipe.yaml").exists()


def test_labels_with_the_noise_of_jpeg_are_refused(root, rng):
    photo(root / "images" / "a.png")
    write_image(root / "labels" / "a.png", rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8))
    with pytest.raises(DeepLabError, match="colors, which are no classes.*label_colors.txt"):
        describe(str(root))


def test_large_images_are_shrunk_and_the_crop_reaches_all_taps():
    assert training_size((256, 256)) == ((256, 256), (256, 256))
    assert training_size((966, 1296)) == ((768, 1024), (320, 320))  # 966 * 1024 / 1296 = 763, to a multiple of 32: 768
    assert training_size((360, 480)) == ((360, 480), (320, 320))
    assert training_size((20, 100)) == ((32, 100), (32, 96))


def test_it_is_said_that_large_images_are_shrunk(tmp_path):
    for name, size in (("large", (1500, 2000)), ("small", (768, 1024))):
        Image.new("RGB", size[::-1]).save(tmp_path / f"{name}.png")
    (said,) = look([str(tmp_path / "large.png")]).assumed
    assert "1500x2000 pixels are shrunk to 768x1024" in said and "data.size" in said and "--mode slide" in said
    assert look([str(tmp_path / "small.png")]).assumed == []


def test_a_cheaper_step_reaches_all_taps_if_it_can():
    assert cheaper_step((320, 320), 1.0, 0.8) == Step((320, 320), 32)  # three quarters of the time
    # 0.15 + 0.85 (256 / 320)^2 = 0.69, and 0.80 at 288
    assert cheaper_step((320, 320), 1.0, 0.7) == Step((256, 256), 16)
    assert cheaper_step((256, 320), 1.0, 0.95) == Step((256, 288), 16)  # 0.15 + 0.85 * 0.9 = 0.915
    assert cheaper_step((320, 320), 1.0, -1.0) == Step((128, 128), 16)
    assert cheaper_step((96, 128), 1.0, 0.1) == Step((96, 128), 16)  # no cheaper one


@pytest.mark.parametrize("minutes, crop, stride", [(10, 320, 16), (5, 320, 32), (2.5, 192, 16)])
def test_crops_are_smaller_where_few_steps_fit(minutes, crop, stride, root, monkeypatch):
    from deeplab_tf.lab.training import estimate

    monkeypatch.setattr(estimate, "estimate", lambda config, val: estimate.Estimate(
        {320: 1.5, 192: 0.7}[config.training_size[0]] * {16: 1.0, 32: 0.7}[config.model["output_stride"]], 0, 10, 0, 0
    ))  # fmt: skip
    for number in range(3):
        write_image(root / "images" / f"{number}.png", np.full((330, 330, 3), number, np.uint8))
        write_image(root / "masks" / f"{number}.png", np.eye(330, dtype=np.uint8) * 255)
    recipe, said = init(root, "--minutes", str(minutes))
    assert (recipe["augment"]["crop"], recipe["model"]["output_stride"]) == ([crop, crop], stride)
    # 1.5, 1.05 and 0.7 s a step, after 10 s
    assert recipe["training"]["steps"] == {10: 390, 5: 270, 2.5: 200}[minutes]
    assert ("Only 190 steps" in said) == (minutes == 5)
    assert ("crops are 192x192" in said) == ("aspp_rate18" in said) == (minutes == 2.5)


def test_steps_fill_the_time():

    assert steps_for(600, 30, 0.5, 10) == 1060  # (600 - 30 - 4 * 10) / 0.5
    assert steps_for(10, 30, 0.5, 10) == 20


@pytest.mark.parametrize(
    "line, row",
    [
        ("road", (None, "road", None)),
        ("3 traffic light", (3, "traffic light", None)),
        ("7: car", (7, "car", None)),
        ("64 128 64\tAnimal", (None, "Animal", (64, 128, 64))),
        ("Animal,64,128,64", (None, "Animal", (64, 128, 64))),
        ("5 64 128 64 Animal", (5, "Animal", (64, 128, 64))),
        ("name,r,g,b", None),
        ("# a comment", None),
    ],
)
def test_lines_of_files_that_name_classes(line, row):
    assert _row(line) == row


def test_the_split_is_found_in_names_of_folders():
    assert split_pattern("images/training") == ("images/{split}", "training")
    assert split_pattern("train2017") == ("{split}2017", "train")
    assert split_pattern("trainannot") == ("{split}annot", "train")
    for word in ("strain", "valley/images", "device_a", "testis", "validated"):  # parts of words
        assert split_pattern(word) == (word, "")


def test_two_ids_in_a_folder_of_annotations_are_not_camvid(tmp_path):
    for name in ("a", "b"):
        photo(tmp_path / "work" / "images" / f"{name}.png")
        write_image(tmp_path / "work" / "annot" / f"{name}.png", np.where(TRUTH, 1, 0).astype(np.uint8))
    recipe, said = init(tmp_path / "work")
    assert "CamVid" not in said and len(recipe["data"]["classes"]) == 2
