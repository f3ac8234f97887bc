"""What keys of a recipe say about one another."""

import math

from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import count_classes
from deeplab_tf.lab.schema import WrongOption, show

MAX_BATCH_PIXELS = 2**29
"""Of a batch: 6 GB as float32 images, before the first layer."""


def check_precision(config: Config) -> None:
    """Raise WrongOption for quantization-aware training in another precision than float32."""
    precision = config.training.precision
    if config.quantization.aware and precision not in ("auto", "float32"):
        raise WrongOption(
            "training.precision must be float32 with quantization.aware: shorter floats cannot hold INT8 values and "
            f"their scales exactly. Got {precision} instead.",
            ("training", "precision"),
        )


def check_training(config: Config) -> None:
    """Raise WrongOption for values that no training can use together."""
    steps, late = config.training.steps, [step for step in config.training.save_steps if step > config.training.steps]
    if late:
        _fail("training.save_steps", late, f"must be steps from 1 to training.steps, {steps}")
    if 0 < config.optimizer.warmup_steps >= steps:
        _fail("optimizer.warmup_steps", config.optimizer.warmup_steps, f"must be less than training.steps, {steps}")
    _check_crop(config)
    _check_freeze(config)
    weights, classes = config.loss.class_weights, count_classes(config.data)
    if isinstance(weights, tuple) and classes not in (None, len(weights)):
        _fail("loss.class_weights", weights, f"must hold a number for each of the {classes} classes")


def _check_freeze(config):
    options, aware = config.optimizer, config.quantization.aware
    if options.freeze != "none" and config.model["weights"] == "none":
        _fail("optimizer.freeze", options.freeze, "must be none without trained weights (model.weights)")
    if options.freeze == "none" and options.freeze_steps is not None:
        _fail("optimizer.freeze_steps", options.freeze_steps, "needs optimizer.freeze, which says what is frozen")
    if options.freeze != "none" and aware:
        _fail("optimizer.freeze", options.freeze, "must be none with quantization.aware, which adapts all weights")


def _check_crop(config):
    largest = [math.ceil(side * max(1.0, config.augment.scale[1])) for side in config.size]
    crop = config.augment.crop or config.size
    if any(side > most for side, most in zip(crop, largest)):
        _fail(
            "augment.crop", crop, f"must be at most {show(largest)}, which is data.size times the highest augment.scale"
        )
    pixels = config.training.batch_size * crop[0] * crop[1]
    if pixels > MAX_BATCH_PIXELS:
        sides = f"{crop[0]}x{crop[1]}"
        most = MAX_BATCH_PIXELS // (crop[0] * crop[1])
        _fail("training.batch_size", config.training.batch_size, f"must be at most {most} with crops of {sides}")


def _fail(key, value, expected):
    raise WrongOption(f"{key} {expected}. Got {show(value)} instead.", tuple(key.split(".")))
