"""Recipes are checked strictly; what is wrong with one is said in a sentence."""

import re
from pathlib import Path

import pytest
import tiny
import yaml

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load, resolve

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def message(tree):
    with pytest.raises(DeepLabError) as caught:
        resolve(tree)
    text = str(caught.value)
    assert "\n" not in text and text[-1] in ".?!"
    return text


@pytest.mark.parametrize(
    "section, key, value, expected",
    [
        ("optimizer", "learning_rat", 0.1, "unknown key optimizer.learning_rat. Did you mean 'learning_rate'?"),
        ("training", "batchsize", 8, "unknown key training.batchsize. Did you mean 'batch_size'?"),
        ("model", "output_strid", 8, "unknown key model.output_strid. Did you mean 'output_stride'?"),
        ("model", "precision", "float32", "unknown key model.precision."),  # training's
        ("augment", "zoom", 2, "unknown key augment.zoom. Choose from: "),
        (
            "optimizer",
            "name",
            "adamm",
            "optimizer.name must be one of adam, muon, sgd. Got 'adamm' instead. Did you mean 'adam'?",
        ),
        (
            "optimizer",
            "schedule",
            "zzz",
            "optimizer.schedule must be one of cosine, poly, constant. Got 'zzz' instead.",
        ),
        ("training", "precision", "mixed_float61", "Did you mean 'mixed_float16'?"),
        (
            "loss",
            "class_weights",
            "logg",
            "loss.class_weights must be one of log, balanced and none, or a number for each class. Got 'logg'",
        ),
        (
            "loss",
            "class_weights",
            [0, 0, 0],
            "loss.class_weights must be 0 or greater, and not all 0. Got [0.0, 0.0, 0.0] instead.",
        ),
        ("data", "name", "cityscape", "There is no data set 'cityscape' for data.name. Did you mean 'cityscapes'?"),
        ("data", "size", [64], "data.size must be a list of 2 whole numbers. Got [64] instead."),
        ("data", "size", "64x64", "data.size must be a list of 2 whole numbers. Got 64x64 instead."),
        ("data", "size", [16, 64], "data.size must be at least 32 pixels a side. Got [16, 64] instead."),
        ("augment", "crop", [64, 31], "augment.crop must be at least 32 pixels a side. Got [64, 31] instead."),
        ("augment", "scale", [2, 0.5], "augment.scale must be [low, high] with low <= high. Got [2.0, 0.5] instead."),
        ("augment", "scale", [0, 1], "augment.scale must be greater than 0. Got [0.0, 1.0] instead."),
        ("augment", "contrast", 1, "augment.contrast must be 0 or greater, and below 1. Got 1.0 instead."),
        ("training", "steps", "many", "training.steps must be a whole number. Got many instead."),
        ("training", "steps", 10.5, "training.steps must be a whole number. Got 10.5 instead."),
        ("training", "steps", True, "training.steps must be a whole number. Got true instead."),
        ("training", "steps", 0, "training.steps must be greater than 0. Got 0 instead."),
        ("training", "seed", -1, "training.seed must be between 0 and 4294967295. Got -1 instead."),
        ("training", "save_steps", [10, 0], "training.save_steps must be greater than 0. Got [10, 0] instead."),
        ("training", "save_steps", 10, "training.save_steps must be a list of whole numbers. Got 10 instead."),
        (
            "training",
            "validation_images",
            "all",
            "training.validation_images must be a whole number or none. Got all instead.",
        ),
        ("optimizer", "learning_rate", float("nan"), "optimizer.learning_rate must be a number. Got .nan instead."),
        ("optimizer", "ema", 1, "optimizer.ema must be 0 or greater, and below 1. Got 1.0 instead."),
        ("loss", "ohem_ratio", 0, "loss.ohem_ratio must be greater than 0, at most 1. Got 0.0 instead."),
        ("model", "separable", "yes please", "model.separable must be true or false."),
        ("trainig", "steps", 3, "unknown section 'trainig'. Did you mean 'training'?"),
    ],
)
def test_what_is_wrong_is_said(section, key, value, expected):
    tree = tiny.recipe("somewhere")
    tree.setdefault(section, {})[key] = value
    assert expected in message(tree)


