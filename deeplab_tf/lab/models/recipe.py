"""From the `model` section of a recipe to a network."""

import keras
from pydantic import Field, PositiveInt

from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.models.parts import load_network
from deeplab_tf.lab.schema import Section, schema_of


class ModelOptions(Section):
    """Keys of the section that are no arguments of a network."""

    name: str = Field("deeplab_v3_plus", description="the network")
    weights: str = Field(
        "none",
        description="initial weights: `none`, random; `imagenet`, published for the backbone, downloaded on first use; "
        "the path of that file; or a run whose network has the same layers. Published weights need `width: 1`, and "
        "`efficientnet_lite0` has none",
    )
    channels: dict[str, PositiveInt] | None = Field(
        None,
        description="output channels of some layers, by name, in place of what the other keys give; `prune` writes it",
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
