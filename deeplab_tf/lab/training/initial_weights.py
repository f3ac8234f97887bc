"""The weights that a training starts from: new ones, published weights of the backbone, or another run's network."""

from pathlib import Path

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.guard import expand
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.models.pretrained import load_backbone_weights
from deeplab_tf.lab.runs.keras_runtime import open_run


def load_initial_weights(model: keras.Model, section: dict, table: LabelTable) -> None:
    """Load what a recipe's `model.weights` names into a new network.

    Args:
        section: the recipe's `model` section.
        table: the classes of the training.

    Raises:
        DeepLabError: there is no such file or run, or it does not fit.
    """
    weights = str(section["weights"])
    if not Path(expand(weights)).is_dir():
        load_backbone_weights(model, section["backbone"], weights)
        return
    runtime = open_run(Path(expand(weights)))
    if runtime.table.names != table.names:
        raise DeepLabError(f"model.weights must name a run with this recipe's classes; {weights} has others.")
    copy_network_weights(runtime.model, model, weights)


def copy_network_weights(source: keras.Model, model: keras.Model, run: str) -> None:
    """Copy the weights of a run's network into another one of the same shape; an auxiliary head keeps its own.

    Raises:
        DeepLabError: the networks differ.
    """
    values = {variable.path: variable for variable in source.weights}
    for variable in model.weights:
        if variable.path.startswith("auxiliary"):
            continue
        given = values.get(variable.path)
        if given is None or given.shape != variable.shape:
            raise DeepLabError(
                f"The network of {run} has no {variable.path} of this recipe's shape; start from {run}/config.yaml."
            )
        variable.assign(given)
