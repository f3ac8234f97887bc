"""Recipes: a YAML file, checked strictly, with every default filled in.

What a section may hold is read off the code that takes it: the fields of the classes here, the arguments of `deeplab_v3_plus`, the options of the
data set. So a new option has one home.
"""

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from deeplab_tf.data import load_data_set
from deeplab_tf.data.augment import Augmentation
from deeplab_tf.errors import DeepLabError, did_you_mean


@dataclass(frozen=True)
class Loss:
    """Cross-entropy over the pixels that are not ignored."""

    class_weights: str | tuple[float, ...] | None = None  # `log`: 1 / log(1.1 + share of the class); `balanced`: inverse share; or a number a class
    label_smoothing: float = 0.0
    hard_pixels: float = 1.0  # share of each image's pixels, those with the highest loss, that count
    auxiliary_weight: float = 0.4  # of the auxiliary head, where the model has one


@dataclass(frozen=True)
class Optimizer:
    """How the weights move."""

    name: str = "adam"  # adam or sgd
    learning_rate: float = 0.001
    schedule: str = "cosine"  # cosine, poly or constant
    power: float = 0.9  # of poly
    warmup_steps: int = 0
    momentum: float = 0.9  # of sgd
    weight_decay: float = 0.0  # sgd: added to the gradient; adam: decoupled (AdamW). Not on batch normalisation, biases, depthwise kernels
    backbone_rate: float = 1.0  # multiplies the backbone's learning rate
    clip_norm: float | None = None  # the gradient's global norm is cut to this
    ema: float | None = None  # momentum of an average of the weights, which is what gets scored and saved


@dataclass(frozen=True)
class Training:
    """How long, how often, and from which random numbers."""

    steps: int = 60_000
    batch_size: int = 16
    precision: str = "float32"  # float32, mixed_bfloat16 or mixed_float16
    seed: int = 0
    validate_every: int = 1000
    validation_images: int | None = None  # None: all of them
    checkpoint_every: int = 500  # steps between the states that --resume continues from
    keep: tuple[int, ...] = ()  # steps whose network is kept beside the best one
    log_every: int = 20


@dataclass(frozen=True)
class Config:
    """A resolved recipe."""

    data: dict
    model: dict
    augment: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=Loss)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)

    @property
    def size(self) -> tuple[int, int]:
        """Height, width of the frames that the network is trained and scored on."""
        return self.data["size"]

    def to_yaml(self) -> str:
        """The text from which `load` gives an equal Config."""
        return yaml.safe_dump(_plain(dataclasses.asdict(self)), sort_keys=False)


