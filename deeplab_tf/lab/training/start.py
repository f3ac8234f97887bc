"""What the weights of a training start from: nothing, published weights of the backbone, or the network of another
run."""

from pathlib import Path

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.models.pretrained import load_weights
from deeplab_tf.lab.runs.keras_runtime import open_run


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
    copy_network(runtime.model, model, weights)


def copy_network(source: keras.Model, model: keras.Model, run: str) -> None:
    """Copies the weights of a run's network into another one of the same form; a head that only training has stays as
    it is.

    Raises:
        DeepLabError: the networks are of different forms.
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
