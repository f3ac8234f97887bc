import json
import threading

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.fitting import scaled_size
from deeplab_tf.core.guard import MANIFEST
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.prediction import View, best_class, predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.lab import runs
from deeplab_tf.lab.data.camvid import CAMVID
from deeplab_tf.lab.data.split import Sample, Split
from deeplab_tf.lab.evaluation.checkpoints import spread_indices
from deeplab_tf.lab.evaluation.evaluate import check_classes, evaluate
from deeplab_tf.lab.evaluation.figures import comparison, confusion_figure
from deeplab_tf.lab.evaluation.folders import open_folders

TABLE = LabelTable(
    [
        Label(0, "road", (128, 64, 128), False),
        Label(1, "car", (0, 0, 142), True),
        Label(2, "sky", (70, 130, 180), False),
    ]
)


class MemorySplit(Split):
    def __init__(self, label_maps, images=None, table=TABLE):
        self.table, self.label_maps = table, label_maps
        self.images = images or [np.dstack([label_map] * 3) for label_map in label_maps]
        self.names = [f"frame_{i}" for i in range(len(label_maps))]

    def sample(self, index):
        return Sample(self.images[index], self.label_maps[index])


class LabelsOnly(Predictor):
    """A network without probabilities: the class is the image's red value."""

    name, table = "fake", TABLE

    def __init__(self, size):
        self.size = size

    def predict(self, frame):
        return Prediction(frame[..., 0].copy())


class Oracle(LabelsOnly):
    """Probabilities from each pixel's red value alone: 0, 100, 200 stand for the classes, values between for a
    mixture."""

    gives_probabilities = True

    def probabilities(self, frame):
        return np.clip(1.0 - np.abs(frame[..., :1] / np.float32(100) - np.arange(3, dtype=np.float32)), 0, 1)

    def predict(self, frame):
        probabilities = self.probabilities(frame)
        logits = np.log(np.maximum(probabilities, np.float32(1e-30)))
        return Prediction(probabilities.argmax(-1).astype(np.uint8), logits=logits)


