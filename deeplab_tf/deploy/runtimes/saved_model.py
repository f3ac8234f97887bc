"""A bundle's saved_model/ in plain TensorFlow (2.6 or newer): float32, on the device that TensorFlow finds."""

import copy
import importlib.util
import os
from typing import Optional

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.predictor import MAX_LANES
from deeplab_tf.core.processor import physical_cores
from deeplab_tf.deploy.runtimes import Runtime, _engines

PRECISIONS = {"float32": "saved_model"}
PRIORITY = 10
PACKAGE = "tensorflow"


def missing() -> Optional[str]:
    """Return None, or why it cannot run here."""
    try:
        found = importlib.util.find_spec("tensorflow")
    except (ImportError, ValueError):
        found = None
    return None if found else "TensorFlow is not installed: pip install tensorflow (2.6 or newer)."


def build(
    bundle: Bundle, precision: str = "float32", *, strict: bool = False, rebuild: bool = False, say=print
) -> dict:
    """Build nothing; return the result of a runtime's `build` for the bundle's folder."""
    return _engines.nothing_to_build(bundle.file(PRECISIONS[precision]), precision)


def load(bundle: Bundle, precision: str = "float32", *, strict: bool = False, say=print) -> Runtime:
    """Load the model. Raises DeepLabError if TensorFlow cannot read it."""
    return SavedModelRuntime(bundle, precision, bundle.file(PRECISIONS[precision]))


def memory_as_needed() -> None:
    """Let TensorFlow allocate a GPU's memory as needed, not all at once: a Jetson's CPU shares it."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow has initialized it already
            pass


class SavedModelRuntime(Runtime):
    """See `Runtime`. On a GPU, TensorFlow copies the frame as part of `run`."""

    name = "saved_model"

    def __init__(self, bundle, precision, folder):
        super().__init__(bundle, precision)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # 2 complains about GPU libraries on machines without a GPU
        import tensorflow as tf

        memory_as_needed()
        self._on_gpu = bool(tf.config.list_physical_devices("GPU"))
        try:
            self._loaded = tf.saved_model.load(folder)  # the function lives only as long as this
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeepLabError(f"TensorFlow {tf.__version__} cannot load {folder}: {reason}") from error
        self._function = self._loaded.signatures.get("serving_default")
        if self._function is None:
            raise DeepLabError(f"{folder} has no signature serving_default; convert the run again.")
        shapes = {name: spec.shape for name, spec in self._function.structured_outputs.items()}
        self.check_outputs(folder, {name: None if each.rank is None else tuple(each) for name, each in shapes.items()})
        self._constant = tf.constant
        self._input, self._results = None, {}

    def upload(self, frame):
        self._input = self._constant(frame[None])

    def run(self):
        self._results = self._function(image=self._input)

    def download(self):
        return {name: tensor.numpy()[0] for name, tensor in self._results.items()}

    def lanes(self):
        """Return up to MAX_LANES lanes on a CPU, of which this runtime is the first: they share the loaded function."""
        count = 1 if self._on_gpu else min(physical_cores(), MAX_LANES)
        return [self] + [copy.copy(self) for _ in range(count - 1)]

    def close(self):
        self._loaded = self._function = self._input = None
        self._results = {}