def test_the_frames_size_must_be_given():
    tree = tiny.recipe("somewhere")
    del tree["data"]["size"]
    assert "data.size: [height, width]" in message(tree)


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, "Cannot read the recipe"),
        ("data: [unclosed", "is not valid YAML"),
        ("\xff\xfe".encode("latin-1"), "is not valid YAML"),
        ("just words", "must hold sections with keys"),
        ("data: 3", "must hold sections with keys"),
        ("", "must hold sections with keys"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, expected):
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DeepLabError, match=expected) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("somewhere"))


def test_set_wins_over_the_file_and_speaks_yaml(path):
    config = load(
        path,
        [
            "training.steps=7",
            "optimizer.learning_rate=1e-3",
            "data.size=[32, 48]",
            "optimizer.ema=none",
            "data.root=a=b",
        ],
    )
    assert (config.training.steps, config.optimizer.learning_rate, config.size, config.optimizer.ema) == (
        7,
        0.001,
        (32, 48),
        None,
    )
    assert config.data["root"] == "a=b"


@pytest.mark.parametrize("override", ["steps=7", "training.steps", "training.=3", "=", "training.steps=[1"])
def test_set_says_how_it_is_written(path, override):
    with pytest.raises(DeepLabError, match="--set"):
        load(path, [override])


def test_a_section_may_be_empty(path):
    path.write_text(path.read_text() + "\nloss:\n")
    assert load(path).loss.label_smoothing == 0.0


def test_defaults_are_the_papers():
    config = resolve({"data": {"name": "cityscapes", "size": [512, 1024]}})
    assert (config.optimizer.name, config.optimizer.learning_rate, config.optimizer.schedule) == (
        "adam",
        0.001,
        "cosine",
    )
    assert (config.model["backbone"], config.model["output_stride"], config.training.steps) == ("resnet50", 16, 60_000)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"class_weights": "log"}, "optimizer": {"ema": None, "clip_norm": 5}},
        {"loss": {"class_weights": [1, 2, 3]}, "training": {"save_steps": [1, 2]}},
        {"loss": {"class_weights": "none"}, "augment": {"crop": None}},
    ],
)
def test_the_resolved_recipe_reads_back_the_same(tmp_path, changes):
    config = resolve(tiny.recipe("somewhere", **changes))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load(path) == config and config.difference(load(path)) is None


@pytest.mark.parametrize(
    "there, expected",
    [
        ({"optimizer": {"learning_rate": 0.1}}, "optimizer.learning_rate: 0.1 there, 0.01 here"),
        ({"training": {"save_steps": [3, 4]}}, "training.save_steps: [3, 4] there, [15] here"),
        ({"data": {"label_suffix": "_x.png"}}, "data.label_suffix: _x.png there, not set here"),
        ({"loss": {"class_weights": "log"}}, "loss.class_weights: log there, null here"),
    ],
)
def test_a_difference_is_named_by_its_key(there, expected):
    assert resolve(tiny.recipe("somewhere")).difference(resolve(tiny.recipe("somewhere", **there))) == expected


@pytest.mark.parametrize("path", CONFIGS, ids=[path.name for path in CONFIGS])
def test_recipes_load_and_open_with_their_command_cost_and_score(path):
    load(path)
    comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert path.read_text().startswith(f"# deeplab-tf train configs/{path.name}")
    assert "mIoU" in comment, "the score to expect, or that nobody has measured it"
    assert re.search(r"\d (minutes?|hours?|days?)\b|cost not measured", comment), "what it costs"


def test_no_key_stands_twice():
    """YAML takes the last one without a word."""
    for path in CONFIGS:
        lines = [line for line in path.read_text().splitlines() if line and line[0] not in " #-"]
        assert len(lines) == len(set(lines)) == len(yaml.safe_load(path.read_text()))


def test_a_run_may_go_on_where_its_data_has_moved_to():
    recipe = {"data": {"name": "camvid", "root": "here", "size": [64, 64]}}
    moved = {"data": {"name": "camvid", "root": "there", "size": [64, 64]}, "training": {"checkpoint_every": 7}}
    assert resolve(moved).difference(resolve(recipe)) is None
    moved["training"]["seed"] = 1
    assert resolve(moved).difference(resolve(recipe)) == "training.seed: 0 there, 1 here"
