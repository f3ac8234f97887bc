"""A caller's own Keras callbacks get the ordinary hooks, and may end the training."""

import json

import keras
import pytest
import tiny

from deeplab_tf.lab.config import resolve
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.callbacks import StepCallback
from deeplab_tf.lab.training.fit import train


class Recorder(StepCallback):
    """Notes every hook in order, and ends the training at the step `last`."""

    def __init__(self, last=None):
        super().__init__()
        self.last, self.seen, self.losses = last, [], []

    def on_train_begin(self, logs=None):
        self.seen.append("train")

    def after_step(self, step, logs):
        self.seen.append(step)
        self.losses.append(logs["loss"])
        self.model.stop_training = step == self.last

    def on_test_begin(self, logs=None):
        self.seen.append("test")

    def on_test_end(self, logs=None):
        self.seen.append(logs)

    def on_train_end(self, logs=None):
        self.seen.append("end")


@pytest.fixture
def config(tmp_path, monkeypatch):
    tiny.use_backbone(monkeypatch)
    training = {"steps": 6, "validate_every": 4, "checkpoint_every": 6, "save_steps": []}
    return resolve(tiny.recipe(tiny.write_data(tmp_path / "data"), small=True, training=training))


def lines(run, key):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def test_callbacks_get_every_step_and_every_validation(config, tmp_path):
    recorder = Recorder()
    train(config, tmp_path / "run", callbacks=[recorder])
    scores = [
        {key: value for key, value in val.items() if key in ("miou", "pixel_accuracy")}
        for val in lines(tmp_path / "run", "val")
    ]
    assert recorder.seen == ["train", 1, 2, 3, 4, "test", scores[0], 5, 6, "test", scores[1], "end"]
    assert recorder.losses == pytest.approx(lines(tmp_path / "run", "loss"))


def test_a_callback_ends_the_training_which_may_be_resumed(config, tmp_path):
    whole = train(config, tmp_path / "whole")
    run, recorder = tmp_path / "run", Recorder(last=3)
    assert train(config, run, callbacks=[recorder])["step"] == 3
    assert state.saved_step(run / "checkpoints") == 3
    assert recorder.seen[4] == "test" and open_run(run).size == (64, 64)
    again = Recorder()
    assert train(config, run, callbacks=[again], resume=True)["digest"] == whole["digest"]
    assert [step for step in again.seen if isinstance(step, int)] == [4, 5, 6]


def test_a_validation_may_end_the_training(config, tmp_path):
    class EnoughAtOnce(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            self.model.stop_training = True

    assert train(config, tmp_path / "run", callbacks=[EnoughAtOnce()])["step"] == 4