SECTIONS = {"augment": Augmentation, "loss": Loss, "optimizer": Optimizer, "training": Training}
CHOICES = {
    "optimizer.name": ("adam", "sgd"),
    "optimizer.schedule": ("cosine", "poly", "constant"),
    "training.precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}
POSITIVE = ("training.steps", "training.batch_size", "training.validate_every", "training.checkpoint_every", "training.log_every", "optimizer.learning_rate")
SHARES = ("loss.label_smoothing", "loss.hard_pixels", "augment.flip", "optimizer.ema", "model.dropout", "model.batch_norm_momentum")


def load(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """Reads a recipe.

    Args:
        path: of a YAML file.
        overrides: `section.key=value`, with the value in YAML; they win over the file.

    Raises:
        DeepLabError: the file cannot be read; a section, key or choice that does not exist (with what was meant); a value of the wrong kind.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DeepLabError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeepLabError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        raise DeepLabError(f"The recipe {path} must hold sections with keys (data, model, training, ...); got something else.")
    for override in overrides:
        _override(tree, override)
    return resolve(tree)


def resolve(tree: dict) -> Config:
    """Checks a recipe's sections and fills in the defaults; raises DeepLabError as `load` does."""
    known = [f.name for f in dataclasses.fields(Config)]
    for section in tree:
        if section not in known:
            raise DeepLabError(f"The recipe has an unknown section '{section}'. {did_you_mean(str(section), known)}")
    sections = {name: _fill(cls, tree.get(name, {}), name) for name, cls in SECTIONS.items()}
    config = Config(data=_data(tree.get("data", {})), model=_model(tree.get("model", {})), **sections)
    _check_values(config)
    return config


def _override(tree, override):
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise DeepLabError(f"--set takes section.key=value, such as training.steps=100. Got '{override}' instead.")
    try:
        tree.setdefault(section, {})[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DeepLabError(f"--set {key} has a value that is not valid YAML: {text}") from error


def _data(options):
    load_data_set(options.get("name"))
    if "size" not in options:
        raise DeepLabError("The recipe must say data.size: [height, width] of the frames, such as [512, 1024].")
    return {**options, "size": _coerce(options["size"], tuple[int, int], "data.size")}


def _model(options):
    from deeplab_tf.models.deeplab import deeplab_v3_plus

    set_elsewhere = ("size", "precision")  # by data and training
    fields = {"weights": (str, "none")}
    hints = typing.get_type_hints(deeplab_v3_plus)
    for parameter in inspect.signature(deeplab_v3_plus).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in set_elsewhere:
            fields[parameter.name] = (hints[parameter.name], parameter.default)
    return _fill_fields(fields, options, "model")


def _fill(cls, options, section):
    hints = typing.get_type_hints(cls)
    fields = {f.name: (hints[f.name], f.default) for f in dataclasses.fields(cls)}
    return cls(**_fill_fields(fields, options, section))


def _fill_fields(fields, options, section):
    for key in options:
        if key not in fields:
            raise DeepLabError(f"The recipe has an unknown key {section}.{key}. {did_you_mean(str(key), fields)}")
    return {
        name: _coerce(options[name], hint, f"{section}.{name}") if name in options else default for name, (hint, default) in fields.items()
    }


def _coerce(value, hint, key):
    """The value in the type that the hint names; YAML lists become tuples, whole numbers become floats where those are wanted."""
    for option in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
        try:
            return _coerce_one(value, option)
        except (TypeError, ValueError):
            continue
    raise DeepLabError(f"{key} must be {_describe(hint)}. Got {value!r} instead.")


def _coerce_one(value, hint):
    if hint is type(None) and value in (None, "none"):
        return None
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, (list, tuple)):
            raise TypeError
        kinds = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) != len(value):
            raise ValueError
        return tuple(_coerce_one(item, kind) for item, kind in zip(value, kinds))
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)  # a string, because YAML reads 1e-3 as one
    if hint is str and value is None:
        return "none"
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise TypeError


def _describe(hint):
    if isinstance(hint, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kinds = [kind for kind in typing.get_args(hint) if kind is not Ellipsis]
        return f"a list of {_describe(kinds[0])}s" if len(typing.get_args(hint)) > len(kinds) else f"a list of {len(kinds)} {_describe(kinds[0])}s"
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", type(None): "none"}
    return names[hint]


def _check_values(config):
    def get(key):
        section, name = key.split(".")
        holder = getattr(config, section)
        return holder[name] if isinstance(holder, dict) else getattr(holder, name)

    for key, choices in CHOICES.items():
        if get(key) not in choices:
            raise DeepLabError(f"{key} must be one of {', '.join(choices)}. Got '{get(key)}' instead. {did_you_mean(get(key), choices)}")
    for key in POSITIVE:
        if not get(key) > 0:
            raise DeepLabError(f"{key} must be greater than 0. Got {get(key)} instead.")
    for key in SHARES:
        if get(key) is not None and not 0 <= get(key) <= 1:
            raise DeepLabError(f"{key} must lie between 0 and 1. Got {get(key)} instead.")
    if min(config.size) < 32 or min(config.augment.crop or config.size) < 32:
        raise DeepLabError(f"data.size and augment.crop must be at least 32 pixels a side. Got {config.size} and {config.augment.crop}.")
    low, high = config.augment.scale
    if not 0 < low <= high:
        raise DeepLabError(f"augment.scale must be [low, high] with 0 < low <= high. Got {list(config.augment.scale)} instead.")


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
