"""`deeplab-tf prepare`: records hold what the files hold, appear whole or not at all, and are found by a second
call."""

import json
import os
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.evaluation.evaluate import evaluate

SIZE = [48, 64]


@pytest.fixture
def cityscapes(tmp_path):
    """Five train and two val frames of 96 x 130 pixels with instances, in Cityscapes' layout; returns the recipe's
    `data` section."""
    random = np.random.RandomState(0)
    root = tmp_path / "cityscapes"
    for split, count in (("train", 5), ("val", 2)):
        for n in range(count):
            stem = f"aachen_{n:06}_000019"
            ids = random.randint(0, 34, (12, 13)).astype(np.uint8).repeat(8, 0).repeat(10, 1)
            images, truth = root / "leftImg8bit" / split / "aachen", root / "gtFine" / split / "aachen"
            image_files.write_image(
                images / f"{stem}_leftImg8bit.png", random.randint(0, 256, (96, 130, 3)).astype(np.uint8)
            )
            image_files.write_image(truth / f"{stem}_gtFine_labelIds.png", ids)
            image_files.write_image(truth / f"{stem}_gtFine_instanceIds.png", ids.astype(np.uint16) * 1000 + n)
    return {"name": "cityscapes", "root": str(root), "size": SIZE}


def run(tmp_path, data, *arguments):
    """`deeplab-tf prepare`, in this process; returns click's result."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": data}))
    return CliRunner().invoke(group, ["prepare", str(recipe), "--out", str(tmp_path / "out"), *arguments])


def records(tmp_path, split):
    return open_split({"name": "records", "root": str(tmp_path / "out"), "size": SIZE}, split)


def test_records_hold_what_the_files_hold(cityscapes, tmp_path):
    result = run(tmp_path, cityscapes, "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["written"] and report["splits"] == {"train": 5, "val": 2} and report["size"] == SIZE
    for name in ("train", "val"):
        files, written = open_split(cityscapes, name), records(tmp_path, name)
        assert written.names == files.names and written.table == files.table
        for i in range(len(files)):
            source, frame = files.sample(i), written.sample(i)
            np.testing.assert_array_equal(frame.image, cv2.resize(source.image, (64, 48), interpolation=cv2.INTER_AREA))
            np.testing.assert_array_equal(frame.label_map, resize_labels(source.label_map, SIZE))
            np.testing.assert_array_equal(written.label_map(i), source.label_map)  # at its own resolution, for scores
            np.testing.assert_array_equal(written.panoptic_map(i), files.panoptic_map(i))


def test_records_replace_the_files(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    prepared = {**cityscapes, "records": str(tmp_path / "out")}
    files, written = open_split(cityscapes, "val"), open_split(prepared, "val")
    scored = written.scored_sample(1)
    assert scored.image.shape == (48, 64, 3)
    np.testing.assert_array_equal(
        scored.label_map, files.sample(1).label_map
    )  # 96 x 130: scores do not depend on the records' size
    with pytest.raises(DeepLabError, match=r"data.size: \[48, 64\] there, \[96, 128\] here"):
        open_split({**prepared, "size": [96, 128]}, "val")


class RedIsTheClass(Predictor):
    """A network that goes by single pixels."""

    name, size, gives_probabilities = "fake", (32, 48), True
    table = LabelTable([Label(i, str(i), (i, i, i), False) for i in range(3)])

    def predict(self, frame):
        logits = -10 * np.abs(frame[..., :1] / np.float32(100) - np.arange(3, dtype=np.float32))
        return Prediction(logits.argmax(-1).astype(np.uint8), logits=logits)


def test_scores_are_those_of_the_files(tmp_path):
    """A quarter of the size each way: the network must see the same pixels on both ways."""
    random = np.random.RandomState(0)
    for n in range(3):
        label_map = random.randint(0, 3, (16, 24)).astype(np.uint8).repeat(8, 0).repeat(8, 1)  # 128 x 192
        image = np.clip(label_map[..., None] * 100 + random.normal(0, 80, (128, 192, 3)), 0, 255)
        image_files.write_image(tmp_path / "images" / "val" / f"{n}.png", image.astype(np.uint8))
        image_files.write_image(tmp_path / "labels" / "val" / f"{n}.png", label_map)
    data = {"name": "folder", "root": str(tmp_path), "size": [32, 48], "classes": RedIsTheClass.table.to_dicts()}
    assert run(tmp_path, data).exit_code == 0
    on_files = evaluate(RedIsTheClass(), open_split(data, "val"))
    on_records = evaluate(RedIsTheClass(), open_split({**data, "records": str(tmp_path / "out")}, "val"))
    np.testing.assert_array_equal(on_records.confusion.matrix, on_files.confusion.matrix)
    assert 0.5 < on_files.confusion.miou() < 0.99


def test_a_recipe_may_name_records_to_write(cityscapes, tmp_path):
    recipe = {**cityscapes, "records": str(tmp_path / "prepared")}
    with pytest.raises(
        DeepLabError, match="data.records, .*prepared, holds no prepared records; .* prepare CONFIG --out .*prepared"
    ):
        open_split(recipe, "train")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"data": recipe}))
    result = CliRunner().invoke(group, ["prepare", str(path)])
    assert result.exit_code == 0, result.output
    assert open_split(recipe, "train").sample(0).image.shape == (48, 64, 3)
    assert "Already there" in CliRunner().invoke(group, ["prepare", str(path)]).output
    wrong = CliRunner().invoke(group, ["prepare", str(path), "--set", "data.records=7"])
    assert wrong.exit_code == 1 and "data.records must be" in wrong.output


def test_records_of_something_else_are_refused(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    prepared = {"records": str(tmp_path / "out"), "root": "anywhere", "size": SIZE}
    with pytest.raises(DeepLabError, match="data.name: cityscapes there, camvid here"):
        open_split({**prepared, "name": "camvid"}, "val")
    with pytest.raises(DeepLabError, match="data.rot. Did you mean 'root'"):
        open_split({**prepared, "name": "cityscapes", "rot": "x"}, "val")
    assert len(open_split({**prepared, "name": "cityscapes"}, "val")) == 2


def test_records_are_a_tfds_data_set(cityscapes, tmp_path):
    import tensorflow_datasets as tfds

    run(tmp_path, cityscapes)
    builder = tfds.builder_from_directory(tmp_path / "out" / "records" / "1.2.0")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 5, "val": 2}
    example = builder.as_data_source("val")[1]  # TFDS's own decoding, not ours
    np.testing.assert_array_equal(example["image"], records(tmp_path, "val").sample(1).image)
    np.testing.assert_array_equal(example["label_map"], records(tmp_path, "val").sample(1).label_map)
    assert example["name"].decode() == "aachen/aachen_000001_000019"


def test_a_second_call_writes_nothing(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "records").rglob("*")}
    result = run(tmp_path, cityscapes, "--json", "-")
    assert result.exit_code == 0 and "Already there" in result.stderr and json.loads(result.stdout)["written"] is False
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "records").rglob("*")}


def relabel(data, split="train", change=lambda ids: 33 - ids):
    """Correct the labels of a split; returns the first file."""
    paths = sorted((Path(data["root"]) / "gtFine" / split).rglob("*_labelIds.png"))
    for path in paths:
        image_files.write_image(path, change(image_files.read_ids(path)))
        path.with_name(path.name.replace("labelIds", "instanceIds")).unlink()
    return paths[0]


def test_files_that_have_changed_are_prepared_again(cityscapes, tmp_path):
    """Labels that are corrected after `prepare`: nothing may be trained or scored on the old ones."""
    run(tmp_path, cityscapes)
    prepared = {**cityscapes, "records": str(tmp_path / "out")}
    relabel(cityscapes)
    relabel(cityscapes, "val")
    with pytest.raises(DeepLabError, match="of the files that the records were made from have changed .* --out .*out"):
        open_split(prepared, "train")
    result = run(tmp_path, cityscapes, "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["written"] and f"have changed since, the first is {cityscapes['root']}" in report["warnings"][0]
    assert report["warnings"][0] in result.stderr
    for name in ("train", "val"):
        files, written = open_split(cityscapes, name), open_split(prepared, name)
        for i in range(len(files)):
            np.testing.assert_array_equal(written.label_map(i), files.label_map(i))
    assert [path.name for path in (tmp_path / "out" / "records").iterdir()] == ["1.2.0"]
    assert "Already there" in run(tmp_path, cityscapes).output


@pytest.mark.parametrize("change", ["gone", "new", "image"])
def test_every_change_of_a_file_is_seen(change, cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    image = sorted((Path(cityscapes["root"]) / "leftImg8bit" / "val").rglob("*.png"))[0]
    label = Path(str(image).replace("leftImg8bit/val", "gtFine/val").replace("leftImg8bit.png", "gtFine_labelIds.png"))
    if change == "image":
        image_files.write_image(image, 255 - image_files.read_image(image))
    for path in (image, label):
        if change == "gone":
            path.unlink()
            path.with_name(path.name.replace("labelIds", "instanceIds")).unlink(missing_ok=True)
        elif change == "new":
            shutil.copy(path, str(path).replace("000000_000019", "000007_000019"))
    if change == "new":
        instances = str(label).replace("labelIds", "instanceIds")
        shutil.copy(instances, instances.replace("000000_000019", "000007_000019"))
    prepared = {**cityscapes, "records": str(tmp_path / "out")}
    open_split(prepared, "train")
    with pytest.raises(DeepLabError, match="1 of the files that the records were made from have changed"):
        open_split(prepared, "val")
    assert run(tmp_path, cityscapes).exit_code == 0
    assert open_split(prepared, "val").names == open_split(cityscapes, "val").names


def test_copied_files_have_not_changed(cityscapes, tmp_path):
    """Another time, the same content."""
    run(tmp_path, cityscapes)
    for path in Path(cityscapes["root"]).rglob("*.png"):
        os.utime(path, (1, 1))
    assert "Already there" in run(tmp_path, cityscapes).output
    assert open_split({**cityscapes, "records": str(tmp_path / "out")}, "val").remarks == []


def test_records_without_their_files_say_so(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    moved = {**cityscapes, "root": str(tmp_path / "elsewhere"), "records": str(tmp_path / "out")}
    (remark,) = open_split(moved, "val").remarks
    assert "was not checked" in remark and "elsewhere does not exist" in remark


def test_old_records_stay_where_new_ones_cannot_be_written(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    before = records(tmp_path, "train").label_map(0)
    first = relabel(cityscapes)
    relabel(cityscapes, "val")
    image = Path(str(first).replace("gtFine/train", "leftImg8bit/train").replace("gtFine_labelIds", "leftImg8bit"))
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 255  # which only decoding finds
    image.write_bytes(data)
    result = run(tmp_path, cityscapes)
    assert result.exit_code == 1 and "is damaged" in result.stderr
    with pytest.raises(DeepLabError, match="have changed since"):
        records(tmp_path, "train")
    (tmp_path / "cityscapes").rename(tmp_path / "away")
    np.testing.assert_array_equal(records(tmp_path, "train").label_map(0), before)
    assert [path.name for path in (tmp_path / "out" / "records").iterdir()] == ["1.2.0"]


def test_records_know_what_their_labels_hold(cityscapes, tmp_path, monkeypatch):
    from deeplab_tf.lab.data.check import count_labels

    run(tmp_path, cityscapes)
    for name in ("train", "val"):
        expected = count_labels(open_split(cityscapes, name), name)
        written = records(tmp_path, name)
        monkeypatch.setattr(written, "label_map", None)
        assert count_labels(written, name) == expected and sum(expected.ignored.values())


def test_instances_are_read_at_the_training_size(cityscapes, tmp_path, monkeypatch):
    run(tmp_path, cityscapes)
    files, written = open_split(cityscapes, "train"), records(tmp_path, "train")
    monkeypatch.setattr(written, "panoptic_map", None)  # at the source's resolution
    for i in range(len(files)):
        image, panoptic = written.panoptic_sample(i)
        assert image.shape == (*SIZE, 3) and panoptic.dtype == np.int32
        np.testing.assert_array_equal(panoptic, resize_labels(files.panoptic_map(i), SIZE))


def test_another_size_is_refused(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    result = run(tmp_path, cityscapes, "--set", "data.size=[40, 64]")
    assert result.exit_code == 1 and "size" in result.stderr and "--out" in result.stderr


def test_a_bad_image_leaves_no_records(cityscapes, tmp_path):
    bad = tmp_path / "cityscapes" / "leftImg8bit" / "val" / "aachen" / "aachen_000001_000019_leftImg8bit.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-30])
    result = run(tmp_path, cityscapes)
    assert result.exit_code == 1 and f"{bad} is truncated" in result.stderr and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(DeepLabError, match="no prepared records in .*deeplab-tf prepare"):
        records(tmp_path, "val")
    bad.write_bytes(whole)
    assert run(tmp_path, cityscapes).exit_code == 0


def test_leftovers_of_a_killed_process_are_removed(cityscapes, tmp_path):
    leftover = tmp_path / "out" / "records" / "incomplete.ABCDEF_1.2.0" / "records-train.array_record-00000-of-00001"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    notes = tmp_path / "out" / "records" / "incomplete.notes"
    notes.write_text("mine")
    with pytest.raises(DeepLabError, match="There are no prepared records"):
        records(tmp_path, "train")
    assert run(tmp_path, cityscapes).exit_code == 0
    assert not leftover.parent.exists() and len(records(tmp_path, "train")) == 5
    assert (
        sorted(os.listdir(tmp_path / "out" / "records")) == ["1.2.0", "incomplete.notes"]
        and notes.read_text() == "mine"
    )


def test_a_small_disk_is_refused(cityscapes, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    result = run(tmp_path, cityscapes)
    assert result.exit_code == 1 and "needs 0.0 GB" in result.stderr and "are free there" in result.stderr
    assert not (tmp_path / "out" / "records").exists()


def test_a_disk_that_fills_up(cityscapes, tmp_path, monkeypatch):
    from tensorflow_datasets.core import writer

    def full(*_, **__):  # as the array_record writer says it
        raise RuntimeError("write() failed: No space left on device; writing records-train.array_record-00000-of-00001")

    monkeypatch.setattr(writer.ExampleWriter, "write", full)
    result = run(tmp_path, cityscapes)
    assert (
        result.exit_code == 1
        and "The disk is full: cannot write records to" in result.stderr
        and "Traceback" not in result.output
    )
    assert not list((tmp_path / "out").rglob("*array_record*"))


def test_colors_become_class_ids(tmp_path):
    root = tmp_path / "aerial"
    colors = np.array([[[0, 0, 255], [9, 9, 9]]], np.uint8).repeat(48, axis=0).repeat(32, axis=1)
    image_files.write_image(root / "images" / "train" / "a.png", colors)
    image_files.write_image(root / "labels" / "train" / "a.png", colors)
    data = {"name": "folder", "root": str(root), "label_format": "colors", "ignore_colors": [[9, 9, 9]], "size": SIZE}
    result = run(tmp_path, {**data, "classes": [{"name": "water", "color": [0, 0, 255]}]})
    assert result.exit_code == 0, result.stderr
    split = records(tmp_path, "train")
    assert split.table.names == ["water"] and split.panoptic_map(0) is None
    np.testing.assert_array_equal(split.sample(0).label_map[5], [0] * 32 + [255] * 32)
    with pytest.raises(DeepLabError, match="no split 'val' in the records"):
        records(tmp_path, "val")
    changed = {**data, "classes": [{"name": "sea", "color": [0, 0, 255]}], "records": str(tmp_path / "out")}
    with pytest.raises(DeepLabError, match="data.classes"):
        open_split(changed, "train")


def test_a_damaged_record_is_named(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    path = next((tmp_path / "out" / "records" / "1.2.0").glob("records-train.array_record*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 8] = bytes(8)
    path.write_bytes(data)
    split = records(tmp_path, "train")
    with pytest.raises(DeepLabError, match="Record . of train in .*out/records/1.2.0 is damaged"):
        for i in range(len(split)):
            split.sample(i)


def changed_metadata(**changes):
    def change(folder):
        path = folder / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


DAMAGED = {
    "no metadata": lambda folder: (folder / "metadata.json").unlink(),
    "no JSON": lambda folder: (folder / "metadata.json").write_text("words"),
    "a list": lambda folder: (folder / "metadata.json").write_text("[1]"),
    "no description": lambda folder: (folder / "dataset_info.json").write_text("{}"),
    "no features": lambda folder: (folder / "features.json").unlink(),
    "fewer names": changed_metadata(names={"train": ["a"]}),
    "no classes": changed_metadata(classes=[{"name": "road"}]),
    "no source": changed_metadata(source=3),
    "no files": changed_metadata(files=[]),
    "no remarks": changed_metadata(remarks=None),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_description_is_named(kind, cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    folder = tmp_path / "out" / "records" / "1.2.0"
    DAMAGED[kind](folder)
    with pytest.raises(DeepLabError) as caught:
        records(tmp_path, "train")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    again = run(tmp_path, cityscapes)
    assert again.exit_code in (0, 1) and isinstance(again.exception, (SystemExit, type(None))), again.exception


def test_a_record_of_other_features_is_named(cityscapes, tmp_path):
    """A file that is cut between two records loses their features, not its checksum."""
    run(tmp_path, cityscapes)
    path = next((tmp_path / "out" / "records" / "1.2.0").glob("records-train.array_record*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    split = records(tmp_path, "train")
    for read in (split.sample, split.label_map):
        with pytest.raises(DeepLabError):
            read(0)


def test_threads_read_the_same_images(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    split = records(tmp_path, "train")
    expected = [split.sample(i).image.tobytes() for i in range(5)]
    wrong = []

    def read(seed):
        for i in np.random.RandomState(seed).randint(0, 5, 200):
            if split.sample(i).image.tobytes() != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_records_are_not_prepared_again(cityscapes, tmp_path):
    run(tmp_path, cityscapes)
    data = {"name": "records", "root": str(tmp_path / "out"), "size": SIZE}
    result = run(tmp_path, data, "--out", str(tmp_path / "other"))
    assert result.exit_code == 1 and "reads prepared records already" in result.stderr
