"""Frozen stages keep their weights to the last bit, for as long as the recipe says; the rest trains."""

import keras
import numpy as np
import pytest
import tiny

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load, resolve
from deeplab_tf.lab.models.backbones import efficientnet_lite0, mobilenet_v3_large, resnet50
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.callbacks import StepCallback
from deeplab_tf.lab.training.fit import train
from deeplab_tf.lab.training.freezing import frozen_layers


class EndAt(StepCallback):
    def __init__(self, last):
        super().__init__()
        self.last = last

    def after_step(self, step, logs):
        self.model.stop_training = step == self.last


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of two steps, to start from."""
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.use_backbone(monkeypatch)
        train(resolve(make_recipe(folder, "none", steps=2)), folder / "run")
    return folder / "run"


def make_recipe(folder, weights, steps=6, **optimizer):
    training = {"steps": steps, "validate_every": 6, "checkpoint_every": 6, "save_steps": []}
    data = folder / "data"
    root = data if data.exists() else tiny.write_data(data)
    return tiny.recipe(root, small=True, training=training, model={"weights": str(weights)}, optimizer=optimizer)


def weights(run, checkpoint="last"):
    return {variable.path: variable.numpy() for variable in open_run(run, checkpoint).model.variables}


def same(before, after, prefix):
    """Whether all weights of a stage are equal to the bit, and whether any of them is."""
    equal = [np.array_equal(values, after[path]) for path, values in before.items() if path.startswith(prefix)]
    assert len(equal) == 5  # kernel, gamma, beta, moving mean and variance
    return all(equal), any(equal)


@pytest.mark.parametrize("freeze, kept, moved", [("res3", ("res2", "res3"), ("res4", "res5")), ("backbone", "r", ())])
def test_frozen_stages_stay_to_the_last_bit(first, tmp_path, monkeypatch, freeze, kept, moved):
    tiny.use_backbone(monkeypatch)
    train(resolve(make_recipe(tmp_path, first, freeze=freeze)), tmp_path / "run")
    before, after = weights(first, "best"), weights(tmp_path / "run")
    for stage in kept if freeze == "res3" else ("res2", "res3", "res4", "res5"):
        assert same(before, after, stage) == (True, True)
    for stage in (*moved, "logits"):
        moved_paths = [path for path in before if path.startswith(stage)]
        assert moved_paths and not any(np.array_equal(before[path], after[path]) for path in moved_paths)


def test_after_freeze_steps_all_weights_train_and_a_resumed_run_ends_with_the_same_bits(first, tmp_path, monkeypatch):
    tiny.use_backbone(monkeypatch)
    config = resolve(make_recipe(tmp_path, first, steps=4, freeze="backbone", freeze_steps=2))
    digests = [train(config, tmp_path / "whole")["digest"]]
    assert same(weights(first, "best"), weights(tmp_path / "whole"), "res2") == (False, False)
    run = tmp_path / "stopped"
    for last in (1, 2):  # while frozen, and at the last such step
        train(config, run, resume=last > 1, callbacks=[EndAt(last)])
        assert state.saved_step(run / "checkpoints") == last
        assert same(weights(first, "best"), weights(run), "res4") == (True, True)
    digests.append(train(config, run, resume=True)["digest"])
    assert len(set(digests)) == 1


def test_stages_of_real_backbones():
    """Of each, the stages up to res3 hold the layers of strides up to 8: those that are needed to compute it."""
    for backbone in (resnet50, efficientnet_lite0, mobilenet_v3_large):
        image = keras.Input((64, 64, 3))
        features = backbone.build(image)
        whole = keras.Model(image, {"logits": features["res5"]})
        needed = {layer.name for layer in keras.Model(image, features["res3"]).layers if layer.weights}
        assert {layer.name for layer in frozen_layers(whole, "res3") if layer.weights} == needed, backbone.__name__
        assert frozen_layers(whole, "backbone") == whole.layers


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (["optimizer.freeze=res3"], "optimizer.freeze must be none without trained weights"),
        (["optimizer.freeze_steps=3"], "optimizer.freeze_steps needs optimizer.freeze"),
        (["optimizer.freeze=res9"], "Got res9 instead"),
        (
            ["optimizer.freeze=res3", "model.weights=runs/a", "quantization.aware=true"],
            "must be none with quantization",
        ),
    ],
)
def test_what_cannot_be_frozen_is_refused(tmp_path, settings, sentence):
    path = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(tmp_path))
    with pytest.raises(DeepLabError, match=sentence):
        load(path, settings, to_train=True)
