"""Killed at any moment at which it changes what is on the disk, a command does its work when it is run again.

What is on the disk at such a moment is copied: SIGKILL leaves just that. Then the command is run again on each copy, in
this process; tools/check/kill.py kills real processes.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest
import tiny
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.files import files_below, import_file
from deeplab_tf.lab.data.records import VERSION

kill = import_file(Path(__file__).parent.parent / "tools" / "check" / "kill.py")

CHANGES = ("mkdir", "rename", "replace", "rmdir", "unlink")
"""The functions of `os` that change names."""


def deeplab_tf(*arguments):
    result = CliRunner().invoke(group, [str(each) for each in arguments])
    assert result.exit_code == 0, (result.output, result.stderr)


@contextlib.contextmanager
def moments(place, copies):
    """Copy a folder to copies/0, copies/1, ... at each change of names in it, if it looks different by then."""
    seen, inside = {look(place)}, []

    def watched(original):
        def change(*arguments, **options):
            if not inside:
                inside.append(True)  # copying changes names too
                now = look(place)
                if now not in seen:
                    seen.add(now)
                    shutil.copytree(place, copies / str(len(seen)), symlinks=True)
                inside.pop()
            return original(*arguments, **options)

        return change

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, watched(getattr(os, name)))
        yield


def look(place):
    """What a folder looks like, with random names all alike."""
    names = [os.path.join(parent, name) for parent, folders, files in os.walk(place) for name in folders + files]
    values = [(name, kill.value(Path(name)) if os.path.isfile(name) else None) for name in names]
    return frozenset(
        (re.sub(r"[0-9a-f]{8}(?=\.(part|old))|[A-Z0-9]{6}(?=_)", "*", name), value) for name, value in values
    )


def check(place, arguments, *, index, before=None, most=5):
    """Run a command, and again on what it leaves if it is killed.

    Args:
        place: a folder that holds, with other files, what the command writes.
        index: the file, below `place`, that is there only when all files are, and all are of one call.
        before: arguments of an earlier call that has left its result.
        most: the number of moments, evenly spread over all, at which it is killed.
    """
    (place / ".mine.txt").write_text("mine")
    if before:
        deeplab_tf(*before)
    copies, old = place.parent / "copies", kill.contents(place)
    with moments(place, copies):
        deeplab_tf(*arguments)
    expected = kill.contents(place)
    assert index in expected and ".mine.txt" in expected
    found = sorted(copies.iterdir(), key=lambda copy: int(copy.name))
    assert len(found) > 3
    for copy in found[:: -(-len(found) // most)]:
        left = {name: value for name, value in kill.contents(copy).items() if "/.deeplab-tf." not in f"/{name}"}
        if index in left:
            assert left in (old, expected), f"{copy.name} is a mixture"
        shutil.rmtree(place)
        copy.rename(place)
        deeplab_tf(*arguments)
        assert kill.contents(place) == expected, copy.name
        unknown = [name for name in files_below(place) if Path(name).name.startswith(".") and name != ".mine.txt"]
        assert all(name.endswith(kill.MANIFEST) for name in unknown), f"{copy.name} leaves {unknown}"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def run(place):
    shutil.copytree(tiny.trained_run(), place / "run")
    return place / "run"


def test_prepare(place, tmp_path):
    data = tiny.write_data(tmp_path / "data", train=3, val=2)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(data))
    check(place, ["prepare", recipe, "--out", place / "out"], index=f"out/records/{VERSION}/dataset_info.json")


def test_predict(place, run):
    image = tiny.trained_run().parent / "data" / "images" / "val" / "frame_0.png"
    arguments = ["predict", run, image, "--out", place / "out", "--format", "panoptic"]
    check(place, [*arguments, "--overlay"], index="out/panoptic.json", before=[*arguments, "--checkpoint", "15"])


def test_evaluate(place, run):
    arguments = ["evaluate", run, "--out", place / "out"]
    check(place, arguments, index="out/report.json", before=[*arguments, "--checkpoint", "15"])


def test_report(place, run):
    check(place, ["report", run], index="run/report/checkpoints.json", before=["report", run, "--frames", "1"])


def test_convert(place, run):
    arguments = ["convert", run, "--target", "onnx", "--score-images", "1"]
    check(place, arguments, index="run/bundle/bundle.json", before=[*arguments, "--label-stride", "4"])


def test_train(place, tmp_path, monkeypatch):
    tiny.use_backbone(monkeypatch)
    once = {"steps": 2, "validate_every": 2, "checkpoint_every": 1, "save_steps": [1]}
    data = tiny.write_data(tmp_path / "data", train=4, val=1)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(data, training=once))
    arguments = ["train", recipe, "--run", place / "run", "--resume"]
    check(place, arguments, index="run/checkpoints/step_00000002.npz", most=3)
