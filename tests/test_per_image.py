"""Scores by image, their interval, and calibration, worked out by hand."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.metrics import per_image
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.reliability import Reliability

TABLE = LabelTable([Label(i, name, (9 * i, 0, 0), False) for i, name in enumerate("ab")])


def counted(name, truth, prediction):
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([truth], np.uint8), np.array([prediction], np.uint8))
    return per_image.counts_of(name, confusion)


def test_scores_of_an_image_by_hand(tmp_path):
    """Truth a a a b b and one ignored; prediction a a b b 255 a.

    a: 2 right of 3 true and 2 predicted: IoU 2/3, Dice 4/5, precision 1, recall 2/3.
    b: 1 right of 2 true and 2 predicted: IoU 1/3, Dice 1/2, precision 1/2, recall 1/2.
    """
    image = counted("x", [0, 0, 0, 1, 1, 255], [0, 0, 1, 1, 255, 0])
    np.testing.assert_array_equal(image.counts, [[2, 1], [3, 2], [2, 2]])
    found = per_image.class_scores(image.counts)
    expected = {"iou": [2 / 3, 1 / 3], "dice": [4 / 5, 1 / 2], "precision": [1, 1 / 2], "recall": [2 / 3, 1 / 2]}
    for score, values in expected.items():
        np.testing.assert_allclose(found[score], values)
    per_image.write_csv(str(tmp_path / "a.csv"), [image, counted("y", [0], [0])], TABLE)
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["x", "y"]
    assert float(rows[0]["miou"]) == 0.5 and float(rows[0]["pixel_accuracy"]) == pytest.approx(3 / 5)
    assert float(rows[0]["dice a"]) == 0.8 and float(rows[0]["precision b"]) == 0.5
    assert rows[1]["iou b"] == "" and float(rows[1]["iou a"]) == 1  # no b anywhere: undefined


def test_the_interval_of_two_images_by_hand():
    """Of two images, one right and one wrong, half of all draws hold both, a quarter one of them twice.

    a a right, and b b predicted as a: twice the first has mIoU 1, twice the second 0 (a: 0 of 2 predicted, b: 0 of 2),
    both (1/2 + 0) / 2. So of 95 % the ends are 0 and 1.
    """
    right, wrong = counted("x", [0, 0], [0, 0]), counted("y", [1, 1], [0, 0])
    found = per_image.miou_interval([right, wrong])
    assert found == {"low": 0.0, "high": 1.0, "level": 0.95, "samples": 1000, "seed": 0}
    assert per_image.miou_interval([right, right]) == {**found, "low": 1.0}
    assert per_image.miou_interval([right]) is None
    assert per_image.miou_interval([counted("z", [255], [0])] * 2) is None


def test_the_interval_is_that_of_sums_over_drawn_images():
    """Against matrices that are merged image by image; every draw in a loop."""
    rng = np.random.default_rng(3)
    matrices = []
    for _ in range(7):
        matrices.append(ConfusionMatrix(2))
        matrices[-1].update(rng.integers(0, 2, (4, 4), dtype=np.uint8), rng.integers(0, 2, (4, 4), dtype=np.uint8))
    scores = []
    for row in np.random.RandomState(0).randint(0, 7, (1000, 7)):
        total = ConfusionMatrix(2)
        for i in row:
            total.merge(matrices[i])
        scores.append(total.miou())
    found = per_image.miou_interval([per_image.counts_of("", each) for each in matrices])
    np.testing.assert_allclose([found["low"], found["high"]], np.percentile(scores, [2.5, 97.5]))


def test_ece_by_hand():
    """Bins are 1/15 wide. Two pixels at 0.97, one right; two at 0.62, both right; one ignored.

    |1/2 - 0.97| * 2/4 + |1 - 0.62| * 2/4 = 0.235 + 0.19
    """
    truth = np.array([[0, 1, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 0, 1, 1, 0]], np.uint8)
    confidence = np.array([[0.97, 0.97, 0.62, 0.62, 0.2]], np.float32)
    counted = Reliability()
    counted.update(truth, labels, confidence)
    assert counted.ece() == pytest.approx(0.425, abs=1e-6)
    two = Reliability()
    two.merge(counted)
    two.merge(counted)
    assert two.ece() == pytest.approx(0.425, abs=1e-6)
    low, high = counted.report()["calibration_bins"]
    assert (low["low"], low["pixels"], low["accuracy"]) == (9 / 15, 2, 1.0)
    assert (high["high"], high["pixels"], high["accuracy"]) == (1.0, 2, 0.5)
    assert np.isnan(Reliability().ece())


def test_score_writes_a_row_for_each_image(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        for folder in ("truth", "pred"):
            image_files.write_image(tmp_path / folder / f"{name}.png", rng.integers(0, 2, (6, 7), dtype=np.uint8))
    options = ["--format", "ids", "--classes", "a,b", "--csv", tmp_path / "a.csv", "--json", tmp_path / "a.json"]
    arguments = ["score", "--pred", tmp_path / "pred", "--truth", tmp_path / "truth", *options]
    result = CliRunner().invoke(group, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    images = [
        counted(
            name, *(image_files.read_ids(tmp_path / folder / f"{name}.png").ravel() for folder in ("truth", "pred"))
        )
        for name in ("x", "y")
    ]
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["x", "y"]
    for row, image in zip(rows, images):
        found = [float(row["recall a"]), float(row["recall b"])]
        np.testing.assert_allclose(found, per_image.class_scores(image.counts)["recall"], atol=1e-6)
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["miou_interval"] == per_image.miou_interval(images) and "95% interval" in result.output
