"""A run may be stopped at any moment, in any way, and continues as if nothing had happened."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

STEPS = 24
SETTINGS = {"steps": STEPS, "validate_every": 6, "checkpoint_every": 4, "save_steps": [9]}


class Process:
    """`deeplab-tf train` in a process of its own, which has imported TensorFlow before it is told to begin."""

    def __init__(self, *arguments):
        command = [sys.executable, tiny.__file__, "wait", "train", *map(str, arguments)]
        pipe = subprocess.PIPE
        self.output = ""
        self.popen = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=tiny.environment()
        )

    def begin(self):
        self.popen.stdin.close()
        self.popen.stdin = None  # else communicate() would flush it

    def wait(self):
        if self.popen.poll() is None or not self.output:
            self.output = self.popen.communicate(timeout=600)[0]
        return self.popen.returncode

    def kill(self):
        self.popen.kill()
        self.wait()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A recipe, the run of it that was never stopped, and its digest."""
    root = tmp_path_factory.mktemp("resume")
    path = tiny.write_recipe(root / "recipe.yaml", tiny.recipe(tiny.write_data(root / "data"), training=SETTINGS))
    process = Process(path, "--run", root / "whole", "--json", root / "whole.json")
    process.begin()
    yield path, root, process
    process.kill()


def last_step(run):
    """The last step that a run has written down."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    return max(map(int, re.findall(r'^\{"step": (\d+),', text, re.MULTILINE)), default=0)


def wait_for(condition, process, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        if process.popen.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError("the process ended, or hung, before what was waited for")
        time.sleep(0.005)


def weights(path):
    import keras

    import deeplab_tf.lab.models.custom_layers  # noqa: F401

    return [np.asarray(v) for v in keras.models.load_model(path, compile=False).weights]


def check_same_run(run, whole):
    """Networks, metrics and events are those of the run that was never stopped."""
    for name in ("best.keras", "kept/step_00000009.keras"):
        pairs = zip(weights(run / name), weights(whole / name), strict=True)
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs), name
    assert logged(run) == logged(whole)
    assert events(run) == events(whole)
    assert not list(run.rglob(".*")), "unfinished files are left"


def logged(run):
    """metrics.jsonl without what a clock has measured."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("seconds", None)
        row.get("val", {}).pop("images_per_second", None)
    return rows


