"""Networks and backbones by name: the folder is the registry."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import keras

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.models.channels import set_channels

NOT_ARGUMENTS = ("name", "weights", "channels")
"""Keys of a recipe's `model` section that are no arguments of the network's function."""


def load_backbone(name: str) -> ModuleType:
    """Return the module of a backbone by its file's name; raise DeepLabError for an unknown one."""
    folder = Path(__file__).parent / "backbones"
    names = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    if name not in names:
        raise DeepLabError(f"There is no backbone '{name}'. {did_you_mean(str(name), names)}")
    return importlib.import_module(f"deeplab_tf.lab.models.backbones.{name}")


def load_network(name: str) -> Callable[..., keras.Model]:
    """Return the function that builds a network, which has its file's name; raise DeepLabError for an unknown one."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py")}
    names = [stem for stem, source in sources.items() if f"\ndef {stem}(" in source]
    if name not in names:
        raise DeepLabError(f"There is no network '{name}' for model.name. {did_you_mean(str(name), names)}")
    return getattr(importlib.import_module(f"deeplab_tf.lab.models.{name}"), name)


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
    options = {key: value for key, value in section.items() if key not in NOT_ARGUMENTS}
    if auxiliary is not None and "auxiliary" in options:
        options["auxiliary"] = auxiliary
    model = load_network(section["name"])(num_classes, precision=precision, **options)
    return set_channels(model, section["channels"]) if section.get("channels") else model
