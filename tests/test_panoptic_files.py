"""Panoptic maps in files: COCO's format, Cityscapes' own, and what is said of wrong ones."""

import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.cityscapes import CITYSCAPES, from_instance_ids
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, distinct
from deeplab_tf.core.panoptic.coco import PanopticWriter, from_colors, to_colors
from deeplab_tf.core.panoptic.folders import open_panoptic_folder
from deeplab_tf.core.panoptic.grouping import components
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.split import require_instances

TABLE = LabelTable([Label(0, "road", (9, 9, 9), False), Label(1, "car", (0, 0, 142), True)])
ROAD, CROWD, CAR_1, CAR_2 = 0, DIVISOR, DIVISOR + 1, DIVISOR + 2


def call(*arguments):
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_colors_hold_24_bits():
    ids = np.array([[0, 1, 256, 65536, 2**24 - 1]])
    assert to_colors(ids).tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [255, 255, 255]]]
    np.testing.assert_array_equal(from_colors(to_colors(ids)), ids)


def test_what_is_written_is_read(tmp_path):
    panoptic = np.array([[ROAD, CAR_1, CROWD, CAR_2, VOID]], np.int32)
    writer = PanopticWriter(str(tmp_path), TABLE, "centers")
    writer.add("city/a", panoptic)
    writer.add("b", panoptic[:, ::-1].copy())
    assert not (tmp_path / "panoptic.json").exists(), "the JSON file comes when all is written"
    writer.close()
    folder = open_panoptic_folder(str(tmp_path))
    assert folder.names == ["a", "b"] and folder.table == TABLE and folder.method == "centers"
    np.testing.assert_array_equal(folder.panoptic_map("a"), panoptic)
    np.testing.assert_array_equal(folder.panoptic_map("b"), panoptic[:, ::-1])


def test_cityscapes_ids_become_classes_and_instances():
    # road, a group of cars, two single cars, a caravan, unlabeled
    ids = np.array([[7, 26, 26000, 26001, 29000, 0]], np.int32)
    assert from_instance_ids(ids, "x").tolist() == [[0, 13000, 13001, 13002, VOID, VOID]]
    with pytest.raises(DeepLabError, match="Instance file x.png holds the label id 34"):
        from_instance_ids(np.array([[34000]]), "x.png")
    with pytest.raises(DeepLabError, match="Instance file x.png holds 26999: instances of a class are 0 to 998"):
        from_instance_ids(np.array([[26998, 26999]]), "x.png")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Drawn scenes; as predictions of them the connected components of their true labels, a few pixels off."""
    folder = tmp_path_factory.mktemp("scenes")
    assert call("sample", folder, "--scenes", 10, "--size", "96x192", "--jobs", 1).exit_code == 0
    split = open_split({"name": "cityscapes", "root": str(folder)}, "val")
    writer = PanopticWriter(str(folder / "predictions"), CITYSCAPES, "components")
    for index, name in enumerate(split.names):
        label_map = np.roll(split.label_map(index), 2, axis=1)
        writer.add(name, components(label_map, CITYSCAPES, smallest=0))
    writer.close()
    return folder


def run_tool(name, *arguments):
    """One of cityscapesScripts' own programs."""
    subprocess.run(
        [Path(sys.executable).parent / name, *map(str, arguments)], check=True, capture_output=True, timeout=120
    )


def test_cityscapesscripts_own_programs_agree(scenes, tmp_path):
    """Truth made by csCreatePanopticImgs from drawn scenes, predictions by us, scored by
    csEvalPanopticSemanticLabeling."""
    truth = tmp_path / "truth"
    truth.mkdir()
    run_tool(
        "csCreatePanopticImgs", "--dataset-folder", scenes / "gtFine", "--output-folder", truth, "--set-names", "val"
    )
    files = ("--gt-json-file", truth / "cityscapes_panoptic_val.json", "--gt-folder", truth / "cityscapes_panoptic_val")
    files += (
        "--prediction-json-file",
        scenes / "predictions" / "panoptic.json",
        "--prediction-folder",
        scenes / "predictions",
    )
    run_tool("csEvalPanopticSemanticLabeling", *files, "--results_file", tmp_path / "theirs.json")
    theirs = json.loads((tmp_path / "theirs.json").read_text())
    ours = {}
    for name, folder in (("coco", truth / "cityscapes_panoptic_val"), ("cityscapes", scenes / "gtFine" / "val")):
        result = call(
            "score", "--panoptic", "--pred", scenes / "predictions", "--truth", folder, "--json", tmp_path / "ours.json"
        )
        assert result.exit_code == 0, result.output
        ours[name] = json.loads((tmp_path / "ours.json").read_text())
    assert (
        ours["coco"] == ours["cityscapes"] and ours["coco"]["images"] == 2 and ours["coco"]["pq_method"] == "components"
    )
    for key in ("pq", "sq", "rq"):
        for suffix, name in (("", "All"), ("_things", "Things"), ("_stuff", "Stuff")):
            assert abs(ours["coco"][key + suffix] - theirs[name][key]) <= 1e-9
    assert 0.3 < ours["coco"]["pq"] < 0.999 and ours["coco"]["pq_things"] < ours["coco"]["pq_stuff"]