def events(run):
    """(folder, tag, step) of all TensorBoard events, in their order."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = []
    for path in sorted((run / "logs").glob("*/events*")):
        for event in EventFileLoader(str(path)).Load():
            found += [(path.parent.name, value.tag, event.step) for value in event.summary.value]
    return found


def test_killed_five_times_it_ends_with_the_same_bits(workshop):
    recipe, root, whole = workshop
    run, rng = root / "killed", random.Random(7)
    arguments = (recipe, "--run", run, "--resume", "--json", root / "killed.json")
    # Steps to die after, random, each a little further on; those between two checkpoints lose steps, and 6, 12, 18 die
    # in a validation.
    deaths = sorted(rng.sample(range(2, STEPS), 5))
    process = Process(*arguments)
    for step in deaths:
        following = Process(*arguments)
        process.begin()
        wait_for(lambda step=step: last_step(run) >= step, process)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        (run / ".best.tmp.keras").write_bytes(b"half a network")  # as a death in the middle of writing leaves them
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / "checkpoints" / ".step_00000099.npz.77.tmp").write_bytes(b"half a state")
        with open(run / "metrics.jsonl", "a") as file:
            file.write('{"step": 9')
        process = following
    process.begin()
    assert process.wait() == 0, process.output
    assert whole.wait() == 0, whole.output
    ours, theirs = (json.loads((root / f"{name}.json").read_text()) for name in ("killed", "whole"))
    assert ours["digest"] == theirs["digest"] and ours["best_miou"] == theirs["best_miou"]
    check_same_run(run, root / "whole")
    assert [row["step"] for row in logged(run) if "loss" in row] == list(range(1, STEPS + 1))
    assert [row["step"] for row in logged(run) if "val" in row] == [6, 12, 18, 24]


@pytest.fixture
def train(workshop, tmp_path, monkeypatch, capfd):
    """train(*options): runs the workshop's recipe in this process; gives the exit code and the last line that it
    said."""
    from click.testing import CliRunner

    from deeplab_tf.cli import group

    tiny.use_backbone(monkeypatch)

    def run(*options):
        result = CliRunner().invoke(
            group, ["train", str(workshop[0]), "--run", str(tmp_path / "run"), *map(str, options)]
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, (result.stderr.splitlines() or [""])[-1]

    return run


class At:
    """Acts once, when a method is called for a step: At(monkeypatch, MetricsLogger, "after_step", 7, action)."""

    def __init__(self, monkeypatch, owner, name, when, action):
        original, self.left = getattr(owner, name), [action]

        def wrapper(*arguments, **options):
            if self.left and when in arguments:
                result = self.left.pop()(*arguments, **options)
                if result is not None:
                    return result
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, wrapper)


def hang_up(*_, **__):
    os.kill(os.getpid(), signal.SIGHUP)  # a dropped session: the terminal sends one, and the shell another
    os.kill(os.getpid(), signal.SIGHUP)


def interrupt(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


def test_stopped_in_every_other_way_it_ends_with_the_same_bits(workshop, train, tmp_path, monkeypatch):
    """Ctrl-C in a step, in a validation, twice, and a full disk: each says how to continue, and nothing is lost."""
    from deeplab_tf.lab.training import state
    from deeplab_tf.lab.training.callbacks import MetricsLogger
    from deeplab_tf.lab.training.scoring import ValidationScorer
    from deeplab_tf.lab.training.weight_export import WeightExport

    recipe, root, whole = workshop
    run, states = tmp_path / "run", tmp_path / "run" / "checkpoints"
    continued = f"deeplab-tf train {recipe} --run {run} --resume"

    At(monkeypatch, MetricsLogger, "after_step", 7, hang_up)
    code, said = train()
    assert code == 130 and "step 7 " in said and said.endswith(continued)
    assert train()[0] == 1, "it must ask for --resume"

    At(monkeypatch, ValidationScorer, "__call__", 12, lambda *_: interrupt())  # no frame is predicted any more
    code, said = train("--resume")
    assert code == 130 and "step 12 " in said and said.endswith(continued)
    assert [row["step"] for row in logged(run) if "val" in row] == [6]

    def twice(*_):
        interrupt()
        interrupt()

    At(monkeypatch, WeightExport, "save", "best.keras", full_disk)  # of step 12, whose validation comes first now
    code, said = train("--resume")
    assert code == 1 and "disk is full" in said and said.endswith(continued)
    assert state.saved_step(states) == 12 and not list(run.rglob(".*"))

    At(monkeypatch, MetricsLogger, "after_step", 15, twice)
    code, said = train("--resume")
    assert code == 130 and "step 12 " in said and said.endswith(continued)

    write_array = np.lib.format.write_array

    def half(file, array, **options):
        write_array(file, array, **options)
        monkeypatch.setattr(np.lib.format, "write_array", write_array)
        full_disk()

    At(monkeypatch, MetricsLogger, "after_step", 16, lambda *_: monkeypatch.setattr(np.lib.format, "write_array", half))
    code, said = train("--resume")
    assert code == 1 and "disk is full" in said and str(states / "step_00000016.npz") in said
    assert state.saved_step(states) == 12 and not list(run.rglob(".*"))

    def full_disk_of_tensorflow(*_):
        import tensorflow as tf

        raise tf.errors.ResourceExhaustedError(None, None, "events.out; No space left on device")

    At(monkeypatch, MetricsLogger, "after_step", 13, full_disk_of_tensorflow)
    code, said = train("--resume")
    assert code == 1 and "disk is full" in said and str(run / "logs") in said

    code, _ = train("--resume", "--json", tmp_path / "end.json")
    assert code == 0 and whole.wait() == 0
    assert (
        json.loads((tmp_path / "end.json").read_text())["digest"]
        == json.loads((root / "whole.json").read_text())["digest"]
    )
    check_same_run(run, root / "whole")

    # A finished run may be resumed: nothing is left to do, and the result is the same.
    assert train("--resume", "--json", tmp_path / "again.json")[0] == 0
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "end.json").read_text())
