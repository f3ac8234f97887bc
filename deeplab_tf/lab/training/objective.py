"""What a recipe trains a network on: batches, and a loss for each output."""

import keras
import tensorflow as tf

from deeplab_tf.lab.config import Config
from deeplab_tf.lab.data.panoptic_targets import Targets
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.models.custom_layers import BatchNormalization
from deeplab_tf.lab.training.losses import SegmentationLoss, center_loss, offset_loss
from deeplab_tf.lab.workers import ALONE, Workers


def make_pipeline(config: Config, split: Split, *, instances: bool, workers: Workers = ALONE) -> TrainingPipeline:
    """Make this worker's part of the batches that a recipe trains on; with `instances`, also centers and offsets."""
    options, targets = config.loss, None
    if instances:
        targets = {
            "sigma": options.center_sigma,
            "small": options.small_instance_threshold,
            "small_weight": options.small_instance_weight,
        }
    return TrainingPipeline(
        split,
        size=config.size,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        augmentation=config.augment,
        targets=targets,
        part=(workers.rank, workers.size),
    )


def keras_batch(model: keras.Model, images, truth) -> tuple:
    """Return a batch as `fit` takes it: images, the truth of each output and, with instances, its pixel weights."""
    if not isinstance(truth, Targets):
        return images, dict.fromkeys(model.output, truth)
    truths = {"logits": truth.label_map, "center": truth.center, "offset": truth.offset}
    weights = {"logits": truth.label_weight, "center": truth.center_weight, "offset": truth.offset_weight}
    return images, truths, weights


def make_losses(config: Config, model: keras.Model, class_weights, workers: Workers = ALONE) -> tuple[dict, dict]:
    """Return the loss of each output, and its weight in the sum.

    Args:
        config: the recipe.
        model: its outputs.
        class_weights: C numbers, or None.
        workers: over whose batches together the losses are averaged.
    """
    options = config.loss
    segmentation = SegmentationLoss(
        model.output["logits"].shape[-1],
        class_weights=class_weights,
        label_smoothing=options.label_smoothing,
        ohem_ratio=options.ohem_ratio,
        focal_gamma=options.focal_gamma,
        dice_weight=options.dice_weight,
        tversky_weight=options.tversky_weight,
        tversky=options.tversky,
        workers=workers,
    )
    labels = 1.0 if config.distillation.run is None else 1.0 - config.distillation.weight
    losses = {
        "logits": (segmentation, labels),
        "auxiliary_logits": (segmentation, options.auxiliary_weight),
        "center": (center_loss(workers), options.center_weight),
        "offset": (offset_loss(workers), options.offset_weight),
    }
    return {name: losses[name][0] for name in model.output}, {name: losses[name][1] for name in model.output}


def compile_model(model: keras.Model, optimizer, config: Config, class_weights, workers: Workers = ALONE) -> None:
    """Compile a model with the losses of its outputs; what it learns from is that of all workers."""
    losses, loss_weights = make_losses(config, model, class_weights, workers)
    if config.training.precision == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        optimizer.build(model.trainable_variables)  # else resuming finds no loss scale to restore
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights=loss_weights,
        jit_compile=False,  # XLA makes a step on a CPU slower
        auto_scale_loss=False,
    )
    if workers.size > 1:
        _share_gradients(model, workers, half=config.training.gradient_precision == "float16")


def _share_gradients(model, workers, *, half):
    """Add the gradients of all workers before anything is made of them: clipping, unscaling, momentum.

    What batch normalization has seen is averaged in the same message, where it is each worker's own.
    """
    own = model.optimizer.apply

    def apply(gradients, trainable_variables=None):
        norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
        norms = [norm for norm in norms if norm.workers is None and norm.trainable]
        moving = [value for norm in norms for value in (norm.moving_mean, norm.moving_variance)]
        seen = [tf.convert_to_tensor(value) for value in moving]
        summed, seen = workers.sum_gradients(gradients, seen, half=half)
        for variable, total in zip(moving, seen):
            variable.assign(total / workers.size)
        summed = [tf.cast(total, one.dtype) for total, one in zip(summed, gradients)]
        return own(summed, trainable_variables)

    model.optimizer.apply = apply


def synchronize_batch_norm(model: keras.Model, workers: Workers) -> None:
    """Let batch normalization in training take the mean and variance over the features of all workers."""
    for layer in model.layers:
        if isinstance(layer, BatchNormalization) and workers.size > 1:
            layer.workers = workers
