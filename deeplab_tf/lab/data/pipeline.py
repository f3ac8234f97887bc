"""From a split to training batches, in tf.data.

Sample n of a run is a function of the seed and n alone: which image it is (a new order every epoch, by a stateless
shuffle of the index) and how it is augmented. So a run that continues at step s starts the pipeline there, and nothing
is replayed.
"""

import contextlib

import tensorflow as tf

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.panoptic import VOID
from deeplab_tf.lab.data.augment import Augmentation, augment
from deeplab_tf.lab.data.panoptic_targets import Targets, panoptic_targets
from deeplab_tf.lab.data.split import Sample, Split, require_instances


class TrainingPipeline:
    """Batches of augmented samples of a split."""

    def __init__(
        self,
        split: Split,
        *,
        size: tuple[int, int],
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        targets: dict | None = None,
        part: tuple[int, int] = (0, 1),
    ):
        """
        Args:
            split: the samples.
            size: height, width to which they are resized before augmentation.
            batch_size: B.
            seed: fixes the order and every augmentation.
            augmentation: its `crop` is the size of what comes out.
            targets: for a network that predicts instances: options of `panoptic_targets`.
            part: (i, n) for the i-th of n equal parts of every batch, from 0: what a worker takes.

        Raises:
            DeepLabError: `targets` are given, and a sample has no instances.
        """
        if targets is not None:
            require_instances(split, "train")
        self.split, self.size, self.batch_size, self.seed = split, size, batch_size, seed
        self.augmentation, self.targets, self.part = augmentation, targets, part
        self.error: DeepLabError | None = None

    def batches(self, first_step: int, last_step: int) -> tf.data.Dataset:
        """Return images (B, h, w, 3) uint8 and label maps (B, h, w) uint8 for the steps first_step .. last_step - 1.

        With a `part`, those of the part.

        With `targets`, `panoptic_targets.Targets` are in place of the label maps.
        Where an image cannot be read the dataset fails with a TensorFlow error; the sentence for it is in `error`.
        """
        part, parts = self.part
        size = self.batch_size // parts
        samples = tf.data.Dataset.range(first_step * size, last_step * size)
        if parts > 1:
            samples = samples.map(lambda n: n // size * self.batch_size + part * size + n % size)
        samples = samples.map(self._sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return samples.batch(size, drop_remainder=True).prefetch(2)

    def names(self, step: int) -> list[str]:
        """Return the names of the samples in the batch of a step (0 is the first)."""
        return [self.split.names[index] for index in self._indices(step)]

    def files(self, step: int) -> list[str]:
        """Return the image files in the batch of a step, for messages."""
        return [self.split.paths(index)[0] for index in self._indices(step)]

    def _indices(self, step):
        first = step * self.batch_size
        return [int(self._index(tf.constant(n, tf.int64))) for n in range(first, first + self.batch_size)]

    def _sample(self, n):
        load, kind = (self._load_panoptic, tf.int32) if self.targets is not None else (self._load, tf.uint8)
        image, truth = tf.numpy_function(load, [self._index(n)], (tf.uint8, kind), stateful=False)
        image = tf.ensure_shape(image, (*self.size, 3))
        truth = tf.ensure_shape(truth, self.size)
        seed = tf.stack([tf.constant(self.seed, tf.int64), n])
        if self.targets is None:
            return augment(image, truth, seed, self.augmentation)
        image, truth = augment(image, truth, seed, self.augmentation, outside=VOID)
        return image, self._make_targets(truth)

    def _make_targets(self, panoptic):
        """Targets of a (h, w) int32 tensor."""
        kinds = [tf.uint8] + [tf.float32] * (len(Targets._fields) - 1)
        made = tf.numpy_function(self._targets_of, [panoptic], kinds, stateful=False)
        last = {"offset": (2,)}
        return Targets(
            *(tf.ensure_shape(x, (*panoptic.shape, *last.get(name, ()))) for name, x in zip(Targets._fields, made))
        )

    def _index(self, n):
        """Return the index of sample n: every epoch takes each image once, in an order of its own."""
        epoch, position = n // len(self.split), n % len(self.split)
        seed = tf.stack([tf.constant(self.seed, tf.int64), epoch])
        return tf.random.experimental.index_shuffle(position, seed, tf.constant(len(self.split) - 1, tf.int64))

    def _load(self, index):
        with self._noted():
            return tuple(resize_sample(self.split.sample(int(index)), self.size))

    def _load_panoptic(self, index):
        with self._noted():
            image, panoptic = self.split.panoptic_sample(int(index))
            return resize_image(image, self.size), resize_labels(panoptic, self.size)

    def _targets_of(self, panoptic):
        return tuple(panoptic_targets(panoptic, self.split.table, **(self.targets or {})))

    @contextlib.contextmanager
    def _noted(self):
        try:
            yield
        except DeepLabError as error:
            self.error = self.error or error
            raise


def resize_sample(sample: Sample, size: tuple[int, int]) -> Sample:
    """Return a sample at another size: the image by area means (bilinear, where it grows), the label by nearest
    neighbor."""
    if sample.image.shape[:2] == tuple(size):
        return sample
    return Sample(resize_image(sample.image, size), resize_labels(sample.label_map, size))
