"""The files that `predict` writes: against the Python API's result, and of large images against whole ones."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny_bundle
from click.testing import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.deploy import prediction_files

ALL = ["--probabilities", "npy", "--confidence", "--entropy", "--polygons", "--rle"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle.write_bundle(folder / "b", "logits", seed=3, size=(32, 48), stride=2).path


@pytest.fixture
def image(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image_files.write_image(tmp_path / "a.png", cv2.resize(coarse, (120, 80)))
    return tmp_path / "a.png"


def call(*arguments):
    result = CliRunner().invoke(group, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("mode", ["stretch", "slide"])
def test_files_hold_what_the_result_does(bundle, image, tmp_path, mode):
    call(bundle, image, "--out", tmp_path / "o", "--format", "ids", "--mode", mode, "--precision", "float32", *ALL)
    call(bundle, image, "--out", tmp_path / "p", "--mode", mode, "--precision", "float32", "--probabilities", "png")
    with deeplab_tf.load(bundle, "onnx", "float32", mode=mode) as model:
        result = model.predict(image)
    np.testing.assert_array_equal(read(tmp_path / "o/a.png"), result.label_map)
    probabilities = np.load(tmp_path / "o/a_probabilities.npy")
    assert probabilities.shape == (80, 120, 3) and probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities, result.probabilities)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    for class_id in range(3):
        stored = read(tmp_path / f"p/a_probability_{class_id}.png")
        np.testing.assert_allclose(stored / 65535, probabilities[..., class_id], atol=0.51 / 65535)
    np.testing.assert_allclose(read(tmp_path / "o/a_confidence.png") / 65535, probabilities.max(-1), atol=1e-5)
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(-1) / np.log(3)
    np.testing.assert_allclose(read(tmp_path / "o/a_entropy.png") / 65535, entropy, atol=1e-4)
    features = json.loads((tmp_path / "o/a_polygons.geojson").read_text())["features"]
    assert features == json.loads(json.dumps(result.polygons()))["features"]
    areas = {each["category_id"]: each["area"] for each in json.loads((tmp_path / "o/a_rle.json").read_text())}
    assert areas == {i: n for i, n in enumerate(np.bincount(result.label_map.ravel())) if n}


def test_large_images_give_the_same_files(bundle, image, tmp_path, monkeypatch):
    """Some rows at a time, and whole: PNG files that are read in rows, and JPEG files, which are not."""
    photo = tmp_path / "b.jpg"
    image_files.write_image(photo, image_files.read_image(image))
    options = ["--mode", "slide", "--precision", "float32", *ALL]
    for layout in ("ids", "color"):
        call(bundle, image, photo, "--out", tmp_path / "whole", "--format", layout, *options)
        monkeypatch.setattr(prediction_files, "LARGE", 1)
        call(bundle, image, photo, "--out", tmp_path / "rows", "--format", layout, *options)
        monkeypatch.undo()
        options = options[:4]
    whole, rows = ({path.name: path for path in (tmp_path / name).iterdir()} for name in ("whole", "rows"))
    assert set(whole) == set(rows) and len([name for name in whole if not name.startswith(".")]) == 14
    for name, path in whole.items():
        if name.endswith("png"):
            np.testing.assert_array_equal(read(rows[name]), read(path))
        elif name.endswith("npy"):
            np.testing.assert_array_equal(np.load(rows[name]), np.load(path))
        elif "json" in name:
            assert rows[name].read_text() == path.read_text()


def test_what_cannot_be_written_is_one_sentence(bundle, image, tmp_path, monkeypatch):
    labels = tiny_bundle.write_bundle(tmp_path / "labels").path
    monkeypatch.setattr(prediction_files, "LARGE", 1)
    for arguments, code, sentence in (
        ([labels, image, "--confidence"], 1, "--output logits"),
        ([bundle, image, "--overlay", "--plain", "road"], 1, "no class 'road'"),
        ([bundle, image, "--plain", "a"], 2, "--plain goes with --overlay"),
        ([bundle, image, "--overlay", "--mode", "slide"], 1, "leave --overlay out"),
        ([bundle, image, "--mode", "native"], 2, "takes frames of 32x48 only"),
    ):
        result = CliRunner().invoke(group, ["predict", *map(str, arguments), "--out", str(tmp_path / "out")])
        assert result.exit_code == code and sentence in result.output, result.output


def test_the_background_is_left_alone_in_an_overlay(bundle, image):
    with deeplab_tf.load(bundle, "onnx", "float32") as model:
        result = model.predict(image)
        colored = (result.overlay(1.0) != result.image).any(-1)
        left = result.overlay(1.0, plain=["b"])
    background = result.label_map == 1
    assert background.any() and colored[background].any()
    np.testing.assert_array_equal(left[background], result.image[background])
    assert (left != result.image).any(-1)[result.label_map == 2].any()


MEASURE = """
import resource, sys
from click.testing import CliRunner
from deeplab_tf.cli import group
from deeplab_tf.deploy import prediction_files
prediction_files.LARGE = 1
for image in sys.argv[2:]:
    options = ["--out", image + "_out", "--format", "ids", "--mode", "slide", "--confidence", "--overlap", "0"]
    result = CliRunner().invoke(group, ["predict", sys.argv[1], image, *options])
    assert result.exit_code == 0, result.output
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_height(tmp_path):
    """Of two images of one width, one eight times as high: the peak of a process grows by less than the label map of
    the rows between them, let alone their pixels and probabilities."""
    from deeplab_tf.core.png_rows import PngWriter

    bundle = tiny_bundle.write_bundle(tmp_path / "b", "logits", seed=3, size=(128, 512), stride=8).path
    rows = np.zeros((128, 8192, 3), np.uint8)
    rows[:, ::2] = 250
    for height in (256, 2048):
        writer = PngWriter(str(tmp_path / f"{height}.png"), (height, 8192), channels=3)
        for _ in range(0, height, 128):
            writer.write(rows)
        writer.close()
    arguments = [sys.executable, "-c", MEASURE, bundle, tmp_path / "256.png", tmp_path / "2048.png"]
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=True)
    first, second = map(float, done.stdout.split())
    assert read(tmp_path / "2048.png_out/2048.png").shape == (2048, 8192)
    assert second - first < 1792 * 8192 / 2**20, (first, second)
