"""What the weights of a training start from: nothing, published weights of the backbone, or the network of another run."""

from pathlib import Path

import keras

from deeplab_tf.errors import DeepLabError
from deeplab_tf.labels import LabelTable
from deeplab_tf.models.pretrained import load_weights
from deeplab_tf.training.keras_runtime import open_run


def fill(model: keras.Model, section: dict, table: LabelTable) -> None:
    """Gives a new network what its recipe's `model.weights` names.

    Args:
        section: the recipe's `model` section.
        table: the classes that the network is trained on.

    Raises:
        DeepLabError: there is no such thing, or it does not fit.
    """
    weights = str(section["weights"])
    if not Path(weights).expanduser().is_dir():
        load_weights(model, section["backbone"], weights)
        return
    runtime = open_run(Path(weights).expanduser())
    if runtime.table.names != table.names:
        raise DeepLabError(f"model.weights must name a run with this recipe's classes; {weights} has others.")
    source = {variable.path: variable for variable in runtime.model.weights}
    for variable in model.weights:
        given = source.get(variable.path)
        if variable.path.startswith("auxiliary"):
            continue
        if given is None or given.shape != variable.shape:
            raise DeepLabError(f"The network of {weights} has no {variable.path} of this recipe's shape; start from {weights}/config.yaml.")
        variable.assign(given)
