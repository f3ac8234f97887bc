"""Keras networks as predictors: what training, `evaluate` and `predict` run in the lab."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import read_json
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import MAX_LANES, Predictor
from deeplab_tf.core.processor import physical_cores
from deeplab_tf.core.progress import say
from deeplab_tf.lab.config import Config, load_run
from deeplab_tf.lab.models.taps import clear_untrained, describe
from deeplab_tf.lab.runs.folder import network_file
from deeplab_tf.lab.runs.network_file import load_network_file

CLASSES = "classes.json"
SHORT = ("bfloat16", "float16")
"""What layers of a network that was trained in mixed precision compute in."""


class KerasRuntime(Predictor):
    """A Keras network that takes frames of any size.

    Attributes:
        model: the network.
        config: the recipe that it was trained by.
        size: height, width that it was trained at; see `Predictor` for the others.
    """

    name = "keras"
    gives_probabilities = True
    takes_any_size = True

    def __init__(self, model: keras.Model, table: LabelTable, config: Config):
        self.model, self.table, self.config, self.size, self.data = model, table, config, config.size, config.data
        self.gives_instances = "center" in model.output
        self.precision = next((each.compute_dtype for each in model.layers if each.compute_dtype in SHORT), "float32")
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
        self._function = tf.function(self._outputs, input_signature=signature, jit_compile=False)

    def predict(self, frame: np.ndarray) -> Prediction:
        return self.predict_many([frame])[0]

    def predict_many(self, frames):
        outputs = self._function(np.stack(frames))
        arrays = {name: outputs[name].numpy() for name in outputs if name != "logits"}
        logits = outputs["logits"]  # 40 MB at 512x1024, copied only when they are needed
        rows = ({name: array[i] for name, array in arrays.items()} for i in range(len(frames)))
        return [Prediction(logits=logits[i], **row) for i, row in enumerate(rows)]

    def lanes(self) -> Sequence["KerasRuntime"]:
        """On a CPU, itself for each of up to MAX_LANES cores: a call keeps nothing."""
        return [self] * (1 if tf.config.list_physical_devices("GPU") else min(physical_cores(), MAX_LANES))

    def _outputs(self, frames):
        outputs = self.model(tf.cast(frames, tf.float32), training=False)
        logits = outputs["logits"]
        found = {"logits": logits, "label_map": tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)}
        if self.gives_instances:
            found.update(center=outputs["center"][..., 0], offset=outputs["offset"])
        return found


def open_run(run: str | Path, checkpoint: int | str | None = None) -> KerasRuntime:
    """Load the network of a run. Raises DeepLabError as `folder.resolve_checkpoint` does, and for a damaged file."""
    path = network_file(run, checkpoint)
    config, table = load_run(run), read_table(run)
    model = load_network_file(path)
    channels = model.output["logits"].shape[-1]
    if channels != len(table):
        raise DeepLabError(
            f"{Path(run, CLASSES)} names {len(table)} classes, but the network {path} predicts {channels}; one of them "
            "is of another run."
        )
    cleared = clear_untrained(model, config.model, config.training_size)
    if cleared:  # a run of 0.1
        say(describe(cleared, config.training_size))
    return KerasRuntime(model, table, config)


def read_table(run: str | Path) -> LabelTable:
    """Return the class table of a run. Raises DeepLabError for a file that is damaged or not there."""
    path = Path(run, CLASSES)
    return LabelTable.from_dicts(read_json(path), str(path), "classes")
