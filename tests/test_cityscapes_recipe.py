"""The recipe of Huang et al. (2025) on drawn scenes: two steps of a slim network at a quarter of the size, its kept
checkpoints, and its report."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.lab.evaluation import speed

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps of one image, from scratch (no network here), with both steps kept."""
    folder = tmp_path_factory.mktemp("cityscapes")
    call("sample", folder / "scenes", "--scenes", "3", "--size", "128x256")
    settings = {
        "data.root": folder / "scenes",
        "model.weights": "none",
        "model.width": 0.25,
        "data.size": "[128, 256]",
        "augment.crop": "[128, 256]",
        "training.steps": 2,
        "training.batch_size": 1,
        "training.save_steps": "[1, 2]",
        "training.log_every": 1,
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    call("train", ROOT / "configs" / "cityscapes_resnet50.yaml", *overrides, "--run", folder / "run")
    return folder / "run"


def call(*arguments):
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)


def test_its_two_checkpoints_are_kept(run):
    assert [path.name for path in sorted((run / "kept").iterdir())] == ["step_00000001.keras", "step_00000002.keras"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]
    assert [row["step"] for row in rows if "val" in row] == [2]
    # 19 classes, all equally likely to a new network: ln 19 = 2.94
    assert rows[0]["loss"] == pytest.approx(2.944, abs=0.15)


def test_report_puts_them_beside_each_other(run, monkeypatch):
    """But for the speed: a frame takes seconds on a CPU. test_panoptic_network.py has a report whose networks are
    timed."""
    monkeypatch.setattr(speed, "frames_per_second", lambda runtime: 0.5)
    call("report", run)
    report = json.loads((run / "report" / "checkpoints.json").read_text())
    assert [row["steps"] for row in report["checkpoints"] if row["checkpoint"] != "best"] == [1, 2]
    for row in report["checkpoints"]:
        assert 0 <= row["miou"] <= 1 and row["fps"] == 0.5 and row["size"] == [128, 256]
    assert {"checkpoints.md", "checkpoints.png", "architecture.png"} <= {
        path.name for path in (run / "report").iterdir()
    }
