"""What a value of a recipe may be: the choices there are, the range of a number."""

from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.values import show

CHOICES = {
    "optimizer.name": ("adam", "muon", "sgd"),
    "optimizer.schedule": ("cosine", "poly", "constant"),
    "training.precision": ("float32", "mixed_bfloat16", "mixed_float16"),
    "quantization.calibration": (None, *METHODS),
}

WEIGHTINGS = ("log", "balanced")

LIMITS = {
    "training.steps": "greater than 0",
    "training.batch_size": "greater than 0",
    "training.seed": "between 0 and 4294967295",
    "training.validate_every": "greater than 0",
    "training.validation_images": "greater than 0",
    "training.checkpoint_every": "greater than 0",
    "training.save_steps": "greater than 0",
    "training.log_every": "greater than 0",
    "optimizer.learning_rate": "greater than 0",
    "optimizer.power": "0 or greater",
    "optimizer.warmup_steps": "0 or greater",
    "optimizer.momentum": "0 or greater, and below 1",
    "optimizer.weight_decay": "0 or greater",
    "optimizer.backbone_lr_multiplier": "0 or greater",
    "optimizer.clip_norm": "greater than 0",
    "optimizer.ema": "0 or greater, and below 1",
    "loss.label_smoothing": "0 or greater, and below 1",
    "loss.ohem_ratio": "greater than 0, at most 1",
    "loss.auxiliary_weight": "0 or greater",
    "loss.center_weight": "0 or greater",
    "loss.offset_weight": "0 or greater",
    "loss.center_sigma": "between 1 and 256",
    "loss.small_instance_threshold": "0 or greater",
    "loss.small_instance_weight": "greater than 0",
    "distillation.weight": "between 0 and 1",
    "distillation.temperature": "greater than 0",
    "augment.flip": "between 0 and 1",
    "augment.rotation": "0 or greater",
    "augment.scale": "greater than 0",
    "augment.brightness": "0 or greater, and below 1",
    "augment.contrast": "0 or greater, and below 1",
    "augment.saturation": "between 0 and 1",
    "augment.hue": "between 0 and 1",
    "augment.white_balance": "between 0 and 1",
    "augment.gamma": "0 or greater",
    "augment.noise": "0 or greater",
    "quantization.calibration_images": "greater than 0",
    "model.dropout": "0 or greater, and below 1",
    "model.multi_grid": "greater than 0",
    "model.batch_norm_momentum": "0 or greater, and below 1",
}
"""Ranges of numbers; of lists, for each item."""

_HOLDS = {
    "greater than 0": lambda value: value > 0,
    "0 or greater": lambda value: value >= 0,
    "between 1 and 256": lambda value: 1 <= value <= 256,
    "between 0 and 1": lambda value: 0 <= value <= 1,
    "greater than 0, at most 1": lambda value: 0 < value <= 1,
    "0 or greater, and below 1": lambda value: 0 <= value < 1,
    "between 0 and 4294967295": lambda value: 0 <= value < 2**32,
}

SMALLEST_SIDE = 32
"""Pixels: below, the deepest features have no position left."""


def check_values(config) -> None:
    """Raises DeepLabError for a value of a recipe that is not among the choices or out of range."""
    for key, choices in CHOICES.items():
        _check_choice(key, _get(config, key), choices)
    for key, limit in LIMITS.items():
        value = _get(config, key)
        if value is not None and not all(map(_HOLDS[limit], value if isinstance(value, tuple) else (value,))):
            raise DeepLabError(f"{key} must be {limit}. Got {show(value)} instead.")
    _check_weights(config.loss.class_weights)
    if config.quantization.aware and config.training.precision != "float32":
        raise DeepLabError(
            "training.precision must be float32 with quantization.aware: shorter floats cannot hold what integers "
            "stand for."
            f" Got '{config.training.precision}' instead."
        )
    for key, size in (("data.size", config.size), ("augment.crop", config.augment.crop)):
        if size is not None and min(size) < SMALLEST_SIDE:
            raise DeepLabError(f"{key} must be at least {SMALLEST_SIDE} pixels a side. Got {show(size)} instead.")
    low, high = config.augment.scale
    if low > high:
        raise DeepLabError(
            f"augment.scale must be [low, high] with low <= high. Got {show(config.augment.scale)} instead."
        )


def _get(config, key):
    section, name = key.split(".")
    holder = getattr(config, section)
    return holder[name] if isinstance(holder, dict) else getattr(holder, name)


def _check_choice(key, value, choices, more=""):
    if value not in choices:
        names = ["none" if choice is None else choice for choice in choices]
        hint = did_you_mean(value, names)
        hint = "" if hint.startswith("Choose") else " " + hint
        raise DeepLabError(f"{key} must be one of {', '.join(names)}{more}. Got '{value}' instead.{hint}")


def _check_weights(weights):
    if isinstance(weights, str):
        _check_choice("loss.class_weights", weights, WEIGHTINGS, " and none, or a number for each class")
    if isinstance(weights, tuple) and (not weights or min(weights) < 0 or max(weights) == 0):
        raise DeepLabError(f"loss.class_weights must be 0 or greater, and not all 0. Got {show(weights)} instead.")
