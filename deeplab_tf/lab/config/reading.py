"""From a YAML file to a Config."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config.renamed import refuse_old_names, with_new_names
from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import read_options
from deeplab_tf.lab.schema import validate


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe.

    Args:
        path: of a YAML file.
        overrides: `section.key=value`, with the value in YAML; they override the file.

    Raises:
        DeepLabError: the file cannot be read; a section, key or choice that does not exist (with what was meant); a key
            under an old name (with the new one); a wrong value.
    """
    tree = _sections(path)
    for override in overrides:
        _override(tree, override)
    return resolve(tree)


def load_run(run: str | Path) -> Config:
    """Read the recipe of a run, which may be of a version that had other names for keys. Raise DeepLabError as `load`
    does."""
    return resolve(with_new_names(_sections(Path(run, "config.yaml"))))


def resolve(tree: dict) -> Config:
    """Check a recipe's sections and fill in the defaults. Raise DeepLabError as `load` does."""
    refuse_old_names(tree)
    config = validate(Config, {"data": {}, "model": {}, **tree}, "")
    _check_precision(config)
    return config.model_copy(update={"data": read_options(config.data), "model": _read_model(config.model)})


def _read_model(options):
    from deeplab_tf.lab.models.registry import model_schema  # Keras

    return validate(model_schema(options.get("name")), options, "model").model_dump()


def _check_precision(config):
    precision = config.training.precision
    if config.quantization.aware and precision != "float32":
        raise DeepLabError(
            "training.precision must be float32 with quantization.aware: shorter floats cannot hold INT8 values and "
            f"their scales exactly. Got {precision} instead."
        )


class _Loader(yaml.SafeLoader):
    """PyYAML's, with 1e-3 for a number, as YAML 1.2 has it."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _sections(path):
    try:
        tree = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise DeepLabError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeepLabError(f"The recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    tree = {section: {} if keys is None else keys for section, keys in tree.items()} if isinstance(tree, dict) else None
    if tree is None or not all(isinstance(section, dict) for section in tree.values()):
        raise DeepLabError(
            f"The recipe {path} must hold sections with keys (data, model, training, ...); got something else."
        )
    return tree


def _override(tree, override):
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise DeepLabError(f"--set takes section.key=value, such as training.steps=100. Got '{override}' instead.")
    try:
        tree.setdefault(section, {})[name] = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise DeepLabError(f"--set {key} has a value that is not valid YAML: {text}") from error