def blocks(size, grid):
    """A label map of rectangles: grid is a small list of lists of class ids."""
    return np.kron(np.array(grid, np.uint8), np.ones((size[0] // len(grid), size[1] // len(grid[0])), np.uint8))


def oracle_split(label_maps):
    return MemorySplit(label_maps, [np.dstack([label_map * 100 * (label_map < 3)] * 3) for label_map in label_maps])


def random_label_maps(count, size=(20, 30)):
    rng = np.random.default_rng(1)
    return [rng.choice(np.array([0, 1, 2, 255], np.uint8), size) for _ in range(count)]


def test_the_truth_itself_scores_one():
    evaluation = evaluate(Oracle((20, 30)), oracle_split(random_label_maps(3)))
    assert evaluation.confusion.miou() == 1.0 and evaluation.confusion.pixel_accuracy() == 1.0
    assert [score.miou for score in evaluation.images] == [1.0, 1.0, 1.0]


def test_a_constant_prediction_scores_what_counting_says():
    # 8 pixels of road, 4 of car, 4 ignored; all predicted as road: road 8 / (8 + 4), car 0 / 4, sky 0 / 0
    label_map = np.array([[0, 0, 1, 255]] * 2 + [[0, 0, 1, 255]] * 2, np.uint8)
    constant = LabelsOnly((4, 4))
    report = evaluate(constant, MemorySplit([label_map], [np.zeros((4, 4, 3), np.uint8)])).report()
    assert report["iou"] == {"road": pytest.approx(8 / 12), "car": 0.0, "sky": None}
    assert report["miou"] == pytest.approx((8 / 12 + 0) / 2) and report["pixel_accuracy"] == pytest.approx(8 / 12)
    assert report["images"] == 1


def test_the_total_is_the_sum_of_the_images_and_ranks_them():
    truth = blocks((4, 6), [[0, 1, 2]])
    half = truth.copy()
    half[:2] = 0
    split = MemorySplit([truth] * 3, [np.dstack([m] * 3) for m in (half, truth, np.zeros_like(truth))])
    evaluation = evaluate(LabelsOnly((4, 6)), split)
    one_by_one = [evaluate(LabelsOnly((4, 6)), MemorySplit([truth], [image])).confusion for image in split.images]
    assert np.array_equal(evaluation.confusion.matrix, sum(c.matrix for c in one_by_one))
    assert [score.name for score in evaluation.best(2)] == ["frame_1", "frame_0"]
    assert [score.name for score in evaluation.worst(1)] == ["frame_2"]


def test_an_image_without_scored_pixels_is_neither_best_nor_worst():
    label_maps = [np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8)]
    evaluation = evaluate(LabelsOnly((2, 2)), MemorySplit(label_maps, [np.zeros((2, 2, 3), np.uint8)] * 2))
    assert np.isnan(evaluation.images[0].miou)
    assert [score.index for score in evaluation.best(5)] == [score.index for score in evaluation.worst(5)] == [1]


def test_labels_are_scored_at_their_own_resolution():
    label_map = blocks((64, 96), [[0, 1], [2, 0]])
    label_map[:, 0] = 1  # a line that a network at half the size cannot follow: 64 of 6144 pixels
    split = MemorySplit([label_map], [np.dstack([blocks((64, 96), [[0, 1], [2, 0]]) * 100] * 3)])
    evaluation = evaluate(Oracle((32, 48)), split)
    assert evaluation.confusion.matrix.sum() == 64 * 96
    assert evaluation.confusion.pixel_accuracy() == pytest.approx(1 - 64 / 6144, abs=0.01)


def test_shrinking_looks_at_every_pixel():
    image = np.zeros((16, 16, 3), np.uint8)
    image[::4] = image[3::4] = 200  # half of each 4 x 4 pixels, in rows that linear interpolation would pass over
    assert (predict(Oracle((4, 4)), image, (4, 4)).label_map == 1).all()


def test_labels_without_probabilities_are_resized_by_nearest():
    image = np.dstack([np.array([[0, 1], [2, 1]], np.uint8)] * 3)
    assert predict(LabelsOnly((2, 2)), image, (4, 4)).label_map.tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 1, 1],
        [2, 2, 1, 1],
    ]


def test_best_class_is_the_argmax_of_the_resized_mean():
    rng = np.random.default_rng(2)
    arrays = rng.random((8, 12, 5), np.float32), rng.random((16, 20, 5), np.float32)
    total = sum(cv2.resize(array, (30, 24), interpolation=cv2.INTER_LINEAR) for array in arrays)
    views = [View(np.ascontiguousarray(np.moveaxis(array, -1, 0))) for array in arrays]
    assert np.array_equal(best_class(views, (24, 30)), total.argmax(-1))


@pytest.mark.parametrize("options", [{"flip": True}, {"scales": (0.5, 1.0, 1.5)}, {"flip": True, "scales": (0.5, 2.0)}])
def test_flip_and_scales_change_nothing_for_a_runtime_that_commutes_with_them(options):
    # edges in the middle: bilinear resizing is symmetric about them, so that the probabilities cross exactly there
    image = np.dstack([blocks((64, 128), [[0, 1], [1, 2]]) * 100] * 3)
    runtime = Oracle((64, 128))
    assert np.array_equal(predict(runtime, image, **options).label_map, runtime(image))


def test_averaging_probabilities_differs_from_either_alone():
    class Sided(Oracle):
        """Sure of class 0 (0.6) in the left half of what it sees, of class 1 (0.9) in the right half."""

        def probabilities(self, frame):
            scores = np.zeros((*frame.shape[:2], 3), np.float32)
            middle = frame.shape[1] // 2
            scores[:, :middle] = (0.6, 0.4, 0.0)
            scores[:, middle:] = (0.1, 0.9, 0.0)
            return scores

    image, runtime = np.zeros((2, 4, 3), np.uint8), Sided((2, 4))
    assert predict(runtime, image).label_map.tolist() == [[0, 0, 1, 1]] * 2
    flipped = predict(runtime, image, flip=True)  # class 0: (0.6 + 0.1) / 2, class 1: (0.4 + 0.9) / 2
    assert flipped.label_map.tolist() == [[1, 1, 1, 1]] * 2
    np.testing.assert_allclose(flipped.probabilities, np.broadcast_to([0.35, 0.65, 0.0], (2, 4, 3)), atol=1e-6)


