"""From the `model` section of a recipe to a network."""

from typing import Annotated

import keras
from pydantic import PositiveInt

from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.models.parts import load_network
from deeplab_tf.lab.schema import Section, schema_of


class ModelOptions(Section):
    """The network. Each has keys of its own, and takes any backbone.

    `weights: none` is random initialization; `imagenet` the weights that are published for the backbone, downloaded on
    first use. It may also be the path of that file, or a run whose network has the same layers. Published weights need
    `width: 1`; `efficientnet_lite0` has none. `deeplab-tf prune` writes `channels`.
    """

    name: Annotated[str, "the network"] = "deeplab_v3_plus"
    weights: Annotated[str, "initial weights: none, imagenet, a file or a run"] = "none"
    channels: Annotated[dict[str, PositiveInt] | None, "output channels, by layer, that differ from the other keys"] = (
        None
    )


def model_schema(name: str | None) -> type[ModelOptions]:
    """Return the schema of a `model` section. Raise DeepLabError for a network that does not exist."""
    network = load_network(name or ModelOptions.model_fields["name"].default)
    return schema_of(network, ModelOptions, without=("size", "precision"))  # of data and training


def build_network(
    section: dict, num_classes: int, *, precision: str = "float32", auxiliary: bool | None = None
) -> keras.Model:
    """A new network.

    Args:
        section: resolved, as `training.config` gives it.
        num_classes: C.
        precision: the dtype policy of its layers.
        auxiliary: False leaves out the head that only training needs.

    Raises:
        DeepLabError: as the network's function does, and for `channels` as `set_channels` does.
    """
    options = {key: value for key, value in section.items() if key not in ModelOptions.model_fields}
    if auxiliary is not None and "auxiliary" in options:
        options["auxiliary"] = auxiliary
    model = load_network(section["name"])(num_classes, precision=precision, **options)
    return set_channels(model, section["channels"]) if section.get("channels") else model
