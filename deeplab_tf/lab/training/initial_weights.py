"""The weights that a training starts from: new ones, published weights of the backbone, or another run's network."""

from pathlib import Path

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.guard import expand
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.progress import say
from deeplab_tf.lab.models.encoder import is_output
from deeplab_tf.lab.models.pretrained import load_backbone_weights, load_network_weights
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime, open_run


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
        if "backbone" in section:
            load_backbone_weights(model, section["backbone"], weights)
        else:
            load_network_weights(model, section["name"], weights)
        return
    runtime = open_run(Path(expand(weights)))
    if runtime.table.names == table.names:
        copy_network_weights(runtime.model, model, weights)
        return
    copy_network_weights(runtime.model, model, weights, without_classifier=True)
    known = copy_classes(runtime, model, table)
    say(
        f"model.weights: {weights} has other classes. All its weights are taken over but the classifier's, of which "
        + (f"these classes keep theirs: {', '.join(known)}." if known else "no class has the name of one here.")
    )


def copy_classes(runtime: KerasRuntime, model: keras.Model, table: LabelTable) -> list[str]:
    """Copy the classifier's weights of the classes that both tables name; return their names."""
    known = [name for name in table.names if name in runtime.table.names]
    here, there = ([t.names.index(name) for name in known] for t in (table, runtime.table))
    given = {variable.path: variable.numpy() for variable in runtime.model.weights}
    for variable in model.weights:
        if is_output(variable.path, "logits"):  # (1, 1, in, C) and (C,)
            values = variable.numpy()
            values[..., here] = given[variable.path][..., there]
            variable.assign(values)
    return known


def copy_network_weights(
    source: keras.Model, model: keras.Model, run: str, *, without_classifier: bool = False
) -> None:
    """Copy the weights of a run's network into another one of the same shape; an auxiliary head keeps its own.

    Raises:
        DeepLabError: the networks differ.
    """
    values = {variable.path: variable for variable in source.weights}
    for variable in model.weights:
        if variable.path.startswith("auxiliary") or without_classifier and is_output(variable.path, "logits"):
            continue
        given = values.get(variable.path)
        if given is None or given.shape != variable.shape:
            raise DeepLabError(
                f"The network of {run} has no {variable.path} of this recipe's shape; start from {run}/config.yaml."
            )
        variable.assign(given)
    for layer in model.layers:  # MobileNetV3 and EfficientNet-Lite had another epsilon in version 0.1
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.name.startswith("auxiliary"):
            layer.moving_variance.assign_add(source.get_layer(layer.name).epsilon - layer.epsilon)
