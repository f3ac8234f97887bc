"""Things in zones and across lines: counts and seconds of drawn scenes whose paths are known."""

import cv2
import numpy as np
import pytest
from test_tracking import TABLE, draw

from deeplab_tf.core.panoptic import DIVISOR
from deeplab_tf.core.panoptic.tracking import Tracker
from deeplab_tf.core.panoptic.zones import Region, RegionCounter, Regions, contains, crossing, feet
from deeplab_tf.deploy.video.zone_marker import ZoneMarker

FPS = 10.0
HEIGHT, WIDTH = 128, 256  # of test_tracking.draw


def square(name, left, top, right, bottom, classes=None):
    """A zone, in pixels."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Region(name, tuple((x / WIDTH, y / HEIGHT) for x, y in corners), classes)


def line(name, *ends, classes=None):
    return Region(name, tuple((x / WIDTH, y / HEIGHT) for x, y in ends), classes)


def count(regions, scene, frames):
    """The counter after a scene (things of a frame, as in test_tracking)."""
    tracker, counter = Tracker(TABLE), RegionCounter(regions, TABLE)
    for frame in range(frames):
        panoptic, _ = draw(scene(frame), frame)
        counter.update(panoptic, tracker.update(panoptic, frame / FPS), frame / FPS, tracker.followed)
    return counter


def test_a_foot_is_the_middle_of_the_box_in_its_lowest_row():
    panoptic = np.zeros((40, 100), np.int32)
    panoptic[10:20, 30:40] = 1001
    panoptic[20:31, 34:36] = 1001  # a leg; the box is x 30 to 40, its lowest row 30
    panoptic[5, 97] = 2003
    assert feet(panoptic, [2003, 1001]).tolist() == [[0.975, 5.5 / 40], [0.35, 30.5 / 40]]
    assert feet(panoptic, []).shape == (0, 2)


def test_feet_are_those_of_a_search_of_every_mask():
    random = np.random.RandomState(3)
    for _ in range(20):
        panoptic = random.choice([0, 1001, 1002, 2001], (13, 17)).astype(np.int32)
        values = [value for value in (1002, 2001, 1001) if (panoptic == value).any()]
        for value, foot in zip(values, feet(panoptic, values)):
            rows, columns = np.nonzero(panoptic == value)
            assert foot.tolist() == [(columns.min() + columns.max() + 1) / 2 / 17, (rows.max() + 0.5) / 13]


def test_polygons_hold_what_opencv_says():
    random = np.random.RandomState(4)
    corners = [(0.1, 0.2), (0.6, 0.1), (0.9, 0.7), (0.5, 0.4), (0.3, 0.9)]  # with a dent
    places = random.rand(500, 2)
    outline = np.array(corners, np.float32)
    expected = [cv2.pointPolygonTest(outline, (float(x), float(y)), False) > 0 for x, y in places]
    assert contains(corners, places).tolist() == expected and 50 < sum(expected) < 450


@pytest.mark.parametrize(
    "before, after, way",
    [
        ((0.5, 0.4), (0.5, 0.6), 1),  # down, to the right of who walks to the right
        ((0.5, 0.6), (0.5, 0.4), -1),
        ((0.1, 0.4), (0.1, 0.6), 0),  # beside the line
        ((0.15, 0.4), (0.25, 0.6), 1),  # slanted, through its first point
        ((0.5, 0.4), (0.7, 0.45), 0),
        ((0.5, 0.4), (0.5, 0.5), 1),  # onto the line, which belongs to its right side
        ((0.5, 0.5), (0.5, 0.6), 0),
    ],
)
def test_a_line_is_crossed_forward_and_backward(before, after, way):
    assert crossing([(0.2, 0.5), (0.8, 0.5)], before, after) == way
    if 0.5 not in (before[1], after[1]):
        assert crossing([(0.8, 0.5), (0.2, 0.5)], before, after) == -way


def test_a_car_that_drives_through():
    """Its foot is at x = 15.5 + 5 n in frame n, in the row of 79.5. So it is in the zone, x 50 to 150, from frame 7
    (50.5) to 26 (145.5), and out in frame 27: 2.0 s. Between frames 16 and 17 it passes the line at x = 100 from left
    to right, which is backward: for someone who walks down the line, right is the left of the picture."""

    def scene(frame):
        return [(1, "car", 60, 10 + 5 * frame, 20, 11)]

    regions = Regions((line("middle", (100, 0), (100, 128)),), (square("yard", 50, 60, 150, 90),))
    before = count(regions, scene, 7)
    assert before.zones()["yard"]["inside"] == {} and before.lines() == {"middle": {"forward": {}, "backward": {}}}
    inside = count(regions, scene, 17).zones()["yard"]
    assert inside["inside"] == inside["entered"] == {"car": 1} and inside["left"] == {}
    assert inside["things"] == [{"id": 1, "class": "car", "seconds": 0.9}]  # frames 7 to 16
    after = count(regions, scene, 30)
    assert after.lines() == {"middle": {"forward": {}, "backward": {"car": 1}}}
    assert after.zones() == {
        "yard": {
            "entered": {"car": 1},
            "left": {"car": 1},
            "inside": {"car": 0},
            "dwell_s": {"visits": 1, "total": 2.0, "longest": 2.0},
            "things": [],
        }
    }


def test_who_stands_there_and_who_vanishes():
    """One person stands in the zone from the first frame on; another is last seen in frame 9, at 0.9 s, is looked for
    until 2.9 s, and is then counted as gone since 0.9 s. What flickers up for two frames, and a car where only persons
    count, are left out."""

    def scene(frame):
        things = [(2, "stands", 60, 80, 20, 10), (1, "car", 60, 120, 20, 20)]
        things += [(2, "vanishes", 60, 40, 20, 10)] * (frame < 10)
        return things + [(2, "flickers", 20, 100, 20, 10)] * (5 <= frame < 7)

    regions = Regions((), (square("yard", 0, 0, 256, 128, frozenset([2])),))
    early, late = (count(regions, scene, frames).zones()["yard"] for frames in (29, 31))
    assert early["inside"] == {"person": 2} and early["left"] == {}
    assert late["entered"] == {"person": 2} and late["left"] == late["inside"] == {"person": 1}
    assert late["dwell_s"] == {"visits": 1, "total": 0.9, "longest": 0.9}
    assert [thing["seconds"] for thing in late["things"]] == [3.0]


def test_a_line_is_crossed_behind_a_post():
    """The walker is hidden where the line is."""

    def scene(frame):
        return [(2, "walker", 60, 60 + 3 * frame, 20, 10), (1, "post", 30, 120, 70, 24)]

    regions = Regions((line("door", (132, 128), (132, 0)), line("cars", (132, 128), (132, 0), classes={1})), ())
    lines = count(regions, scene, 40).lines()
    assert lines["door"] == {"forward": {"person": 1}, "backward": {}}
    assert lines["cars"] == {"forward": {}, "backward": {}}


@pytest.mark.parametrize("seed", range(3))
def test_many_paths_are_counted_as_arithmetic_says(seed):
    """Twelve things in rows of their own, to and fro. Their feet are known, OpenCV says which are in the polygon, and
    the slanted line splits the picture at x = 90 + 0.5 y."""
    random = np.random.RandomState(seed)
    starts, sizes, phases = random.uniform(60, 190, 12), random.uniform(20, 70, 12), random.uniform(0, 6, 12)
    corners = [(70, 0), (200, 20), (160, 70), (210, 128), (50, 100)]
    regions = Regions(
        (line("slanted", (90, 0), (154, 128)),), (Region("zone", tuple((x / WIDTH, y / HEIGHT) for x, y in corners)),)
    )

    def left_edge(i, frame):
        return int(round(starts[i] + sizes[i] * np.sin(phases[i] + 0.15 * frame)))

    def scene(frame):
        return [(1 + i % 2, i, 2 + 10 * i, left_edge(i, frame), 8, 14) for i in range(12)]

    counter = count(regions, scene, 60)
    entered, left, inside = ({"car": 0, "person": 0} for _ in range(3))
    forward, backward = {"car": 0, "person": 0}, {"car": 0, "person": 0}
    seconds = 0.0
    outline = np.array(corners, np.float32)
    for i in range(12):
        kind, y, was, right_before, since = ("car", "person")[i % 2], 2 + 10 * i + 7.5, False, None, None
        for frame in range(60):
            x = left_edge(i, frame) + 7
            now = cv2.pointPolygonTest(outline, (float(x), y), False) > 0
            entered[kind] += now and not was
            if was and not now:
                left[kind], seconds = left[kind] + 1, seconds + (frame - since) / FPS
            since, was = frame if now and not was else since, now
            right = x > 90 + 0.5 * y  # the left side of who walks down the line
            forward[kind] += right_before is True and not right
            backward[kind] += right_before is False and right
            right_before = right
        inside[kind] += was
    zone, found = counter.zones()["zone"], counter.lines()["slanted"]
    assert (zone["entered"], zone["left"], zone["inside"]) == (entered, left, inside) and min(left.values()) > 1
    assert zone["dwell_s"]["total"] == pytest.approx(seconds) and found == {"forward": forward, "backward": backward}


def test_zones_and_lines_are_drawn_where_they_are():
    view = np.zeros((120, 200, 3), np.uint8)
    corners = ((0.1, 0.5), (0.4, 0.5), (0.4, 1.0), (0.1, 1.0))
    regions = Regions((Region("gate", ((0.5, 0.75), (0.9, 0.75))),), (Region("yard", corners),))
    counts = {"gate": {"forward": {"car": 2}, "backward": {}}}, {"yard": {"inside": {"car": 1}}}
    ZoneMarker(regions).draw(view, *counts)
    assert view[60, 20:81].any(axis=1).all() and view[60:120, 20].any(axis=1).all()  # two edges of the zone
    assert view[119, 25:75].any(axis=1).all()  # its lower edge, which is the picture's
    assert view[90, 100:180].any(axis=1).all()  # the line
    assert view[92:100, 135:146].any() and not view[94:119, 100:130].any()  # the arrow points down, to its right


def test_a_panoptic_map_of_a_crowd_has_no_feet_to_count():
    panoptic = np.full((HEIGHT, WIDTH), 1 * DIVISOR, np.int32)
    tracker, counter = Tracker(TABLE), RegionCounter(Regions((), (square("all", 0, 0, 256, 128),)), TABLE)
    counter.update(panoptic, tracker.update(panoptic, 0.0), 0.0, tracker.followed)
    assert counter.zones()["all"]["entered"] == {}
