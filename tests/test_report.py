import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.core.tables import markdown_table, number
from deeplab_tf.lab import runs
from deeplab_tf.lab.data.camvid import CAMVID
from deeplab_tf.lab.data.split import Sample, Split
from deeplab_tf.lab.evaluation import speed
from deeplab_tf.lab.evaluation.pages import step_title
from deeplab_tf.lab.runs.metrics import best_step

SIZE = (16, 24)


class Drawn(Split):
    table = CAMVID
    names = ["a", "b", "c", "d"]

    def sample(self, index):
        label_map = np.random.default_rng(index).integers(0, 11, SIZE, dtype=np.uint8)
        return Sample(np.dstack([label_map] * 3), label_map)


class RedIsTheClass(Predictor):
    name, table, size, data = "fake", CAMVID, SIZE, {"name": "camvid"}

    def __init__(self, right):
        self.right = right

    def predict(self, frame):
        return Prediction(np.where(np.arange(SIZE[1]) < self.right * SIZE[1], frame[..., 0], 0).astype(np.uint8))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose networks are right in a quarter, three quarters and the whole of each image."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "config.yaml").write_text("data: {name: camvid, size: [64, 64]}")
    for name in ("best.keras", "kept/step_00060000.keras", "kept/step_00010000.keras"):
        (tmp_path / name).write_text("")
    rows = [
        {"step": 5, "loss": 1.0},
        *({"step": step, "val": {"miou": miou}} for step, miou in ((500, 0.2), (900, 0.6), (990, None))),
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1000, "va')
    right = {"10000": 0.25, "60000": 0.75, "best": 1.0}
    monkeypatch.setattr(runs, "open_runtime", lambda path, name=None: RedIsTheClass(right[name]))
    monkeypatch.setattr(runs, "open_split", lambda data, name: Drawn())
    monkeypatch.setattr(speed, "frames_per_second", lambda runtime: 12.5)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(group, ["report", *(str(argument) for argument in arguments)])


def test_report_puts_the_kept_checkpoints_beside_each_other(run):
    result = call(run)
    assert result.exit_code == 0, result.output
    report = json.loads((run / "report" / "checkpoints.json").read_text())
    rows = report["checkpoints"]
    assert [(row["checkpoint"], row["steps"]) for row in rows] == [("10000", 10_000), ("60000", 60_000), ("best", 900)]
    assert rows[0]["miou"] < rows[1]["miou"] < rows[2]["miou"] == 1.0
    assert all(row["pq"] is None and row["fps"] == 12.5 for row in rows)
    assert report["machine"] and "cores" in report["machine"]


def test_report_shows_the_same_images_at_each_checkpoint(run):
    assert call(run, "--frames", 2).exit_code == 0
    picture = image_files.read_image(run / "report" / "checkpoints.png")
    # 5 panels a row (image, truth, three predictions), 4 pixels between them, and the legend
    assert picture.shape[0] == 2 * (16 + 24) + 4 and picture.shape[1] > 5 * 24 + 4 * 5
    page = (run / "report" / "checkpoints.md").read_text()
    assert "| saved      | 10,000 |" in page and "(checkpoints.png)" in page
    assert "| 10,000 steps |" in page


def test_report_predicts_at_the_resolution_of_the_truth(run, monkeypatch):
    """As with prepared records, whose images are smaller than what is scored."""

    class Shrunk(Drawn):
        def scored_sample(self, index):
            image, label_map = self.sample(index)
            return Sample(image, np.kron(label_map, np.ones((2, 2), np.uint8)))

    monkeypatch.setattr(runs, "open_split", lambda data, name: Shrunk())
    result = call(run)
    assert result.exit_code == 0, result.output
    assert json.loads((run / "report" / "checkpoints.json").read_text())["checkpoints"][-1]["miou"] == 1.0


def test_report_of_a_run_without_kept_checkpoints_has_the_best_alone(run):
    for path in (run / "kept").iterdir():
        path.unlink()
    assert call(run, "--json", run / "out.json").exit_code == 0
    assert [row["checkpoint"] for row in json.loads((run / "out.json").read_text())["checkpoints"]] == ["best"]


def test_report_of_no_run_is_one_sentence(tmp_path):
    result = call(tmp_path)
    assert result.exit_code == 1 and "has no config.yaml" in result.output
    assert not (tmp_path / "report").exists()


def test_best_step_is_none_without_a_validation(tmp_path):
    assert best_step(str(tmp_path)) is None


def test_open_run_split_looks_for_the_data_where_it_lies_now(monkeypatch, tmp_path):
    for name in ("old", "new", "records"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "open_split", lambda data, name: (data.get("records") or data["root"], name))
    config = SimpleNamespace(data={"name": "camvid", "root": "old"})
    assert runs.open_run_split(config, "val") == ("old", "val")
    assert runs.open_run_split(config, "val", "new") == ("new", "val")
    with pytest.raises(DeepLabError, match="The folder gone does not exist; --root"):
        runs.open_run_split(config, "val", "gone")
    prepared = SimpleNamespace(data={**config.data, "records": "records"})
    assert runs.open_run_split(prepared, "val") == ("records", "val")
    assert runs.open_run_split(prepared, "val", "new") == ("new", "val")
    (tmp_path / "records").rmdir()
    with pytest.raises(DeepLabError, match="no longer at records, .* with --root"):
        runs.open_run_split(prepared, "val")


def test_frames_per_second_counts_calls():
    calls = []

    class Counting(RedIsTheClass):
        def predict(self, frame):
            calls.append(frame.shape)
            return super().predict(frame)

    assert speed.frames_per_second(Counting(1.0), seconds=0.05) > 0
    assert set(calls) == {(16, 24, 3)} and len(calls) >= 5  # two to warm up, three at least to measure


def test_markdown_table_aligns_its_columns():
    table = markdown_table([["class", "IoU"], ["road", "0.98"]])
    assert table == "| class |  IoU |\n|-------|-----:|\n| road  | 0.98 |"


def test_undefined_scores_are_a_dash():
    assert (number(None), number(float("nan")), number(0.12345)) == ("-", "-", "0.123")
    assert (step_title("10000"), step_title("best")) == ("10,000 steps", "best")
