"""Training learns, in every precision, and what it saves is what it scored."""

import json
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tiny
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.predictor import softmax
from deeplab_tf.lab.config import load, resolve
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.callbacks import StopOnNaN
from deeplab_tf.lab.training.fit import train
from deeplab_tf.lab.training.objective import compile_model
from deeplab_tf.lab.training.optimizers import make_optimizer
from deeplab_tf.lab.training.rewind import rewind


def rows(run, key):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in found if key in row}


def scores(run):
    return {step: report["miou"] for step, report in rows(run, "val").items()}


def val_split(run):
    return open_split(load(run / "config.yaml").data, "val")


def test_training_learns():
    """Images and labels have different colors, so what is learned is the recipe's table."""
    losses, found = rows(tiny.trained_run(), "loss"), scores(tiny.trained_run())
    assert sorted(losses) == list(range(1, 31)) and sorted(found) == [10, 20, 30]
    assert losses[30] < 0.6 * losses[1] and max(found.values()) > 0.8


def test_evaluate_equals_the_best_validation(tmp_path):
    run = tiny.trained_run()
    options = ["--out", str(tmp_path / "report"), "--json", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(group, ["evaluate", str(run), *options])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "scores.json").read_text())
    assert list(report["iou"]) == ["road", "tree", "sky"] and report["images"] == 3
    assert report["miou"] == pytest.approx(max(scores(run).values()), abs=1e-12)


def test_the_best_score_is_returned():
    result = json.loads((tiny.trained_run().parent / "result.json").read_text())
    assert (result["best_miou"], result["step"]) == (max(scores(tiny.trained_run()).values()), 30)


def test_the_network_of_a_named_step_is_saved():
    saved = open_run(tiny.trained_run(), 15)
    assert saved.table.names == ["road", "tree", "sky"] and saved.size == (64, 64)
    assert evaluate(saved, val_split(tiny.trained_run())).confusion.miou() > 0.5


def test_a_saved_network_runs_in_another_process(tmp_path):
    """Nothing that only the training process knew is needed."""
    run = tiny.trained_run()
    program = (
        "import sys, numpy as np; from deeplab_tf.lab.runs.keras_runtime import open_run; from "
        "deeplab_tf.core.image_files import read_image; from deeplab_tf.core.predictor import softmax;"
        "runtime = open_run(sys.argv[1]); frame = read_image(sys.argv[2]);"
        "np.savez(sys.argv[3], labels=runtime(frame), probabilities=softmax(runtime.predict(frame).logits))"
    )
    image = val_split(run).paths(0)[0]
    command = [sys.executable, "-c", program, run, image, tmp_path / "there.npz"]
    subprocess.run(command, check=True, env=tiny.environment())
    runtime, frame = open_run(run), cv2.imread(image)[..., ::-1].copy()
    with np.load(tmp_path / "there.npz") as there:
        assert np.array_equal(there["labels"], runtime(frame))
        assert np.array_equal(there["probabilities"], softmax(runtime.predict(frame).logits))


def test_labels_are_the_likeliest_classes(rng):
    runtime, frame = open_run(tiny.trained_run()), rng.integers(0, 256, (64, 64, 3), np.uint8)
    probabilities = np.moveaxis(softmax(runtime.predict(frame).logits), 0, -1)
    assert probabilities.shape == (64, 64, 3) and np.allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert np.array_equal(probabilities.argmax(-1), runtime(frame))


