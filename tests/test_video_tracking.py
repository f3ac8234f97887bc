"""`stream --track`: numbers in JSON lines, on the page and in the picture."""

import json

import numpy as np
import pytest
import streams

from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.metrics.video.folders import score_video_folders
from deeplab_tf.core.panoptic.coco import PanopticWriter
from deeplab_tf.core.panoptic.folders import open_panoptic_folder
from deeplab_tf.core.panoptic.tracking import Thing
from deeplab_tf.deploy.video.thing_marker import ThingMarker, color_of


@pytest.fixture
def run(monkeypatch, tmp_path):
    return streams.with_fake_runtime(monkeypatch, tmp_path / "bundle")


def test_json_lines_follow_things(run, tmp_path):
    """Two bright squares, of a class of things, go apart from left and right; one of them leaves after six frames."""
    for frame in range(10):
        image = np.full((64, 128, 3), 5, np.uint8)
        image[8:24, 40 - 4 * frame : 56 - 4 * frame] = 250
        if frame < 6:
            image[40:56, 64 + 4 * frame : 80 + 4 * frame] = 250
        write_image(str(tmp_path / "images" / f"{frame}.png"), image)
    lines = tmp_path / "a.jsonl"
    result = run(
        "--source", tmp_path / "images", "--track", "--trails", "--json-lines", lines, "--save", tmp_path / "a.mp4"
    )
    assert result.exit_code == 0 and "connected regions" in result.stderr, result.stderr
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    left = [next(thing for thing in row["things"] if thing["box"][1] < 32) for row in rows]
    assert {thing["id"] for thing in left} == {left[0]["id"]} and {thing["class"] for thing in left} == {"bright"}
    x, y, width, height = left[0]["box"]  # labels are a quarter of the image's size: half of one off, at most
    assert abs(x - 40) <= 2 and abs(y - 8) <= 2 and (width, height) == (16, 16)
    assert [thing["box"][0] for thing in left] == [x - 4 * n for n in range(10)]
    assert [len(row["things"]) for row in rows] == [2] * 6 + [1] * 4
    assert [row["distinct"] for row in rows] == [{}, {}] + [{"bright": 2}] * 8


def test_panoptic_maps_hold_the_numbers(run, tmp_path):
    """Two bright squares of 16 pixels change places from right to left and back in the map's own numbers, which follow
    the height; the numbers of tracking stay. What lies on the ground, a class without things, has none."""
    for frame in range(5):
        image = np.full((64, 128, 3), 5, np.uint8)
        image[0 + 8 * frame : 16 + 8 * frame, 16:32] = 250
        image[32 - 8 * frame : 48 - 8 * frame, 80:96] = 250
        write_image(str(tmp_path / "images" / f"{frame}.png"), image)
    options = ("--panoptic-out", tmp_path / "out", "--json-lines", tmp_path / "a.jsonl")
    result = run("--source", tmp_path / "images", "--track", *options)
    assert result.exit_code == 0, result.stderr
    info = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    left, right = [], []
    for annotation, row in zip(info["annotations"], rows):
        parts = [part for part in annotation["segments_info"] if part["category_id"] == 3]  # bright
        assert {part["track_id"] for part in parts} == {thing["id"] for thing in row["things"]}
        assert all("track_id" not in part for part in annotation["segments_info"] if part not in parts)
        side = [parts[i] for i in np.argsort([part["bbox"][0] for part in parts])]
        left.append((side[0]["id"], side[0]["track_id"]))
        right.append((side[1]["id"], side[1]["track_id"]))
    assert len({number for _, number in left}) == len({number for _, number in right}) == 1
    assert left[0][1] != right[0][1] and left[0][0] != left[-1][0], "the map's own numbers change"
    assert open_panoptic_folder(str(tmp_path / "out")).panoptic_map("4").shape == (64, 128)


def test_a_tracked_stream_is_scored(run, tmp_path):
    """Two bright squares cross each other's rows, so that the region that is counted first changes."""
    with PanopticWriter(str(tmp_path / "truth"), streams.TABLE, "centers") as truth:
        for frame in range(8):
            image, panoptic = np.full((64, 128, 3), 5, np.uint8), np.zeros((64, 128), np.int32)
            for number, (y, x) in enumerate([(8 + 4 * frame, 16), (40 - 4 * frame, 80)], 1):
                image[y : y + 16, x : x + 16], panoptic[y : y + 16, x : x + 16] = 250, 2000 + number
            write_image(str(tmp_path / "images" / f"{frame:04d}.png"), image)
            truth.add(f"{frame:04d}", panoptic)
        truth.close()
    scores = []
    for options in (["--track"], []):
        out = tmp_path / f"out{len(options)}"
        assert run("--source", tmp_path / "images", "--panoptic-out", out, *options).exit_code == 0
        scores.append(score_video_folders(str(tmp_path / "truth"), str(out)))
    tracked, single = scores
    assert tracked["idf1"] == tracked["mota"] == 1 and tracked["id_switches"] == 0 and tracked["things"] == 2
    assert single["id_switches"] == 2 and single["idf1"] < 0.7 and single["aq"] < tracked["aq"]
    assert single["miou"] == tracked["miou"], "labels are the same"


def test_trails_go_with_track(run):
    result = run("--source", "sample://", "--trails")
    assert result.exit_code == 2 and "--trails goes with --track" in result.stderr


def test_colors_of_numbers_differ():
    colors = np.array([color_of(number) for number in range(1, 8)], int)
    apart = np.abs(colors[:, None] - colors[None]).sum(axis=2)[~np.eye(7, dtype=bool)]
    assert apart.min() > 60


def test_things_are_outlined_in_their_color_with_number_and_trail():
    panoptic = np.zeros((120, 200), np.int32)
    panoptic[60:90, 50:80], panoptic[60:90, 120:150] = 2001, 2002
    marker, view = ThingMarker(trails=True), np.zeros((120, 200, 3), np.uint8)
    things = [Thing(7, 2, 2001, 900, (50, 60, 30, 30), 5)]
    marker.draw(view, panoptic, things)
    assert view[89, 60].tolist() == list(color_of(7)) and view[75, 79].tolist() == list(color_of(7))
    assert not view[60:90, 115:155].any(), "what is not followed has no outline"
    assert view[40:58, 50:80].any(), "its number stands above it"
    before = view.copy()
    marker.draw(view, panoptic, [things[0]._replace(box=(70, 60, 30, 30))])
    assert (view[90, 66:84] != before[90, 66:84]).any(), "its foot went to the right"
