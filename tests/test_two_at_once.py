"""A command that finds its folder taken by another is refused at once, in one sentence, and changes nothing there."""

import shutil

import pytest
import tiny
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.files import files_below, locked, write_json


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with a run, a bundle of no network, a recipe, its dataset and an image."""
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(tiny.trained_run(), root / "run")
    data = tiny.write_data(root / "data", train=3, val=1)
    tiny.write_recipe(root / "recipe.yaml", tiny.recipe(data, optimizer={"learning_rate": 0.5}))
    return root


COMMANDS = {
    "train": ("train recipe.yaml --run OUT", "out"),
    "train, resumed": ("train recipe.yaml --run OUT --resume", "out"),
    "prepare": ("prepare recipe.yaml --out OUT", "out"),
    "predict": ("predict run data/images/val --out OUT", "out"),
    "evaluate": ("evaluate run --out OUT", "out"),
    "evaluate, by default": ("evaluate run", "run/report"),
    "report": ("report run", "run/report"),
    "prune": ("prune run --gmac 0.001 --out OUT", "out"),
    "convert": ("convert run --out OUT", "out"),
    "convert, by default": ("convert run", "run/bundle"),
    "sample": ("sample OUT --scenes 2 --size 32x64", "out"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_one_is_refused(shop, name, monkeypatch):
    monkeypatch.chdir(shop)
    tiny.use_backbone(monkeypatch)
    line, folder = COMMANDS[name]
    before = contents(shop)
    with locked(shop / folder):
        result = CliRunner().invoke(group, line.replace("OUT", "out").split())
        assert result.exit_code == 1, result.output
        errors = [text for text in result.stderr.splitlines() if text.startswith("Error: ")]
        assert errors == [f"Error: Another process is writing to {folder}; wait until it ends, or name another folder."]
        assert "Traceback" not in result.output + result.stderr and contents(shop) == before
    assert not (shop / folder).exists()


def test_engines_are_built_by_one_process(tmp_path, shop):
    """`convert BUNDLE` writes into the bundle; so does `convert RUN --out BUNDLE`."""
    arguments = ["convert", str(shop / "run"), "--out", str(tmp_path / "bundle"), "--target", "onnx"]
    assert CliRunner().invoke(group, [*arguments, "--score-images", "1"]).exit_code == 0
    with locked(tmp_path / "bundle"):
        for call in (["convert", str(tmp_path / "bundle")], arguments):
            result = CliRunner().invoke(group, call)
            assert result.exit_code == 1 and "Another process is writing to" in result.stderr, result.output


def test_a_second_training_does_not_rewrite_the_recipe(shop, tmp_path, monkeypatch):
    """The first one has written its recipe, and is still tracing: there is no step yet that would name its owner."""
    monkeypatch.chdir(shop)
    tiny.use_backbone(monkeypatch)
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "config.yaml").write_text((shop / "run" / "config.yaml").read_text())
        write_json(tmp_path / "run" / "classes.json", [])
        before = contents(tmp_path)
        result = CliRunner().invoke(group, ["train", "recipe.yaml", "--run", str(tmp_path / "run")])
        assert result.exit_code == 1 and "Another process is writing to" in result.stderr
        assert contents(tmp_path) == before


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}
