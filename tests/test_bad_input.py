"""Bad input ends every command with one sentence that names what is wrong, exit code 1, and no traceback; a wrong call
with exit code 2."""

import functools
import os
import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
import tiny
import yaml
from click.testing import CliRunner

from deeplab_tf.cli import group

IMAGE, LABEL = "images/val/frame_1.png", "labels/val/frame_1.png"


@pytest.fixture(scope="module")
def run():
    return tiny.trained_run()


@pytest.fixture(scope="module")
def cached_open_run():
    from deeplab_tf.lab.runs.keras_runtime import open_run

    return functools.cache(open_run)


@pytest.fixture(autouse=True)
def small_and_opened_once(monkeypatch, cached_open_run):
    """Networks of a few layers; the trained one, which these tests open over and over, is loaded from its file once."""
    from deeplab_tf.lab.runs import keras_runtime

    tiny.use_backbone(monkeypatch)
    monkeypatch.setattr(keras_runtime, "open_run", cached_open_run)


@pytest.fixture
def data(run, tmp_path):
    """A copy of the dataset that the run was trained on."""
    return shutil.copytree(run.parent / "data", tmp_path / "data")


@pytest.fixture
def recipe(run, data, tmp_path):
    tree = yaml.safe_load((run.parent / "recipe.yaml").read_text())
    tree["data"]["root"] = str(data)
    return tiny.write_recipe(tmp_path / "recipe.yaml", tree)


