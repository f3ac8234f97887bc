"""A bundle's saved_model/ in plain TensorFlow, from 2.6 on: float32, on whatever device TensorFlow finds."""

import os
from typing import Optional

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import Runtime, _engines

PRECISIONS = ("float32",)


def missing() -> Optional[str]:
    """None, or why it cannot run here."""
    try:
        import importlib.util

        found = importlib.util.find_spec("tensorflow")
    except (ImportError, ValueError):
        found = None
    return None if found else "TensorFlow is not installed: pip install tensorflow (2.6 or newer)."


def build(
    bundle: Bundle, precision: str = "float32", *, strict: bool = False, rebuild: bool = False, say=print
) -> dict:
    """Nothing is built; returns what `build` of a runtime returns, for the bundle's folder."""
    return _engines.nothing_to_build(bundle.file("saved_model"), precision)


def load(bundle: Bundle, precision: str = "float32", *, strict: bool = False, say=print) -> Runtime:
    """Raises DeepLabError where TensorFlow cannot read the model."""
    return SavedModelRuntime(bundle, precision, bundle.file("saved_model"))


def memory_as_needed() -> None:
    """Lets TensorFlow take a GPU's memory as it needs it, not all at once: on a Jetson it is the memory of everything
    else, too."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow has started on it already
            pass


class SavedModelRuntime(Runtime):
    """See `Runtime`. TensorFlow copies the frame as it runs, so `upload` is part of `run` on a GPU."""

    name = "saved_model"

    def __init__(self, bundle, precision, folder):
        super().__init__(bundle, precision)
        os.environ.setdefault(
            "TF_CPP_MIN_LOG_LEVEL", "3"
        )  # 2 leaves remarks about GPU libraries on machines without a GPU
        import tensorflow as tf

        memory_as_needed()
        try:
            self._loaded = tf.saved_model.load(folder)  # the function lives only as long as this
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeepLabError(f"TensorFlow {tf.__version__} cannot load {folder}: {reason}") from error
        self._function = self._loaded.signatures["serving_default"]
        self._constant = tf.constant
        self._input = self._given = None

    def upload(self, frame):
        self._input = self._constant(frame[None])

    def run(self):
        self._given = self._function(image=self._input)

    def download(self):
        return {name: tensor.numpy()[0] for name, tensor in self._given.items()}

    def close(self):
        self._loaded = self._function = self._input = self._given = None
