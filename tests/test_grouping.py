"""Grouping against a plain version of it."""

import numpy as np
import pytest

from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, VOID, Prediction, grouping, instance_counts, label_map_of, panoptic_map
from deeplab_tf.core.panoptic.grouping import components, find_centers, group_pixels, to_panoptic

TABLE = LabelTable(
    [
        Label(0, "road", (0, 0, 0), False),
        Label(1, "pole", (0, 0, 1), False),
        Label(2, "car", (0, 0, 2), True),
        Label(3, "bus", (0, 0, 3), True),
    ]
)
ROAD, POLE, CAR, BUS = range(4)


def maps(label_map, centers):
    """Label map, heat map and offsets in which every pixel points at the nearest of some centers."""
    label_map = np.asarray(label_map, np.uint8)
    center = np.zeros(label_map.shape, np.float32)
    for y, x in centers:
        center[y, x] = 1.0
    rows, columns = np.indices(label_map.shape)
    distances = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in centers]
    chosen = np.array(centers)[np.argmin(distances, axis=0)]
    return label_map, center, (chosen - np.stack([rows, columns], axis=-1)).astype(np.float32)


def slowly(label_map, center, offset, table, *, stride, threshold, smallest):
    """What `group_pixels` does, pixel by pixel."""
    height, width = label_map.shape
    reach = max(3, 7 // stride | 1) // 2
    centers = []
    for y in range(height):
        for x in range(width):
            around = center[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            if center[y, x] > threshold and center[y, x] >= around.max():
                centers.append((y, x))
    thing = {label.id for label in table if label.thing}
    owner = np.full(label_map.shape, -1)
    for y in range(height):
        for x in range(width):
            if label_map[y, x] in thing:
                dy, dx = offset[y, x] / stride
                ty, tx = min(max(round(y + dy), 0), height - 1), min(max(round(x + dx), 0), width - 1)
                owner[y, x] = int(np.argmin([np.hypot(ty - cy, tx - cx) for cy, cx in centers]))
    result, numbers = np.full(label_map.shape, VOID), {}
    for label in table:
        here = label_map == label.id
        if not label.thing:
            result[here] = label.id * DIVISOR
    for k in range(len(centers)):
        mine = owner == k
        if mine.sum() >= max(1, smallest * mine.size):
            class_id = int(np.bincount(label_map[mine]).argmax())
            numbers[class_id] = numbers.get(class_id, 0) + 1
            result[mine] = class_id * DIVISOR + numbers[class_id]
    found = {int(value): np.argwhere(result == value).mean(axis=0) for value in np.unique(result) if value % DIVISOR}
    for y, x in np.argwhere((result == VOID) & np.isin(label_map, list(thing))):
        own = [value for value in found if value // DIVISOR == label_map[y, x]]
        distances = [np.hypot(*(found[value] - (y, x))) for value in own]
        result[y, x] = own[int(np.argmin(distances))] if own else label_map[y, x] * DIVISOR
    return result


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_version(seed, stride):
    """Labels, heat and offsets at random, but for offsets that end within 4 positions of a center, which are 16
    apart."""
    rng = np.random.default_rng(seed)
    label_map = np.kron(rng.integers(0, 4, (6, 8)), np.ones((8, 8))).astype(np.uint8)
    label_map[rng.random(label_map.shape) < 0.05] = IGNORE_LABEL
    centers = [(y, x) for y in range(7, 48, 16) for x in range(9, 64, 16)]
    center = rng.uniform(0, 0.5, label_map.shape).astype(np.float32)
    center[tuple(np.transpose(centers))] = rng.uniform(0.6, 1, len(centers))
    chosen = np.array(centers)[rng.integers(0, len(centers), label_map.shape)]
    chosen[rng.random(label_map.shape) < 0.1] = (-90, 9)  # outside: kept inside, above the second center
    chosen = np.where(chosen < 0, 0, chosen) + rng.uniform(-3.4, 3.4, chosen.shape) * (chosen >= 0)
    offset = ((chosen - np.stack(np.indices(label_map.shape), axis=-1)) * stride).astype(np.float32)
    options = {"stride": stride, "threshold": 0.55, "smallest": 0.02}
    expected = slowly(label_map, center, offset, TABLE, **options)
    np.testing.assert_array_equal(group_pixels(label_map, center, offset, TABLE, **options), expected)
    assert len(np.unique(expected)) > 8


def test_a_pixel_between_two_centers_goes_to_one_that_is_at_most_five_per_cent_farther():
    rng = np.random.default_rng(0)
    centers = np.unique(rng.integers(0, (96, 160), (60, 2)), axis=0)
    pixels = np.arange(96 * 160)
    offset = rng.normal(0, 20, (96, 160, 2)).astype(np.float32)
    chosen = grouping._nearest(pixels, offset, centers, 1)
    targets = np.rint(np.stack(np.divmod(pixels, 160), axis=1) + offset.reshape(-1, 2)).clip(0, (95, 159))
    distances = np.linalg.norm(targets[:, None] - centers, axis=2)
    assert (distances[pixels, chosen] <= 1.05 * distances.min(axis=1)).all()
    assert (distances[pixels, chosen] == distances.min(axis=1)).mean() > 0.98


def test_two_touching_cars_and_the_majority():
    # a car of 3 columns and one of 5 beside each other; 2 pixels of the second look like a bus
    label_map, center, offset = maps(np.full((4, 8), CAR), [(2, 1), (2, 5)])
    label_map[0, 6:] = BUS
    panoptic = group_pixels(label_map, center, offset, TABLE, smallest=0)
    expected = np.repeat(
        [[2001] * 3 + [2002] * 5], 4, axis=0
    )  # column 3 is as far from both: the first center takes it
    assert (panoptic[:, [0, 1, 2, 4, 5, 6, 7]] == expected[:, [0, 1, 2, 4, 5, 6, 7]]).all()
    assert instance_counts(panoptic, TABLE) == [0, 0, 2, 0]
    assert len(np.unique(components(label_map, TABLE, smallest=0))) == 2, (
        "components take both cars for one, and the bus for another"
    )


def test_without_a_center_things_are_one_group_without_instances():
    label_map = np.array([[ROAD, CAR], [ROAD, ROAD]], np.uint8)
    nothing = np.zeros((2, 2), np.float32)
    panoptic = group_pixels(label_map, nothing, np.zeros((2, 2, 2), np.float32), TABLE)
    assert panoptic.tolist() == [[0, 2000], [0, 0]] and instance_counts(panoptic, TABLE) == [0, 0, 0, 0]


def test_no_thing_and_no_pixel_of_a_class_at_all():
    label_map, center, offset = maps(np.full((4, 4), POLE), [(1, 1)])
    assert (group_pixels(label_map, center, offset, TABLE) == POLE * DIVISOR).all()
    label_map[:] = IGNORE_LABEL
    assert (group_pixels(label_map, center, offset, TABLE) == VOID).all() and (
        components(label_map, TABLE) == VOID
    ).all()


def test_five_hundred_things():
    """500 cars of 16 x 32 pixels, row by row, at 512x1024: each comes back whole."""
    rows, columns = np.indices((512, 1024))
    number = rows // 16 * 32 + columns // 32
    label_map = np.where(number < 500, CAR, ROAD).astype(np.uint8)
    centers = [(16 * (k // 32) + 8, 32 * (k % 32) + 16) for k in range(500)]
    center = np.zeros(label_map.shape, np.float32)
    center[tuple(np.transpose(centers))] = 1.0
    padded = np.array(centers + [(0, 0)] * 524)
    offset = (padded[number] - np.stack([rows, columns], axis=-1)).astype(np.float32)
    panoptic = group_pixels(label_map, center, offset, TABLE)
    np.testing.assert_array_equal(panoptic, np.where(number < 500, CAR * DIVISOR + number + 1, ROAD))


def test_what_is_too_small_joins_the_nearest_of_its_class():
    label_map, center, offset = maps(
        [[CAR, CAR, ROAD, CAR, ROAD, ROAD, ROAD, CAR, CAR, CAR, POLE, BUS]], [(0, 1), (0, 7)]
    )
    center[0, [3, 11]] = 1.0
    offset[0, [3, 11]] = 0  # centers of their own, of a single pixel: a car and a bus
    expected = [2001, 2001, 0, 2001, 0, 0, 0, 2002, 2002, 2002, 1000, 3000]  # 3 is 2.5 from 0.5, and 5 from 8
    assert group_pixels(label_map, center, offset, TABLE, smallest=0.1)[0].tolist() == expected
    assert components(label_map, TABLE, smallest=0.1)[0].tolist() == expected
    expected[3], expected[7:10], expected[11] = 2002, [2003] * 3, 3001  # 1 of 12 pixels is 0.083
    assert group_pixels(label_map, center, offset, TABLE, smallest=0.08)[0].tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_with_a_class_is_in_a_segment(seed):
    """Noise, in which nearly everything is too small; and at another size than the network's."""
    rng = np.random.default_rng(seed)
    label_map = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), (60, 90))
    center = rng.random((20, 30)).astype(np.float32) * (seed > 0)
    offset = rng.normal(0, 8, (20, 30, 2)).astype(np.float32)
    for panoptic in (group_pixels(label_map, center, offset, TABLE, stride=2), components(label_map, TABLE)):
        assert ((panoptic == VOID) == (label_map == IGNORE_LABEL)).all()
        stuff = label_map < CAR
        assert (panoptic[stuff] == label_map[stuff].astype(int) * DIVISOR).all()
        assert np.isin(panoptic[~stuff] // DIVISOR, (CAR, BUS, IGNORE_LABEL)).all()
    assert (label_map_of(panoptic) == label_map).all(), "components have the very classes of the label map"


def test_more_instances_than_there_are_numbers_join_others():
    label_map = np.full((60, 90), ROAD, np.uint8)
    label_map[::2, ::2] = CAR  # 1350 single pixels
    panoptic = components(label_map, TABLE, smallest=0)
    assert (label_map_of(panoptic) == label_map).all() and instance_counts(panoptic, TABLE)[CAR] == DIVISOR - 1


def test_a_label_map_at_another_size_takes_the_instances_of_the_same_places():
    label_map, center, offset = maps([[CAR] * 4 + [ROAD] * 2], [(0, 0), (0, 3)])
    larger = np.repeat(np.repeat(label_map, 2, axis=0), 3, axis=1)
    larger[0, 12] = CAR  # one pixel more than the network's own labels have: its offset is the road's
    panoptic = group_pixels(larger, center, offset, TABLE, smallest=0)
    assert panoptic.tolist() == [[2001] * 6 + [2002] * 7 + [0] * 5, [2001] * 6 + [2002] * 6 + [0] * 6]


def test_peaks_are_the_highest_of_their_neighborhood():
    center = np.zeros((20, 20), np.float32)
    center[5, 5], center[5, 7], center[15, 15], center[19, 0] = 0.9, 0.8, 0.25, 0.4
    assert find_centers(center).tolist() == [
        [5, 5],
        [19, 0],
    ]  # 7 is within 3 of 5, and 0.25 is below the threshold of 0.3
    assert find_centers(center, stride=4).tolist() == [[5, 5], [5, 7], [19, 0]]  # 3 positions a side


def test_of_equal_neighbors_one_is_the_center():
    center = np.zeros((9, 30), np.float32)
    center[4:6, 3:5] = 0.5
    center[4, 20] = center[4, 22] = 0.5  # not neighbors: two centers
    assert find_centers(center).tolist() == [[4, 3], [4, 20], [4, 22]]


def test_components_number_each_class_on_its_own():
    label_map = np.array([[CAR, ROAD, CAR], [ROAD, ROAD, BUS], [CAR, ROAD, BUS]], np.uint8)
    panoptic = components(label_map, TABLE, smallest=0)
    assert panoptic.tolist() == [[2001, 0, 2002], [0, 0, 3001], [2003, 0, 3001]]


def test_a_prediction_knows_its_way():
    label_map, center, offset = maps([[CAR, CAR]], [(0, 0)])
    assert to_panoptic(Prediction(label_map), TABLE)[1] == "components"
    panoptic, method = to_panoptic(Prediction(label_map, center, offset), TABLE)
    assert method == "centers" and panoptic.tolist() == [[2001, 2001]]


def test_panoptic_maps_keep_road_and_void_apart():
    joined = panoptic_map(np.array([[0, 0, IGNORE_LABEL]], np.uint8), np.array([[0, 5, 5]]))
    assert joined.tolist() == [[0, 5, VOID]] and label_map_of(joined).tolist() == [[0, 0, IGNORE_LABEL]]
