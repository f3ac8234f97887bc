"""`sample --video`: things keep their numbers, and the files are those that `score --video` and `predict` take."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.cityscapes import CITYSCAPES, from_instance_ids
from deeplab_tf.core.image_files import read_image
from deeplab_tf.core.metrics.video.folders import score_video_folders
from deeplab_tf.core.panoptic import DIVISOR
from deeplab_tf.core.panoptic.coco import PanopticWriter
from deeplab_tf.core.panoptic.sequences import open_videos
from deeplab_tf.synth import draw_scene

OPTIONS = ("--video", "--scenes", "2", "--frames", "4", "--fps", "4", "--size", "96x192", "--seed", "5")


def call(*arguments):
    return CliRunner().invoke(group, ["sample", *map(str, arguments)])


def files(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives") / "out"
    result = call(folder, *OPTIONS, "--jobs", 1, "--json", folder.parent / "a.json")
    assert result.exit_code == 0, result.output
    assert "2 videos of 4 frames of 96x192 at 4 frames/s; frames in images, panoptic maps in panoptic." in result.output
    report = json.loads((folder.parent / "a.json").read_text())
    assert (report["videos"], report["frames"], report["fps"], report["drawn"]) == (2, 4, 4.0, 2)
    return folder


def test_frames_and_maps_are_those_of_the_drive(drives):
    """Each segment of a map is a thing, group or class of the scene drawn at that time; numbers follow the traits."""
    video, numbers = open_videos(str(drives / "panoptic")).open("0001"), {}
    assert len(video.files) == 4
    for i, frame in enumerate(video.files):
        scene = draw_scene(5, 1, (96, 192), time=i / 4, numbers=numbers)
        assert np.array_equal(read_image(drives / "images" / "0001" / f"0001_{i:06d}.png"), scene.image)
        segments, expected = video.read(frame), from_instance_ids(scene.instance_ids, "scene")
        assert np.array_equal(segments.classes[segments.where], np.minimum(expected // DIVISOR, 255))
        single = segments.numbers[segments.where] > 0
        assert np.array_equal(single, expected % DIVISOR > 0)
        assert len(set(zip(segments.numbers[segments.where][single], expected[single]))) == len(set(expected[single]))


def test_a_thing_moves_little_between_frames(drives):
    """Boxes of one number overlap from frame to frame, or touch; those of numbers by chance would not."""
    video = open_videos(str(drives / "panoptic")).open("0000")
    near, boxes = [], {}
    for frame in video.files:
        segments, before = video.read(frame), boxes
        boxes = {}
        for i in np.flatnonzero(segments.numbers):
            rows, columns = np.nonzero(segments.where == i)
            boxes[int(segments.numbers[i])] = rows.min(), rows.max(), columns.min(), columns.max()
        for number in set(boxes) & set(before):
            a, b = boxes[number], before[number]
            near.append(all(max(a[k], b[k]) <= min(a[k + 1], b[k + 1]) + 8 for k in (0, 2)))
    assert len(near) > 20 and np.mean(near) > 0.95


def test_perfect_scores_and_those_of_numbers_of_single_frames(drives, tmp_path):
    truth = str(drives / "panoptic")
    perfect = score_video_folders(truth, truth)
    assert [perfect[key] for key in ("stq", "vpq", "idf1", "mota", "sequences", "frames")] == [1, 1, 1, 1, 2, 8]
    with PanopticWriter(str(tmp_path / "0000"), CITYSCAPES, "centers") as writer:
        for i in range(4):
            scene = draw_scene(5, 0, (96, 192), time=i / 4)
            writer.add(f"0000_{i:06d}", from_instance_ids(scene.instance_ids, "scene"))
        writer.close()
    single = score_video_folders(str(drives / "panoptic" / "0000"), str(tmp_path))
    assert single["sq"] == single["vpq_windows"]["1"] == 1 and single["idf1"] < 1 and single["id_switches"] > 0


def test_an_unfinished_video_is_drawn_again(drives, tmp_path):
    expected = files(drives)
    other = tmp_path / "other"
    assert call(other, *OPTIONS, "--jobs", 2).exit_code == 0 and files(other) == expected
    (other / "panoptic" / "0001" / "panoptic.json").unlink()
    (other / "images" / "0001" / "0001_000002.png").unlink()
    result = call(other, *OPTIONS, "--jobs", 1, "--json", tmp_path / "a.json")
    assert result.exit_code == 0 and json.loads((tmp_path / "a.json").read_text())["drawn"] == 1
    assert files(other) == expected
    result = call(other, *OPTIONS, "--fps", 5)
    assert result.exit_code == 1 and "fps 4.0 (now 5.0)" in result.output
    result = call(other, "--scenes", 2, "--size", "96x192", "--seed", 5)
    assert result.exit_code == 1 and "fps 4.0 (now None), frames 4 (now None)" in result.output


@pytest.mark.parametrize(
    "options, said",
    [
        (["--frames", 5], "--frames goes with --video"),
        (["--fps", 5], "--fps goes with --video"),
        (["--video", "--domain", "cells"], "--video goes with --domain streets; cells do not move"),
    ],
)
def test_wrong_calls(options, said, tmp_path):
    result = call(tmp_path / "out", *options)
    assert result.exit_code == 2 and said in result.output and not (tmp_path / "out").exists()
