"""ConfusionMatrix against arithmetic by hand and against cityscapesScripts."""

import numpy as np
import pytest
from environments import cityscapes_scripts

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix, count_pairs, iou_table


def ids(rows):
    return np.array(rows, np.uint8)


def table(count):
    return LabelTable(Label(i, f"class {i}", (0, 0, 0), False) for i in range(count))


def counted(classes, truth, prediction):
    confusion = ConfusionMatrix(classes)
    confusion.update(ids(truth), ids(prediction))
    return confusion


def test_two_by_two_worked_by_hand():
    confusion = counted(2, [[0, 0], [0, 1]], [[0, 1], [0, 1]])
    # truth 0: twice as 0, once as 1; truth 1: once as 1; nothing predicted as nothing
    np.testing.assert_array_equal(confusion.matrix, [[2, 1, 0], [0, 1, 0]])
    assert confusion.matrix.dtype == np.int64
    # class 0: 2 hits, 1 missed, 0 false -> 2/3; class 1: 1 hit, 0 missed, 1 false -> 1/2
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 1 / 2], rtol=1e-15)
    assert confusion.miou() == pytest.approx(7 / 12)
    assert confusion.pixel_accuracy() == pytest.approx(3 / 4)


def test_ignored_truth_counts_nowhere_and_ignored_prediction_is_a_miss():
    confusion = counted(2, [[255, 255, 0, 0], [0, 1, 1, 1]], [[0, 1, 0, 255], [0, 1, 1, 255]])
    np.testing.assert_array_equal(confusion.matrix, [[2, 0, 1], [0, 2, 1]])
    # both classes: 2 hits, 1 missed; the 0 and the 1 predicted on ignored pixels are no false positives
    np.testing.assert_allclose(confusion.iou(), [2 / 3, 2 / 3])
    assert confusion.pixel_accuracy() == pytest.approx(4 / 6)


def test_class_without_pixels_is_undefined_and_left_out_of_the_mean():
    confusion = counted(3, [[0, 0, 0, 0]], [[0, 0, 0, 1]])
    iou = confusion.iou()
    assert iou[0] == 0.75
    assert iou[1] == 0.0  # predicted, never true: its union is 1 pixel, so it is defined
    assert np.isnan(iou[2])
    assert confusion.miou() == 0.375
    report = confusion.report(table(3))
    assert report == {
        "miou": 0.375,
        "iou": {"class 0": 0.75, "class 1": 0.0, "class 2": None},
        "pixel_accuracy": 0.75,
        "images": 1,
        "warnings": [
            "No pixel of the truth is 'class 1', 'class 2': such an IoU is undefined and left out of mIoU, or 0 where "
            "something is predicted as the class."
        ],
    }
    assert [line.split()[-1] for line in iou_table(report).splitlines()[1:4]] == ["0.7500", "0.0000", "-"]


def test_nothing_scored_is_undefined_everywhere():
    report = counted(2, [[255, 255]], [[0, 1]]).report(table(2))
    assert report == {
        "miou": None,
        "iou": {"class 0": None, "class 1": None},
        "pixel_accuracy": None,
        "images": 1,
        "warnings": ["No pixel of the truth has a class: no score is defined."],
    }


def test_image_equals_the_sum_over_its_four_tiles():
    rng = np.random.default_rng(0)
    for height, width in ((64, 96), (37, 53), (2, 2)):
        truth = rng.choice(ids([0, 1, 2, 5, 18, IGNORE_LABEL]), (height, width))
        prediction = rng.choice(ids([0, 1, 2, 7, 18, IGNORE_LABEL]), (height, width))
        whole = counted(19, truth, prediction)
        row, column = rng.integers(1, height), rng.integers(1, width)
        tiles = ConfusionMatrix(19)
        for rows in (slice(0, row), slice(row, None)):
            for columns in (slice(0, column), slice(column, None)):
                tiles += counted(19, truth[rows, columns], prediction[rows, columns])
        np.testing.assert_array_equal(tiles.matrix, whole.matrix)
        assert whole.matrix.sum() == (truth != IGNORE_LABEL).sum()


def test_counts_stay_exact_past_the_end_of_float32():
    confusion = counted(1, [[0]], [[0]])
    many = np.zeros((256, 256), np.int64)
    many[0, 0] = 2**53
    confusion.add_pairs(many, images=1000)
    assert confusion.matrix[0, 0] == 2**53 + 1
    assert confusion.images == 1001


def test_merge_adds_counts_and_images_and_leaves_the_parts_alone():
    first, second = counted(2, [[0]], [[1]]), counted(2, [[1]], [[1]])
    total = first + second
    np.testing.assert_array_equal(total.matrix, [[0, 1, 0], [0, 1, 0]])
    assert (total.images, first.images, second.images) == (2, 1, 1)
    with pytest.raises(DeepLabError, match="2 and 3 classes"):
        first.merge(ConfusionMatrix(3))


