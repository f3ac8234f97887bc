"""A Keras model as a runtime: what training, `evaluate` and `predict` run in the lab."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import deeplab_tf.lab.models.custom_layers  # noqa: F401  (registers the layers that saved models hold)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.lab.config import Config, load


class KerasRuntime:
    """Maps a uint8 RGB frame to a label map or to class scores, at the frame's size.

    Attributes:
        name: "keras".
        table: the classes.
        config: the recipe that it was trained by.
        size: height, width that the network was trained at.
        label_stride: 1.
        gives_instances: whether `predict` gives centers and offsets.
    """

    name = "keras"
    label_stride = 1

    def __init__(self, model: keras.Model, table: LabelTable, config: Config):
        self.model, self.table, self.config, self.size = model, table, config, tuple(config.size)
        signature = [tf.TensorSpec((None, None, 3), tf.uint8)]
        self.gives_instances = "center" in model.output
        self._outputs = tf.function(self._labels_and_instances, input_signature=signature, jit_compile=False)
        self._scores = tf.function(self._softmax, input_signature=signature, jit_compile=False)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) uint8 class ids."""
        return self.predict(frame).label_map

    def predict(self, frame: np.ndarray) -> Prediction:
        """(H, W, 3) uint8 RGB -> labels and, where the network has them, centers and offsets, (H, W) and (H, W, 2)."""
        return Prediction(**{name: output.numpy() for name, output in self._outputs(frame).items()})

    def class_scores(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W, C) float32 probabilities."""
        return self._scores(frame).numpy()

    def _run(self, frame):
        return self.model(tf.cast(frame[None], tf.float32), training=False)

    def _labels_and_instances(self, frame):
        outputs = self._run(frame)
        made = {"label_map": tf.cast(tf.argmax(outputs["logits"][0], axis=-1, output_type=tf.int32), tf.uint8)}
        if self.gives_instances:
            made.update(center=outputs["center"][0, ..., 0], offset=outputs["offset"][0])
        return made

    def _softmax(self, frame):
        return tf.nn.softmax(self._run(frame)["logits"][0])


def open_run(run_dir: str | Path, checkpoint: int | str | None = None) -> KerasRuntime:
    """The network of a run.

    Args:
        run_dir: the folder that `train` wrote.
        checkpoint: a step whose network was kept, or None (or "best") for the best one.

    Raises:
        DeepLabError: not a run, or a run without that network.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "config.yaml").is_file():
        raise DeepLabError(f"{run_dir} is not a run: it has no config.yaml. `deeplab-tf train` writes one.")
    path = run_dir / "best.keras" if checkpoint in (None, "best") else run_dir / "kept" / f"step_{int(checkpoint):08d}.keras"
    if not path.is_file():
        kept = ", ".join(str(int(p.stem.split("_")[1])) for p in sorted((run_dir / "kept").glob("step_*.keras")))
        raise DeepLabError(f"The run has no network {path}. Kept steps: {kept or 'none'}; `best` comes with the first validation.")
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DeepLabError(f"Cannot read the network {path}, which may be damaged: {reason}") from error
    config = load(run_dir / "config.yaml")
    return KerasRuntime(model, read_table(run_dir), config)


def read_table(run_dir: Path) -> LabelTable:
    """The class table of a run."""
    path = run_dir / "classes.json"
    try:
        return LabelTable.from_dicts(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DeepLabError(f"Cannot read the classes of the run from {path}: {error}.") from error
