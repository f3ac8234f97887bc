"""The batch that every side trains on, and timed steps of a Keras model."""

import numpy as np

CLASSES, IGNORED = 19, 255


def training_batch(options):
    """Return (B, H, W, 3) uint8 noise and (B, H, W) uint8 labels, a tenth of them ignored."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options["batch"], *options["size"], 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, (options["batch"], *options["size"]), dtype=np.uint8)
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    return images, labels


class Steps:
    """Steps of a Keras model's `fit` on one batch, each timed."""

    def __init__(self, keras, model, images, labels, callbacks=()):
        import tensorflow as tf

        self.model, self.callbacks = model, list(callbacks)
        self.batches = tf.data.Dataset.from_tensors((images, labels)).repeat()
        self.watch = _stopwatch(keras)

    def seconds(self, count):
        """Return the seconds of each of `count` steps."""
        self.watch.found = []
        self.model.fit(
            self.batches.take(count), epochs=1, verbose=0, shuffle=False, callbacks=[*self.callbacks, self.watch]
        )
        return self.watch.found


def _stopwatch(keras):
    import time

    class Stopwatch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.begun = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.found.append(time.perf_counter() - self.begun)

    return Stopwatch()
