"""A bundle's saved_model/ in plain TensorFlow, from 2.6 on: float32, on whatever device TensorFlow finds."""

import os
from typing import Optional

from deeplab_tf.bundle import Bundle
from deeplab_tf.errors import DeepLabError
from deeplab_tf.runtimes import Runtime

PRECISIONS = ("float32",)


def missing() -> Optional[str]:
    """None, or why it cannot run here."""
    try:
        import importlib.util

        found = importlib.util.find_spec("tensorflow")
    except (ImportError, ValueError):
        found = None
    return None if found else "TensorFlow is not installed: pip install tensorflow (2.6 or newer)."


def load(bundle: Bundle, precision: str = "float32") -> Runtime:
    """Raises DeepLabError where TensorFlow cannot read the model."""
    return SavedModelRuntime(bundle, precision)


class SavedModelRuntime(Runtime):
    """See `Runtime`. TensorFlow copies the frame as it runs, so `upload` is part of `run` on a GPU."""

    name = "saved_model"

    def __init__(self, bundle, precision, folder=None):
        super().__init__(bundle, precision)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        folder = folder or bundle.file("saved_model")
        try:
            self._loaded = tf.saved_model.load(folder)  # the function lives only as long as this
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeepLabError("TensorFlow {} cannot load {}: {}".format(tf.__version__, folder, reason)) from error
        self._function = self._loaded.signatures["serving_default"]
        self._constant = tf.constant
        self._input = self._output_tensor = None

    def upload(self, frame):
        self._input = self._constant(frame[None])

    def run(self):
        (self._output_tensor,) = self._function(image=self._input).values()

    def download(self):
        return self._output_tensor.numpy()[0]