def test_rows_are_truth_also_where_the_array_is_a_view():
    truth = np.arange(12, dtype=np.uint8).reshape(3, 4).T  # not contiguous
    pairs = count_pairs(truth, np.zeros((4, 3), np.uint8))
    assert pairs[:12, 0].tolist() == [1] * 12 and pairs.sum() == 12


@pytest.mark.parametrize(
    "truth, prediction, message",
    [
        ([[0, 2]], [[0, 0]], "truth holds ids that are no class: 2; expected 0 to 1"),
        ([[0, 0]], [[7, 254]], "prediction holds ids that are no class: 7, 254"),
        ([[255, 255]], [[9, 9]], "prediction holds ids that are no class: 9"),
        ([[0, 0]], [[0]], "Truth is 1x2 and prediction 1x1"),
    ],
)
def test_bad_maps_are_refused_and_nothing_is_counted(truth, prediction, message):
    confusion = ConfusionMatrix(2)
    with pytest.raises(DeepLabError, match=message):
        confusion.update(ids(truth), ids(prediction))
    assert confusion.matrix.sum() == 0 and confusion.images == 0


def test_other_types_are_refused():
    with pytest.raises(DeepLabError, match="truth must be .* uint8; got .* int64"):
        ConfusionMatrix(2).update(np.zeros((2, 2), np.int64), ids([[0, 0], [0, 0]]))
    with pytest.raises(DeepLabError, match="prediction must be"):
        ConfusionMatrix(2).update(ids([[0]]), np.zeros((1, 1, 3), np.uint8))


class DecodedImage:
    """Stands in for PIL's image where cityscapesScripts opens a file, so that it scores an array."""

    def __init__(self, array):
        self.array = array
        self.size = (array.shape[1], array.shape[0])

    def __array__(self, dtype=None, copy=None):
        return self.array


def cityscapes_scores(pairs, monkeypatch):
    """The real evaluateImgLists over (truth, prediction) arrays of label ids."""
    cityscapes = cityscapes_scripts()
    files = {f"{kind}{i}": DecodedImage(array) for i, pair in enumerate(pairs) for kind, array in zip("tp", pair)}
    monkeypatch.setattr(cityscapes.Image, "open", files.__getitem__)
    args = cityscapes.args
    for name, value in (("evalInstLevelScore", False), ("JSONOutput", False), ("quiet", True)):
        monkeypatch.setattr(args, name, value)
    count = range(len(pairs))
    return cityscapes.evaluateImgLists([f"p{i}" for i in count], [f"t{i}" for i in count], args)


def random_pair(rng):
    """Label ids 0..33 of some classes only, a prediction right in about half of the pixels; some classes are in one map
    only."""
    truth_ids = rng.choice(34, rng.integers(1, 20), replace=False).astype(np.uint8)
    predicted_ids = rng.choice(34, rng.integers(1, 20), replace=False).astype(np.uint8)
    truth = rng.choice(truth_ids, (32, 48))
    return truth, np.where(rng.random(truth.shape) < 0.5, truth, rng.choice(predicted_ids, truth.shape))


def assert_same_scores(confusion, theirs):
    expected = [theirs["classScores"][name] for name in CITYSCAPES.names]
    np.testing.assert_allclose(confusion.iou(), expected, rtol=0, atol=1e-9, equal_nan=True)
    np.testing.assert_allclose(confusion.miou(), theirs["averageScoreClasses"], rtol=0, atol=1e-9, equal_nan=True)


def test_equals_cityscapesscripts_on_200_random_pairs(monkeypatch):
    rng = np.random.default_rng(7)
    pairs = [random_pair(rng) for _ in range(200)]
    undefined = 0
    together = ConfusionMatrix(19)
    for truth, prediction in pairs:
        confusion = ConfusionMatrix(19)
        confusion.update(CITYSCAPES_TO_CLASS[truth], CITYSCAPES_TO_CLASS[prediction])
        by_pairs = ConfusionMatrix(19)
        by_pairs.add_pairs(count_pairs(truth, prediction), CITYSCAPES_TO_CLASS)
        np.testing.assert_array_equal(by_pairs.matrix, confusion.matrix)
        assert_same_scores(confusion, cityscapes_scores([(truth, prediction)], monkeypatch))
        undefined += np.isnan(confusion.iou()).sum()
        together.merge(confusion)
    assert undefined > 200  # the pairs do hold missing classes
    assert together.matrix[:, -1].sum() > 0  # and predictions in ignored classes
    assert_same_scores(together, cityscapes_scores(pairs, monkeypatch))
