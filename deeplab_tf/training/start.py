"""A training that begins with the network of another run."""

import keras

from deeplab_tf.errors import DeepLabError
from deeplab_tf.training.keras_runtime import open_run


def load_start(model: keras.Model, run: str) -> None:
    """Fills a model with the weights of a run's best network; an auxiliary head, which runs do not keep, is left as it is.

    Args:
        model: of the same recipe's `model` section and as many classes.
        run: a run folder, or `none`, which changes nothing.

    Raises:
        DeepLabError: it is no run, or its network has other weights; the first that differs is named.
    """
    if run == "none":
        return
    source = {variable.path: variable for variable in open_run(run).model.weights}
    for variable in model.weights:
        if variable.path.startswith("auxiliary"):
            continue
        given = source.get(variable.path)
        if given is None or given.shape != variable.shape:
            there = "is not there" if given is None else f"has the shape {tuple(given.shape)} there"
            raise DeepLabError(
                f"model.start must name a run with the same network: {variable.path}, here {tuple(variable.shape)}, {there} in {run}."
            )
        variable.assign(given)
