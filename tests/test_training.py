"""Training learns, in every precision, and what it saves is what it scored."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
from click.testing import CliRunner

from deeplab_tf.cli import group


def rows(run, key):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in found if key in row}


def val_split(run):
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.data import open_split

    return open_split(load(run / "config.yaml").data, "val")


def test_labels_in_colors_described_in_the_recipe_are_trained_and_scored(tmp_path):
    """Images and labels have different colours, so what is learned is the recipe's table."""
    run = tiny.trained_run()
    losses, scores = rows(run, "loss"), rows(run, "val")
    assert sorted(losses) == list(range(1, 31)) and sorted(scores) == [10, 20, 30]
    assert losses[30] < 0.6 * losses[1]
    assert max(score["miou"] for score in scores.values()) > 0.8
    result = CliRunner().invoke(
        group, ["evaluate", str(run), "--out", str(tmp_path / "report"), "--json", str(tmp_path / "scores.json")]
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "scores.json").read_text())
    assert list(report["iou"]) == ["road", "tree", "sky"] and report["images"] == 3
    assert report["miou"] == pytest.approx(max(score["miou"] for score in scores.values()), abs=1e-12)


def test_the_best_network_is_kept_and_so_is_that_of_a_named_step():
    from deeplab_tf.lab.evaluation.evaluate import evaluate
    from deeplab_tf.lab.runs.keras_runtime import open_run

    run = tiny.trained_run()
    scores = {step: report["miou"] for step, report in rows(run, "val").items()}
    result = json.loads((run.parent / "result.json").read_text())
    assert result["best_miou"] == max(scores.values()) and result["step"] == 30
    kept = open_run(run, 15)
    assert kept.table.names == ["road", "tree", "sky"] and kept.size == (64, 64)
    assert evaluate(kept, val_split(run)).confusion.miou() > 0.5
    assert not any("optimizer" in name or "auxiliary" in name for name in (layer.name for layer in kept.model.layers))


def test_the_best_network_gives_the_same_labels_in_another_process(tmp_path):
    """Nothing that only the training process knew is needed to run what it saved."""
    from deeplab_tf.lab.runs.keras_runtime import open_run

    run = tiny.trained_run()
    program = (
        "import sys, numpy as np; from deeplab_tf.lab.runs.keras_runtime import open_run; from "
        "deeplab_tf.core.image_files import read_image;"
        "runtime = open_run(sys.argv[1]); frame = read_image(sys.argv[2]);"
        "np.savez(sys.argv[3], labels=runtime(frame), scores=runtime.class_probabilities(frame))"
    )
    image = val_split(run).paths(0)[0]
    subprocess.run(
        [sys.executable, "-c", program, run, image, tmp_path / "there.npz"], check=True, env=tiny.environment()
    )
    runtime, frame = open_run(run), cv2.imread(image)[..., ::-1].copy()
    with np.load(tmp_path / "there.npz") as there:
        assert np.array_equal(there["labels"], runtime(frame))
        assert np.array_equal(there["scores"], runtime.class_probabilities(frame))
    scores = runtime.class_probabilities(frame)
    assert scores.shape == (64, 64, 3) and np.allclose(scores.sum(-1), 1, atol=1e-5)
    assert np.array_equal(scores.argmax(-1), runtime(frame))
    assert runtime(np.zeros((50, 71, 3), np.uint8)).shape == (50, 71)


def test_bfloat16_with_everything_switched_on_learns_too(tmp_path, monkeypatch):
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.runs.keras_runtime import open_run
    from deeplab_tf.lab.training.fit import train

    tiny.use_backbone(monkeypatch)
    tree = tiny.recipe(
        tiny.write_data(tmp_path / "data"),
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
    result = train(resolve(tree), tmp_path / "run")
    losses = rows(tmp_path / "run", "loss")
    assert losses[40] < 0.8 * losses[1] and result["best_miou"] > 0.8
    assert rows(tmp_path / "run", "val")[40]["images"] == 2
    model = open_run(tmp_path / "run").model
    assert list(model.output) == ["logits"], "the auxiliary head is for training only"
    assert {v.dtype for v in model.weights} == {"float32"}


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_saved_state_puts_every_variable_back(tmp_path, monkeypatch, precision):
    """Weights, statistics, averages, moments, step count, dropout's seed, and float16's loss scale."""
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.models.registry import build_network
    from deeplab_tf.lab.training import state
    from deeplab_tf.lab.training.objective import compile_model
    from deeplab_tf.lab.training.optimizers import make_optimizer

    tiny.use_backbone(monkeypatch)
    config = resolve(tiny.recipe("somewhere", training={"precision": precision}))
    model = build_network(config.model, 3, precision=precision)
    compile_model(model, make_optimizer(config.optimizer, model, 30), config, None)
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


def test_two_states_stay_and_a_damaged_one_is_named(tmp_path, monkeypatch):
    from deeplab_tf.core.errors import DeepLabError
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.models.registry import build_network
    from deeplab_tf.lab.training import state
    from deeplab_tf.lab.training.optimizers import make_optimizer

    tiny.use_backbone(monkeypatch)
    config = resolve(tiny.recipe("somewhere"))
    model = build_network(config.model, 3)
    optimizer = make_optimizer(config.optimizer, model, 30)
    for step in (2, 4, 6):
        state.save(tmp_path, step, model, optimizer, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000004.npz", "step_00000006.npz"]
    newest = state.latest(tmp_path)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes(content)
    with pytest.raises(DeepLabError, match="step_00000006.npz is damaged; delete it"):
        state.restore(newest, model, optimizer)
    newest.write_bytes(content[: len(content) // 2])  # as a disk that failed leaves it
    assert state.latest(tmp_path).name == "step_00000004.npz" and state.saved_step(tmp_path) == 4
    with pytest.raises(DeepLabError, match="another network or optimizer"):
        state.restore(state.latest(tmp_path), build_network(config.model, 4), optimizer)


def test_weights_that_are_no_longer_finite_stop_the_run():
    """The loss of a step is that of the weights before it, so it alone would notice them one step late, after they were
    saved."""
    import keras

    from deeplab_tf.core.errors import DeepLabError
    from deeplab_tf.lab.training.callbacks import StopOnNaN

    class Pipeline:
        def files(self, step):
            return [f"frame_{step}", "other"]

    watch = StopOnNaN(Pipeline())
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    watch.set_model(model)
    watch.after_step(4, {"loss": 0.5})
    with pytest.raises(DeepLabError, match="The loss became inf at step 4; the batch held frame_3, other."):
        watch.after_step(4, {"loss": float("inf")})
    model.layers[0].bias.assign([float("nan")])
    with pytest.raises(
        DeepLabError, match=r"no longer finite after step 5 \(its loss was 0.5\); the batch held frame_4, other."
    ):
        watch.after_step(5, {"loss": 0.5})


def test_a_second_training_is_kept_out_of_a_run(tmp_path):
    from deeplab_tf.core.errors import DeepLabError
    from deeplab_tf.lab.training.run_folder import locked

    with locked(tmp_path), pytest.raises(DeepLabError, match="Another training is writing to"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass  # the lock went with its holder


def test_steps_to_keep_behind_the_last_one_are_named(capsys):
    from deeplab_tf.lab.training.callbacks import Progress

    Progress(500, save_steps=(100, 10_000)).on_train_begin()
    assert "500: [10000]" in capsys.readouterr().err
