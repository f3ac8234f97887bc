"""How long a training lasts: ended early, made longer, and how much of it is left; which networks it leaves."""

import json

import numpy as np
import pytest
import tiny

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load_run, resolve
from deeplab_tf.lab.runs.folder import checkpoints
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training import fit, state
from deeplab_tf.lab.training.callbacks import Progress, StepCallback, score_line
from deeplab_tf.lab.training.fit import train


class EndAt(StepCallback):
    def __init__(self, last):
        super().__init__()
        self.last = last

    def after_step(self, step, logs):
        self.model.stop_training = step == self.last


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Returns a recipe of a score at every second of its steps."""
    tiny.use_backbone(monkeypatch)
    root = tiny.write_data(tmp_path / "data")

    def make(steps, **training):
        options = {"steps": steps, "validate_every": 2, "checkpoint_every": 100, "save_steps": [], **training}
        return resolve(tiny.recipe(root, training=options, optimizer={"schedule": "cosine"}))

    return make


@pytest.fixture
def scores(monkeypatch):
    """Gives the validations these scores, in turn, and keeps the steps at which they were asked for."""
    given, steps = [], []

    class Scorer:
        def __init__(self, *arguments):
            pass

        def __call__(self, runtime, step):
            steps.append(step)
            return {"miou": given[step // 2 - 1], "pixel_accuracy": 0.5}

    monkeypatch.setattr(fit, "ValidationScorer", Scorer)
    return given, steps


def test_patience_ends_a_training_also_where_it_was_stopped_in_between(recipe, scores, tmp_path, capsys):
    scores[0][:] = [0.3, 0.4, 0.4, 0.35, None, 0.9, 0.9]  # the best at step 4; steps 6, 8 and 10 are not above it
    whole = train(recipe(14, patience=3), tmp_path / "whole")
    assert (whole["step"], whole["best_miou"], scores[1]) == (10, 0.4, [2, 4, 6, 8, 10])
    assert "Ended early: 3 scores in a row were not above the best" in capsys.readouterr().err

    run = tmp_path / "run"
    train(recipe(14, patience=3), run, callbacks=[EndAt(8)])
    scores[1].clear()
    assert train(recipe(14, patience=3), run, resume=True)["digest"] == whole["digest"]
    assert scores[1] == [10]
    assert train(recipe(14, patience=3), run, resume=True)["step"] == 10  # it stays ended
    assert train(recipe(14, patience=9), run, resume=True)["best_miou"] == 0.9  # but for more patience
    assert scores[1] == [10, 12, 14]


def test_an_undefined_score_is_never_best(recipe, scores, tmp_path, capsys):
    scores[0][:] = [None, 0.2, None]
    run = tmp_path / "run"
    assert train(recipe(6), run, callbacks=[EndAt(2)])["best_miou"] is None
    assert checkpoints(run) == ["last"] and not (run / "best.keras").exists()
    open_run(run)  # the last network stands in for a best one
    assert train(recipe(6), run, resume=True)["best_miou"] == 0.2
    assert checkpoints(run) == ["last", "best"]
    best, last = (open_run(run, name).model.get_weights() for name in ("best", "last"))
    assert not np.array_equal(best[0], last[0])
    lines = capsys.readouterr().err
    assert "step 2: mIoU -, pixel accuracy 0.500 (no best yet)" in lines
    assert "step 4: mIoU 0.200, pixel accuracy 0.500 (best so far)" in lines
    assert "step 6: mIoU -, pixel accuracy 0.500 (best: 0.200)" in lines


def test_a_score_line_leads_with_what_decides():
    report = {"miou": 0.71, "pixel_accuracy": 0.93, "pq": 0.46}
    assert score_line(9, report, "pq", 0.5) == "step 9: PQ 0.460, mIoU 0.710, pixel accuracy 0.930 (best: 0.500)"
    assert score_line(9, report, "miou", 0.71).startswith("step 9: mIoU 0.710, PQ 0.460, pixel accuracy 0.930 (best so")


def test_a_run_is_made_longer(recipe, tmp_path, capsys):
    """Steps 7 to 9 take the learning rates of a training of 9 steps: 0.01 * (1 + cos(pi * n / 9)) / 2."""
    run = tmp_path / "run"
    train(recipe(6), run)
    before = state.saved_step(run / "checkpoints")
    assert train(recipe(9), run, recipe=run / "config.yaml", resume=True)["step"] == 9
    assert before == 6 and load_run(run).training.steps == 9
    text = capsys.readouterr().err
    assert "training.steps: 6 before, 9 now. From step 7 on the learning rate is that of a training of 9 steps" in text
    assert "0.0025 there, in place of 0." in text  # cos(120 degrees) = -1/2; a cosine ends at 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"step": 6, "steps": 9, "steps_before": 6} in rows
    rates = {row["step"]: row["learning_rate"] for row in rows if "loss" in row}
    for step in (7, 8, 9):  # logged behind the step, as the rate of the next one
        assert rates[step] == pytest.approx(0.005 * (1 + np.cos(np.pi * step / 9)), abs=1e-8)
    assert [row["step"] for row in rows if "val" in row] == [2, 4, 6, 8, 9]


def test_a_run_cannot_become_shorter_than_it_is(recipe, tmp_path):
    train(recipe(4, save_steps=[2, 4]), tmp_path / "run")
    with pytest.raises(DeepLabError, match=r"training.steps is 3, and .* has taken 4 steps; give at least as many"):
        train(recipe(3, save_steps=[2]), tmp_path / "run", resume=True)
    with pytest.raises(DeepLabError, match=r"another recipe: training.save_steps: \[2, 4\] there, \[\] here"):
        train(recipe(5), tmp_path / "run", resume=True)


def test_the_time_left_counts_from_the_third_step_on(recipe, monkeypatch, capsys):
    """Steps of 60 s (traced), 20 s and then 1 s each: after the third, 97 of 100 are left."""
    now = [0.0]
    monkeypatch.setattr("deeplab_tf.core.progress.time.monotonic", lambda: now[0])
    hook = Progress(recipe(100).training)
    hook.on_train_begin()
    for batch, seconds in enumerate((60, 20, 1)):
        now[0] += seconds
        hook.bar.shown = -1e9  # a line for each step
        hook.on_train_batch_end(batch, {"loss": 1.0})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train:")]
    assert lines == [
        "train: 1/100 steps, loss 1.000",
        "train: 2/100 steps, loss 1.000",
        "train: 3/100 steps, 1.00/s, 1 min 37 s left, loss 1.000",
    ]
