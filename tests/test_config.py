"""Recipes are checked strictly; an error is one sentence with the key, the value, and what was meant."""

from pathlib import Path

import pytest
import tiny
import yaml

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load, load_run, resolve
from deeplab_tf.lab.config.renamed import RENAMED


def message(tree):
    with pytest.raises(DeepLabError) as caught:
        resolve(tree)
    text = str(caught.value)
    assert "\n" not in text and text[-1] in ".?!"
    return text


def recipe(key, value):
    """A whole recipe with one value of its own."""
    section, name = key.split(".")
    return tiny.recipe("somewhere", **{section: {name: value}})


@pytest.mark.parametrize(
    "key, meant",
    [
        ("optimizer.learning_rat", "learning_rate"),
        ("training.batchsize", "batch_size"),
        ("model.output_strid", "output_stride"),
        ("data.rot", "root"),
        ("model.precision", "separable"),  # training's: all of the network's keys are named
        ("augment.zoom", "white_balance"),
        ("trainig.steps", "training"),
    ],
)
def test_unknown_keys_get_a_suggestion(key, meant):
    text = message(recipe(key, 3))
    assert "unknown key" in text and meant in text
    assert key in text or key.split(".")[0] in text


@pytest.mark.parametrize(
    "key, value, meant",
    [
        ("optimizer.name", "adamm", "adam"),
        ("training.precision", "mixed_float61", "mixed_float16"),
        ("loss.class_weights", "logg", "log"),
        ("quantization.calibration", "minmax", "min-max"),
        ("data.name", "cityscape", "cityscapes"),
        ("model.name", "lraspp", "lr_aspp"),
    ],
)
def test_unknown_choices_get_a_suggestion(key, value, meant):
    text = message(recipe(key, value))
    assert key in text and value in text and f"Did you mean '{meant}'?" in text


@pytest.mark.parametrize("key, value, choices", [("optimizer.schedule", "zzz", "cosine, poly, constant")])
def test_choices_are_listed(key, value, choices):
    assert choices in message(recipe(key, value))


INTEGER, NUMBER = "an integer from 1 to 10,000,000", "a number"
SIDES = "a list of 2 integers from 32 to 16,384"


@pytest.mark.parametrize(
    "key, value, expected, shown",
    [
        ("training.steps", "many", INTEGER, "many"),
        ("training.steps", 10.5, INTEGER, "10.5"),
        ("training.steps", True, INTEGER, "true"),
        ("training.steps", None, INTEGER, "none"),
        ("training.steps", 0, INTEGER, "0"),
        ("training.steps", iter, INTEGER, "<built-in function iter>"),
        ("training.validation_images", "all", f"{INTEGER} or none", "all"),
        ("training.save_steps", 10, "a list of integers from 1 to 10,000,000", "10"),
        ("training.save_steps", [10, 0], "a list of integers from 1 to 10,000,000", "[10, 0]"),
        ("training.seed", -1, "an integer >= 0", "-1"),
        ("optimizer.learning_rate", float("nan"), NUMBER, ".nan"),
        ("optimizer.learning_rate", float("inf"), NUMBER, ".inf"),
        ("optimizer.learning_rate", True, NUMBER, "true"),
        ("optimizer.learning_rate", "fast", NUMBER, "fast"),
        ("optimizer.ema", 1, "a number >= 0 and < 1 or none", "1"),
        ("loss.ohem_ratio", 0, "a number > 0 and <= 1", "0"),
        ("loss.class_weights", [1, -1], "a list of numbers from 0 to 1,000,000", "[1, -1]"),
        ("loss.class_weights", [0, 0, 0], "above 0", "[0, 0, 0]"),
        ("augment.contrast", 1, "a number >= 0 and < 1", "1"),
        ("augment.scale", [0, 1], "a list of 2 numbers from 0.01 to 100", "[0, 1]"),
        ("augment.scale", [2, 0.5], "low <= high", "[2, 0.5]"),
        ("augment.crop", [64, 31], SIDES, "[64, 31]"),
        ("data.size", [64], SIDES, "[64]"),
        ("data.size", "64x64", SIDES, "64x64"),
        ("data.size", [16, 64], SIDES, "[16, 64]"),
        ("data.root", 5, "a string", "5"),
        ("model.separable", "yes please", "true or false", "yes please"),
        ("model.output_stride", 12, "one of 8, 16, 32", "12"),
        ("model.channels", {"logits_conv": 0}, "a mapping from strings to integers from 1 to", "{logits_conv: 0}"),
    ],
)
def test_wrong_values_report_what_is_expected(key, value, expected, shown):
    text = message(recipe(key, value))
    assert key in text and expected in text and f"Got {shown} instead" in text