def call(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def sentence(*arguments, code=1):
    """What a command that must fail says: one line, after what it said about its progress."""
    result = call(*arguments)
    assert isinstance(result.exception, SystemExit), f"a bug, not a sentence: {result.exception!r}"
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and result.stderr.splitlines()[-1] == errors[0]
    assert errors[0][-1] in ".?!)" and len(errors[0]) > 30
    return errors[0]


def png(width, height, bits, color_type, row):
    """The bytes of a PNG whose rows are all `row`."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress((b"\0" + row) * height))
        + chunk(b"IEND", b"")
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def spoil(path):
    """Damage the middle, which only decoding finds."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def smaller(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[:32])


def other_ids(path):
    image = cv2.imread(str(path))
    image[5:9, 5:9] = (33, 22, 11)
    cv2.imwrite(str(path), image)


BAD_FILES = {
    "truncated": (cut, "truncated"),
    "zero bytes": (lambda path: path.write_bytes(b""), "0 bytes"),
    "not an image": (lambda path: path.write_bytes(b"these are words" * 20), "not a PNG"),
    "16 bits": (lambda path: path.write_bytes(png(64, 64, 16, 2, bytes(64 * 6))), "16"),
    "gray": (lambda path: path.write_bytes(png(64, 64, 8, 0, bytes(64))), "gray"),
    "RGBA": (lambda path: path.write_bytes(png(64, 64, 8, 6, bytes(64 * 4))), "RGBA"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ""),
}


@pytest.mark.parametrize("kind", [kind for kind in BAD_FILES if kind not in ("16 bits", "gray", "RGBA")])
def test_a_bad_image(kind, run, data, recipe, tmp_path):
    damage, word = BAD_FILES[kind]
    damage(data / IMAGE)
    commands = [
        ("predict", run, data / IMAGE, "--out", tmp_path / "out"),
        ("predict", run, data / "images/val", "--out", tmp_path / "out"),
        ("evaluate", run, "--root", data, "--out", tmp_path / "report"),
        ("prepare", recipe, "--out", tmp_path / "records"),
    ]
    if kind == "a folder":  # no image of the listing
        commands = commands[2:]
    for command in commands:
        said = sentence(*command)
        assert "frame_1" in said and word in said, said


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_label(kind, run, data, recipe, tmp_path):
    damage, word = BAD_FILES[kind]
    damage(data / LABEL)
    damage(data / LABEL.replace("val", "train"))
    for command in (
        ("train", recipe, "--set", "loss.class_weights=log", "--run", tmp_path / "run"),
        ("evaluate", run, "--root", data, "--out", tmp_path / "report"),
    ):
        said = sentence(*command)
        assert "frame_1" in said and word in said, said
    assert not (tmp_path / "run").exists()


def test_ids_and_colors_outside_the_table(run, data, recipe, tmp_path):
    other_ids(data / LABEL)
    other_ids(data / LABEL.replace("val", "train"))
    for command in (
        ("train", recipe, "--set", "loss.class_weights=balanced", "--run", tmp_path / "run"),
        ("evaluate", run, "--root", data, "--out", tmp_path / "report"),
        ("prepare", recipe, "--out", tmp_path / "records"),
    ):
        said = sentence(*command)
        assert "frame_1.png" in said and "[11, 22, 33]" in said


def test_image_and_label_of_different_size(run, data, recipe, tmp_path):
    smaller(data / LABEL)
    for command in (
        ("evaluate", run, "--root", data, "--out", tmp_path / "report"),
        ("prepare", recipe, "--out", tmp_path / "records"),
    ):
        said = sentence(*command)
        assert "64x64 against 32x64" in said and "frame_1.png" in said


MISSING = {
    "an image without its label": (lambda data: (data / LABEL).unlink(), "1 image has no label"),
    "a label without its image": (lambda data: (data / IMAGE).unlink(), "1 label has no image"),
    "an empty split": (lambda data: [path.unlink() for path in data.glob("*/val/*")], "The split is empty"),
    "no such split": (lambda data: [shutil.rmtree(path) for path in data.glob("*/val")], "There is no split 'val'"),
    "no such folder": (shutil.rmtree, "does not exist"),
}


@pytest.mark.parametrize("what", MISSING)
def test_files_that_do_not_pair(what, run, data, recipe, tmp_path):
    damage, expected = MISSING[what]
    damage(data)
    commands = [
        ("train", recipe, "--run", tmp_path / "run"),
        ("evaluate", run, "--root", data, "--out", tmp_path / "report"),
    ]
    if what != "no such split":  # it prepares those that there are
        commands.append(("prepare", recipe, "--out", tmp_path / "records"))
    for command in commands:
        said = sentence(*command)
        assert expected in said and str(data) in said
    assert not (tmp_path / "run").exists()


def test_a_bad_validation_image_costs_no_steps(data, recipe, tmp_path):
    whole = (data / IMAGE).read_bytes()
    spoil(data / IMAGE)
    settings = ("--set", "training.steps=4", "--set", "training.checkpoint_every=3", "--set", "training.save_steps=[]")
    options = ("train", recipe, "--run", tmp_path / "run", *settings)
    said = sentence(*options)  # by the validation after the last step
    assert "frame_1.png is damaged" in said and "--resume" in said
    (data / IMAGE).write_bytes(whole)
    result = call(*options, "--resume")
    assert result.exit_code == 0 and "train:" not in result.stderr, "nothing but the validation was left to do"


def test_a_bad_training_image_is_named(data, recipe, tmp_path):
    """The reader's sentence comes through TensorFlow's pipeline."""
    spoil(data / IMAGE.replace("val", "train"))
    said = sentence(
        "train", recipe, "--run", tmp_path / "run", "--set", "training.steps=5", "--set", "training.save_steps=[]"
    )
    assert str(data / IMAGE.replace("val", "train")) in said and "is damaged" in said


def test_a_loss_that_is_not_finite(recipe, tmp_path):
    run = tmp_path / "run"
    growing = ("optimizer.name=sgd", "optimizer.learning_rate=1000", "optimizer.weight_decay=100")  # weights times 1e5
    settings = [part for change in (*growing, "training.checkpoint_every=1") for part in ("--set", change)]
    said = sentence("train", recipe, "--run", run, *settings)
    assert "the batch held " in said and said.count("frame_") == 4
    step = int(said.split(" step ")[1].split(";")[0].split()[0].strip("(.,"))
    saved = sorted((run / "checkpoints").glob("*")) if step > 1 else []
    assert len(saved) == min(step - 1, 2) and not (run / "best.keras").exists()
    for path in saved:
        with np.load(path) as state:
            assert all(np.isfinite(state[name]).all() for name in state if name != "extra")


@pytest.mark.parametrize("resume", [(), ("--resume",)])
@pytest.mark.parametrize(
    "setting, difference",
    [
        ("optimizer.learning_rate=0.5", "optimizer.learning_rate: 0.01 there, 0.5 here"),
        ("training.seed=60", "training.seed: 0 there, 60 here"),
    ],
)
def test_a_run_of_another_recipe(setting, difference, resume, run):
    said = sentence("train", run.parent / "recipe.yaml", "--run", run, "--set", setting, *resume)
    assert str(run) in said and difference in said


def test_a_run_that_has_begun_needs_resume(run):
    said = sentence("train", run.parent / "recipe.yaml", "--run", run)
    assert str(run) in said and "--resume" in said


def test_a_folder_of_other_things_is_no_run(run, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"meow")
    assert "cat.jpg" in sentence("train", run.parent / "recipe.yaml", "--run", tmp_path)


def test_a_file_is_no_run(run, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"meow")
    assert "is a file" in sentence("train", run.parent / "recipe.yaml", "--run", tmp_path / "cat.jpg")


WRONG_VALUES = [
    ("model.backbone=resnet51", "Did you mean 'resnet50'?"),
    ("model.output_stride=12", "model.output_stride must be one of 8, 16, 32. Got 12"),
    ("model.widht=2", "Did you mean 'width'?"),
    ("optimizer.name=adma", "Did you mean 'adam'?"),
    ("data.name=foldr", "Did you mean 'folder'?"),
    ("data.rot=here", "Did you mean 'root'?"),
    ("data.label_format=colrs", "Did you mean 'colors'?"),
    ("loss.class_weights=[1, 2]", "3 classes. Got [1.0, 2.0]"),
    ("loss.class_weights=logs", "Did you mean 'log'?"),
    ("training.steps=ten", "from 1 to 10,000,000. Got ten"),
    ("training.precision=bfloat16", "Did you mean 'mixed_bfloat16'?"),
    ("training", "--set takes section.key=value"),
    ("model.weights=/nowhere/weights.h5", "/nowhere/weights.h5"),
]


@pytest.mark.parametrize("setting, expected", WRONG_VALUES)
def test_a_wrong_value_in_the_recipe(setting, expected, recipe, tmp_path):
    assert expected in sentence("train", recipe, "--run", tmp_path / "run", "--set", setting)
    assert not (tmp_path / "run").exists(), "a recipe that was refused leaves no folder behind"


@pytest.mark.parametrize("command", ["train", "prepare"])
def test_a_recipe_that_is_not_there(command, tmp_path):
    assert f"{tmp_path / 'recipe.yml'}" in sentence(command, tmp_path / "recipe.yml")


BAD_RUNS = {
    "no such folder": lambda run: shutil.rmtree(run),
    "an empty folder": lambda run: (shutil.rmtree(run), run.mkdir()),
    "no network": lambda run: [path.unlink() for path in run.rglob("*.keras")],
    "half a network": lambda run: (run / "best.keras").write_bytes((run / "best.keras").read_bytes()[:5000]),
    "no network but words": lambda run: (run / "best.keras").write_text("words"),
    "no classes": lambda run: (run / "classes.json").unlink(),
    "wrong classes": lambda run: (run / "classes.json").write_text('[{"nam": "road"}]'),
    "no recipe but words": lambda run: (run / "config.yaml").write_text("words"),
}


@pytest.mark.parametrize("what", BAD_RUNS)
def test_a_damaged_run(what, run, data, tmp_path):
    broken = shutil.copytree(run, tmp_path / "broken")
    BAD_RUNS[what](broken)
    for command in (
        ("evaluate", broken),
        ("report", broken),
        ("predict", broken, data / IMAGE, "--out", tmp_path / "out"),
    ):
        assert str(broken) in sentence(*command)


def test_labels_for_scoring(data, tmp_path):
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    for folder in (truth, pred):
        for index in range(2):
            tiny.write_png(folder / f"{index}.png", np.full((8, 8), index, np.uint8))
    options = ("score", "--pred", pred, "--truth", truth, "--format", "ids", "--classes", "2")
    assert call(*options).exit_code == 0
    original = (pred / "1.png").read_bytes()
    for damage, word in BAD_FILES.values():
        if word not in ("gray", ""):
            damage(pred / "1.png")
            assert str(pred / "1.png") in sentence(*options)
    tiny.write_png(pred / "1.png", np.full((8, 8), 2, np.uint8))
    assert str(pred / "1.png") in sentence(*options)
    tiny.write_png(pred / "1.png", np.zeros((8, 9), np.uint8))
    assert str(pred / "1.png") in sentence(*options)
    (pred / "1.png").unlink()
    assert str(truth / "1.png") in sentence(*options)
    (pred / "1.png").write_bytes(original)
    (truth / "1.png").unlink()
    assert str(pred / "1.png") in sentence(*options)
    (truth / "0.png").unlink()
    assert str(truth) in sentence(*options)


def test_places_that_cannot_be_written(run, data, recipe, tmp_path):
    (tmp_path / "file").write_text("in the way")
    place = tmp_path / "file" / "deeper"
    for command in (
        ("train", recipe, "--run", place),
        ("prepare", recipe, "--out", place),
        ("predict", run, data / IMAGE, "--out", place),
        ("evaluate", run, "--root", data, "--out", place),
        ("sample", place, "--scenes", "1", "--size", "64x64"),
    ):
        assert "file" in sentence(*command)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(recipe, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in sentence("train", recipe, "--run", tmp_path / "locked" / "run")


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("trian", "recipe.yaml"), "Did you mean 'train'?"),
        (("train",), "Missing argument 'CONFIG'"),
        (("train", "recipe.yaml", "--resum"), "--resume"),
        (("evaluate", "run", "--scales", "big"), "expected numbers"),
        (("predict", "run", "image.png", "--out", "out", "--format", "colr"), "Did you mean 'color'?"),
        (("score", "--pred", "/nowhere", "--truth", "/nowhere"), "does not exist"),
        (("sample", "out", "--size", "big"), "such as 512x1024"),
        (("report", "run", "--frames", "0"), "not in the range"),
    ],
)
def test_a_wrong_call(arguments, expected):
    assert expected in sentence(*arguments, code=2)
