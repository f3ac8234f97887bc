"""Knowledge distillation (Hinton et al., arXiv:1503.02531, section 2): a trained network teaches another one, pixel by
pixel."""

from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.lab.config import Config, Distillation
from deeplab_tf.lab.models.recipe import build_network
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training.start import copy_network


class Lesson:
    """The teacher's part of the loss: weight * T^2 * KL(teacher || student), averaged over the pixels that are not
    ignored.

    Both distributions are those of logits / T; T^2 keeps the size of the gradients. They are compared at the stride at
    which the student scores classes: between those positions logits are interpolated, and would say the same sixteen
    times. The teacher runs as it does at inference, on the crops that the student sees, and gets no gradient.
    """

    def __init__(self, teacher: keras.Model, options: Distillation, stride: int):
        """
        Args:
            teacher: gives `logits` (B, H, W, C) for images (B, H, W, 3).
            options: weight and temperature.
            stride: of the student's class scores.
        """
        self.teacher, self.options, self.stride = teacher, options, stride

    def __call__(self, images, label_map, logits):
        """A scalar, for (B, H, W, 3) images, (B, H, W) label maps and the student's (B, H, W, C) logits."""
        taught = tf.stop_gradient(self.teacher(images, training=False)["logits"])
        parts = (part[:, :: self.stride, :: self.stride] for part in (label_map, taught, logits))
        return self.options.weight * divergence(*parts, self.options.temperature)


def divergence(label_map, teacher, student, temperature: float):
    """T^2 * KL(teacher || student) of softmax(logits / T), in nats, averaged over the pixels that are not ignored; 0
    where all are."""
    valid = tf.cast(tf.not_equal(tf.cast(label_map, tf.int32), IGNORE_LABEL), tf.float32)
    teacher, student = (tf.nn.log_softmax(tf.cast(logits, tf.float32) / temperature) for logits in (teacher, student))
    each = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * tf.math.divide_no_nan(tf.reduce_sum(each * valid), tf.reduce_sum(valid))


def teach(model: keras.Model, config: Config, table: LabelTable) -> None:
    """Adds the teacher's part to a model's loss, if the recipe's `distillation.run` names one; nothing else of the
    model changes.

    Raises:
        DeepLabError: that is no run, or one with other classes.
    """
    options = config.distillation
    if options.run is not None:
        stride = model.output["logits"]._keras_history.operation.factor
        add_lesson(model, Lesson(_teacher(options.run, config.training.precision, table), options, stride))


def add_lesson(model: keras.Model, lesson: Lesson) -> None:
    """Adds a lesson to the losses that a model is compiled with. The teacher does not become a part of the model."""
    own = model.compute_loss

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels = own(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return labels + lesson(x, y["logits"], y_pred["logits"])

    model.compute_loss = compute_loss  # whatever class the model is of


def _teacher(run, precision, table):
    """The network of a run, in the precision of this training."""
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise DeepLabError(f"distillation.run must be the folder of a trained run, or none. There is no folder {run}.")
    runtime = open_run(folder)
    if runtime.table.names != table.names:
        there, here = (", ".join(names[:3]) + f" ... ({len(names)})" for names in (runtime.table.names, table.names))
        raise DeepLabError(
            f"The teacher {run} knows other classes, {there}, than the data of this recipe, {here}; choose another "
            "teacher."
        )
    if precision == "float32":
        return runtime.model
    teacher = build_network(runtime.config.model, len(table), precision=precision, auxiliary=False)
    copy_network(runtime.model, teacher, run)
    return teacher
