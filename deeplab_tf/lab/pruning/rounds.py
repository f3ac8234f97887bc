"""Prune a trained network in rounds: measure importance, remove units, measure batch statistics again."""

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
from deeplab_tf.lab.pruning.channel_graph import read_channel_graph
from deeplab_tf.lab.pruning.importance import loss_importance, scale_importance
from deeplab_tf.lab.pruning.search import PrunedLayers, Unreachable, check_reachable, choose_units
from deeplab_tf.lab.pruning.statistics import measure_statistics
from deeplab_tf.lab.pruning.surgery import remove_units
from deeplab_tf.lab.pruning.target import CostTarget
from deeplab_tf.lab.training.losses import class_weights
from deeplab_tf.lab.training.objective import keras_batch, make_losses, make_pipeline

BATCH = 2
"""Images a batch whose change of the loss is squared: few, because changes of different images cancel within a
batch."""


class PruningOptions(NamedTuple):
    """How to prune.

    Attributes:
        by: "loss" or "scale", the measure of importance.
        rounds: in which the cost comes down, each time by the same factor.
        images: of the training split, augmented as in training, on which importance and statistics are measured.
    """

    by: str = "loss"
    rounds: int = 4
    images: int = 64


def prune(
    model: keras.Model,
    config: Config,
    split: Split,
    target: CostTarget,
    options: PruningOptions,
    say: Callable[[str], None],
) -> keras.Model:
    """Return a smaller model, with the weights of the units that stay.

    Args:
        model: the run's network, in float32.
        config: the run's recipe, whose loss and augmentation count.
        split: for training.
        target: the highest cost.
        options: how to prune.
        say: called with a line after each round.

    Raises:
        DeepLabError: the network is small enough already, or cannot be made small enough.
    """
    first = target.cost(model_layers(model, target.size))
    if first <= target.limit:
        raise DeepLabError(
            f"The network has {target.text(first)} at {_show(target.size)}, so the target is met; there is nothing "
            "to prune."
        )
    _check_reachable(model, target)
    loss = _loss(model, config, split) if options.by == "loss" else None
    for number in range(1, options.rounds + 1):
        graph, label = read_channel_graph(model), f"round {number} of {options.rounds}"
        if loss is None:
            importance = scale_importance(model, graph)
        else:
            importance = loss_importance(model, graph, _batches(config, model, split, options.images, label), loss)
        limit = first * (target.limit / first) ** (number / options.rounds)
        model = remove_units(model, graph, choose_units(graph, importance, _cost(model, graph, target), limit))
        measure_statistics(model, _training_batches(config, model, split, options.images))
        cost = target.text(target.cost(model_layers(model, target.size)))
        parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) / 1e6
        say(f"{label}: {cost}, {parameters:.2f} million parameters")
    return model


def _cost(model, graph, target):
    """Return a function from the number of channels of every group to the cost of the network."""
    pruned = PrunedLayers(model, graph, target.size)
    return lambda counts: target.cost(pruned.layers(counts))


def _check_reachable(model, target):
    """Check before any work is done; the smallest possible network is the same in every round."""
    graph = read_channel_graph(model)
    try:
        check_reachable(graph, _cost(model, graph, target), target.limit)
    except Unreachable as error:
        raise DeepLabError(
            f"{target.text(target.limit)} at {_show(target.size)} cannot be reached: with 8 channels a layer it "
            f"would still be {target.text(error.args[0])}; begin with a smaller kind of network, or set a smaller "
            "--size."
        ) from error


def _loss(model, config, split):
    """Return a function from outputs and truth to the loss of the run's recipe, without distillation."""
    config = config.model_copy(update={"distillation": Distillation()})
    losses, share = make_losses(config, model, class_weights(config.loss.class_weights, split))

    def loss(outputs, batch):
        truth, weights = batch
        return sum(share[name] * losses[name](truth[name], outputs[name], weights.get(name)) for name in outputs)

    return loss


def _batches(config, model, split, images, label):
    """Yield small batches for the loss, with progress."""
    training = config.training.model_copy(update={"batch_size": BATCH})
    small = config.model_copy(update={"training": training})
    for image, truth in progress(_training_batches(small, model, split, images), label, unit="batches"):
        _, truths, *weights = keras_batch(model, image, truth)
        yield image, (truths, weights[0] if weights else {})


def _training_batches(config, model, split, images):
    """Return the first batches of a training by this recipe."""
    pipeline = make_pipeline(config, split, instances="center" in model.output)
    try:
        return list(pipeline.batches(0, max(1, images // config.training.batch_size)))
    except tf.errors.OpError as error:
        if pipeline.error is None:
            raise
        raise pipeline.error from error


def _show(size):
    return "x".join(map(str, size))
