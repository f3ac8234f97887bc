"""Recipes: a YAML file, checked strictly, with every default filled in.

What a section may hold is read off the code that takes it: the fields of the classes here, the arguments of the
network, the options of the data set. So a new option has one home.
"""

import dataclasses
import inspect
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.config.limits import check_values
from deeplab_tf.lab.data import load_data_set
from deeplab_tf.lab.data.augment import Augmentation
from deeplab_tf.lab.values import coerce, plain, show


@dataclass(frozen=True)
class Loss:
    """Cross-entropy over the pixels that are not ignored; with instances, also the errors of centers and offsets."""

    class_weights: str | tuple[float, ...] | None = (
        None  # `log`: 1 / log(1.1 + share); `balanced`: 1 / share; or a number for each class
    )
    label_smoothing: float = 0.0
    ohem_ratio: float = 1.0  # share of a batch's pixels, those with the highest loss, that count
    auxiliary_weight: float = 0.4  # of the auxiliary head, where the model has one
    center_weight: float = 200.0  # of the mean squared error of the centers, where the model predicts instances
    offset_weight: float = 0.01  # of the mean absolute error of the offsets, in pixels
    center_sigma: float = 8.0  # standard deviation of the Gaussian around a center, in pixels
    small_instance_threshold: int = 4096  # pixels below which a thing is small
    small_instance_weight: float = 1.0  # how often the pixels of small things count for their class


@dataclass(frozen=True)
class Distillation:
    """A trained network that teaches this one."""

    run: str | None = None  # the teacher's
    weight: float = 0.5  # of the teacher's part in the loss of the classes; 1 - weight is left for the labels
    temperature: float = 2.0  # logits are divided by it


@dataclass(frozen=True)
class Optimizer:
    """How the weights move."""

    name: str = "adam"  # adam, muon or sgd
    learning_rate: float = 0.001
    schedule: str = "cosine"  # cosine, poly or constant
    power: float = 0.9  # of poly
    warmup_steps: int = 0
    momentum: float = 0.9  # of sgd
    # sgd: added to the gradient; adam, muon: decoupled (AdamW). Not on batch normalisation, biases, depthwise kernels
    weight_decay: float = 0.0
    backbone_lr_multiplier: float = 1.0  # multiplies the backbone's learning rate
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
    save_steps: tuple[int, ...] = ()  # steps whose network is kept beside the best one
    log_every: int = 20
    deterministic: bool = True  # the same weights, to the last bit, each time; some operations cannot be so on a GPU


@dataclass(frozen=True)
class Quantization:
    """Training with the rounding of 8-bit integers, for networks that calibration alone costs too much."""

    aware: bool = False  # goes on from the run that model.weights names
    calibration: str | None = (
        None  # min-max, percentile or entropy: where the ranges come from; None takes what agrees best
    )
    calibration_images: int = 100


@dataclass(frozen=True)
class Config:
    """A resolved recipe."""

    data: dict
    model: dict
    augment: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=Loss)
    distillation: Distillation = field(default_factory=Distillation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)
    quantization: Quantization = field(default_factory=Quantization)

    @property
    def size(self) -> tuple[int, int]:
        """Height, width of the frames that the network is trained and scored on."""
        return self.data["size"]

    def to_yaml(self) -> str:
        """The text from which `load` gives an equal Config."""
        return yaml.safe_dump(plain(dataclasses.asdict(self)), sort_keys=False)

    def difference(self, other: "Config") -> str | None:
        """The first key that changes the weights and differs in another recipe, such as `optimizer.learning_rate: 0.1
        there, 0.001 here`.

        None where none does: a data set may have moved, and states may be written more often.
        """
        here, there = (plain(dataclasses.asdict(config)) for config in (self, other))
        for section in here:
            for key in (*here[section], *there[section]):
                ours, theirs = (tree[section].get(key, "not set") for tree in (here, there))
                if ours != theirs and f"{section}.{key}" not in WITHOUT_EFFECT:
                    if isinstance(ours, dict) or isinstance(theirs, dict):
                        return f"{section}.{key} differs"  # a long list
                    return f"{section}.{key}: {show(theirs)} there, {show(ours)} here"
        return None


WITHOUT_EFFECT = ("data.root", "data.manual_dir", "data.records", "training.log_every", "training.checkpoint_every")
"""Keys that do not change the weights: a run may be continued with other values."""

SECTIONS = {
    "augment": Augmentation,
    "loss": Loss,
    "distillation": Distillation,
    "optimizer": Optimizer,
    "training": Training,
    "quantization": Quantization,
}


def load(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """Reads a recipe.

    Args:
        path: of a YAML file.
        overrides: `section.key=value`, with the value in YAML; they win over the file.

    Raises:
        DeepLabError: the file cannot be read; a section, key or choice that does not exist (with what was meant); a
            wrong value.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DeepLabError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeepLabError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    tree = {section: {} if keys is None else keys for section, keys in tree.items()} if isinstance(tree, dict) else tree
    if not isinstance(tree, dict) or not all(isinstance(section, dict) for section in tree.values()):
        raise DeepLabError(
            f"The recipe {path} must hold sections with keys (data, model, training, ...); got something else."
        )
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
    check_values(config)
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
    return {**options, "size": coerce(options["size"], tuple[int, int], "data.size")}


def _model(options):
    from deeplab_tf.lab.models.registry import load_network

    set_elsewhere = ("size", "precision")  # by data and training
    fields = {"name": (str, "deeplab_v3_plus"), "weights": (str, "none"), "channels": (dict[str, int] | None, None)}
    network = load_network(options.get("name", fields["name"][1]))
    hints = typing.get_type_hints(network)
    for parameter in inspect.signature(network).parameters.values():
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
        name: coerce(options[name], hint, f"{section}.{name}") if name in options else default
        for name, (hint, default) in fields.items()
    }
