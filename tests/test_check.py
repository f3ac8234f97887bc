"""`deeplab-tf check`: every fault of a dataset is found at once, and none where there is none."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
import yaml
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.image_files import read_ids, read_image, write_image
from deeplab_tf.lab.checks import duplicates, sheet
from deeplab_tf.lab.checks.duplicates import fingerprint
from deeplab_tf.lab.checks.scan import scan

SIDE = 96
TRAIN, VAL = 120, 30


def texture(rng, size=(SIDE, SIDE)):
    """A random image with structure at all scales."""
    layers = [cv2.resize(rng.normal(0, 1, (n, n, 3)), size[::-1]) * (8 / n) ** 0.5 for n in (4, 8, 16, 32, 64)]
    return np.clip(128 + 50 * sum(layers), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """150 images and labels: three classes, each in a fifth of the pixels or more."""
    root, rng = tmp_path_factory.mktemp("clean"), np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            write_image(root / "images" / split / f"{index}.png", texture(rng))
            label = np.repeat(rng.permutation([0, 0, 1, 2, 255]), 20)[:SIDE, None].repeat(SIDE, 1)
            write_image(root / "labels" / split / f"{index}.png", label.astype(np.uint8))
    return root


@pytest.fixture
def data(clean, tmp_path):
    """A copy of the clean set: hard links, which a fault replaces by a file of its own."""
    root = tmp_path / "data"
    for path in sorted(clean.rglob("*.png")):
        copy = root / path.relative_to(clean)
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, copy)
    return root


def check(root, *options, code=0):
    """Run the command on the folder: what it wrote as JSON, and its output."""
    tree = tiny.recipe(root)
    tree["data"]["size"] = [SIDE, SIDE]
    recipe = tiny.write_recipe(root.parent / "recipe.yaml", tree)
    out = root.parent / "checks"
    result = CliRunner().invoke(
        group, ["check", str(recipe), "--out", str(out), "--json", str(root.parent / "check.json"), *options]
    )
    assert result.exit_code == code, result.output + str(result.exception)
    return json.loads((root.parent / "check.json").read_text()), result.output


def replace(path, content):
    """Put bytes, or pixels, in the place of a file."""
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_image(path, content)


def test_a_clean_set_has_no_faults(data):
    report, said = check(data)
    assert report["faults"] == [] and report["duplicates"] == [] and "No faults found." in said
    train = report["splits"]["train"]
    assert (train["images"], train["sizes"], train["unreadable"]) == (TRAIN, {"96x96": TRAIN}, 0)
    shares = [each["share"] for each in train["classes"].values()]
    assert sum(shares) == pytest.approx(1) and shares[0] == max(shares) and min(shares) > 0.2


def plant(data):
    """Plant 25 faults of 12 kinds; return the kinds, each with the files that its faults must name."""
    image, label = data / "images" / "train", data / "labels" / "train"
    planted = {kind: [] for kind in KINDS}

    def put(kind, path, content):
        replace(path, content)
        planted[kind].append(path)

    for index in (3, 4, 5):
        put("truncated image", image / f"{index}.png", (image / f"{index}.png").read_bytes()[:-300])
    for index in (10, 11):
        put("empty image", image / f"{index}.png", b"")
        put("no image at all", image / f"{index + 2}.png", b"<html>404</html>")
    for index in (20, 21):
        flipped = bytearray((label / f"{index}.png").read_bytes())
        flipped[len(flipped) // 2] ^= 0xFF
        put("damaged label", label / f"{index}.png", bytes(flipped))
    for index in (30, 31, 32):
        put("other size", label / f"{index}.png", read_ids(label / f"{index}.png")[:-1])
        put("unknown id", label / f"{index + 3}.png", np.full((SIDE, SIDE), 7, np.uint8))
    for index in (40, 41):
        (label / f"{index}.png").unlink()
        planted["no label"].append(image / f"{index}.png")
        (image / f"{index + 2}.png").unlink()
        planted["no image"].append(label / f"{index + 2}.png")
        put("all ignored", label / f"{index + 4}.png", np.full((SIDE, SIDE), 255, np.uint8))
    plant_duplicates(data, put)
    return planted


def plant_duplicates(data, put):
    train, val, labels = data / "images" / "train", data / "images" / "val", data / "labels" / "val"
    put("the same pixels", val / "1.png", cv2.imencode(".png", read_image(train / "60.png")[..., ::-1])[1].tobytes())
    (val / "2.png").unlink()
    put(
        "saved as JPEG",
        val / "2.jpg",
        cv2.imencode(".jpg", read_image(train / "61.png")[..., ::-1], [1, 50])[1].tobytes(),
    )
    for index, part in ((3, np.s_[5:, 5:]), (4, np.s_[2:-3, 2:-3])):
        (val / f"{index}.png").unlink()
        pixels = read_image(train / f"{60 + index}.png")[part][..., ::-1]
        put("cropped", val / f"{index}.jpg", cv2.imencode(".jpg", pixels, [1, 70])[1].tobytes())
        replace(labels / f"{index}.png", read_ids(labels / f"{index}.png")[part])


KINDS = ("truncated image", "empty image", "no image at all", "damaged label", "other size", "unknown id", "no label",
         "no image", "all ignored", "the same pixels", "saved as JPEG", "cropped")  # fmt: skip


def test_25_faults_of_12_kinds_are_all_found(data):
    planted = plant(data)
    assert len(planted) == 12 and sum(map(len, planted.values())) == 25
    report, said = check(data, code=1)
    for kind, paths in planted.items():
        for path in paths:
            named = [each for each in report["faults"] if str(path) + " " in each["sentence"].replace(",", " ") + " "]
            assert len(named) == 1, f"{kind}: {path} is in {named}"
    assert len(report["faults"]) == 25
    assert [fault["level"] for fault in report["faults"]] == ["error"] * 19 + ["warning"] * 6
    assert "19 errors: a training on this data would stop." in said
    assert report["splits"]["train"]["unreadable"] == 19


def test_rare_and_absent_classes_and_duplicates_within_a_split(data):
    label, image = data / "labels" / "val", data / "images" / "val"
    for path in label.glob("*.png"):
        ids = np.where(read_ids(path) == 255, 255, 0).astype(np.uint8)
        ids[0, 0] = 1
        replace(path, ids)
    replace(image / "7.png", read_image(image / "8.png"))
    report, _ = check(data)
    absent, rare, same = report["faults"]
    assert "No pixel of the validation split is 'sky'" in absent["sentence"]
    assert rare["kind"] == "rare class" and "'tree' is 0.0" in rare["sentence"] and "in 30 images" in rare["sentence"]
    assert report["splits"]["val"]["classes"]["tree"]["pixels"] == VAL
    assert same["sentence"].endswith("have the same pixels and are in the validation split.")
    assert [each["exact"] for each in report["duplicates"]] == [True]


def test_a_missing_split_does_not_hide_the_faults_of_the_other(data):
    replace(data / "images" / "train" / "3.png", b"")
    (data / "images" / "val").rename(data / "images" / "valid")
    report, _ = check(data, code=1)
    sentences = [fault["sentence"] for fault in report["faults"]]
    assert len(sentences) == 2
    assert any("train/3.png" in each for each in sentences)
    assert any("There is no split 'val'" in each for each in sentences)


def test_images_are_stretched_where_the_size_has_another_shape(data):
    report, _ = check(data, "--set", "data.size=[96,192]")
    (fault,) = report["faults"]
    assert (fault["level"], fault["kind"]) == ("note", "size") and "changes by 100%" in fault["sentence"]


def test_colors_close_to_a_class_are_named(tmp_path):
    root = tiny.write_data(tmp_path / "data", train=3, val=2, colors=True)
    path = root / "labels" / "train" / "frame_1.png"
    pixels = read_image(path)
    pixels[5, 5] = (12, 20, 29)  # road is (10, 20, 30)
    write_image(path, pixels)
    pixels[5, 5] = (99, 99, 99)  # nothing
    write_image(root / "labels" / "val" / "frame_0.png", pixels)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(root, colors=True))
    result = CliRunner().invoke(group, ["check", str(recipe), "--out", str(tmp_path / "checks")])
    assert result.exit_code == 1 and "2 errors" in result.output
    assert (
        "[12, 20, 29]. [12, 20, 29] is nearly 'road', [10, 20, 30]: smoothing or JPEG changes colors." in result.output
    )
    assert "[99, 99, 99]." in result.output and "[99, 99, 99] is nearly" not in result.output


# Duplicates ----------------------------------------------------------------------------------------------------------


def groups(*images):
    return [(group.indices, group.exact) for group in duplicates.duplicates([fingerprint(image) for image in images])]


CROPS = {"left": np.s_[:, 12:], "both": np.s_[12:, 12:], "center": np.s_[4:-5, 6:-6], "bottom": np.s_[:-9]}


@pytest.mark.parametrize("part", CROPS.values(), ids=CROPS)
def test_a_crop_of_5_percent_that_is_saved_as_jpeg_is_a_near_duplicate(part, rng):
    images = [texture(rng, (180, 240)) for _ in range(6)]
    saved = cv2.imdecode(cv2.imencode(".jpg", images[3][part], [1, 60])[1], 1)
    assert groups(*images, saved) == [((3, 6), False)]


def test_another_image_and_a_half_are_no_duplicates(rng):
    image = texture(rng)
    mirrored, half, turned = image[:, ::-1], image[:, : SIDE // 2], np.rot90(image)
    assert groups(image, mirrored, half, turned, texture(rng)) == []


def test_near_duplicates_are_joined_and_exact_ones_are_found_among_flat_images(rng):
    first, flat = texture(rng), np.full((SIDE, SIDE, 3), 90, np.uint8)
    second = np.clip(first.astype(int) + 2, 0, 255).astype(np.uint8)
    third = np.clip(first.astype(int) + 4, 0, 255).astype(np.uint8)
    assert groups(flat, first, flat, second, third) == [((0, 2), True), ((1, 3, 4), False)]


def test_without_imagehash_only_exact_duplicates_are_found(data, monkeypatch):
    monkeypatch.setattr(duplicates, "can_hash", lambda: False)
    monkeypatch.setattr("deeplab_tf.lab.checks.faults.can_hash", lambda: False)
    planted = {}
    plant_duplicates(data, lambda kind, path, content: (planted.update({kind: path}), replace(path, content)))
    report, _ = check(data)
    exact, note = report["faults"]
    assert exact["files"][1] == str(planted["the same pixels"])
    assert note["sentence"] == "Near duplicates were not looked for: pip install 'deeplab_tf[check]'."


# The sheet -----------------------------------------------------------------------------------------------------------


def test_a_bar_is_as_long_as_the_root_of_the_share(tmp_path):
    ids = np.repeat([0, 1, 2, 2], 16)[:, None].repeat(64, 1).astype(np.uint8)  # shares 1/4, 1/4, 1/2
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "0.png", np.full((64, 64, 3), 7, np.uint8))
        write_image(tmp_path / "labels" / split / "0.png", ids)
    tree = tiny.recipe(tmp_path)["data"]
    read = scan(tree, "train")
    bars = sheet._bars("train", read.counts(), read.split.table)
    for class_id, color in enumerate(tiny.COLORS.values()):
        row = bars[sheet._ROW * (class_id + 1) + 11]
        length = int((row == color).all(axis=-1).sum()) + 1  # the right edge is gray
        assert abs(length - sheet._BAR * [0.25, 0.25, 0.5][class_id] ** 0.5) <= 2


def test_the_sheet_shows_the_colors_of_the_classes(data):
    report, _ = check(data)
    drawn = read_image(report["sheet"])
    assert drawn.shape[0] > 4 * sheet.CELL
    for color in tiny.COLORS.values():
        assert (drawn == color).all(axis=-1).sum() > 100


def test_the_check_loads_no_tensorflow(data):
    recipe = data.parent / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny.recipe(data)))
    source = "import sys; from deeplab_tf.cli import group\n" + (
        f"group(['check', {str(recipe)!r}, '--out', {str(data.parent / 'c')!r}], standalone_mode=False)\n"
        "print('loaded', [name for name in ('tensorflow', 'keras', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert "loaded []" in result.stdout


# Time ----------------------------------------------------------------------------------------------------------------


def test_steps_are_timed_without_the_first_ones_and_without_validations(monkeypatch):
    from deeplab_tf.lab.training import estimate

    now = [0.0]
    monkeypatch.setattr(estimate.time, "monotonic", lambda: now[0])
    clock = estimate._Clock()
    for seconds, called in ((30, "step"), (5, "step"), (1, "step"), (3, "begin"), (4, "end"), (1, "step"), (2, "step")):
        now[0] += seconds
        {"step": lambda: clock.on_train_batch_end(0), "begin": clock.on_test_begin, "end": clock.on_test_end}[called]()
    assert clock.step_seconds() == pytest.approx((1 + 2) / 2)  # 30 and 5 are the first ones; 3 + 4 + 1 has a validation
    assert clock.validations == [4]


def test_the_estimate_adds_up_steps_and_validations(tmp_path, monkeypatch):
    from deeplab_tf.lab.training import estimate

    tiny.use_backbone(monkeypatch)
    monkeypatch.setattr(estimate, "MIN_SECONDS", 0.0)
    tree = tiny.recipe(tiny.write_data(tmp_path / "data"), training={"steps": 30, "validate_every": 12})
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tree)
    target = tmp_path / "check.json"
    options = ["--out", str(tmp_path / "checks"), "--time", "--json", str(target)]
    result = CliRunner().invoke(group, ["check", str(recipe), *options])
    assert result.exit_code == 0, result.output
    found = json.loads(target.read_text())["time"]
    whole = found["start_seconds"] + 30 * found["step_seconds"] + 3 * found["validation_seconds"]
    assert found["total_seconds"] == pytest.approx(whole) and found["memory_bytes"] > 2**27
    # a map of 4x4 (64 pixels at stride 16) has no neighbors at 6, 12 and 18; 20x20 (320 pixels) is the first that has
    assert "24 of the 27 taps" in found["crop"] and "320x320 reach all" in found["crop"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("freeze_steps, timed", [(10, "none"), (None, "backbone"), (30, "backbone")])
def test_what_is_frozen_for_some_steps_is_trained_in_those_that_are_timed(freeze_steps, timed, tmp_path, monkeypatch):
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.training import estimate

    def train(config, run, *, callbacks):
        options = config.optimizer
        seen.append((options.freeze, options.freeze_steps, config.training.patience, config.training.steps))
        clock = callbacks[0]
        clock.ends, clock.validations = [0.0, 1.0, 2.0, 3.0], [0.5]

    seen = []
    monkeypatch.setattr(estimate, "train", train)
    tree = tiny.recipe(tmp_path, training={"patience": 1, "steps": 30})
    config = load(tiny.write_recipe(tmp_path / "recipe.yaml", tree), network=False)
    frozen = config.optimizer.model_copy(update={"freeze": "backbone", "freeze_steps": freeze_steps})
    estimate.estimate(config.model_copy(update={"optimizer": frozen}), 3)
    assert seen == [(timed, None if timed == "none" else freeze_steps, None, 30)]