def test_frames_may_have_any_size():
    assert open_run(tiny.trained_run())(np.zeros((50, 71, 3), np.uint8)).shape == (50, 71)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A run with every option in use, in bfloat16: its folder and what `train` returned."""
    folder = tmp_path_factory.mktemp("everything")
    tree = tiny.recipe(
        tiny.write_data(folder / "data"),
        model={"auxiliary": True, "separable": True},
        loss={"class_weights": "log", "label_smoothing": 0.05, "ohem_ratio": 0.7},
        optimizer={
            "learning_rate": 0.02,
            "schedule": "poly",
            "warmup_steps": 3,
            "backbone_lr_multiplier": 0.5,
            "clip_norm": 5,
        },
        training={"precision": "mixed_bfloat16", "steps": 40, "validate_every": 40, "validation_images": 2},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.use_backbone(monkeypatch)
        return folder / "run", train(resolve(tree), folder / "run")


def test_every_option_together_learns(everything):
    run, result = everything
    losses = rows(run, "loss")
    assert losses[40] < 0.8 * losses[1] and result["best_miou"] > 0.8
    assert rows(run, "val")[40]["images"] == 2


def test_networks_are_saved_in_float32_without_the_auxiliary_head(everything):
    model = open_run(everything[0]).model
    assert list(model.output) == ["logits"] and not any("auxiliary" in layer.name for layer in model.layers)
    assert {v.dtype for v in model.weights} == {"float32"}


def compiled(monkeypatch, precision="float32", classes=3):
    """A new network, compiled with its optimizer."""
    tiny.use_backbone(monkeypatch)
    config = resolve(tiny.recipe("somewhere", training={"precision": precision}))
    model = build_network(config.model, classes, precision=precision)
    compile_model(model, make_optimizer(config.optimizer, model, 30), config, None)
    return model


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_state_restores_every_variable(tmp_path, monkeypatch, precision):
    """Weights, statistics, averages, moments, step count, dropout's seed, and float16's loss scale."""
    model = compiled(monkeypatch, precision)
    every = [*model.variables, *model.optimizer.variables]
    names = {v.path.split("/")[-1] for v in every}
    assert {"moving_variance", "iteration", "seed_generator_state"} <= names
    assert any("average" in name for name in names) and any("velocity" in name for name in names)
    assert (precision == "mixed_float16") == ("dynamic_scale" in names)

    before, digest = [np.asarray(v).copy() for v in every], state.digest(model, model.optimizer)
    path = state.save(tmp_path, 5, model, model.optimizer, {"best": 0.25})
    for variable in every:
        variable.assign(np.asarray(variable) + np.ones((), variable.dtype))
    assert state.digest(model, model.optimizer) != digest
    assert state.restore(path, model, model.optimizer) == {"best": 0.25, "step": 5}
    assert all(np.array_equal(np.asarray(v), value) for v, value in zip(every, before))
    assert state.digest(model, model.optimizer) == digest


@pytest.fixture
def states(tmp_path, monkeypatch):
    """A folder in which the states of three steps were saved, and their model."""
    model = compiled(monkeypatch)
    for step in (2, 4, 6):
        state.save(tmp_path, step, model, model.optimizer, {})
    return tmp_path, model


def test_two_states_stay(states):
    assert sorted(path.name for path in states[0].iterdir()) == ["step_00000004.npz", "step_00000006.npz"]


def test_a_damaged_state_is_named(states):
    newest, model = state.latest(states[0]), states[1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes(content)
    with pytest.raises(DeepLabError, match="step_00000006.npz is damaged"):
        state.restore(newest, model, model.optimizer)


def test_a_truncated_state_is_passed_over(states):
    newest = state.latest(states[0])
    newest.write_bytes(newest.read_bytes()[:1000])
    assert state.latest(states[0]).name == "step_00000004.npz" and state.saved_step(states[0]) == 4


def test_the_state_of_another_network_is_refused(states, monkeypatch):
    other = compiled(monkeypatch, classes=4)
    with pytest.raises(DeepLabError, match="another network or optimizer"):
        state.restore(state.latest(states[0]), other, other.optimizer)


@pytest.mark.parametrize(
    "name", [".best.tmp.keras", ".best.1a2b3c4d.part.keras", "checkpoints/.step_00000001.npz.77.tmp"]
)
def test_rewinding_removes_unfinished_files(tmp_path, name):
    """Those of earlier versions; `locked` removes today's."""
    (tmp_path / "checkpoints").mkdir()
    kept = [".notes.part1", ".thesis.tmp", "best.keras"]
    for path in (tmp_path / name, *(tmp_path / each for each in kept)):
        path.write_bytes(b"")
    rewind(tmp_path, 0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*kept, "checkpoints"])


@pytest.fixture
def watch():
    """StopOnNaN with a model, and a pipeline that names the frames of a batch by its number."""

    class Pipeline:
        def files(self, step):
            return [f"frame_{step}", "other"]

    watch = StopOnNaN(Pipeline())
    watch.set_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    watch.after_step(4, {"loss": 0.5})
    return watch


def test_an_infinite_loss_stops_the_run(watch):
    with pytest.raises(DeepLabError, match="inf at step 4; the batch held frame_3, other"):
        watch.after_step(4, {"loss": float("inf")})


def test_weights_that_are_not_finite_stop_the_run(watch):
    """The loss of a step is that of the weights before it, and would notice them after they were saved."""
    watch.model.layers[0].bias.assign([float("nan")])
    with pytest.raises(DeepLabError, match=r"step 5 \(its loss was 0.5\); the batch held frame_4, other"):
        watch.after_step(5, {"loss": 0.5})
