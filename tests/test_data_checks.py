"""No plausible wrong number: what is wrong with a dataset is refused, or said and kept, before it is in a score."""

import json
import os

import numpy as np
import pytest
import tiny
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.deploy.compare import scores
from deeplab_tf.lab.data import check, open_split
from deeplab_tf.lab.data.check import check_splits, count_labels

SIZE = (16, 16)
COLORS = [[i, i, i] for i in range(8)]


def label(*shares):
    """A label map of 16 rows: (id, rows) pairs, from top to bottom."""
    return np.concatenate([np.full((rows, SIZE[1]), value, np.uint8) for value, rows in shares])


def write(root, split, labels, image=None):
    for number, label_map in enumerate(labels):
        pixels = np.zeros((*label_map.shape[:2], 3), np.uint8) if image is None else image
        write_image(root / "images" / split / f"{number}.png", pixels)
        write_image(root / "labels" / split / f"{number}.png", label_map)


def folder(root, names="abc", **options):
    rows = [{"name": name, "color": color} for name, color in zip(names, COLORS)]
    return {"name": "folder", "root": str(root), "size": [32, 32], "classes": rows, **options}


def checked(data, **arguments):
    return check_splits({name: open_split(data, name) for name in ("train", "val")}, data, **arguments)


# What the labels hold ------------------------------------------------------------------------------------------------


def test_counts_by_class_and_by_ignored_id(tmp_path):
    write(tmp_path, "train", [label((0, 4), (2, 12)), label((255, 6), (7, 10))])
    counts = count_labels(open_split(folder(tmp_path, ignore_ids=[255, 7, 9]), "train"), "train")
    assert counts.images == 2 and counts.pixels == {"a": 4 * 16, "b": 0, "c": 12 * 16}
    assert counts.images_with == {"a": 1, "b": 0, "c": 1}
    assert counts.ignored == {"7": 10 * 16, "255": 6 * 16} and counts.unlabeled == ["1"]


def test_counts_by_ignored_color(tmp_path):
    colors = np.array([[0, 0, 0], [9, 9, 9], [30, 20, 10]], np.uint8)
    write(tmp_path, "train", [colors[label((0, 4), (1, 7), (2, 5))]])
    data = folder(tmp_path, "ab", label_format="colors", ignore_colors=[[9, 9, 9], [30, 20, 10], [5, 5, 5]])
    counts = count_labels(open_split(data, "train"), "train")
    assert counts.pixels == {"a": 4 * 16, "b": 0} and counts.ignored == {"[9, 9, 9]": 7 * 16, "[30, 20, 10]": 5 * 16}


FATAL = [  # classes, training labels, validation labels, options, what is said
    ("ab", (0, 255), (0, 1), {}, ["Every labeled pixel of the training split is 'a'", "no pixel is 'b'",
        "255 in 50.0% of the pixels", "If 255 is 'b', give that class id: 255, and set ignore_ids: []. ",
        "These look like 0/255 masks: label_format: binary."]),
    ("abc", (1, 7), (0, 1), {"ignore_ids": [7, 255]}, ["is 'b'", "no pixel is 'a', 'c'", "If 7 is 'a'",
        "ignore_ids: [255]."]),
    ("a", (0, 255), (0, 0), {}, ["is 'a'", "give the background a class", "Ignored: 255 in 50.0%"]),
    ("ab", (1, 1), (0, 1), {}, ["is 'b'", "no pixel is 'a'"]),
    ("ab", (255, 255), (0, 1), {}, ["No pixel of the training split has a class", "Ignored: 255 in 100.0%"]),
    ("ab", (0, 1), (255, 255), {}, ["No pixel of the validation split has a class", "Ignored: 255 in 100.0%"]),
]  # fmt: skip


@pytest.mark.parametrize("names, train, val, options, facts", FATAL, ids=[each[4][0] for each in FATAL])
def test_data_that_teaches_nothing_is_refused(names, train, val, options, facts, tmp_path):
    write(tmp_path, "train", [label((train[0], 8), (train[1], 8))])
    write(tmp_path, "val", [label((val[0], 8), (val[1], 8))])
    with pytest.raises(DeepLabError) as caught:
        checked(folder(tmp_path, names, **options))
    assert all(fact in str(caught.value) for fact in facts), caught.value


def test_ignored_colors_are_named(tmp_path):
    colors = np.array([[0, 0, 0], [250, 250, 250]], np.uint8)
    for split in ("train", "val"):
        write(tmp_path, split, [colors[label((0, 12), (1, 4))]])
    data = folder(tmp_path, "ab", label_format="colors", ignore_colors=[[250, 250, 250]])
    with pytest.raises(DeepLabError, match=r"'b'. Ignored: \[250, 250, 250\] in 25.0%.*color of that class"):
        checked(data)


