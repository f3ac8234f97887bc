"""Frozen stages of a backbone: for the first steps, or for all, they keep the weights that the training starts from."""

from collections.abc import Iterator

import keras

from deeplab_tf.lab.config import Optimizer
from deeplab_tf.lab.models.encoder import in_backbone

_STAGES = ("conv1", "res1", "res2", "res3", "res4")


def frozen_layers(model: keras.Model, freeze: str) -> list[keras.Layer]:
    """Return the layers that `optimizer.freeze` names: the backbone's, or those of its stages up to one."""
    if freeze == "none":
        return []
    if freeze == "backbone":
        return [layer for layer in model.layers if in_backbone(layer.name)]
    return [layer for layer in model.layers if layer.name.startswith(_STAGES[: _STAGES.index(freeze) + 1])]


def phases(model: keras.Model, options: Optimizer, first_step: int, steps: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a training from the step after `first_step` to `steps`, each as the step before it and its
    last one, with what the recipe freezes in it frozen. A frozen batch normalization keeps its statistics too.

    The optimizer must have been built before, for all weights: each part is resumed with the same variables. A part
    that a callback ends is the last.
    """
    end = steps if options.freeze_steps is None else min(options.freeze_steps, steps)
    for last in (end, steps):
        if first_step < last and not model.stop_training:
            for layer in frozen_layers(model, options.freeze):
                layer.trainable = first_step >= end
            model.train_function = None  # Keras finds the trainable weights while it traces
            yield first_step, last
            first_step = last
