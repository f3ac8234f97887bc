"""PQ against cityscapesScripts' evaluation: on random pairs of files, and worked out by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as theirs
from PIL import Image

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.metrics.panoptic import PanopticQuality, pq_table
from deeplab_tf.core.panoptic import DIVISOR, VOID

TABLE = LabelTable(
    [Label(0, "road", (0, 0, 0), False), Label(1, "sky", (0, 0, 1), False), Label(2, "car", (0, 0, 2), True)]
)
ROAD, SKY, CARS, CAR_1, CAR_2 = 0, DIVISOR, 2 * DIVISOR, 2 * DIVISOR + 1, 2 * DIVISOR + 2


def score(truth, prediction, table=TABLE):
    quality = PanopticQuality(table)
    quality.update(np.array([truth], np.int32), np.array([prediction], np.int32))
    return quality


def test_worked_by_hand():
    # car 1: 3 of its 4 pixels found, 1 pixel of the road taken: IoU 3 / 5. Road: 4 true, 3 found, 1 wrongly road: 3 /
    # 5. Sky missed.
    truth = [CAR_1] * 4 + [ROAD] * 4 + [SKY]
    prediction = [CAR_2] * 3 + [ROAD] * 4 + [CAR_2] + [VOID]
    quality = score(truth, prediction)
    np.testing.assert_allclose(quality.pq(), [0.6, 0, 0.6])
    report = quality.report("centers")
    assert (
        report["pq"] == pytest.approx(0.4)
        and report["sq"] == pytest.approx(0.4)
        and report["rq"] == pytest.approx(2 / 3)
    )
    assert report["pq_things"] == pytest.approx(0.6) and report["pq_stuff"] == pytest.approx(0.3)
    assert report["pq_per_class"] == {"road": pytest.approx(0.6), "sky": 0.0, "car": pytest.approx(0.6)}
    assert report["pq_method"] == "centers"


def test_half_is_not_enough():
    quality = score([CAR_1] * 4 + [ROAD] * 4, [CAR_1] * 2 + [ROAD] * 6)
    assert quality.matched.tolist() == [1, 0, 0]  # the car's IoU is 2 / 4; the road's 4 / 6
    assert quality.unmatched_truths.tolist() == [0, 0, 1] and quality.unmatched_predictions.tolist() == [0, 0, 1]


def test_void_in_the_truth_leaves_the_union():
    # 3 pixels in common; the prediction's other 3 lie on VOID: IoU 3 / 3
    assert score([CAR_1] * 3 + [VOID] * 3, [CAR_1] * 6).pq()[2] == 1.0


@pytest.mark.parametrize("outside, excused", [(4, False), (5, True)])
def test_a_prediction_mostly_on_void_or_crowd_is_no_mistake(outside, excused):
    """8 pixels, 4 or 5 of them on VOID and on a crowd of cars: one half is not enough."""
    truth = [VOID] * 2 + [CARS] * (outside - 2) + [ROAD] * (8 - outside) + [ROAD] * 8
    quality = score(truth, [CAR_1] * 8 + [ROAD] * 8)
    assert quality.unmatched_predictions[2] == (0 if excused else 1)
    assert quality.unmatched_truths[2] == 0, "a crowd cannot be missed"


def test_a_crowd_of_another_class_excuses_nothing():
    table = LabelTable([*TABLE, Label(3, "bus", (0, 0, 3), True)])
    assert score([3 * DIVISOR] * 4, [CAR_1] * 4, table).unmatched_predictions.tolist() == [0, 0, 1, 0]


def test_a_crowd_is_never_matched():
    assert score([CARS] * 4, [CAR_1] * 4).matched.tolist() == [0, 0, 0]


def test_classes_without_segments_stay_out_of_the_means():
    report = score([ROAD] * 3, [ROAD] * 3).report()
    assert (
        report["pq"] == 1.0
        and report["pq_things"] is None
        and report["pq_per_class"] == {"road": 1.0, "sky": None, "car": None}
    )
    assert "-" in pq_table(report)


def test_counts_add_up():
    one, two = score([CAR_1] * 4, [CAR_1] * 4), score([CAR_1] * 4, [ROAD] * 4)
    one.merge(two)
    # one car found, one missed, one road that is none: PQ 1 / 1.5
    assert one.images == 2 and one.pq()[2] == pytest.approx(1 / 1.5) and one.pq()[0] == 0.0


@pytest.mark.parametrize(
    "truth, prediction, message",
    [
        ([ROAD] * 3, [ROAD] * 4, "Truth is 1x3 and prediction 1x4"),
        ([ROAD], [7 * DIVISOR], "prediction holds class 7, which does not exist; expected classes 0 to 2"),
        ([ROAD], [-1], "at most 255000; got -1"),
    ],
)
def test_bad_maps_get_a_sentence(truth, prediction, message):
    with pytest.raises(DeepLabError, match=message):
        score(truth, prediction)


def random_map(rng, shape, *, crowds):
    """Blocks and single pixels of random segments; some classes missing, VOID here and there."""
    classes = rng.choice(len(CITYSCAPES), rng.integers(2, 12), replace=False)
    numbers = np.where([label.thing for label in CITYSCAPES], 1, 0)
    values = [VOID]
    for class_id in classes:
        if numbers[class_id]:
            values += [class_id * DIVISOR + n for n in range(1, rng.integers(2, 6))] + [class_id * DIVISOR] * crowds
        else:
            values.append(class_id * DIVISOR)
    blocks = rng.choice(values, (shape[0] // 4, shape[1] // 4))
    panoptic = np.kron(blocks, np.ones((4, 4), int)).astype(np.int32)
    for value in values:  # one pixel each
        panoptic[rng.integers(shape[0]), rng.integers(shape[1])] = value
    return panoptic


def change(rng, panoptic):
    """A prediction that has much in common with a truth: shifted a little, some segments with another class or VOID."""
    changed = np.roll(panoptic, rng.integers(0, 2, 2), axis=(0, 1))
    for value in np.unique(changed):
        chance = rng.random()
        if chance < 0.15:
            changed[changed == value] = VOID
        elif chance < 0.3:
            changed[changed == value] = rng.integers(len(CITYSCAPES)) * DIVISOR + 1
    things = np.array([label.thing for label in CITYSCAPES] + [False] * 237)[changed // DIVISOR]
    changed[(changed % DIVISOR == 0) & things] = VOID  # nobody predicts a crowd
    return np.where(things | (changed == VOID), changed, changed // DIVISOR * DIVISOR).astype(np.int32)


def write_coco(folder, name, panoptic):
    """PNG and annotation, with ids and JSON as the format has them, written without deeplab_tf."""
    ids = np.where(panoptic == VOID, 0, (panoptic // DIVISOR + 1) * 5000 + panoptic % DIVISOR)
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(colors).save(folder / f"{name}.png")
    rows = []
    for value in np.unique(panoptic[panoptic != VOID]):
        label = CITYSCAPES.labels[value // DIVISOR]
        crowd = int(label.thing and value % DIVISOR == 0)
        segment_id = int((value // DIVISOR + 1) * 5000 + value % DIVISOR)
        category = int(CITYSCAPES_FROM_CLASS[label.id])
        rows.append(
            {"id": segment_id, "category_id": category, "iscrowd": crowd, "area": int((panoptic == value).sum())}
        )
    return {"image_id": name, "file_name": f"{name}.png", "segments_info": rows}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """200 pairs of panoptic maps in memory, and in COCO's format in two folders."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("pairs")
    truths = [random_map(rng, (32, 48), crowds=True) for _ in range(200)]
    predictions = [change(rng, truth) for truth in truths]
    categories = [
        {"id": int(CITYSCAPES_FROM_CLASS[label.id]), "name": label.name, "isthing": int(label.thing)}
        for label in CITYSCAPES
    ]
    for side, maps in (("truth", truths), ("pred", predictions)):
        (folder / side).mkdir()
        rows = [write_coco(folder / side, f"image_{i:03}", panoptic) for i, panoptic in enumerate(maps)]
        (folder / side / "panoptic.json").write_text(json.dumps({"annotations": rows, "categories": categories}))
    return SimpleNamespace(folder=folder, truths=truths, predictions=predictions)


