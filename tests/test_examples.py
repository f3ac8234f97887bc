"""Each script of docs/examples runs on tiny data, and does what its docstring says."""

import ast
import csv
import json
import os
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
import tiny_bundle
from environments import ROOT, python36

import deeplab_tf
from deeplab_tf.core import image_files
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.deploy.runtimes import open_runtime

EXAMPLES = ROOT / "docs" / "examples"
SIZE = (32, 64)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    tiny.use_backbone(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(monkeypatch, capsys):
    """call(name, *arguments): what the example prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tiny_bundle.write_bundle(tmp_path_factory.mktemp("bundle") / "b", "logits", size=SIZE, saved_model=True).path
    tiny_bundle.rewrite_info(path, classes=[{"name": each, "color": [9, 9, 9], "thing": each == "c"} for each in "abc"])
    return path


@pytest.fixture
def images(tmp_path):
    """A folder with three images."""
    for i in range(3):
        image_files.write_image(tmp_path / "images" / f"{i}.png", tiny_bundle.frame(i, (48, 80)))
    return tmp_path / "images"


def names():
    return sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", names())
def test_example_is_short_and_tested(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 30
    docstring = text.split('"""')[1].splitlines()
    assert len(docstring) == 2 and f"docs/examples/{name}.py" in docstring[1]
    assert f"test_{name}" in globals()


def test_predict_folder(call, bundle, images, tmp_path):
    output = call("predict_folder", bundle, images, tmp_path / "out")
    assert len(output.splitlines()) == 3 and "%" in output
    assert image_files.read_ids(tmp_path / "out" / "0.png").shape == (48, 80)
    assert image_files.read_image(tmp_path / "out" / "2_overlay.jpg").shape == (48, 80, 3)


def test_webcam_loop(call, bundle, tmp_path):
    output = call("webcam_loop", bundle, "sample://?size=64x96&seconds=1&fps=10", tmp_path / "out.mp4", 3)
    assert "frame 3:" in output and "frame 4:" not in output
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.isOpened() and video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_custom_data_set(call, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            mask = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16))).astype(np.uint8) * 255
            image_files.write_image(tmp_path / "data" / split / f"{i}.jpg", np.dstack([mask] * 3))
            image_files.write_image(tmp_path / "data" / split / f"{i}.png", mask)
    output = call("custom_data_set", tmp_path / "data", tmp_path / "run")
    assert "'step': 20" in output and "best_miou" in output
    classes = json.loads((tmp_path / "run" / "classes.json").read_text())
    assert [row["name"] for row in classes] == ["rest", "object"]


def test_custom_backbone(call):
    output = call("custom_backbone")
    assert "logits (None, 128, 256, 19)" in output and "custom_backbone.py" in output


def test_train_with_callback(call, tmp_path):
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("elsewhere", training={"save_steps": []}))
    output = call("train_with_callback", recipe, tiny.write_data(tmp_path / "data"), tmp_path / "run", 8)
    assert "step 1: loss" in output and "mIoU 0." in output and "best_miou" in output
    assert (tmp_path / "run" / "best.keras").is_file()


def test_score_folders(call, tmp_path):
    """Half of the road is predicted as car: IoU 2 / 4 of the road, 2 / 4 of the car."""
    truth, predicted = np.array([[0, 0, 0, 0], [1, 1, 255, 255]], np.uint8), np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
    image_files.write_image(tmp_path / "truth" / "a.png", truth)
    image_files.write_image(tmp_path / "predicted" / "a.png", predicted.astype(np.uint8))
    lines = call("score_folders", tmp_path / "truth", tmp_path / "predicted", "road,car,sky").splitlines()
    assert [line.split() for line in lines[:3]] == [["road", "0.500"], ["car", "0.500"], ["sky", "-"]]
    assert "mIoU 0.500" in lines[3] and "accuracy 0.667" in lines[3]


@pytest.mark.parametrize("python", ["3.11", "3.6"])
def test_jetson_bundle(bundle, images, python):
    interpreter = python36() if python == "3.6" else sys.executable
    command = [interpreter, str(EXAMPLES / "jetson_bundle.py"), bundle, str(images)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert "32x64, onnx int8" in output and output.count("frames/s") == 3


def test_tflite_elsewhere(call, tmp_path):
    pytest.importorskip("ai_edge_litert")
    run = tiny.trained_run()
    image = sorted((run.parent / "data" / "images" / "val").iterdir())[0]
    deeplab_tf.convert(run, tmp_path / "bundle", target="litert", score_images=1)
    output = call("tflite_elsewhere", tmp_path / "bundle" / "model_float16.tflite", image)
    counts = ast.literal_eval(output.splitlines()[-1].partition(": ")[2])
    with open_runtime(open_bundle(tmp_path / "bundle"), "litert", "float16") as runtime:
        labels = runtime(cv2.resize(image_files.read_image(image), (64, 64), interpolation=cv2.INTER_AREA))
    assert counts == {label: int((labels == label).sum()) for label in np.unique(labels)}


def test_onnx_elsewhere(call, tmp_path):
    run = tiny.trained_run()
    image = sorted((run.parent / "data" / "images" / "val").iterdir())[0]
    output = call("onnx_elsewhere", run, tmp_path / "bundle", image)
    counts = ast.literal_eval(output.splitlines()[-1].partition(": ")[2])
    assert set(counts) <= {0, 1, 2} and sum(counts.values()) == 64 * 64


def test_panoptic_counts(call, bundle, images, tmp_path):
    assert "c are in" in call("panoptic_counts", bundle, images, tmp_path / "counts.csv")
    rows = list(csv.DictReader((tmp_path / "counts.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "1", "2"] and sum(int(row["c"]) for row in rows) > 0


def test_confusion_matrix(call, bundle, images, tmp_path):
    call("predict_folder", bundle, images, tmp_path / "labels")
    call("confusion_matrix", bundle, images, tmp_path / "labels", tmp_path / "confusion.png")
    assert cv2.imread(str(tmp_path / "confusion.png")).shape[2] == 3
