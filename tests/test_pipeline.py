import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.data.augment import Augmentation
from deeplab_tf.lab.data.pipeline import TrainingPipeline, resize_sample
from deeplab_tf.lab.data.split import Sample, Split

SIZE = (32, 48)
STRONG = Augmentation(
    crop=(32, 40), flip=0.5, rotation=10, scale=(0.7, 1.4), brightness=0.2, hue=0.05, gamma=0.2, noise=3
)


class NumberedSamples(Split):
    """Sample i is i throughout, in image and label; one of them may be broken."""

    def __init__(self, count, broken=None, size=SIZE):
        self.names = [f"frame_{i}" for i in range(count)]
        self.broken, self.size = broken, size

    def sample(self, index):
        if index == self.broken:
            raise DeepLabError(f"The image frame_{index}.png is truncated.")
        return Sample(np.full((*self.size, 3), index, np.uint8), np.full(self.size, index, np.uint8))


def pipeline(split, *, batch_size=4, seed=1, augmentation=None, size=SIZE):
    return TrainingPipeline(
        split, size=size, batch_size=batch_size, seed=seed, augmentation=augmentation or Augmentation()
    )


def order(source, first_step, last_step):
    """The samples of some steps, read off the labels."""
    return [int(label) for _, label_maps in source.batches(first_step, last_step) for label in label_maps[:, 0, 0]]


@pytest.mark.parametrize("count, batch_size", [(12, 4), (7, 3), (1, 2)])
def test_every_epoch_takes_each_sample_once(count, batch_size):
    source = pipeline(NumberedSamples(count), batch_size=batch_size)
    taken = order(source, 0, 3 * count)  # batch_size * 3 epochs: some batches reach into the next epoch
    epochs = [taken[i : i + count] for i in range(0, len(taken), count)]
    assert len(epochs) == 3 * batch_size
    for epoch in epochs:
        assert sorted(epoch) == list(range(count))


def test_every_epoch_and_seed_has_its_own_order():
    taken = order(pipeline(NumberedSamples(20), batch_size=20), 0, 5)
    orders = {tuple(taken[i : i + 20]) for i in range(0, 100, 20)}
    orders.add(tuple(order(pipeline(NumberedSamples(20), batch_size=20, seed=2), 0, 1)))
    assert len(orders) == 6
    assert tuple(range(20)) not in orders


def test_no_sample_has_a_favorite_place():
    """Over 200 epochs each of 10 samples comes first about 20 times."""
    source = pipeline(NumberedSamples(10), batch_size=10)
    places = np.array(
        [[int(source._index(tf.constant(10 * epoch + i, tf.int64))) for i in (0, 9)] for epoch in range(200)]
    )
    for column in places.T:
        assert np.bincount(column, minlength=10).min() >= 5 and np.bincount(column, minlength=10).max() <= 40


def test_a_later_start_is_the_tail_of_an_earlier_one(rng):
    pictures = rng.integers(0, 256, (7, *SIZE, 3), np.uint8)
    split = NumberedSamples(7)
    split.sample = lambda index: Sample(pictures[index], pictures[index, ..., 0] % 5)
    whole = list(pipeline(split, augmentation=STRONG).batches(0, 9))
    tail = list(pipeline(split, augmentation=STRONG).batches(5, 9))
    assert len(whole) == 9 and len(tail) == 4
    for (image, label_map), (expected_image, expected_label_map) in zip(tail, whole[5:]):
        np.testing.assert_array_equal(image, expected_image)
        np.testing.assert_array_equal(label_map, expected_label_map)


def test_every_epoch_augments_anew(rng):
    picture = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    split = NumberedSamples(1)
    split.sample = lambda index: Sample(picture, picture[..., 0] % 5)
    ((images, _),) = pipeline(split, augmentation=STRONG, batch_size=6).batches(0, 1)
    assert len({image.numpy().tobytes() for image in images}) == 6


def test_names_are_those_of_the_batch():
    source = pipeline(NumberedSamples(7), batch_size=3)
    taken = order(source, 0, 10)
    for step in range(10):
        assert source.names(step) == [f"frame_{i}" for i in taken[3 * step : 3 * step + 3]]


def test_shapes_are_static():
    images, label_maps = pipeline(NumberedSamples(5), augmentation=STRONG).batches(0, 2).element_spec
    assert images == tf.TensorSpec((4, 32, 40, 3), tf.uint8)
    assert label_maps == tf.TensorSpec((4, 32, 40), tf.uint8)


def test_a_bad_image_leaves_its_error():
    source = pipeline(NumberedSamples(8, broken=5))
    assert source.error is None
    with pytest.raises(tf.errors.OpError):
        list(source.batches(0, 2))
    assert str(source.error) == "The image frame_5.png is truncated."


def test_samples_are_resized(rng):
    source = pipeline(NumberedSamples(4, size=(64, 96)))
    ((images, label_maps),) = source.batches(0, 1)
    assert images.shape == (4, *SIZE, 3)
    np.testing.assert_array_equal(images[..., 0], label_maps)


def test_resize_never_mixes_labels(rng):
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    label_map = rng.choice(np.array([0, 7, 255], np.uint8), (64, 96))
    resized = resize_sample(Sample(image, label_map), (32, 48))
    means = image.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resized.image, means, atol=1)
    assert set(np.unique(resized.label_map)) == {0, 7, 255}
    squares = label_map.reshape(32, 2, 48, 2).transpose(0, 2, 1, 3).reshape(32, 48, 4)
    assert (squares == resized.label_map[..., None]).any(-1).all()  # one of the four pixels that it stands for


def test_resize_leaves_the_right_size_alone(rng):
    frame = Sample(rng.integers(0, 256, (32, 48, 3), np.uint8), rng.integers(0, 5, (32, 48), np.uint8))
    assert resize_sample(frame, (32, 48)) is frame


def test_resized_labels_stay_on_their_pixels():
    # 90 -> 60 columns: the center of new column j, (j + 0.5) * 1.5 - 0.5, is nearest to old columns 0, 2 (1.75), 3
    # (3.25), 5 (4.75) ...
    columns = np.arange(90, dtype=np.uint8)
    frame = Sample(np.zeros((30, 90, 3), np.uint8), np.tile(columns, (30, 1)))
    resized = resize_sample(frame, (30, 60)).label_map[0]
    np.testing.assert_array_equal(resized, [int((j + 0.5) * 1.5) for j in range(60)])
