"""`predict --part i/n`: all parts together are one run, a second try skips what is complete, and a million images need
no more memory than a few."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core import files, image_files
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.listing import IN_MEMORY, SortedRows
from deeplab_tf.core.manifest import KeySet, part_manifest
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.panoptic.folders import open_panoptic_folder
from deeplab_tf.core.parts import Part
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy.prediction_jobs import plan
from deeplab_tf.lab import runs

SIZE = (6, 9)
NAMES = ["a", "b", "deep/c", "deep/frame_2", "deep/frame_10", "e"]


class RedIsTheClass(Predictor):
    """Counts the images that it sees."""

    name, table, size = "fake", CITYSCAPES, SIZE
    seen = 0

    def predict(self, frame):
        RedIsTheClass.seen += 1
        return Prediction(frame[..., 0].copy())


@pytest.fixture(autouse=True)
def fake_run(monkeypatch, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("config.yaml", "best.keras"):
        (tmp_path / "run" / name).write_text(name)
    monkeypatch.setattr(runs, "open_runtime", lambda path, checkpoint, runtime, precision: RedIsTheClass())
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        labels = np.random.default_rng(seed).integers(0, 19, SIZE, dtype=np.uint8)
        image_files.write_image(tmp_path / "in" / f"{name}.png", np.dstack([labels] * 3))


def predict(out, *arguments, code=0):
    """Runs the command on the folder `in`; how many images the network saw, and the result."""
    RedIsTheClass.seen = 0
    result = CliRunner().invoke(group, ["predict", "run", "in", "--out", out, *map(str, arguments)])
    assert result.exit_code == code, result.output
    return RedIsTheClass.seen, result


def contents(folder):
    found = {name: (folder / name).read_bytes() for name in files.files_below(folder)}
    return {name: data for name, data in found.items() if not os.path.basename(name).startswith(".")}


@pytest.mark.parametrize("total", [2, 20])
def test_parts_of_label_files_are_one_run(total, tmp_path):
    options = ["--format", "ids", "--polygons", "--overlay"]
    predict("one", *options)
    seen = [predict("all", *options, "--part", f"{i}/{total}")[0] for i in range(total, 0, -1)]
    assert sum(seen) == len(NAMES) and contents(tmp_path / "all") == contents(tmp_path / "one")
    assert seen[::-1] == [sum(Part(i, total).has(name) for name in NAMES) for i in range(1, total + 1)]


def test_panoptic_parts_are_scored_as_one_run_and_made_one(tmp_path):
    options = ["--format", "panoptic"]
    predict("one", *options)
    predict("all", *options, "--part", "2/2")
    with pytest.raises(DeepLabError, match="all has no JSON file of part 1/2; run predict with --part 1/2"):
        open_panoptic_folder("all")
    predict("all", *options, "--part", "1/2")
    one, both = open_panoptic_folder("one"), open_panoptic_folder("all", truth=open_panoptic_folder("one"))
    assert both.names == one.names and both.method == one.method
    for name in one.names:
        np.testing.assert_array_equal(both.panoptic_map(name), one.panoptic_map(name))
    assert sorted(name for name in contents(tmp_path / "all") if name.endswith("json")) == [
        "panoptic.part-1-of-2.json",
        "panoptic.part-2-of-2.json",
    ]
    seen, result = predict("all", *options, "--part", "1/1")
    assert seen == 0 and "Predicted 0 images and skipped 6; part 1/1 has 6 of 6" in result.output
    assert contents(tmp_path / "all") == contents(tmp_path / "one")
    assert json.loads((tmp_path / "all" / "panoptic.json").read_text())["annotations"][0]["segments_info"]


def test_a_second_try_predicts_what_is_missing_or_has_changed(tmp_path):
    out = tmp_path / "all"
    call = ["--part", "1/1", "--overlay"]
    assert predict("all", *call)[0] == 6
    assert predict("all", *call)[0] == 0
    (out / "deep" / "c_overlay.jpg").unlink()
    assert predict("all", *call)[0] == 1 and (out / "deep" / "c_overlay.jpg").exists()
    image = tmp_path / "in" / "b.png"
    image.write_bytes(image.read_bytes())  # another time
    assert predict("all", *call)[0] == 1
    assert predict("all", *call, "--opacity", "0.7")[0] == 6
    (tmp_path / "run" / "best.keras").write_text("trained further")
    assert predict("all", *call, "--opacity", "0.7")[0] == 6
    predict("all", "--overlay")
    assert predict("all", *call)[0] == 6, "files of a call without --part say not what they are made from"
    (out / "a_color.png").write_bytes(b"mine")
    seen, result = predict("all", *call, code=2)
    assert (
        seen == 0 and "a_color.png exists and was not written by" in result.output and "changed since" in result.output
    )


def test_another_number_of_parts_skips_too(tmp_path):
    for i in (1, 2, 3):
        predict("all", "--part", f"{i}/3")
    assert sum(predict("all", "--part", f"{i}/2")[0] for i in (1, 2)) == 0


def test_an_error_ends_a_part_and_the_next_try_goes_on(tmp_path):
    image = tmp_path / "in" / "deep" / "frame_2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    seen, result = predict("all", "--part", "1/1", "--format", "panoptic", code=1)
    assert seen == 4 and "frame_2.png is truncated" in result.output and "Traceback" not in result.output
    assert not [name for name in files.files_below(tmp_path / "all") if "json" in name and "jsonl" not in name]
    image.write_bytes(whole)
    assert predict("all", "--part", "1/1", "--format", "panoptic")[0] == 2
    predict("one", "--format", "panoptic")
    assert contents(tmp_path / "all") == contents(tmp_path / "one")


def test_two_parts_write_at_once_and_one_part_once(tmp_path):
    out = os.path.join(str(tmp_path), "all")
    with files.locked(out, part_manifest(out, Part(1, 2))):
        leftover = os.path.join(out, ".deeplab-tf.0123abcd.part.png")
        open(leftover, "w").close()  # may be a file that a part on another machine is writing
        predict("all", "--part", "2/2")
        assert os.path.exists(leftover)
        _, busy = predict("all", "--part", "1/2", code=1)
        assert "Another process is working on the part of" in busy.output
        _, busy = predict("all", code=1)
        assert "Another process is writing to all" in busy.output
    predict("all", "--part", "1/2")
    predict("all")
    assert not os.path.exists(leftover)


def test_a_part_removes_what_it_left(tmp_path):
    out = os.path.join(str(tmp_path), "all")
    with files.locked(out, part_manifest(out, Part(1, 2))), files.replacing(os.path.join(out, "x.png")) as temporary:
        name = os.path.basename(temporary)
    for part, there in (("2/2", True), ("1/2", False)):
        open(os.path.join(out, name), "w").close()
        predict("all", "--part", part)
        assert os.path.exists(os.path.join(out, name)) == there


def test_a_failed_part_leaves_no_folder(tmp_path):
    with pytest.raises(KeyError), files.locked("all", part_manifest("all", Part(1, 2))):
        raise KeyError
    assert not os.path.exists("all")


def test_sorted_rows_are_sorted_on_the_disk(monkeypatch):
    import deeplab_tf.core.listing as listing

    monkeypatch.setattr(listing, "IN_MEMORY", 7)
    rng = np.random.default_rng(0)
    rows = [(str(rng.integers(0, 40)), f"line\n{i}\udcff") for i in range(100)]
    found = SortedRows(lambda row: int(row[0]), rows)
    expected = sorted(rows, key=lambda row: int(row[0]))  # stable
    assert list(found) == expected and list(zip(found, found)) == list(zip(expected, expected)) and len(found) == 100
    assert IN_MEMORY > 1000 and list(SortedRows(len)) == []


def test_a_set_of_keys_in_eight_bytes_each():
    keys = KeySet()
    for i in range(70000):
        keys.add("name", i)
    assert len(keys) == 70000
    assert all(keys.has("name", i) for i in range(0, 70000, 7)) and not any(keys.has("name", -i) for i in range(1, 999))
    assert not keys.has(0, "name")


def test_listing_takes_bounded_memory():
    """200,000 names from a stand-in for os.scandir, in random order; as a list with their keys they take 116 MB."""
    code = """
        import os, random, resource, types
        import numpy, cv2
        from deeplab_tf.core import listing
        from deeplab_tf.deploy.prediction_jobs import plan

        class Folder:
            def __enter__(self):
                order = (i * 7919 % 200_000 for i in range(200_000))
                return (types.SimpleNamespace(name=f"frame_{i}.png", is_dir=lambda: False) for i in order)
            def __exit__(self, *error):
                pass

        listing.os = types.SimpleNamespace(**{**vars(os), "scandir": lambda folder: Folder()})
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        before = peak()
        jobs = plan(["in"], "out", "ids")
        names = [stem for (_, stem), _ in zip(jobs, range(11))]
        print(len(jobs), jobs.found, names[2], names[10], peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    count, found, third, eleventh, megabytes = done.stdout.split()
    assert (count, found, third, eleventh) == ("200000", "200000", "out/frame_2", "out/frame_10")
    assert float(megabytes) < 30, megabytes


def test_a_part_of_a_plan_does_not_depend_on_other_images(tmp_path):
    before = {i: set(plan(["in"], "out", "ids", part=Part(i, 3))) for i in (1, 2, 3)}
    image_files.write_image(tmp_path / "in" / "0.png", np.zeros((6, 9, 3), np.uint8))
    for i in (1, 2, 3):
        now = {job for job in plan(["in"], "out", "ids", part=Part(i, 3)) if job[0] != "in/0.png"}
        assert now == before[i]