def test_scaled_size_rounds_to_32_and_keeps_scale_one():
    assert scaled_size((352, 480), 1.0) == (352, 480)
    assert scaled_size((360, 480), 1.0) == (360, 480)
    assert scaled_size((360, 480), 0.75) == (256, 352)  # 270 is 8.4 times 32, 360 is 11.25 times 32
    assert scaled_size((64, 64), 0.1) == (32, 32)
    with pytest.raises(DeepLabError, match="above 0"):
        scaled_size((64, 64), 0.0)


def test_flip_needs_probabilities():
    with pytest.raises(DeepLabError, match="labels only.*--output logits"):
        predict(LabelsOnly((4, 4)), np.zeros((4, 4, 3), np.uint8), flip=True)


def test_lanes_score_in_parallel_and_in_order():
    """Two lanes meet in each pair of images; scores, order and errors are those of one."""
    meeting = threading.Barrier(2, timeout=20)

    class Lane(Oracle):
        closed = False

        def predict(self, frame):
            meeting.wait()
            return super().predict(frame)

        def close(self):
            self.closed = True

    class TwoLanes(Lane):
        def lanes(self):
            self.other = Lane(self.size)
            return [self, self.other]

    split, network = oracle_split(random_label_maps(6)), TwoLanes((20, 30))
    split.images[2][:5] = 0
    got, expected = (evaluate(each, split) for each in (network, Oracle((20, 30))))
    assert got.images == expected.images and np.array_equal(got.confusion.matrix, expected.confusion.matrix)
    assert network.other.closed and not network.closed

    class Broken(Lane):
        def lanes(self):
            return [self, self]

        def predict(self, frame):
            raise DeepLabError("no memory for it")

    with pytest.raises(DeepLabError, match="no memory for it"):
        evaluate(Broken((20, 30)), split)


def test_an_empty_split_and_other_classes_are_refused():
    with pytest.raises(DeepLabError, match="no images"):
        evaluate(LabelsOnly((4, 4)), MemorySplit([]))
    with pytest.raises(DeepLabError, match="class 0: 'road' and 'sky'"):
        check_classes(TABLE, CAMVID)
    with pytest.raises(DeepLabError, match="3 classes, the labels 2"):
        check_classes(TABLE, LabelTable(list(TABLE)[:2]))


def test_progress_sees_every_frame():
    seen = []

    def watch(items):
        for item in items:
            seen.append(item)
            yield item

    evaluate(
        LabelsOnly((20, 30)), MemorySplit(random_label_maps(4), [np.zeros((20, 30, 3), np.uint8)] * 4), progress=watch
    )
    assert seen == [0, 1, 2, 3]


def test_the_confusion_figure_darkens_with_the_share():
    confusion = ConfusionMatrix(3)
    confusion.update(blocks((10, 20), [[0, 1]]), blocks((10, 20), [[0, 1]]))
    right = confusion_figure(confusion, TABLE, "all right")
    confusion.update(blocks((10, 40), [[0, 1]]), blocks((10, 40), [[1, 0]]))
    wrong = confusion_figure(confusion, TABLE, "two thirds wrong")
    assert right.ndim == 3 and right.dtype == np.uint8
    assert not np.array_equal(right, wrong)


def test_the_comparison_shows_the_colors_of_truth_and_prediction():
    row = (
        np.full((40, 60, 3), 17, np.uint8),
        "image",
        [(blocks((40, 60), [[0, 1]]), "truth"), (blocks((20, 30), [[1, 0]]), "prediction")],
    )
    picture = comparison([row], TABLE)
    assert (picture[30:60, 5:55] == 17).all()
    assert tuple(picture[40, 64 + 10]) == tuple(picture[40, 128 + 50]) == TABLE.labels[0].color
    assert tuple(picture[40, 64 + 50]) == tuple(picture[40, 128 + 10]) == TABLE.labels[1].color


