import json

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import draw, image_files
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS, CITYSCAPES_TO_CLASS
from deeplab_tf.core.metrics.label_matching import match_cityscapes, match_stems
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy.prediction_jobs import plan
from deeplab_tf.lab import runs
from deeplab_tf.lab.data.camvid import CAMVID

SIZE = (6, 9)


class RedIsTheClass(Predictor):
    name, table, size = "fake", CITYSCAPES, SIZE

    def predict(self, frame):
        return Prediction(frame[..., 0].copy())


@pytest.fixture(autouse=True)
def fake_run(monkeypatch, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    monkeypatch.setattr(runs, "open_runtime", lambda path, checkpoint, runtime, precision: RedIsTheClass())
    monkeypatch.chdir(tmp_path)


def label_map(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 19, size, dtype=np.uint8)


def write(path, seed=0, size=SIZE):
    image_files.write_image(path, np.dstack([label_map(seed, size)] * 3))
    return path


def call(*arguments):
    return CliRunner().invoke(group, ["predict", "run", *(str(argument) for argument in arguments)])


def test_ids_are_the_class_ids_at_the_images_own_resolution(tmp_path):
    write(tmp_path / "in" / "a.png")
    write(tmp_path / "in" / "deep" / "b.png", size=(12, 18))
    result = call(tmp_path / "in", "--out", tmp_path / "out", "--format", "ids", "--json", tmp_path / "done.json")
    assert result.exit_code == 0, result.output
    assert np.array_equal(image_files.read_ids(tmp_path / "out" / "a.png"), label_map())
    assert image_files.read_ids(tmp_path / "out" / "deep" / "b.png").shape == (12, 18)
    assert json.loads((tmp_path / "done.json").read_text())["images"] == 2
    assert len(match_stems(str(tmp_path / "in"), str(tmp_path / "out"))) == 2


def test_color_and_overlay_are_what_draw_makes_of_them(tmp_path):
    image = write(tmp_path / "a.png")
    result = call(image, "--out", tmp_path / "out", "--overlay")
    assert result.exit_code == 0, result.output
    assert np.array_equal(
        image_files.read_image(tmp_path / "out" / "a_color.png"), draw.colorize(label_map(), CITYSCAPES)
    )
    assert image_files.read_image(tmp_path / "out" / "a_overlay.jpg").shape == (*SIZE, 3)
    assert "Open " + str(tmp_path / "out" / "a_overlay.jpg") in result.output


def test_opacity_and_legend_of_overlays(tmp_path):
    image, person = tmp_path / "a.png", CITYSCAPES.names.index("person")
    image_files.write_image(image, np.full((60, 90, 3), person, np.uint8))
    for opacity, expected in ((0, [person] * 3), (1, CITYSCAPES.labels[person].color)):
        out = tmp_path / str(opacity)
        result = call(image, "--out", out, "--overlay", "--legend", "--opacity", opacity)
        assert result.exit_code == 0, result.output
        drawn = image_files.read_image(out / "a_overlay.jpg").astype(int)
        assert drawn.shape[0] == 60 and drawn.shape[1] > 90 + 40
        assert np.abs(drawn[:, :80] - expected).max() < 4, "JPEG"
    for options in (["--opacity", "1.5", "--overlay"], ["--opacity", "0.2"], ["--legend"]):
        result = call(image, "--out", tmp_path / "no", *options)
        assert result.exit_code == 2 and not (tmp_path / "no").exists(), result.output


def test_cityscapes_files_are_found_by_score_and_by_the_benchmark(tmp_path):
    write(tmp_path / "in" / "frankfurt" / "frankfurt_000000_000294_leftImg8bit.png")
    truth = tmp_path / "gt" / "frankfurt" / "frankfurt_000000_000294_gtFine_labelIds.png"
    image_files.write_image(truth, CITYSCAPES_FROM_CLASS[label_map()])
    result = call(tmp_path / "in", "--out", tmp_path / "out", "--format", "cityscapes", "--overlay")
    assert result.exit_code == 0, result.output
    written = tmp_path / "out" / "frankfurt" / "frankfurt_000000_000294_pred_labelIds.png"
    assert np.array_equal(CITYSCAPES_TO_CLASS[image_files.read_ids(written)], label_map())
    assert match_cityscapes(str(tmp_path / "gt"), str(tmp_path / "out")) == [(str(truth), str(written))]
    benchmark = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    benchmark.args.predictionPath, benchmark.args.predictionWalk = str(tmp_path / "out"), None
    assert benchmark.getPrediction(benchmark.args, str(truth)) == str(written)


def test_panoptic_files_are_found_by_score(tmp_path):
    """A car in the first four columns, the road beside it; the car is one region, so its connected component is
    right."""
    classes = np.where(np.arange(SIZE[1]) < 4, 13, 0) * np.ones((SIZE[0], 1), int)
    image = tmp_path / "in" / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    image_files.write_image(image, np.dstack([classes.astype(np.uint8)] * 3))
    truth = tmp_path / "gt" / "ulm" / "ulm_000000_000019_gtFine_instanceIds.png"
    image_files.write_image(truth, np.where(classes == 13, 26000, 7).astype(np.uint16))
    result = call(tmp_path / "in", "--out", tmp_path / "out", "--format", "panoptic", "--overlay")
    assert result.exit_code == 0, result.output
    assert "Open " + str(tmp_path / "out" / "ulm" / "ulm_000000_000019_overlay.jpg") in result.output
    options = ["--pred", tmp_path / "out", "--truth", tmp_path / "gt", "--json", tmp_path / "scores.json"]
    scored = CliRunner().invoke(group, ["score", "--panoptic", *map(str, options)])
    assert scored.exit_code == 0, scored.output
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["pq"] == 1.0 and report["pq_method"] == "components" and report["pq_per_class"]["car"] == 1.0


def test_two_panoptic_images_of_one_name_are_refused(tmp_path):
    for folder in "xy":
        write(tmp_path / "in" / folder / "a.png")
    result = call(tmp_path / "in", "--out", tmp_path / "out", "--format", "panoptic")
    assert result.exit_code == 1 and "would both be written as" in result.output and not (tmp_path / "out").exists()


def test_cityscapes_ids_need_the_cityscapes_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(RedIsTheClass, "table", CAMVID)
    result = call(write(tmp_path / "a.png"), "--out", tmp_path / "out", "--format", "cityscapes")
    assert result.exit_code == 1 and "this one has 11: use ids" in result.output
    assert not (tmp_path / "out").exists()


def test_an_unreadable_image_ends_the_work_and_leaves_whole_files(tmp_path):
    for name in "abc":
        write(tmp_path / "in" / f"{name}.png")
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    result = call(tmp_path / "in", "--out", tmp_path / "out", "--format", "ids", "--overlay")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert "b.png is truncated" in result.output and "1 of 3 images were predicted before it" in result.output
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["a.png", "a_overlay.jpg"]


def test_two_images_of_one_name_are_refused_before_anything_is_written(tmp_path):
    first, second = write(tmp_path / "x" / "a.png"), write(tmp_path / "y" / "a.jpg")
    result = call(first, second, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "would both be written as" in result.output
    assert not (tmp_path / "out").exists()


def test_the_same_image_twice_is_one_job(tmp_path):
    image = write(tmp_path / "a.png")
    assert list(plan([str(image), str(tmp_path)], str(tmp_path / "out"), "ids").images()) == [str(image)]


def test_an_input_is_never_overwritten(tmp_path):
    image = write(tmp_path / "a.png")
    before = image.read_bytes()
    for given in (image, tmp_path):
        for overwrite in ([], ["--overwrite"]):
            result = call(given, "--out", tmp_path, "--format", "ids", *overwrite)
            assert result.exit_code == 2 and "what is read" in result.output and image.read_bytes() == before


def test_earlier_outputs_inside_the_input_folder_are_not_inputs(tmp_path):
    image = write(tmp_path / "a.png")
    write(tmp_path / "out" / "a_color.png")
    assert list(plan([str(tmp_path)], str(tmp_path / "out"), "color").images()) == [str(image)]


@pytest.mark.parametrize(
    "name, sentence",
    [("nowhere", "There is no image or folder"), ("empty", "has no image in it (PNG, JPEG, TIFF, WebP or BMP)")],
)
def test_missing_inputs_are_one_sentence(tmp_path, name, sentence):
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / name, "--out", tmp_path / "out")
    assert result.exit_code == 1 and sentence in result.output


def test_a_wrong_format_says_what_was_meant(tmp_path):
    result = call("a.png", "--out", tmp_path, "--format", "colr")
    assert result.exit_code == 2 and "Did you mean 'color'" in result.output
