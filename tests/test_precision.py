"""`training.precision: auto`: chosen by what the machine has, kept by the run."""

from types import SimpleNamespace

import pytest
import tiny
from environments import ROOT

from deeplab_tf.core import processor
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import load, load_run
from deeplab_tf.lab.training import precision
from deeplab_tf.lab.training.fit import train

SLOW, FAST = ["AVX", "AVX2", "AVX-512", "VNNI"], ["AVX", "AVX2", "AVX-512", "VNNI", "bfloat16"]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
@pytest.mark.parametrize("features, expected", [(SLOW, "float32"), (FAST, "mixed_bfloat16")])
def test_every_recipe_takes_what_the_processor_is_fast_with(path, features, expected, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(processor, "features", lambda: features)
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    config = load(path)
    assert config.training.precision == "auto"
    chosen = precision.with_precision(config, tmp_path)
    assert chosen.training.precision == expected
    assert chosen.model_copy(update={"training": config.training}) == config  # nothing else changes
    said = capsys.readouterr()
    assert f"training.precision: {expected}; this processor " in said.out + said.err


@pytest.mark.parametrize(
    "capability, expected",
    [((9, 0), "mixed_bfloat16"), ((8, 0), "mixed_bfloat16"), ((7, 5), "mixed_float16"), ((7, 0), "mixed_float16")]
    + [((6, 1), "float32"), ((5, 3), "float32"), (None, "float32")],
)
def test_the_precision_of_a_gpu_is_that_of_its_tensor_cores(capability, expected, monkeypatch):
    gpu = SimpleNamespace(name="/physical_device:GPU:0")
    details = {"device_name": "A GPU"}
    if capability is not None:
        details["compute_capability"] = capability
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(precision.tf.config.experimental, "get_device_details", lambda device: details)
    monkeypatch.setattr(processor, "features", lambda: FAST)
    found, why = precision.fastest()
    assert found == expected and "A GPU" in why
    assert ("no tensor cores" in why) == (expected == "float32" and capability is not None)
    assert ("unknown" in why) == (capability is None)


def test_a_precision_that_is_given_stays(tmp_path):
    config = load(RECIPES[0], ["training.precision=mixed_float16"])
    assert precision.with_precision(config, tmp_path) is config


def test_quantization_aware_training_is_in_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: FAST)
    config = load(RECIPES[0], ["quantization.aware=true"])
    assert precision.with_precision(config, tmp_path).training.precision == "float32"


def test_a_run_keeps_its_precision_on_another_machine(tmp_path, monkeypatch, capsys):
    devices = precision.tf.config.list_physical_devices
    monkeypatch.setattr(
        precision.tf.config, "list_physical_devices", lambda kind=None: [] if kind == "GPU" else devices(kind)
    )
    settings = {"steps": 1, "validate_every": 1, "save_steps": [], "validation_images": 1, "precision": "auto"}
    tree = tiny.recipe(tiny.write_data(tmp_path / "data"), training=settings)
    recipe, run = tiny.write_recipe(tmp_path / "recipe.yaml", tree), tmp_path / "run"
    monkeypatch.setattr(processor, "features", lambda: SLOW)
    train(load(recipe), run)
    assert load_run(run).training.precision == "float32"
    monkeypatch.setattr(processor, "features", lambda: FAST)
    capsys.readouterr()
    assert train(load(recipe, ["training.steps=2"]), run, resume=True)["step"] == 2
    said = capsys.readouterr()
    assert "training.precision: float32; as the run began." in said.out + said.err
    assert load_run(run).training.precision == "float32"
    with pytest.raises(DeepLabError, match="training.precision: float32 there, mixed_bfloat16 here"):
        train(load(recipe, ["training.steps=2", "training.precision=mixed_bfloat16"]), run, resume=True)