@pytest.mark.parametrize("key", ["data.size", "data.name"])
def test_missing_keys_report_how_to_set_them(key):
    tree = tiny.recipe("somewhere")
    del tree["data"][key.split(".")[1]]
    assert f"--set {key}=" in message(tree)


def test_quantization_aware_training_needs_float32():
    tree = tiny.recipe("somewhere", quantization={"aware": True}, training={"precision": "mixed_bfloat16"})
    text = message(tree)
    assert "training.precision" in text and "float32" in text and "mixed_bfloat16" in text


@pytest.mark.parametrize(
    "text, fact",
    [
        (None, "No such file"),
        ("data: [unclosed", "YAML"),
        ("\xff\xfe".encode("latin-1"), "YAML"),
        ("just words", "sections"),
        ("data: 3", "sections"),
        ("", "sections"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text, fact):
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DeepLabError, match=fact) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("somewhere"))


def test_set_wins_over_the_file(path):
    config = load(path, ["training.steps=7", "data.size=[32, 48]", "data.root=a=b"])
    assert (config.training.steps, config.size, config.data["root"]) == (7, (32, 48), "a=b")


@pytest.mark.parametrize("number", ["1e-3", "0.001", "1.0e-3", "1.e-3", ".1e-2", "1E-3"])
def test_numbers_in_every_notation(path, number):
    path.write_text(path.read_text().replace("learning_rate: 0.01", f"learning_rate: {number}"))
    assert load(path).optimizer.learning_rate == 0.001
    assert load(path, [f"augment.gamma={number}"]).augment.gamma == 0.001


@pytest.mark.parametrize("none", ["none", "null", "~", ""])
def test_none_in_every_notation(path, none):
    config = load(path, [f"optimizer.ema={none}", f"model.weights={none}", f"loss.class_weights={none}"])
    assert (config.optimizer.ema, config.model["weights"], config.loss.class_weights) == (None, "none", None)


def test_lists_become_tuples(path):
    config = load(path, ["training.save_steps=[3, 4]", "model.multi_grid=[1, 2, 4]", "augment.scale=[1, 2]"])
    assert (config.training.save_steps, config.model["multi_grid"]) == ((3, 4), (1, 2, 4))
    assert config.augment.scale == (1.0, 2.0)


@pytest.mark.parametrize("override", ["steps=7", "training.steps", "training.=3", "=", "training.steps=[1"])
def test_a_wrong_set_is_an_error(path, override):
    with pytest.raises(DeepLabError, match="--set"):
        load(path, [override])


def test_a_section_may_be_empty(path):
    path.write_text(path.read_text() + "\nloss:\n")
    assert load(path).loss.label_smoothing == 0.0


def test_defaults_are_those_of_the_publication():
    """Huang et al., 2025: Adam 0.001 with cosine decay, ResNet-50 at output stride 16, 60,000 steps."""
    config = resolve({"data": {"name": "cityscapes", "size": [512, 1024]}})
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.schedule) == ("adam", 0.001, "cosine")
    assert (config.model["backbone"], config.model["output_stride"], config.training.steps) == ("resnet50", 16, 60_000)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": {"class_weights": "log"}, "optimizer": {"ema": None, "clip_norm": 5}},
        {"loss": {"class_weights": [1, 2, 3]}, "training": {"save_steps": [1, 2]}},
        {"loss": {"class_weights": "none"}, "augment": {"crop": None}},
        {"model": {"name": "panoptic_deeplab", "low_level_channels": [8, 8], "channels": {"logits_conv": 3}}},
    ],
)
def test_a_resolved_recipe_reads_back_the_same(tmp_path, changes):
    config = resolve(tiny.recipe("somewhere", **changes))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load(path) == config and config.difference(load(path)) is None


@pytest.mark.parametrize(
    "there, expected",
    [
        ({"optimizer": {"learning_rate": 0.1}}, "optimizer.learning_rate: 0.1 there, 0.01 here"),
        ({"training": {"save_steps": [3, 4]}}, "training.save_steps: [3, 4] there, [15] here"),
        ({"data": {"label_suffix": "_x.png"}}, "data.label_suffix: _x.png there, none here"),
        ({"loss": {"class_weights": "log"}}, "loss.class_weights: log there, none here"),
    ],
)
def test_a_difference_is_named_by_its_key(there, expected):
    assert resolve(tiny.recipe("somewhere")).difference(resolve(tiny.recipe("somewhere", **there))) == expected