def test_absent_classes_are_said(tmp_path):
    write(tmp_path, "train", [label((0, 4), (2, 12))])
    write(tmp_path, "val", [label((0, 4), (1, 4), (255, 8))])
    train, val = checked(folder(tmp_path)).warnings
    assert train == "No pixel of the training split is 'b', which cannot be learned."
    assert val.startswith("No pixel of the validation split is 'c': such an IoU is undefined and left out of mIoU")
    assert "Ignored: 255 in 50.0% of the pixels. If 255 is 'c', give that class id: 255" in val


def test_whole_data_has_no_warnings(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, [label((0, 4), (1, 4)), label((2, 1), (255, 15))])
    assert checked(folder(tmp_path)).warnings == []


def test_the_scored_part_of_the_validation_split_must_have_labels(tmp_path):
    from deeplab_tf.lab.data.split import Subset

    write(tmp_path, "train", [label((0, 8), (1, 8))])
    write(tmp_path, "val", [label((255, 16)), label((0, 8), (1, 8)), label((255, 16))])
    data = folder(tmp_path, "ab")
    train, val = open_split(data, "train"), open_split(data, "val")
    assert check_splits({"train": train, "val": Subset(val, 3)}).warnings == []
    with pytest.raises(DeepLabError, match="No pixel of the validation split has a class"):
        check_splits({"train": train, "val": Subset(val, 2)})  # the first and the last


def test_bad_files_are_counted_and_the_first_is_named(tmp_path):
    write(tmp_path, "train", [label((0, 8), (1, 8))] * 5)
    for number in (1, 3):
        write_image(tmp_path / "images" / "train" / f"{number}.png", np.zeros((16, 17, 3), np.uint8))
    write_image(tmp_path / "labels" / "train" / "4.png", label((6, 16)))
    split = open_split(folder(tmp_path), "train")
    with pytest.raises(DeepLabError, match=r"train/1.png .*16x17 against 16x16.* It is the first of 3 bad ones in 5 "):
        count_labels(split, "train")


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


BROKEN = [
    ("images", cut, "truncated"),
    ("images", lambda path: path.write_bytes(b""), "empty"),
    ("images", lambda path: path.write_bytes(b"GIF89a"), "not a PNG or JPEG"),
    ("images", lambda path: write_image(path, np.zeros((8, 16, 3), np.uint8)), "8x16 against 16x16"),
    ("labels", cut, "truncated"),
    ("labels", lambda path: write_image(path, label((3, 16))), "ids outside the class table: 3"),
    ("instances", lambda path: write_image(path, label((1, 8))), "8x16 against 16x16"),
]


@pytest.mark.parametrize("kind, break_it, message", BROKEN, ids=[f"{kind} {text}" for kind, _, text in BROKEN])
def test_what_the_header_shows_is_found_without_decoding(kind, break_it, message, tmp_path, monkeypatch):
    write(tmp_path, "val", [label((0, 8), (1, 8))])
    write_image(tmp_path / "instances" / "val" / "0.png", label((0, 16)))
    break_it(tmp_path / kind / "val" / "0.png")
    with pytest.raises(DeepLabError, match=f"{kind}/val/0.png.*{message}"):
        count_labels(open_split(folder(tmp_path, instances="instances/{split}"), "val"), "val")


def test_whole_images_are_not_decoded(tmp_path, monkeypatch):
    from deeplab_tf.core import image_files

    write(tmp_path, "val", [label((0, 8), (1, 8))])
    monkeypatch.setattr(image_files, "read_image", None)
    assert count_labels(open_split(folder(tmp_path), "val"), "val").pixels == {"a": 128, "b": 128, "c": 0}


def test_labels_are_counted_again_only_where_a_file_has_changed(tmp_path, monkeypatch):
    for split in ("train", "val"):
        write(tmp_path, split, [label((0, 4), (1, 12))])
    first = checked(folder(tmp_path, "ab"))
    kept = json.loads(json.dumps(first.to_json()))
    with monkeypatch.context() as patch:
        patch.setattr(check, "count_labels", None)
        assert checked(folder(tmp_path, "ab"), known=kept) == first
    write(tmp_path, "val", [label((0, 5), (1, 11))])
    assert checked(folder(tmp_path, "ab"), known=kept).counts["val"].pixels == {"a": 80, "b": 176}


# Links ---------------------------------------------------------------------------------------------------------------


def test_a_folder_counts_once_whatever_links_to_it(tmp_path):
    for kind in ("images", "labels"):
        write_image(
            tmp_path / kind / "train" / "day" / "0.png", np.zeros((16, 16, 3) if kind == "images" else SIZE, np.uint8)
        )
        os.symlink("day", tmp_path / kind / "train" / "copy")
        os.symlink("..", tmp_path / kind / "train" / "day" / "loop")
    assert open_split(folder(tmp_path), "train").names == ["day/0"]


