"""`--zones FILE`: what the YAML file says, and each fault in one sentence; counts in JSON lines, report and metrics."""

import json
import sys

import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic.zone_file import read_regions
from deeplab_tf.core.panoptic.zones import Region, Regions

pytest.importorskip("yaml", reason="zone files need PyYAML")

TABLE = LabelTable(
    [Label(0, "road", (9, 9, 9), False), Label(1, "car", (9, 99, 9), True), Label(2, "person", (9, 9, 99), True)]
)
GOOD = """lines:
  gate:
    points: [[0.2, 0.6], [0.8, 0.6]]
zones:
  "no":  # a name, not a truth value
    points:
    - [0, 0.5]
    - [1, 0.5]
    - [0.5, 1]
    classes: [person, car]
"""


def read(tmp_path, text):
    path = tmp_path / "zones.yaml"
    path.write_text(text)
    return read_regions(str(path), TABLE)


def test_a_file_names_lines_and_zones(tmp_path):
    assert read(tmp_path, GOOD) == Regions(
        (Region("gate", ((0.2, 0.6), (0.8, 0.6))),),
        (Region("no", ((0.0, 0.5), (1.0, 0.5), (0.5, 1.0)), frozenset([1, 2])),),
    )


TRIANGLE = "[[0, 0], [1, 0], [0, 1]]"


@pytest.mark.parametrize(
    "text, line, fact",
    [
        ("", 1, "expected `lines` or `zones`, with names below them"),
        ("zones: {}", 1, "it names no line and no zone"),
        ("zone: {}", 1, "there is no key 'zone'. Did you mean 'zones'?"),
        ("zones:\n  a:\n    point: []", 3, "there is no key 'point' in zones.a. Did you mean 'points'?"),
        ("zones:\n  a: 3", 2, "zones.a must have `points`"),
        ("zones: [a]", 1, "zones must have names below it"),
        ("zones:\n  a:\n    classes: [car]", 2, "zones.a.points must be a list of [x, y]"),
        ("zones:\n  a:\n    points: [[0, 0], [1, 1]]", 3, "zones.a.points has 2; a zone has 3 points or more"),
        ("lines:\n  a:\n    points: " + TRIANGLE, 3, "lines.a.points has 3; a line has 2 points"),
        ("lines:\n  a:\n    points: [[0.5, 0], [0.5, 0]]", 3, "the two points of lines.a.points are the same"),
        ("zones:\n  a:\n    points: [[0, 0], [0.5, 0.5], [1, 1]]", 3, "zones.a.points encloses nothing"),
        ("zones:\n  a:\n    points: [[0, 0], [1, 0], [0, 0.9], [0.9, 1]]", 3, "edges of zones.a.points cross"),
        (
            "zones:\n  a:\n    points:\n    - [0, 0]\n    - [640, 0]\n    - [0, 1]",
            5,
            "zones.a.points[1] is [640, 0], outside the picture: x and y are shares of its width and height, 0 to 1",
        ),
        ("zones:\n  a:\n    points: [[0, -0.1], [1, 0], [0, 1]]", 3, "zones.a.points[0] is [0, -0.1], outside"),
        ("zones:\n  a:\n    points: [[0, 0], [1, x], [0, 1]]", 3, "zones.a.points[1] must be two numbers"),
        ("zones:\n  a:\n    points: [[0, 0], [1, true], [0, 1]]", 3, "zones.a.points[1] must be two numbers"),
        ("zones:\n  a:\n    points: [[0, 0], [1, .nan], [0, 1]]", 3, "zones.a.points[1] must be two numbers"),
        (f"zones:\n  a:\n    points: {TRIANGLE}\n    classes: car", 4, "zones.a.classes must be a list of class names"),
        (
            f"zones:\n  a:\n    points: {TRIANGLE}\n    classes: [cat]",
            4,
            "there is no class 'cat'. Did you mean 'car'?",
        ),
        (f"zones:\n  a:\n    points: {TRIANGLE}\n    classes: [road]", 4, "the class 'road' is not one of things"),
        (f"zones:\n  a: &a\n    points: {TRIANGLE}\n  a: *a", 4, "zones.a is given twice, in line 2 too"),
        (
            f"lines:\n  a: {{points: [[0, 0], [1, 1]]}}\nzones:\n  a: {{points: {TRIANGLE}}}",
            4,
            "the name 'a' is given twice, in line 2 too; choose another",
        ),
        (f"zones:\n  {'a' * 65}: {{points: {TRIANGLE}}}", 2, "a name has at most 64 characters"),
    ],
)
def test_a_fault_is_one_sentence_with_its_line(tmp_path, text, line, fact):
    with pytest.raises(DeepLabError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'zones.yaml'}, line {line}: ") and fact in said and "\n" not in said


def test_without_pyyaml_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(DeepLabError, match="The zone file .* needs PyYAML.*pip install PyYAML"):
        read(tmp_path, GOOD)


@pytest.fixture
def run(monkeypatch, tmp_path):
    return streams.with_fake_runtime(monkeypatch, tmp_path / "bundle")


def test_zones_go_with_track(run, tmp_path):
    (tmp_path / "zones.yaml").write_text(GOOD)
    result = run("--source", "sample://", "--zones", tmp_path / "zones.yaml")
    assert result.exit_code == 2 and "--zones goes with --track" in result.stderr


def test_counts_are_in_json_lines_and_in_the_report(run, tmp_path):
    """A bright square of 16 pixels goes right by 8 a frame, from x = 8, at 25 frames/s. Its middle, 16 + 8 n, give
    or take half a label (2 pixels), is right of the line at 60 from frame 6 on, and in the zone, from 36 to 84, in
    frames 3 to 8: out in frame 9, 0.24 s later."""
    for frame in range(12):
        image = np.full((64, 128, 3), 5, np.uint8)
        image[16:32, 8 + 8 * frame : 24 + 8 * frame] = 250
        write_image(str(tmp_path / "images" / f"{frame}.png"), image)
    points = "[[0.28125, 0], [0.65625, 0], [0.65625, 1], [0.28125, 1]]"
    text = "lines:\n  gate: {points: [[0.46875, 1], [0.46875, 0]]}\n"
    text += f"zones:\n  yard: {{points: {points}, classes: [bright]}}\n"
    (tmp_path / "zones.yaml").write_text(text)
    options = ("--zones", tmp_path / "zones.yaml", "--json-lines", tmp_path / "a.jsonl", "--json", tmp_path / "a.json")
    result = run("--source", tmp_path / "images", "--track", *options)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(row) for row in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [sum(row["zones"]["yard"]["inside"].values()) for row in rows] == [0, 0, 0] + [1] * 6 + [0, 0, 0]
    assert [row["lines"]["gate"]["forward"] for row in rows] == [{}] * 6 + [{"bright": 1}] * 6
    assert rows[8]["zones"]["yard"]["things"] == [{"id": 1, "class": "bright", "seconds": 0.2}]
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["lines"] == {"gate": {"forward": {"bright": 1}, "backward": {}}}
    assert report["zones"]["yard"]["dwell_s"] == {"visits": 1, "total": 0.24, "longest": 0.24}


def test_an_unknown_class_stops_the_stream_before_it_starts(run, tmp_path):
    (tmp_path / "zones.yaml").write_text(GOOD)
    result = run("--source", "sample://", "--track", "--zones", tmp_path / "zones.yaml")
    assert result.exit_code == 1 and "line 10: there is no class 'person'. Choose from: bright." in result.stderr
