"""Training targets of a network that predicts instances: worked by hand, right under augmentation, the inverse of
grouping."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core.cityscapes import CITYSCAPES, from_instance_ids
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import DIVISOR, VOID, label_map_of
from deeplab_tf.core.panoptic.grouping import components, group_pixels
from deeplab_tf.lab.data.augment import Augmentation
from deeplab_tf.lab.data.panoptic_targets import panoptic_targets
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.data.split import Sample, Split
from deeplab_tf.synth import draw_scene

TABLE = LabelTable(
    [Label(0, "road", (0, 0, 0), False), Label(1, "car", (0, 0, 1), True), Label(2, "bus", (0, 0, 2), True)]
)
ROAD, CROWD, CAR_1, CAR_2, BUS = 0, DIVISOR, DIVISOR + 1, DIVISOR + 2, 2 * DIVISOR + 1


def test_worked_by_hand():
    # the car's center of mass: row 0, column (0 + 1 + 2) / 3 = 1; the bus stands alone at column 5
    targets = panoptic_targets(
        np.array([[CAR_1, CAR_1, CAR_1, ROAD, CROWD, BUS, VOID]], np.int32), TABLE, sigma=2.0, small=2, small_weight=3.0
    )
    assert targets.label_map.tolist() == [[1, 1, 1, 0, 1, 2, 255]]
    np.testing.assert_allclose(targets.offset[0], [[0, 1], [0, 0], [0, -1], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert targets.offset_weight.tolist() == [[1, 1, 1, 0, 0, 1, 0]]
    assert targets.center_weight.tolist() == [[1, 1, 1, 1, 0, 1, 0]], "nobody knows the centers of a crowd"
    distances = np.array([1, 0, 1, 2, 1, 0, 1])  # to the nearer of the columns 1 and 5
    np.testing.assert_allclose(targets.center[0], np.exp(-(distances**2) / (2 * 2.0**2)), rtol=1e-5)
    assert targets.label_weight.tolist() == [[1, 1, 1, 1, 1, 3, 1]], "the bus is one pixel, the car three"


def test_no_things_at_all():
    targets = panoptic_targets(np.full((4, 6), ROAD, np.int32), TABLE)
    assert not targets.center.any() and not targets.offset.any() and not targets.offset_weight.any()
    assert targets.center_weight.all()
    nothing = panoptic_targets(np.full((4, 6), VOID, np.int32), TABLE)
    assert not nothing.center_weight.any() and (nothing.label_map == 255).all()


class Cars(Split):
    """Frames with three cars of different sizes and a crowd; the image shows each thing in a gray of its own."""

    table = TABLE
    GRAYS = {ROAD: 20, CROWD: 60, CAR_1: 100, CAR_2: 140, BUS: 180}

    def __init__(self, instances=True):
        self.names, self.instances = ["a", "b"], instances
        panoptic = np.full((64, 96), ROAD, np.int32)
        panoptic[10:30, 8:40], panoptic[20:50, 40:60], panoptic[40:60, 70:90], panoptic[2:8, 70:90] = (
            CAR_1,
            CAR_2,
            BUS,
            CROWD,
        )
        self.panoptic = panoptic

    def sample(self, index):
        gray = np.select([self.panoptic == value for value in self.GRAYS], list(self.GRAYS.values()))
        return Sample(np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), label_map_of(self.panoptic))

    def panoptic_map(self, index):
        return self.panoptic

    def without_instances(self):
        return [] if self.instances else self.names


CHANGES = {
    "nothing": Augmentation(),
    "flip": Augmentation(flip=1.0),
    "scale": Augmentation(scale=(1.5, 1.5), crop=(48, 64)),
    "smaller": Augmentation(scale=(0.6, 0.6), crop=(48, 80)),
    "all": Augmentation(flip=0.5, rotation=20, scale=(0.7, 1.4), crop=(48, 64)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_targets_follow_the_image(change):
    """Every pixel's offset leads to the mean position of the pixels that look like it in the changed image."""
    pipeline = TrainingPipeline(
        Cars(), size=(64, 96), batch_size=4, seed=3, augmentation=CHANGES[change], targets={"sigma": 4.0}
    )
    images, targets = next(iter(pipeline.batches(0, 1)))
    seen = 0
    for image, offset, weight, center, label_map in zip(
        images, targets.offset, targets.offset_weight, targets.center, targets.label_map
    ):
        image, offset, weight, center = (x.numpy() for x in (image, offset, weight, center))
        for gray in (100, 140, 180):
            thing = inside(image, gray)
            if thing.sum() < 40:
                continue
            seen += 1
            rows, columns = np.nonzero(thing)
            ends = np.stack([rows, columns], axis=1) + offset[thing]
            assert np.ptp(ends, axis=0).max() < 1e-3, "all pixels of a thing point at one place"
            np.testing.assert_allclose(ends[0], (rows.mean(), columns.mean()), atol=1.5)
            assert (weight[thing] == 1).all()
            y, x = np.rint(ends[0]).astype(int)
            assert center[y, x] == 1.0
        assert set(np.unique(label_map)) <= {0, 1, 2, 255}
        assert not weight[inside(image, 60)].any(), "a crowd"
    assert seen >= 8