def test_a_link_to_a_folder_elsewhere_is_followed(tmp_path):
    write(tmp_path / "real", "train", [label((0, 16))])
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
        os.symlink(tmp_path / "real" / kind / "train", tmp_path / kind / "train" / "linked")
    assert open_split(folder(tmp_path), "train").names == ["linked/0"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_image_under_two_names_is_refused(link, tmp_path):
    write(tmp_path, "train", [label((0, 8), (1, 8))])
    for kind in ("images", "labels"):
        link(tmp_path / kind / "train" / "0.png", tmp_path / kind / "train" / "again.png")
    with pytest.raises(DeepLabError, match="images/train/0.png and .*images/train/again.png are one file"):
        open_split(folder(tmp_path), "train")


def test_training_images_in_the_validation_split_are_said(tmp_path):
    write(tmp_path, "train", [label((0, 8), (1, 8))] * 3)
    write(tmp_path, "val", [label((0, 8), (1, 8))] * 2)
    os.remove(tmp_path / "images" / "val" / "1.png")
    os.symlink(tmp_path / "images" / "train" / "2.png", tmp_path / "images" / "val" / "1.png")
    (warning,) = checked(folder(tmp_path, "ab")).warnings
    assert warning.startswith("1 of 2 validation images are files of the training split too, the first is ")
    assert "images/val/1.png" in warning


def test_score_reads_a_linked_folder_once(tmp_path):
    for side in ("truth", "pred"):
        write_image(tmp_path / side / "a" / "0.png", label((0, 8), (1, 8)))
        os.symlink("a", tmp_path / side / "b")
    assert score(tmp_path)[0]["images"] == 1


# Scores --------------------------------------------------------------------------------------------------------------


def score(root, *options, code=0):
    command = ["score", "--format", "ids", "--truth", str(root / "truth"), "--pred", str(root / "pred"), "--json", "-"]
    result = CliRunner().invoke(group, [*command, *options])
    assert result.exit_code == code, result.output
    return (json.loads(result.stdout) if code == 0 else None), result.stderr


def write_score(root, truth, pred):
    write_image(root / "truth" / "a.png", truth)
    write_image(root / "pred" / "a.png", pred)


@pytest.mark.parametrize("values", [(0, 255), (3, 255)])
@pytest.mark.parametrize("options", [(), ("--classes", "back,object,x,y")])
def test_binary_masks_are_refused(values, options, tmp_path):
    write_score(tmp_path, label((values[0], 12), (values[1], 4)), label((values[0], 16)))
    _, said = score(tmp_path, *options, code=1)
    assert f"holds only {values[0]} and 255, and 255 is ignored" in said and "--ignore-label 255" in said


def test_binary_masks_of_0_and_1_score_right(tmp_path):
    write_score(tmp_path, label((0, 12), (1, 4)), label((0, 16)))
    report, said = score(tmp_path, "--classes", "back,object")
    assert report["iou"] == {"back": 12 / 16, "object": 0.0} and report["miou"] == 0.375 and report["warnings"] == []


def test_255_that_is_meant_is_ignored_and_said(tmp_path):
    write_score(tmp_path, label((0, 12), (255, 4)), label((0, 16)))
    report, said = score(tmp_path, "--classes", "2", "--ignore-label", "255")
    assert report["iou"] == {"0": 1.0, "1": None} and report["miou"] == 1.0
    absent, ignored = report["warnings"]
    assert (
        absent.startswith("No pixel of the truth is '1'")
        and ignored == "Ignored in the truth: 255 in 25.0% of the pixels."
    )
    assert said.count("Warning: ") == 2


def test_a_class_that_is_written_as_255_is_pointed_to(tmp_path):
    write_score(tmp_path, label((0, 8), (1, 4), (255, 4)), label((0, 8), (1, 8)))
    report, _ = score(tmp_path, "--classes", "3")
    assert report["iou"] == {"0": 1.0, "1": 1.0, "2": None}
    assert "No pixel of the truth is '2'" in report["warnings"][0] and "255 in 25.0%" in report["warnings"][1]


def test_predictions_of_255_are_said(tmp_path):
    write_score(tmp_path, label((0, 12), (1, 4)), label((0, 12), (255, 4)))
    report, _ = score(tmp_path, "--classes", "2")
    assert report["iou"] == {"0": 1.0, "1": 0.0}
    assert report["warnings"] == ["25.0% of the scored pixels are predicted as 255, no class: all are wrong."]


def test_truth_without_any_class_has_no_score(tmp_path):
    write_score(tmp_path, label((255, 16)), label((0, 16)))
    report, _ = score(tmp_path, "--classes", "2")
    assert report["miou"] is None and report["iou"] == {"0": None, "1": None} and report["pixel_accuracy"] is None
    assert report["warnings"][0] == "No pixel of the truth has a class: no score is defined."


def test_compare_and_convert_say_which_classes_have_no_labels():
    table = LabelTable(Label(i, name, (0, 0, 0), False) for i, name in enumerate("ab"))
    ignored = np.full(SIZE, 255, np.uint8)
    assert scores.about_truth([ignored, None], table) == ["No pixel of the labels has a class: no score is defined."]
    (absent,) = scores.about_truth([label((1, 16)), None], table)
    assert absent.startswith("No pixel of the labels is 'a'")
    assert scores.about_truth([None], table) == scores.about_truth([label((0, 8), (1, 8))], table) == []


# A run ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    tiny.use_backbone(monkeypatch)
    steps = {"steps": 2, "validate_every": 2, "checkpoint_every": 2, "save_steps": []}
    data = tiny.write_data(tmp_path / "data")
    return tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(data, small=True, training=steps))


