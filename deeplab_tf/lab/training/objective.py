"""What a recipe trains a network on: batches, and a loss for each output."""

import keras

from deeplab_tf.lab.config import Config
from deeplab_tf.lab.data.panoptic_targets import Targets
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.training.losses import SegmentationLoss, center_loss, offset_loss


def make_pipeline(config: Config, split: Split, *, instances: bool) -> TrainingPipeline:
    """Make the batches that a recipe trains on; with `instances`, also their centers and offsets."""
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
    )


def keras_batch(model: keras.Model, images, truth) -> tuple:
    """Return a batch as `fit` takes it: images, the truth of each output and, with instances, its pixel weights."""
    if not isinstance(truth, Targets):
        return images, dict.fromkeys(model.output, truth)
    truths = {"logits": truth.label_map, "center": truth.center, "offset": truth.offset}
    weights = {"logits": truth.label_weight, "center": truth.center_weight, "offset": truth.offset_weight}
    return images, truths, weights


def make_losses(config: Config, model: keras.Model, class_weights) -> tuple[dict, dict]:
    """Return the loss of each output, and its weight in the sum.

    Args:
        config: the recipe.
        model: its outputs.
        class_weights: C numbers, or None.
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
    )
    labels = 1.0 if config.distillation.run is None else 1.0 - config.distillation.weight
    losses = {
        "logits": (segmentation, labels),
        "auxiliary_logits": (segmentation, options.auxiliary_weight),
        "center": (center_loss(), options.center_weight),
        "offset": (offset_loss(), options.offset_weight),
    }
    return {name: losses[name][0] for name in model.output}, {name: losses[name][1] for name in model.output}


def compile_model(model: keras.Model, optimizer, config: Config, class_weights) -> None:
    """Compile a model with the losses of its outputs."""
    losses, loss_weights = make_losses(config, model, class_weights)
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
