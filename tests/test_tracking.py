"""Things keep their numbers from frame to frame: through occlusion, crossing, growth and new numbers in the map."""

import numpy as np
import pytest

from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import DIVISOR
from deeplab_tf.core.panoptic.tracking import Tracker

TABLE = LabelTable(
    [Label(0, "road", (9, 9, 9), False), Label(1, "car", (9, 99, 9), True), Label(2, "person", (9, 9, 99), True)]
)
SIZE = (128, 256)
FPS = 10.0


def draw(things, frame):
    """A panoptic map of boxes (class, name, y, x, height, width), the later ones in front; numbered by chance."""
    panoptic = np.zeros(SIZE, np.int32)
    random = np.random.RandomState(frame)
    numbers = random.permutation(50)[: len(things)] + 1
    truth = {}
    for (class_id, name, y, x, height, width), number in zip(things, numbers):
        value = class_id * DIVISOR + int(number)
        top, left, bottom, right = (int(round(edge)) for edge in (y, x, y + height, x + width))
        panoptic[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = value
        truth[value] = name
    visible = set(np.unique(panoptic).tolist())
    return panoptic, {value: name for value, name in truth.items() if value in visible}


def follow(scene, frames):
    """Track a scene (things of a frame); the numbers that each name had, in order, and the tracker."""
    tracker, numbers = Tracker(TABLE), {}
    for frame in range(frames):
        panoptic, truth = draw(scene(frame), frame)
        things = tracker.update(panoptic, frame / FPS)
        assert len({thing.id for thing in things}) == len(things) == len(truth)
        for thing in things:
            assert thing.class_id == thing.value // DIVISOR
            had = numbers.setdefault(truth[thing.value], [])
            had += [thing.id] * (thing.id not in had)
    return numbers, tracker


def test_many_things_keep_their_numbers():
    random = np.random.RandomState(0)
    starts, speeds = random.uniform(20, 230, (12, 2)), random.uniform(-3, 3, (12, 2))

    def scene(frame):
        places = np.array([[8 * i, 0] for i in range(12)]) + [0, 1] * (starts + speeds * frame)
        return [(1 + i % 2, i, places[i, 0] + 2, places[i, 1], 6, 14) for i in range(12)]

    numbers, tracker = follow(scene, 30)
    assert sorted(ids[0] for ids in numbers.values()) == list(range(1, 13))
    assert all(len(ids) == 1 for ids in numbers.values()) and tracker.distinct == [0, 6, 6]


@pytest.mark.parametrize("speed", [6, -6])
def test_two_that_cross_keep_their_numbers(speed):
    """The one in front hides the other wholly, for some frames."""

    def scene(frame):
        return [
            (1, "behind", 50, 128 - 9 - speed * (frame - 15), 16, 18),
            (1, "front", 44, 116 + speed * (frame - 15), 30, 24),
        ]

    numbers, tracker = follow(scene, 31)
    assert {name: len(ids) for name, ids in numbers.items()} == {"behind": 1, "front": 1}
    assert tracker.distinct == [0, 2, 0]


def test_one_that_a_post_hides_comes_back_as_itself():
    def scene(frame):
        return [(2, "walker", 60, 60 + 3 * frame, 20, 10), (1, "post", 30, 120, 70, 24)]

    numbers, tracker = follow(scene, 40)
    assert len(numbers["walker"]) == 1 and tracker.distinct == [0, 1, 1]


def test_one_that_comes_nearer_grows():
    def scene(frame):
        side = 8 * 1.06**frame
        return [(1, "near", 64 - side / 2, 100 + frame - side, side, 2 * side)]

    assert len(follow(scene, 35)[0]["near"]) == 1


def test_one_that_is_gone_for_long_is_another():
    def scene(frame):
        return [(1, "a", 50, 100, 16, 18)] if frame < 10 or frame > 40 else []

    numbers, tracker = follow(scene, 50)
    assert len(numbers["a"]) == 2 and tracker.distinct == [0, 2, 0]


def test_what_flickers_up_does_not_count():
    def scene(frame):
        return [(1, "a", 50, 100, 16, 18)] + [(2, "b", 20, 20, 10, 10)] * (frame == 5)

    assert follow(scene, 20)[1].distinct == [0, 1, 0]


def test_classes_are_followed_apart():
    """A person and a car that swap places between two frames are not taken for each other."""

    def scene(frame):
        places = (50, 150) if frame % 2 else (150, 50)
        return [(1, "car", 50, places[0], 20, 20), (2, "person", 50, places[1], 20, 20)]

    tracker = Tracker(TABLE)
    for frame in range(6):
        panoptic, truth = draw(scene(frame), frame)
        for thing in tracker.update(panoptic, frame / FPS):
            assert {1: "car", 2: "person"}[thing.class_id] == truth[thing.value]


def test_things_are_described():
    panoptic = np.zeros(SIZE, np.int32)
    panoptic[10:30, 40:80] = 1 * DIVISOR + 7
    panoptic[100:110, 200:220] = 1 * DIVISOR  # a group without instances
    (thing,) = Tracker(TABLE).update(panoptic, 0.0)
    assert (thing.id, thing.class_id, thing.value, thing.frames) == (1, 1, 1007, 1)
    assert thing.box == (40, 10, 40, 20) and thing.pixels == 800


def test_an_empty_frame_and_one_of_255000():
    tracker = Tracker(TABLE)
    for value in (0, 255 * DIVISOR):
        assert tracker.update(np.full(SIZE, value, np.int32), value) == []