def relabel(root, change):
    for path in sorted(root.rglob("*.png")):
        write_image(path, change(read(path)))


def read(path):
    from deeplab_tf.core.image_files import read_ids

    return read_ids(path)


def train(recipe, run, *options):
    return CliRunner().invoke(group, ["train", str(recipe), "--run", str(run), *options])


@pytest.mark.parametrize(
    "split, change, message",
    [
        ("train", lambda ids: np.where(ids == 0, 0, 255), "leaves nothing to learn; no pixel is 'tree', 'sky'"),
        ("train", lambda ids: np.full_like(ids, 255), "No pixel of the training split has a class"),
        ("val", lambda ids: np.full_like(ids, 255), "No pixel of the validation split has a class"),
    ],
)
def test_a_training_that_would_show_nothing_does_not_begin(split, change, message, recipe, tmp_path):
    relabel(tmp_path / "data" / "labels" / split, lambda ids: change(ids).astype(np.uint8))
    result = train(recipe, tmp_path / "run")
    assert result.exit_code == 1 and message in result.stderr and "Tracing" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_bad_validation_file_is_found_before_the_first_step(recipe, tmp_path):
    cut(tmp_path / "data" / "images" / "val" / "frame_1.png")
    result = train(recipe, tmp_path / "run")
    assert result.exit_code == 1 and "val/frame_1.png is truncated" in result.stderr
    assert "Tracing" not in result.stderr and not (tmp_path / "run").exists()


def test_what_was_found_is_kept_and_reported(recipe, tmp_path):
    relabel(tmp_path / "data" / "labels", lambda ids: np.where(ids == 2, 255, ids).astype(np.uint8))
    run = tmp_path / "run"
    result = train(recipe, run, "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["warnings"]
    assert [sentence.split("'sky'")[0] for sentence in found] == [
        "No pixel of the training split is ",
        "No pixel of the validation split is ",
    ]
    assert all(f"Warning: {sentence}" in result.stderr for sentence in found)
    kept = json.loads((run / "data_check.json").read_text())
    assert kept["warnings"] == found
    labels = [read(path) for path in (tmp_path / "data" / "labels" / "train").iterdir()]
    assert kept["counts"]["train"]["pixels"] == {
        name: sum(int((ids == i).sum()) for ids in labels) for i, name in enumerate(("road", "tree", "sky"))
    }
    for command in (["report", str(run)], ["evaluate", str(run)]):
        out = tmp_path / f"{command[0]}.json"
        result = CliRunner().invoke(group, [*command, "--json", str(out)])
        assert result.exit_code == 0, result.output
        warnings = json.loads(out.read_text())["warnings"]
        assert set(found) < set(warnings) and "Warning: No pixel of the training split is 'sky'" in result.output
    pages = [(run / "report" / name).read_text() for name in ("checkpoints.md", "report.md")]
    assert all(found[0] in page for page in pages)


def test_without_a_score_no_network_is_the_best_and_no_number_is_printed(tmp_path):
    """Files may change while a network is trained."""
    from deeplab_tf.lab.config import Training
    from deeplab_tf.lab.training.callbacks import Validation

    class Export:
        def __init__(self):
            self.saved = {"last.keras": 0, "best.keras": 0}

        def save(self, name):
            self.saved[name] += 1

        def runtime(self):
            return None

    reports = [None, None, 0.3, None, 0.2, 0.4]
    export = Export()
    options = Training(steps=6, batch_size=1, validate_every=1)
    validation = Validation(export, lambda runtime, step: {"miou": reports[step - 1]}, options, "miou", [])
    best = []
    for step in range(1, 7):
        validation.finish(step)
        best.append((validation.best, export.saved["best.keras"]))
    assert best == [(-1.0, 0), (-1.0, 0), (0.3, 1), (0.3, 1), (0.3, 1), (0.4, 2)] and export.saved["last.keras"] == 6