def write_coco(folder, ids=((100, 201, 202, 0),), **changes):
    """One image in COCO's format, with something changed in its annotation."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), to_colors(np.array(ids))[..., ::-1])
    segments = [{"id": i, "category_id": i // 100, "iscrowd": 0} for i in (100, 201, 202)]
    row = {"image_id": "a", "file_name": "a.png", "segments_info": segments, **changes.get("row", {})}
    categories = [{"id": 1, "name": "road", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}]
    whole = {"annotations": [row], "categories": categories, **changes.get("whole", {})}
    (folder / "panoptic.json").write_text(json.dumps(whole))
    return folder


def segments(*rows):
    return {"segments_info": [{"id": i, "category_id": category, "iscrowd": crowd} for i, category, crowd in rows]}


GOOD = ((100, 1, 0), (201, 2, 0), (202, 2, 0))
CAR = {"id": 2, "name": "car", "isthing": 1}
AREA = segments(*GOOD)
AREA["segments_info"][0]["area"] = 7

WRONG = {
    "in the PNG only": (
        {"row": segments(*GOOD[:2])},
        "a.png holds segment 202, which .*panoptic.json does not list for the image a",
    ),
    "in the JSON only": (
        {"row": segments(*GOOD, (203, 2, 0))},
        "lists segment 203 for the image a, of which .*a.png has no pixel",
    ),
    "twice": ({"row": segments(*GOOD, (201, 2, 0))}, "lists segment 201 twice for the image a"),
    "unknown category": (
        {"row": segments(*GOOD[:2], (202, 7, 0))},
        "segment 202 of the image a has the category 7, .*; there are 1, 2",
    ),
    "crowd of stuff": (
        {"row": segments((100, 1, 1), *GOOD[1:])},
        "segment 100 of the image a is a crowd of 'road', which is stuff",
    ),
    "no PNG file": ({"row": {"file_name": "gone.png"}}, "no file .*gone.png"),
    "no annotations": ({"whole": {"annotations": None}}, "not in COCO's panoptic format: expected `annotations`"),
    "no categories": ({"whole": {"categories": None}}, "names no categories"),
    "an empty list of them": ({"whole": {"categories": []}}, "categories must have 1 or more values; got 0"),
    "segments without ids": ({"row": {"segments_info": [{}]}}, r"annotations\[0\].segments_info\[0\].id is missing"),
    "no list of segments": ({"row": {"segments_info": None}}, "segments_info must be a list"),
    "a word for an id": (
        {"row": segments(("x", 1, 0))},
        r"segments_info\[0\].id must be an integer from 1 to 16777215; got \"x\"",
    ),
    "no name of a PNG file": ({"row": {"file_name": None}}, r"annotations\[0\].file_name must be text"),
    "a file elsewhere": ({"row": {"file_name": "../a.png"}}, r"annotations\[0\].file_name must lie below the folder"),
    "a file at the root": ({"row": {"file_name": "/etc/a.png"}}, r"file_name must lie below the folder"),
    "a device": ({"row": {"file_name": "/dev/zero"}}, r"file_name must lie below the folder"),
    "a NUL": ({"row": {"file_name": "a\0.png"}}, "holds a NUL"),
    "half a character": ({"row": {"file_name": "a\ud800.png"}}, "half a surrogate pair"),
    "a name that is none": ({"row": {"image_id": ["a"]}}, r"annotations\[0\].image_id must be an integer"),
    "an id without a color": ({"row": segments((1 << 24, 1, 0))}, "integer from 1 to 16777215; got 16777216"),
    "an id beyond all": ({"row": segments((10**40, 1, 0))}, "got an integer of 133 bits"),
    "a crowd of two": ({"row": segments((100, 1, 2), *GOOD[1:])}, r"\[0\].iscrowd must be an integer from 0 to 1"),
    "a thing that is none": ({"whole": {"categories": [{**CAR, "isthing": "no"}]}}, r"categories\[0\].isthing must be"),
    "a color that is none": ({"whole": {"categories": [{**CAR, "color": [1, 2]}]}}, "color must have 3 values; got 2"),
    "categories that are none": ({"whole": {"categories": 5}}, "categories must be a list"),
    "a category twice": ({"whole": {"categories": [CAR, CAR]}}, "has two categories with the id 2"),
    "no isthing": ({"whole": {"categories": [{"id": 1, "name": "road"}]}}, r"categories\[0\].isthing is missing"),
    "another area": ({"row": AREA}, "says that segment 100 of the image a has 7 pixels, and .*a.png has 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_truth_gets_a_sentence(tmp_path, case):
    changes, message = WRONG[case]
    write_coco(tmp_path / "pred")
    result = call(
        "score", "--panoptic", "--pred", tmp_path / "pred", "--truth", write_coco(tmp_path / "truth", **changes)
    )
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert re.search(message, result.stderr), result.stderr


def test_two_annotations_of_an_image_get_a_sentence(tmp_path):
    folder = write_coco(tmp_path / "truth")
    whole = json.loads((folder / "panoptic.json").read_text())
    whole["annotations"] *= 2
    (folder / "panoptic.json").write_text(json.dumps(whole))
    with pytest.raises(DeepLabError, match="has two annotations for the image a"):
        open_panoptic_folder(str(folder))


def test_two_images_of_one_file_get_a_sentence(tmp_path):
    folder = write_coco(tmp_path / "truth")
    whole = json.loads((folder / "panoptic.json").read_text())
    whole["annotations"].append({**whole["annotations"][0], "image_id": "b"})
    (folder / "panoptic.json").write_text(json.dumps(whole))
    with pytest.raises(DeepLabError, match="the images a and b have one file_name, a.png"):
        open_panoptic_folder(str(folder))


def test_ids_of_24_bits_take_no_more_memory_than_small_ones(tmp_path):
    """Of 1000 x 1000 pixels with the two ids 1 and 2**24 - 1. A table of all ids would have 128 MB."""
    ids = np.ones((1000, 1000), int)
    ids[:, 500:] = (1 << 24) - 1
    folder = write_coco(tmp_path / "truth", ids, row=segments((1, 1, 0), ((1 << 24) - 1, 2, 0)))
    opened = open_panoptic_folder(str(folder))
    opened.panoptic_map("a")
    tracemalloc.start()
    try:
        made = opened.panoptic_map("a")
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()
    assert made[0, 0] == 0 and made[0, 999] == 1001 and (made == 1001).sum() == 500000


def test_distinct_numbers(rng):
    for numbers in (rng.integers(0, 5, 1000), rng.integers(0, 1 << 24, 50), np.zeros(0, int), np.repeat([7, 3, 7], 4)):
        values, counts, inverse = distinct(numbers.astype(np.int32))
        expected = np.unique(numbers, return_counts=True)
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(counts, expected[1])
        np.testing.assert_array_equal(values[inverse], numbers)


def test_a_name_of_two_lines_is_written_and_read_and_an_error_has_one_line(tmp_path):
    folder = write_coco(tmp_path / "truth", row={"image_id": "a\nb", "file_name": "a\nb.png"})
    (folder / "a.png").rename(folder / "a\nb.png")
    result = call("score", "--panoptic", "--pred", folder, "--truth", folder)
    assert result.exit_code == 0 and "1.0000" in result.output
    (folder / "a\nb.png").write_bytes(b"")
    result = call("score", "--panoptic", "--pred", folder, "--truth", folder)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ") and r"a\nb.png is empty" in result.stderr


def other_size(tmp_path):
    return write_coco(tmp_path / "pred", ids=((100, 201), (202, 0))), "The prediction of a is 2x2, its truth 1x4"


def other_image(tmp_path):
    return write_coco(
        tmp_path / "pred", row={"image_id": "b"}
    ), "1 of 1 images have no prediction in .*pred; the first is a"


def empty(tmp_path):
    (tmp_path / "pred").mkdir()
    return tmp_path / "pred", "holds no panoptic maps: neither a JSON file in COCO's format nor"


def no_json(tmp_path):
    folder = write_coco(tmp_path / "pred")
    (folder / "panoptic.json").write_text("{")
    return folder, "Cannot read .*panoptic.json"


def other_categories(tmp_path):
    folder = write_coco(tmp_path / "pred", whole={"categories": [{"id": 1, "name": "sky", "isthing": 0}, CAR]})
    return folder, "the category 1 is 'sky', and the truth has 'road' there"


def cityscapes_files(tmp_path):
    write_cityscapes(tmp_path, [[7, 26000, 26001]])
    return tmp_path / "gtFine", "has Cityscapes' classes, its truth has others: road, car"


@pytest.mark.parametrize("prepare", [other_size, other_image, empty, no_json, other_categories, cityscapes_files])
def test_a_wrong_prediction_gets_a_sentence(tmp_path, prepare):
    folder, message = prepare(tmp_path)
    result = call("score", "--panoptic", "--pred", folder, "--truth", write_coco(tmp_path / "truth"))
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert re.search(message, result.stderr), result.stderr


def test_options_of_label_files_do_not_go_with_panoptic(tmp_path):
    folder = write_coco(tmp_path / "truth")
    assert call("score", "--panoptic", "--format", "ids", "--pred", folder, "--truth", folder).exit_code == 2


LABEL, INSTANCE = (
    "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png",
    "gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png",
)


def write_cityscapes(root, instance_ids):
    for name, pixels in (
        ("leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png", np.zeros((1, 3, 3), np.uint8)),
        (LABEL, np.array([[7, 26, 26]], np.uint8)),
        (INSTANCE, np.array(instance_ids, np.uint16)),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), pixels)
    return {"name": "cityscapes", "root": str(root)}


def test_instances_that_do_not_match_their_labels_get_a_sentence(tmp_path):
    data = write_cityscapes(tmp_path, [[7, 26000, 24001]])
    with pytest.raises(
        DeepLabError,
        match="instanceIds.png does not match its label file in 1 pixels; at row 0, column 2 it has class 11",
    ):
        open_split(data, "val").panoptic_map(0)
    data = write_cityscapes(tmp_path, [[7, 26000]])
    with pytest.raises(DeepLabError, match="must have the same size, height x width: 1x2 against 1x3"):
        open_split(data, "val").panoptic_map(0)


def test_an_instance_map_without_label_map_gets_a_sentence(tmp_path):
    data = write_cityscapes(tmp_path, [[7, 26000, 26001]])
    (tmp_path / INSTANCE).rename(tmp_path / INSTANCE.replace("ulm_000000", "ulm_000007"))
    with pytest.raises(DeepLabError, match="An instance map needs its label map, and these have none: .*ulm_000007"):
        open_split(data, "val")


def test_some_frames_without_instances_get_a_sentence(tmp_path):
    data = write_cityscapes(tmp_path, [[7, 26000, 26001]])
    for path in list(tmp_path.rglob("*.png")):
        if "instanceIds" not in path.name:
            path.with_name(path.name.replace("ulm_000000", "ulm_000001")).write_bytes(path.read_bytes())
    with pytest.raises(DeepLabError, match="1 of 2 .* of val .* first .* .*ulm_000001_000019_gtFine"):
        require_instances(open_split(data, "val"), "val")


def described(root, numbers):
    """A dataset that a recipe describes, whose instance files hold any numbers."""
    for name, pixels in (
        ("images", np.zeros((1, 5, 3), np.uint8)),
        ("labels", np.array([[0, 1, 1, 1, 255]], np.uint8)),
        ("instances", numbers),
    ):
        (root / name / "val").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name / "val" / "a.png"), pixels)
    classes = [{"name": "road", "color": [9, 9, 9]}, {"name": "car", "color": [0, 0, 142], "thing": True}]
    return {"name": "folder", "root": str(root), "classes": classes, "instances": "instances/{split}"}


def test_a_described_data_set_has_instances_of_any_numbers(tmp_path):
    data = described(tmp_path, np.array([[0, 900, 0, 17, 5]], np.uint16))
    # numbers are counted anew in their order, 0 is a crowd, ignored pixels are VOID
    assert open_split(data, "val").panoptic_map(0).tolist() == [[ROAD, CAR_2, CROWD, CAR_1, VOID]]


def test_a_number_on_stuff_gets_a_sentence(tmp_path):
    data = described(tmp_path, np.array([[3, 0, 0, 0, 0]], np.uint16))
    with pytest.raises(DeepLabError, match=" 3 at row 0, column 0, .* class 0"):
        open_split(data, "val").panoptic_map(0)
