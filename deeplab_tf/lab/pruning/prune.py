"""Prunes a trained network in rounds: measure what units are worth, take the cheapest, measure the statistics anew."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.config import Config, Distillation
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.export.layer_costs import model_layers
from deeplab_tf.lab.pruning.importance import by_loss, by_scale
from deeplab_tf.lab.pruning.search import Costs, Unreachable, check_reachable, choose
from deeplab_tf.lab.pruning.statistics import measure_statistics
from deeplab_tf.lab.pruning.surgery import without
from deeplab_tf.lab.pruning.target import Target
from deeplab_tf.lab.pruning.units import read_units
from deeplab_tf.lab.training.fit import as_keras, make_losses, make_pipeline
from deeplab_tf.lab.training.losses import class_weights

BATCH = 2
"""Images a batch whose change of the loss is squared: few, because changes of different images cancel within a
batch."""


class Way(NamedTuple):
    """How to prune.

    Attributes:
        by: "loss" or "scale": what a unit is worth.
        rounds: in which the cost comes down, each time by the same factor.
        images: of the training split, augmented as in training, on which losses and statistics are measured.
    """

    by: str = "loss"
    rounds: int = 4
    images: int = 64


def prune(
    model: keras.Model, config: Config, split: Split, target: Target, way: Way, say: Callable[[str], None]
) -> keras.Model:
    """A smaller model, with the weights of what is left.

    Args:
        model: the run's network, in float32.
        config: the run's recipe, whose loss and augmentation count.
        split: for training.
        say: told of each round.

    Raises:
        DeepLabError: the network is small enough already, or cannot be made small enough.
    """
    first = target.cost(model_layers(model, target.size))
    if first <= target.most:
        raise DeepLabError(
            f"The network has {target.text(first)} at {_show(target.size)}, so the target is met; there is nothing "
            "to prune."
        )
    _check_reachable(model, target)
    loss = _loss(model, config, split) if way.by == "loss" else None
    for number in range(1, way.rounds + 1):
        wiring, label = read_units(model), f"round {number} of {way.rounds}"
        worth = (
            by_scale(model, wiring)
            if loss is None
            else by_loss(model, wiring, _batches(config, model, split, way.images, label), loss)
        )
        goal = first * (target.most / first) ** (number / way.rounds)
        model = without(model, wiring, choose(wiring, worth, _cost(model, wiring, target), goal))
        measure_statistics(model, _training_batches(config, model, split, way.images))
        say(
            f"{label}: {target.text(target.cost(model_layers(model, target.size)))}, {_parameters(model):.2f} "
            "million parameters"
        )
    return model


def _cost(model, wiring, target):
    """The number of channels of every group -> what the network costs."""
    costs = Costs(model, wiring, target.size)
    return lambda counts: target.cost(costs.layers(counts))


def _check_reachable(model, target):
    """Before any work is done. What is left at least is the same in every round."""
    wiring = read_units(model)
    try:
        check_reachable(wiring, _cost(model, wiring, target), target.most)
    except Unreachable as error:
        least = target.text(error.args[0])
        raise DeepLabError(
            f"{target.text(target.most)} at {_show(target.size)} cannot be reached: with 8 channels a layer it "
            f"would still be {least};"
            " begin with a smaller kind of network, or set a smaller --size."
        ) from error


def _loss(model, config, split):
    """(outputs, truth as `fit` takes it) -> the loss of the run's recipe."""
    config = config.model_copy(update={"distillation": Distillation()})  # the labels' alone
    losses, share = make_losses(config, model, class_weights(config.loss.class_weights, split))

    def loss(outputs, batch):
        truth, weights = batch
        return sum(share[name] * losses[name](truth[name], outputs[name], weights.get(name)) for name in outputs)

    return loss


def _batches(config, model, split, images, label):
    """Small batches for the loss, with progress."""
    training = config.training.model_copy(update={"batch_size": BATCH})
    for image, truth in progress(
        _training_batches(config.model_copy(update={"training": training}), model, split, images), label, unit="batches"
    ):
        _, truths, *weights = as_keras(model, image, truth)
        yield image, (truths, weights[0] if weights else {})


def _training_batches(config, model, split, images):
    """The first batches of a training by this recipe."""
    pipeline = make_pipeline(config, split, instances="center" in model.output)
    try:
        return list(pipeline.batches(0, max(1, images // config.training.batch_size)))
    except tf.errors.OpError as error:
        if pipeline.error is None:
            raise
        raise pipeline.error from error


def _parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) / 1e6


def _show(size):
    return "x".join(map(str, size))
