"""Knowledge distillation (Hinton et al., arXiv:1503.02531, section 2): a trained network teaches another one."""

from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.guard import expand
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.lab.config import Config, Distillation
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.runs.keras_runtime import open_run
from deeplab_tf.lab.training.initial_weights import copy_network_weights
from deeplab_tf.lab.workers import ALONE, Workers


class DistillationLoss:
    """The teacher's term of the loss: weight * T^2 * KL(teacher || student), averaged over the pixels not ignored.

    Both distributions are softmax(logits / T); T^2 keeps the size of the gradients. They are compared at the stride of
    the student's logits, between which upsampling only interpolates. The teacher runs in inference mode on the
    student's crops, and gets no gradient.
    """

    def __init__(self, teacher: keras.Model, options: Distillation, stride: int, workers: Workers = ALONE):
        """
        Args:
            teacher: computes `logits` (B, H, W, C) from images (B, H, W, 3).
            options: weight and temperature.
            stride: of the student's logits.
            workers: over whose pixels together the term is averaged.
        """
        self.teacher, self.options, self.stride, self.workers = teacher, options, stride, workers

    def __call__(self, images, label_map, logits):
        """Return a scalar for (B, H, W, 3) images, (B, H, W) label maps and the student's (B, H, W, C) logits."""
        teacher = tf.stop_gradient(self.teacher(images, training=False)["logits"])
        label_map, teacher, student = (x[:, :: self.stride, :: self.stride] for x in (label_map, teacher, logits))
        return self.options.weight * divergence(
            label_map, teacher, student, self.options.temperature, workers=self.workers
        )


def divergence(label_map, teacher, student, temperature: float, *, workers: Workers = ALONE):
    """Return T^2 * KL(teacher || student) of softmax(logits / T), in nats, averaged over the pixels not ignored; 0
    without any."""
    valid = tf.cast(tf.not_equal(tf.cast(label_map, tf.int32), IGNORE_LABEL), tf.float32)
    teacher, student = (tf.nn.log_softmax(tf.cast(logits, tf.float32) / temperature) for logits in (teacher, student))
    each = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * workers.mean(tf.reduce_sum(each * valid), tf.reduce_sum(valid))


def add_distillation(
    model: keras.Model, config: Config, table: LabelTable, stride: int, workers: Workers = ALONE
) -> None:
    """Add the loss that a recipe's `distillation` describes to a model.

    Args:
        model: the student; its variables stay its own.
        config: the recipe, whose `distillation.run` is the teacher.
        table: the student's classes.
        stride: of the student's logits.
        workers: those that train it.

    Raises:
        DeepLabError: the teacher is not a run, or has other classes.
    """
    teacher = load_teacher(str(config.distillation.run), config.training.precision, table)
    add_loss(model, DistillationLoss(teacher, config.distillation, stride, workers))


def add_loss(model: keras.Model, loss: DistillationLoss) -> None:
    """Add a distillation loss to the losses that a model is compiled with, whatever the model's class."""
    own = model.compute_loss

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels = own(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return labels + loss(x, y["logits"], y_pred["logits"])

    model.compute_loss = compute_loss


def load_teacher(run: str, precision: str, table: LabelTable) -> keras.Model:
    """Load the network of a run in the precision of the training; raise DeepLabError where its classes differ."""
    folder = Path(expand(run))
    if not folder.is_dir():
        raise DeepLabError(f"distillation.run must be the folder of a trained run, or none. There is no folder {run}.")
    runtime = open_run(folder)
    if runtime.table.names != table.names:
        theirs, ours = (", ".join(names[:3]) + f" ... ({len(names)})" for names in (runtime.table.names, table.names))
        raise DeepLabError(
            f"The teacher {run} has the classes {theirs}, but this recipe's data has {ours}; choose another teacher."
        )
    if precision == "float32":
        return runtime.model
    teacher = build_network(runtime.config.model, len(table), precision=precision, auxiliary=False)
    copy_network_weights(runtime.model, teacher, run)
    return teacher