def test_a_run_may_continue_where_its_data_was_moved_to():
    recipe = {"data": {"name": "camvid", "root": "here", "size": [64, 64]}}
    moved = {"data": {"name": "camvid", "root": "there", "size": [64, 64]}, "training": {"checkpoint_every": 7}}
    assert resolve(moved).difference(resolve(recipe)) is None
    moved["training"]["seed"] = 1
    assert resolve(moved).difference(resolve(recipe)) == "training.seed: 0 there, 1 here"


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_an_old_key_is_an_error_with_the_new_one(path, old, new):
    with pytest.raises(DeepLabError) as caught:
        load(path, [f"{old}=1"])
    assert old in str(caught.value) and new in str(caught.value)


def test_old_keys_are_reported_all_at_once():
    text = message(tiny.recipe("somewhere", loss={"hard_pixels": 0.2}, training={"keep": [1]}))
    assert "loss.ohem_ratio" in text and "training.save_steps" in text


OLD = """
data: {name: camvid, root: here, size: [64, 64]}
loss: {hard_pixels: 0.2, small_thing_area: 512, small_thing_weight: 3.0}
optimizer: {backbone_rate: 0.1}
training: {keep: [10, 20]}
"""


def test_a_run_with_old_keys_is_read(tmp_path):
    Path(tmp_path, "config.yaml").write_text(OLD)
    config = load_run(tmp_path)
    loss = config.loss
    assert (loss.ohem_ratio, loss.small_instance_threshold, loss.small_instance_weight) == (0.2, 512, 3.0)
    assert (config.optimizer.backbone_lr_multiplier, config.training.save_steps) == (0.1, (10, 20))


@pytest.fixture
def old_run(tmp_path):
    """`tiny.trained_run` with a config.yaml of the version before."""
    run = tiny.trained_run()
    for name in ("best.keras", "classes.json"):
        Path(tmp_path, name).symlink_to(run / name)
    Path(tmp_path, "config.yaml").write_text(with_old_names((run / "config.yaml").read_text()))
    return tmp_path


def test_a_run_with_old_keys_opens(old_run):
    """For predictions, evaluation, conversion, pruning, distillation: all of them open a run by `open_run`."""
    from deeplab_tf.lab.runs.keras_runtime import open_run

    assert open_run(old_run).config == load_run(tiny.trained_run())


def test_a_run_with_old_keys_may_be_resumed(old_run):
    from deeplab_tf.lab.training.run_folder import check_run_folder

    check_run_folder(old_run, load_run(tiny.trained_run()), resume=True)


def with_old_names(text):
    tree = yaml.safe_load(text)
    for old, new in RENAMED.items():
        section, key = new.split(".")
        tree[section][old.split(".")[1]] = tree[section].pop(key)
    return yaml.safe_dump(tree)


@pytest.mark.parametrize(
    "changes, line, expected",
    [
        (["training.save_steps=[31]"], None, "must be steps from 1 to training.steps, 30. Got [31]"),
        (["optimizer.warmup_steps=30"], None, "must be less than training.steps, 30. Got 30"),
        (["augment.scale=[0.5, 1]", "augment.crop=[64, 65]"], None, "at most [64, 64], which is data.size times"),
        (["augment.crop=[81, 64]"], None, "at most [80, 80]"),  # 64 x 1.25
        (
            ["data.size=[9000, 9000]", "augment.crop=[9000, 9000]", "training.batch_size=7"],
            None,
            "at most 6 with crops",
        ),
        (["loss.class_weights=[1, 2]"], None, "a number for each of the 3 classes. Got [1.0, 2.0]"),
    ],
)
def test_keys_that_no_training_can_use_together(path, changes, line, expected):
    """6 x 81,000,000 pixels are 2**28.9, 7 times are 2**29.1."""
    with pytest.raises(DeepLabError) as caught:
        load(path, changes, to_train=True)
    assert expected in str(caught.value)
    if line is not None:
        number = path.read_text().splitlines().index(f"  {line.split('.')[1]}:") + 1
        assert str(caught.value).startswith(f"{path}, line {number}: {line} must")
    assert load(path, changes), "without a training there is nothing wrong"


def test_largest_values_that_a_training_takes(path):
    load(path, ["training.steps=15", "optimizer.warmup_steps=14", "augment.crop=[80, 80]"], to_train=True)


def test_an_override_that_shortens_a_training_leaves_out_late_save_steps(tmp_path, capsys):
    path = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("data", training={"save_steps": [5, 15]}))
    config = load(path, ["training.steps=10"], to_train=True)
    assert config.training.save_steps == (5,)
    assert "training.save_steps: left out [15], after the last step, 10." in capsys.readouterr().err
    for overrides in ([], ["training.steps=20"]):
        assert load(path, overrides, to_train=True).training.save_steps == (5, 15)
    with pytest.raises(DeepLabError, match="from 1 to training.steps, 10"):
        load(path, ["training.steps=10", "training.save_steps=[15]"], to_train=True)
