"""Label maps as polygons and run lengths, against what they are drawn again as."""

import numpy as np
import pytest

from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.polygons import geojson, regions, run_lengths

TABLE = LabelTable([Label(i, name, (9 * i, 0, 0), False) for i, name in enumerate("abc")])


def label_maps():
    rng = np.random.default_rng(0)
    yield rng.integers(0, 3, (19, 23), dtype=np.uint8)  # pixels that touch at corners, holes in holes
    yield np.kron(rng.integers(0, 3, (5, 6)), np.ones((4, 3), int)).astype(np.uint8)
    ring = np.zeros((9, 9), np.uint8)
    ring[1:8, 1:8], ring[2:7, 2:7], ring[4, 4] = 1, 0, 1
    yield ring
    yield np.full((1, 1), 2, np.uint8)
    yield np.where(rng.random((7, 8)) < 0.3, 255, 1).astype(np.uint8)


def filled(rings, size):
    """By even and odd: a pixel is inside where an odd number of vertical edges is left of it."""
    crossings = np.zeros((size[0], size[1] + 1), int)
    for ring in rings:
        for (x, y), (other, end) in zip(ring, ring[1:]):
            assert x == other or y == end, "edges follow the pixels"
            crossings[min(y, end) : max(y, end), x] += x == other
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@pytest.mark.parametrize("label_map", label_maps())
def test_polygons_drawn_again_are_the_label_map(label_map):
    drawn = np.full(label_map.shape, 255, np.uint8)
    for feature in geojson(label_map, TABLE)["features"]:
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in rings)
        inside = filled(rings, label_map.shape)
        assert (drawn[inside] == 255).all(), "no pixel is in two polygons"
        drawn[inside] = feature["properties"]["class_id"]
    np.testing.assert_array_equal(drawn, label_map)


def test_a_ring_with_an_island_by_hand():
    (outer, hole), (island,) = (
        region.rings
        for region in sorted(regions(list(label_maps())[2], TABLE), key=lambda r: -len(r.rings))
        if region.class_id == 1
    )
    assert sorted(map(tuple, outer)) == [(1, 1), (1, 8), (8, 1), (8, 8)]
    assert sorted(map(tuple, hole)) == [(2, 2), (2, 7), (7, 2), (7, 7)]
    assert sorted(map(tuple, island)) == [(4, 4), (4, 5), (5, 4), (5, 5)]


def test_run_lengths_by_hand():
    """Down the columns of [[0, 1, 1], [1, 1, 0]]: 0 | 1 1 1 1 | 0, so runs of 1, 4 and 1."""
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)
    assert run_lengths(mask) == "141"
    # the opposite: runs of 0, 1, 4 and 1, the last as its difference from 1
    assert run_lengths(~mask) == "0140"
    assert run_lengths(np.ones((2, 3), bool)) == "06" and run_lengths(np.zeros((2, 3), bool)) == "6"


def test_run_lengths_are_those_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for size, share in (((1, 1), 0.5), ((40, 60), 0.5), ((300, 170), 0.001), ((64, 64), 1.0), ((64, 64), 0.0)):
        mask = rng.random(size) < share
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert run_lengths(mask) == theirs["counts"].decode("ascii")
        np.testing.assert_array_equal(coco.decode({"size": size, "counts": run_lengths(mask)}), mask)
