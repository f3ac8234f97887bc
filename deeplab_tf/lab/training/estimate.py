"""How long a training will take on this machine, and how much memory, measured by some of its steps."""

import math
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from deeplab_tf.lab.config import Config
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.models.taps import unreached_taps
from deeplab_tf.lab.training.fit import train

WARM_UP = 2
"""Steps that are not counted: the first traces the network, and the second finds its images read already."""
MIN_STEPS, MIN_SECONDS, MAX_SECONDS = 8, 10.0, 60.0
VALIDATED = 8
"""Images of the short validations, the last of which counts; the time of the others follows from that of a step, a
third of which is the forward pass."""


class Estimate(NamedTuple):
    """What a training will take."""

    step_seconds: float
    validation_seconds: float  # for all images that one validation scores
    start_seconds: float  # up to the end of the first step
    total_seconds: float
    memory_bytes: int  # peak so far: of the GPU's memory where there is one, else of the process


def estimate(config: Config, val_images: int) -> Estimate:
    """Take some steps of a recipe in a temporary folder, as `train` does, and reckon what all will take.

    Layers that are frozen for the first steps only are trained in those that are timed, so that the time is rather too
    long than too short. A training that ends early by `training.patience` takes less.

    Args:
        config: a resolved recipe.
        val_images: in the validation split.

    Raises:
        DeepLabError: as `train` does.
    """
    scored = min(config.training.validation_images or val_images, val_images)
    few = min(VALIDATED, scored)
    every = WARM_UP + MIN_STEPS // 2
    limits = {"validate_every": every, "validation_images": few, "patience": None, "save_steps": ()}
    training = config.training.model_copy(update={**limits, "checkpoint_every": 10**7})
    optimizer = config.optimizer
    if optimizer.freeze_steps is not None and optimizer.freeze_steps < config.training.steps:
        optimizer = optimizer.model_copy(update={"freeze": "none", "freeze_steps": None})
    short = config.model_copy(update={"training": training, "optimizer": optimizer})
    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="deeplab_tf_") as folder:
        began = time.monotonic()
        train(short, Path(folder, "run"), callbacks=[clock])
    start, step = clock.ends[0] - began, clock.step_seconds()
    pixels = math.prod(config.size) / (math.prod(config.training_size) * config.training.batch_size)
    validation = clock.validations[-1] + (scored - few) * pixels * step / 3
    validations = math.ceil(config.training.steps / config.training.validate_every)
    total = start + config.training.steps * step + validations * validation
    return Estimate(step, validation, start, total, _peak_memory())


class _Clock(keras.callbacks.Callback):
    """Notes when steps end and how long validations take, and stops the training."""

    def __init__(self):
        super().__init__()
        self.ends: list[float] = []
        self.validations: list[float] = []
        self._after_validation: set[int] = set()
        self._began = 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.monotonic())
        seconds = sum(self._steps())
        enough = len(self._steps()) >= MIN_STEPS and seconds >= MIN_SECONDS or seconds >= MAX_SECONDS
        if enough and self.validations:
            self.model.stop_training = True

    def on_test_begin(self, logs=None):
        self._began = time.monotonic()

    def on_test_end(self, logs=None):
        self.validations.append(time.monotonic() - self._began)
        self._after_validation.add(len(self.ends))

    def step_seconds(self) -> float:
        """Return the mean time of a step that was counted; of all but the first, where there are few."""
        steps = self._steps() or [end - start for start, end in zip(self.ends, self.ends[1:])] or [math.nan]
        return sum(steps) / len(steps)

    def _steps(self):
        times = enumerate(zip(self.ends, self.ends[1:]), 1)
        return [end - start for i, (start, end) in times if i >= WARM_UP and i not in self._after_validation]


def _peak_memory() -> int:
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def crop_remark(config: Config, num_classes: int) -> str | None:
    """Return what to say of a training size at which taps of the network read only padding; None where none does."""
    model = build_network(config.model, num_classes, auxiliary=False)
    size = config.training_size
    taps = unreached_taps(model, size)
    if not taps:
        return None
    count, total = sum(int(each.sum()) for each in taps.values()), sum(each.size for each in taps.values())
    sides = [max(size) + 64 * i for i in range(1, 16)]
    larger = [(math.ceil(side * size[0] / max(size) / 32) * 32, math.ceil(side * size[1] / max(size) / 32) * 32)
              for side in sides]  # fmt: skip
    enough = next((each for each in larger if not unreached_taps(model, each)), None)
    advice = f"; crops of {enough[0]}x{enough[1]} reach all" if enough else ""
    return (
        f"At the training size of {size[0]}x{size[1]}, {count} of the {total} taps of {', '.join(taps)} read only "
        f"padding and stay zero{advice}."
    )