@pytest.fixture(scope="module")
def expected(pairs):
    """What cityscapesScripts makes of the files."""
    folder = pairs.folder
    whole = json.loads((folder / "truth" / "panoptic.json").read_text())
    predicted = {
        row["image_id"]: row for row in json.loads((folder / "pred" / "panoptic.json").read_text())["annotations"]
    }
    categories = {row["id"]: row for row in whole["categories"]}
    rows = [(row, predicted[row["image_id"]]) for row in whole["annotations"]]
    stat = theirs.pq_compute_single_core(0, rows, str(folder / "truth"), str(folder / "pred"), categories)
    return theirs.average_pq(stat, categories)


def check_equal(report, expected):
    for key in ("pq", "sq", "rq"):
        for suffix, name in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
            assert abs(report[key + suffix] - expected[name][key]) <= 1e-9, (key, name)
        for label in CITYSCAPES:
            wanted = expected["per_class"][int(CITYSCAPES_FROM_CLASS[label.id])][key]
            assert abs(report[f"{key}_per_class"][label.name] - wanted) <= 1e-9, (key, label.name)
    assert 0.1 < report["pq"] < 0.9


def test_equals_cityscapesscripts_on_random_pairs(pairs, expected):
    quality = PanopticQuality(CITYSCAPES)
    for truth, prediction in zip(pairs.truths, pairs.predictions):
        quality.update(truth, prediction)
    check_equal(quality.report(), expected)
    assert quality.unmatched_predictions.min() > 0 and quality.unmatched_truths.min() > 0


def test_equals_cityscapesscripts_on_files(pairs, expected, tmp_path):
    from click.testing import CliRunner

    from deeplab_tf.cli import group

    call = [
        "score",
        "--panoptic",
        "--pred",
        pairs.folder / "pred",
        "--truth",
        pairs.folder / "truth",
        "--json",
        tmp_path / "scores.json",
    ]
    result = CliRunner().invoke(group, [str(part) for part in call])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "scores.json").read_text())
    check_equal(report, expected)
    assert report["images"] == 200 and report["miou"] > 0.1
    assert "things" in result.output
