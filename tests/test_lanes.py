"""Work in lanes: in order, not too far ahead of the caller, and over when the caller or a function stops."""

import threading

import numpy as np
import pytest
import tiny_bundle
from click.testing import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.lanes import in_lanes
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy.runtimes import onnx


class Lane(Predictor):
    def __init__(self, name):
        self.name, self.busy, self.closed = name, threading.Lock(), False

    def close(self):
        self.closed = True


def test_results_are_in_order_though_later_ones_are_ready_first():
    second = threading.Event()

    def function(lane, item):
        assert lane.busy.acquire(blocking=False), "a lane does one thing at a time"
        if item == 0:
            assert second.wait(30), "the second item is begun while the first one is in work"
        second.set()
        lane.busy.release()
        return 10 * item

    lanes = [Lane("a"), Lane("b")]
    assert list(in_lanes(lanes, function, range(7))) == [0, 10, 20, 30, 40, 50, 60]
    assert [lane.closed for lane in lanes] == [False, True]


def test_no_more_than_one_beyond_the_lanes_is_read_ahead():
    read = []

    def items():
        for item in range(9):
            read.append(item)
            yield item

    results = in_lanes([Lane("a"), Lane("b")], lambda lane, item: item, items())
    for count in range(3, 7):
        assert next(results) == count - 3 and len(read) == count
    results.close()
    assert len(read) == 6


def test_a_failure_comes_in_its_turn_and_ends_the_work():
    begun = []

    def function(lane, item):
        begun.append(item)
        if item == 2:
            raise ValueError("two")
        return item

    results = in_lanes([Lane("a"), Lane("b")], function, range(100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert max(begun) <= 2 + 2, "no more than what was read ahead"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("lanes") / "b", "logits", seed=3, size=(32, 48)).path


def predict(*arguments):
    return CliRunner().invoke(group, ["predict", *map(str, arguments), "--format", "ids", "--precision", "float32"])


def test_a_folder_is_predicted_in_lanes_as_image_by_image(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "physical_cores", lambda: 3)
    rng, opened = np.random.default_rng(0), []
    lanes = onnx.OnnxRuntime.lanes
    monkeypatch.setattr(onnx.OnnxRuntime, "lanes", lambda self: opened.append(lanes(self)) or opened[0])
    for number in range(9):
        pixels = rng.integers(0, 256, (40 + number, 50, 3), dtype=np.uint8)
        image_files.write_image(tmp_path / "in" / f"{number}.png", pixels)
    result = predict(bundle, tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(opened[0]) == 3
    with deeplab_tf.load(bundle, "onnx", "float32") as model:
        for number in range(9):
            expected = model.predict(tmp_path / "in" / f"{number}.png").label_map
            np.testing.assert_array_equal(image_files.read_ids(tmp_path / "out" / f"{number}.png"), expected)


def test_images_before_an_unreadable_one_are_written_and_none_after_it(bundle, tmp_path):
    for number in range(9):
        image_files.write_image(tmp_path / "in" / f"{number}.png", np.full((20, 30, 3), number, np.uint8))
    (tmp_path / "in" / "5.png").write_bytes(b"no image")
    result = predict(bundle, tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "5 of 9 images were predicted before it" in result.output
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"{number}.png" for number in range(5)]