def inside(image, gray):
    """(H, W) bool: where an image has a gray, without edges, which are mixtures."""
    alike = (np.abs(image[..., 0].astype(int) - gray) <= 1).astype(np.uint8)
    return cv2.erode(alike, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0


def test_a_later_start_gives_the_same_targets():
    pipeline = TrainingPipeline(Cars(), size=(64, 96), batch_size=2, seed=3, augmentation=CHANGES["all"], targets={})
    whole, tail = list(pipeline.batches(0, 4)), list(pipeline.batches(3, 4))
    for expected, got in zip(tf.nest.flatten(whole[3]), tf.nest.flatten(tail[0])):
        np.testing.assert_array_equal(got, expected)


def test_data_without_instances_is_refused():
    with pytest.raises(DeepLabError, match="the split train .* none; .*deeplab_v3_plus"):
        TrainingPipeline(
            Cars(instances=False), size=(64, 96), batch_size=2, seed=3, augmentation=CHANGES["all"], targets={}
        )


def scene(index):
    return from_instance_ids(draw_scene(3, index, (512, 1024)).instance_ids.astype(np.int32), "a drawn scene")


def test_perfect_targets_give_back_the_truth():
    """At full size. What is lost: a thing whose center of mass is another's, or lies nearer to it than the
    neighborhood of a peak."""
    quality, usual, joined = (PanopticQuality(CITYSCAPES) for _ in range(3))
    for index in range(6):
        truth = scene(index)
        targets = panoptic_targets(truth, CITYSCAPES)
        maps = targets.label_map, targets.center, targets.offset
        quality.update(truth, group_pixels(*maps, CITYSCAPES, smallest=0))
        usual.update(truth, group_pixels(*maps, CITYSCAPES))
        joined.update(truth, components(targets.label_map, CITYSCAPES, smallest=0))
    report, other = quality.report(), joined.report()
    assert report["pq"] >= 0.98 and report["pq_stuff"] == 1.0 and report["pq_things"] >= 0.97
    assert report["pq_things"] > other["pq_things"] + 0.3, "the scenes have things that touch"
    print("without what is too small:", {key: usual.report()[key] for key in ("pq", "pq_things", "pq_stuff")})


def test_every_fourth_position_gives_nearly_the_same_instances():
    quality = PanopticQuality(CITYSCAPES)
    for index in range(3):
        targets = panoptic_targets(scene(index), CITYSCAPES)
        whole = group_pixels(targets.label_map, targets.center, targets.offset, CITYSCAPES)
        small = [np.ascontiguousarray(each[::4, ::4]) for each in (targets.label_map, targets.center, targets.offset)]
        quality.update(np.ascontiguousarray(whole[::4, ::4]), group_pixels(*small, CITYSCAPES, stride=4))
    assert quality.report()["pq"] > 0.9