def test_spread_is_even_and_never_repeats():
    assert spread_indices(10, 3) == [1, 5, 8]
    assert spread_indices(2, 5) == [0, 1]
    assert spread_indices(1, 1) == [0]


# Folders of images and labels


def write_pairs(folder, names, label_maps, image_suffix=".png", label_suffix=".png"):
    for name, label_map in zip(names, label_maps):
        image_files.write_image(folder / "images" / (name + image_suffix), np.dstack([label_map] * 3))
        image_files.write_image(folder / "labels" / (name + label_suffix), label_map)
    return str(folder / "images"), str(folder / "labels")


def test_folders_with_class_ids_are_paired_by_name(tmp_path):
    label_maps = [np.array([[0, 1], [2, 255]], np.uint8), np.zeros((2, 2), np.uint8)]
    split = open_folders(*write_pairs(tmp_path, ["b/x", "a"], label_maps), TABLE)
    assert split.names == ["a", "b/x"] and np.array_equal(split.sample(1).label_map, label_maps[0])


def test_folders_with_an_id_outside_the_table_are_refused(tmp_path):
    split = open_folders(*write_pairs(tmp_path, ["a"], [np.full((2, 2), 7, np.uint8)]), TABLE)
    with pytest.raises(DeepLabError, match="a.png holds ids outside the class table: 7"):
        split.sample(0)


def test_folders_follow_the_data_set_of_the_run(tmp_path):
    names, label_maps = (
        ["aachen_000000_000019"],
        [np.array([[7, 8], [26, 4]], np.uint8)],
    )  # label ids: road, sidewalk, car, static
    pair = write_pairs(tmp_path, names, label_maps, "_leftImg8bit.png", "_gtFine_labelIds.png")
    split = open_folders(*pair, CITYSCAPES, {"name": "cityscapes", "root": "gone", "size": [32, 32]})
    assert split.names == names and split.sample(0).label_map.tolist() == [[0, 1], [13, 255]]


def test_folders_follow_a_described_data_set(tmp_path):
    classes = [{**row, "id": 10 * i} for i, row in enumerate(TABLE.to_dicts())]
    data = {"name": "folder", "root": "gone", "size": [32, 32], "ignore_ids": [9], "classes": classes}
    split = open_folders(*write_pairs(tmp_path, ["a"], [np.array([[0, 10], [20, 9]], np.uint8)]), TABLE, data)
    assert split.sample(0).label_map.tolist() == [[0, 1], [2, 255]]


def test_folders_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DeepLabError, match="There is no folder .*nowhere for --labels"):
        open_folders(str(tmp_path), str(tmp_path / "nowhere"), TABLE)


