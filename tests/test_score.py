"""`deeplab-tf score` on PNG files: equal to cityscapesScripts, and one sentence for every wrong folder or file."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from click_runner import CliRunner
from environments import cityscapes_scripts

from deeplab_tf.cli import group
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_ids, write_image
from deeplab_tf.core.metrics.pairs import in_threads
from deeplab_tf.synth.dataset import Settings, scene_paths, write_scene

TRUTH = "{}_{:06d}_{:06d}_gtFine_labelIds.png"


def score(*arguments, code=0):
    """Runs the command; its standard output and standard error, after a look at the exit code."""
    result = CliRunner().invoke(group, ["score"] + [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def ids(rows):
    return np.array(rows, np.uint8)


def random_frames(folder, count):
    """Truths as Cityscapes lays them out, and predictions flat, named as cityscapesScripts' getPrediction finds
    them."""
    rng = np.random.default_rng(3)
    truths = []
    for i in range(count):
        city = ("aachen", "bochum", "zurich")[i % 3]
        classes = rng.choice(34, 12, replace=False).astype(np.uint8)
        truth = rng.choice(classes, (24, 48))
        prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 34, truth.shape)).astype(np.uint8)
        truths.append(folder / "gtFine" / "val" / city / TRUTH.format(city, i, 19))
        write_image(truths[-1], truth)
        write_image(folder / "results" / f"{city}_{i:06d}_{19:06d}_mine.png", prediction)
    return truths


def drawn_frames(folder, count):
    """Drawn scenes as `sample` writes them; predictions of 3/4 their sharpness, shifted, one in twenty blocks of
    another class."""
    settings, rng, truths = Settings(count, (96, 192), 5), np.random.default_rng(4), []
    for i in range(count):
        write_scene(str(folder), i, settings)
        truths.append(Path(scene_paths(str(folder), i, count)[1]))
        truth = read_ids(truths[-1])
        blurred = resize_labels(resize_labels(truth, (72, 144)), truth.shape)
        wrong = resize_labels((rng.random((12, 24)) < 0.05).astype(np.uint8), truth.shape)
        prediction = np.where(wrong, rng.integers(0, 34), np.roll(blurred, 1 + i % 3, axis=1)).astype(np.uint8)
        write_image(folder / "results" / truths[-1].name.replace("gtFine_labelIds", "pred"), prediction)
    return truths


@pytest.mark.parametrize("make", [random_frames, drawn_frames])
def test_equals_cityscapesscripts_on_files(make, tmp_path, monkeypatch):
    cityscapes = cityscapes_scripts()
    truths = [str(path) for path in make(tmp_path, 30)]
    score("--pred", tmp_path / "results", "--truth", tmp_path / "gtFine", "--json", tmp_path / "scores.json")
    ours = json.loads((tmp_path / "scores.json").read_text())

    changes = {"evalInstLevelScore": False, "JSONOutput": False, "quiet": True, "predictionWalk": None}
    for name, value in dict(changes, predictionPath=str(tmp_path / "results")).items():
        monkeypatch.setattr(cityscapes.args, name, value)
    predictions = [cityscapes.getPrediction(cityscapes.args, truth) for truth in truths]
    theirs = cityscapes.evaluateImgLists(predictions, truths, cityscapes.args)

    assert ours["images"] == 30 and len(ours["iou"]) == 19 and 0.1 < ours["miou"] < 0.95
    assert abs(ours["miou"] - theirs["averageScoreClasses"]) <= 1e-9
    for name, value in ours["iou"].items():
        assert abs(value - theirs["classScores"][name]) <= 1e-9, name


def ids_folders(tmp_path, truth, prediction):
    write_image(tmp_path / "truth" / "a" / "1.png", ids(truth))
    write_image(tmp_path / "pred" / "a" / "1.png", ids(prediction))
    return "--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--format", "ids"


def test_ids_worked_by_hand_with_json_on_stdout(tmp_path):
    folders = ids_folders(tmp_path, [[0, 0, 1, 255]], [[0, 1, 1, 1]])
    result = score(*folders, "--json", "-")
    # class 0: 1 of 2 found; class 1: 1 hit and 1 false; the ignored pixel counts nowhere
    expected = {"miou": 0.5, "iou": {"0": 0.5, "1": 0.5}, "pixel_accuracy": pytest.approx(2 / 3), "images": 1}
    expected.update(warnings=[], miou_interval=None)
    assert json.loads(result.stdout) == expected
    assert "2 classes, as the highest id in the truth is 1" in result.stderr
    assert "mIoU" in result.stderr  # the table makes room for the JSON


def test_names_and_an_ignored_id_of_ones_own(tmp_path):
    folders = ids_folders(tmp_path, [[0, 0, 1, 2]], [[0, 2, 1, 1]])
    result = score(*folders, "--classes", "sky, road", "--ignore-label", "2", "--json", "-")
    # predicted as ignored: a miss of sky; ignored truth predicted as road: nothing
    assert json.loads(result.stdout)["iou"] == {"sky": 0.5, "road": 1.0}


def test_of_several_files_of_a_frame_the_label_ids_are_taken(tmp_path):
    truth = ids([[7, 8]])
    write_image(tmp_path / "truth" / TRUTH.format("ulm", 0, 19), truth)
    write_image(tmp_path / "pred" / "ulm_000000_000019_pred_labelIds.png", truth)
    write_image(tmp_path / "pred" / "ulm_000000_000019_pred_color.png", np.zeros((1, 2, 3), np.uint8))
    write_image(tmp_path / "pred" / "legend.png", np.zeros((1, 2, 3), np.uint8))
    result = score("--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--json", "-")
    assert json.loads(result.stdout)["miou"] == 1.0


def test_predictions_that_look_like_train_ids_are_pointed_out(tmp_path):
    write_image(tmp_path / "truth" / TRUTH.format("ulm", 0, 19), ids([[7, 26]]))
    write_image(tmp_path / "pred" / "ulm_000000_000019.png", ids([[0, 13]]))
    assert "are these train ids?" in score("--pred", tmp_path / "pred", "--truth", tmp_path / "truth").stderr


def truth_alone(folder):
    write_image(folder / "truth" / TRUTH.format("ulm", 0, 19), ids([[7]]))
    write_image(folder / "truth" / TRUTH.format("ulm", 1, 19), ids([[7]]))
    write_image(folder / "pred" / "ulm_000000_000019.png", ids([[7]]))


def prediction_alone(folder):
    truth_alone(folder)
    for i in (1, 2):
        write_image(folder / "pred" / f"ulm_{i:06d}_000019.png", ids([[7]]))


def two_predictions(folder):
    truth_alone(folder)
    write_image(folder / "pred" / "ulm_000000_000019_b.png", ids([[7]]))


def one_frame(folder, truth, prediction):
    write_image(folder / "truth" / TRUTH.format("ulm", 0, 19), np.asarray(truth))
    write_image(folder / "pred" / "ulm_000000_000019.png", np.asarray(prediction))


def empty_file(folder):
    one_frame(folder, ids([[7]]), ids([[7]]))
    (folder / "pred" / "ulm_000000_000019.png").write_bytes(b"")


def cut_file(folder):
    one_frame(folder, ids([[7]]), ids([[7]]))
    path = folder / "pred" / "ulm_000000_000019.png"
    path.write_bytes(path.read_bytes()[:-8])


def nothing(folder):
    (folder / "pred").mkdir()
    (folder / "truth").mkdir()


BAD_CITYSCAPES = {
    "missing prediction": (
        truth_alone,
        "1 of 2 images have no prediction in {0}/pred; the first is {0}/truth/ulm_000001_",
    ),
    "extra prediction": (
        prediction_alone,
        "1 predictions have no truth in {0}/truth; the first is {0}/pred/ulm_000002_",
    ),
    "two predictions": (
        two_predictions,
        "Two label files for one frame: {0}/pred/ulm_000000_000019.png and {0}/pred/ulm_000000_",
    ),
    "no truth": (nothing, "No *_gtFine_labelIds.png below {0}/truth"),
    "truth with another name": (
        lambda folder: (nothing(folder), write_image(folder / "truth" / "x_gtFine_labelIds.png", ids([[7]]))),
        "x_gtFine_labelIds.png is not named city_sequence_frame",
    ),
    "size": (
        lambda folder: one_frame(folder, ids([[7, 7]]), ids([[7]])),
        "pred/ulm_000000_000019.png is 1x1, its truth {0}/truth/ulm_000000_",
    ),
    "unknown id": (
        lambda folder: one_frame(folder, ids([[7]]), ids([[255]])),
        "_000019.png holds an unknown id (all such ids: 255)",
    ),
    "unknown true id": (
        lambda folder: one_frame(folder, ids([[34]]), ids([[7]])),
        "labelIds.png holds an unknown id (all such ids: 34)",
    ),
    "16 bits": (lambda folder: one_frame(folder, ids([[7]]), np.array([[7]], np.uint16)), "ulm_000000_000019.png"),
    "RGB": (lambda folder: one_frame(folder, ids([[7]]), np.zeros((1, 1, 3), np.uint8)), "ulm_000000_000019.png"),
    "empty": (empty_file, "ulm_000000_000019.png is empty"),
    "truncated": (cut_file, "ulm_000000_000019.png is truncated"),
}


@pytest.mark.parametrize("name", BAD_CITYSCAPES)
def test_bad_cityscapes_folders_are_one_sentence(name, tmp_path):
    make, message = BAD_CITYSCAPES[name]
    make(tmp_path)
    result = score(
        "--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--json", tmp_path / "scores.json", code=1
    )
    assert message.format(tmp_path) in result.stderr
    assert result.stderr.count("Error: ") == 1 and "Traceback" not in result.output
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    "truth, options, message",
    [
        (
            [[0, 5]],
            ["--classes", "3"],
            "Truth {0}/truth/a/1.png holds an unknown id (all such ids: 5); classes are 0 to 2, ignored 255",
        ),
        (
            [[0, 0]],
            [],
            "Prediction {0}/pred/a/1.png holds an unknown id (all such ids: 1); classes are 0 to 0, ignored 255; "
            "see --classes",
        ),
        ([[9, 255]], ["--ignore-label", "9"], "{0}/truth holds a class: all are ignored"),
    ],
)
def test_bad_ids_are_one_sentence(truth, options, message, tmp_path):
    folders = ids_folders(tmp_path, truth, [[0, 1]])
    assert message.format(tmp_path) in score(*folders, *options, code=1).stderr


def test_an_error_ends_the_counting(capsys):
    begun = []

    def count(i):
        begun.append(i)
        time.sleep(0.01)
        if i == 3:
            raise DeepLabError("damaged")

    with pytest.raises(DeepLabError, match="damaged"):
        list(in_threads(count, range(10000)))
    assert len(begun) < 5000


def test_a_loop_that_ends_early_ends_the_counting(capsys):
    begun = []

    def count(i):
        begun.append(i)
        time.sleep(0.01)

    for _ in in_threads(count, range(10000)):
        break
    assert len(begun) < 5000


def test_stem_without_a_partner(tmp_path):
    folders = ids_folders(tmp_path, [[0]], [[0]])
    write_image(tmp_path / "truth" / "a" / "2.png", ids([[0]]))
    assert "1 of 2 images have no prediction" in score(*folders, code=1).stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (["--classes", "3"], "--format ids"),
        (["--format", "ids", "--ignore", "2"], "--ignore has been renamed: use --ignore-label"),
        (["--format", "ids", "--classes", "a,,b"], "--classes is a number from 1 to 255, or as many different names"),
        (["--format", "ids", "--classes", "0"], "--classes is a number from 1 to 255"),
        (["--format", "cityscape"], "Did you mean 'cityscapes'?"),
        (["--truht", "x"], "--truth"),
    ],
)
def test_wrong_calls_exit_2(options, message, tmp_path):
    (tmp_path / "x").mkdir()
    result = score("--pred", tmp_path / "x", "--truth", tmp_path / "x", *options, code=2)
    assert message in result.stderr


def test_a_truth_of_one_class_is_a_warning(tmp_path):
    for folder in ("truth", "pred"):
        write_image(tmp_path / folder / "a.png", np.zeros((4, 4), np.uint8))
    result = CliRunner().invoke(
        group,
        [
            "score",
            "--format",
            "ids",
            "--truth",
            str(tmp_path / "truth"),
            "--pred",
            str(tmp_path / "pred"),
            "--json",
            "-",
        ],
    )
    assert json.loads(result.stdout)["warnings"] == [
        "The truth holds one class only, 0: whoever predicts nothing else scores 1."
    ]
    assert "one class only" in result.stderr
