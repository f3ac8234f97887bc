"""From the `model` section of a recipe to a network."""

import keras

from deeplab_tf.lab.models.channels import set_channels
from deeplab_tf.lab.models.parts import load_network

NOT_ARGUMENTS = ("name", "weights", "channels")
"""Keys of the section that are no arguments of the network's function."""


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
    options = {key: value for key, value in section.items() if key not in NOT_ARGUMENTS}
    if auxiliary is not None and "auxiliary" in options:
        options["auxiliary"] = auxiliary
    model = load_network(section["name"])(num_classes, precision=precision, **options)
    return set_channels(model, section["channels"]) if section.get("channels") else model