# The command


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with two checkpoints, whose networks are an oracle (best) and one that sees only class 0 (10)."""
    folder = tmp_path / "run"
    (folder / "kept").mkdir(parents=True)
    for name in ("config.yaml", "best.keras", "kept/step_00000010.keras"):
        (folder / name).write_text("")
    split = oracle_split(random_label_maps(5))

    class Blind(Oracle):
        def probabilities(self, frame):
            return super().probabilities(np.zeros_like(frame))

    def open_runtime(path, checkpoint=None, runtime=None, precision=None):
        runtime = (Blind if runs.resolve_checkpoint(path, checkpoint) == "10" else Oracle)((20, 30))
        runtime.data = {"name": "camvid", "root": str(tmp_path)}
        return runtime

    monkeypatch.setattr(runs, "open_runtime", open_runtime)
    monkeypatch.setattr(runs, "open_split", lambda data, name: split)
    return folder


def call(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_evaluate_writes_its_report_and_names_the_picture(run):
    result = call("evaluate", run, "--json", run / "scores.json")
    assert result.exit_code == 0, result.output
    report = json.loads((run / "report" / "report.json").read_text())
    assert report["miou"] == 1.0 and report["iou"] == {"road": 1.0, "car": 1.0, "sky": 1.0} and report["images"] == 5
    assert {"written_by": "deeplab-tf evaluate", **report} == json.loads((run / "scores.json").read_text())
    assert image_files.read_image(run / "report" / "confusion_matrix.png").ndim == 3
    assert image_files.read_image(run / "report" / "best_and_worst.png").ndim == 3
    assert "Open " + str(run / "report" / "best_and_worst.png") in result.output
    page = (run / "report" / "report.md").read_text()
    assert "1.000" in page and "(best_and_worst.png)" in page and "(confusion_matrix.png)" in page
    assert [path.name for path in (run / "report").glob(".*")] == [MANIFEST]


def test_evaluate_of_two_checkpoints_reports_the_better_and_lists_both(run):
    result = call("evaluate", run, "--checkpoint", "10", "--checkpoint", "best", "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads((run / "report" / "report.json").read_text())
    assert json.loads(result.stdout) == report
    assert report["checkpoint"] == "best" and [row["checkpoint"] for row in report["checkpoints"]] == ["10", "best"]
    assert report["checkpoints"][0]["miou"] < report["checkpoints"][1]["miou"] == 1.0
    assert (run / "report" / "confusion_matrix_10.png").is_file() and (
        run / "report" / "best_and_worst_best.png"
    ).is_file()
    assert "10 steps" in (run / "report" / "report.md").read_text()


def test_evaluate_where_every_pixel_is_ignored_has_no_scores(run, monkeypatch):
    monkeypatch.setattr(runs, "open_split", lambda data, name: oracle_split([np.full((20, 30), 255, np.uint8)]))
    result = call("evaluate", run)
    assert result.exit_code == 0, result.output
    report = json.loads((run / "report" / "report.json").read_text())
    assert report["miou"] is None and report["pixel_accuracy"] is None and report["best_images"] == []
    assert "Open " + str(run / "report" / "confusion_matrix.png") in result.output


def test_evaluate_of_folders(run, tmp_path):
    images, labels = write_pairs(tmp_path, ["a"], [np.zeros((20, 30), np.uint8)])
    result = call(
        "evaluate", run, "--images", images, "--labels", labels, "--class-ids", "--out", tmp_path / "elsewhere"
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "elsewhere" / "report.json").read_text())
    assert report["miou"] == 1.0 and report["images_from"] == images and "split" not in report
    assert not (run / "report").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--images", "x"], "--images and --labels go together"),
        (["--split", "val", "--images", "x", "--labels", "y"], "exclude each other"),
        (["--class-ids"], "name --images and --labels"),
        (["--scales", "1,big"], "such as 0.75,1,1.25; got '1,big'"),
        (["--scales", "0"], "numbers from 0.1 to 8"),
    ],
)
def test_evaluate_called_wrongly_exits_2(run, arguments, sentence):
    result = call("evaluate", run, *arguments)
    assert result.exit_code == 2 and sentence in " ".join(result.output.split())


@pytest.mark.parametrize(
    "spoil, arguments, sentence",
    [
        ("", ["--checkpoint", "77"], "has no checkpoint '77'. It has: 10, best."),
        ("config.yaml", [], "has neither"),
        ("best.keras kept/step_00000010.keras", [], "has no checkpoint yet"),
    ],
)
def test_evaluate_of_a_broken_run_exits_1(run, spoil, arguments, sentence):
    for name in spoil.split():
        (run / name).unlink()
    result = call("evaluate", run, *arguments)
    assert result.exit_code == 1 and sentence in result.output and "Traceback" not in result.output
    assert not (run / "report").exists()


def test_evaluate_where_the_data_set_is_not_there_speaks_of_its_own_option(run, tmp_path):
    result = call("evaluate", run, "--root", tmp_path / "gone")
    assert result.exit_code == 1 and f"The folder {tmp_path / 'gone'} does not exist; --root" in result.output
    assert call("evaluate", run, "--root", tmp_path).exit_code == 0


def test_evaluate_of_nothing_exits_1(tmp_path):
    (tmp_path / "file").write_text("")
    assert "does not exist" in call("evaluate", tmp_path / "nowhere").output
    assert "is a file" in call("evaluate", tmp_path / "file").output
