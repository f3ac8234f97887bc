"""Keras' optimizers with warm-up, poly decay, a lower learning rate for the backbone, and weight decay of kernels."""

from typing import Any

import keras
import tensorflow as tf

from deeplab_tf.lab.config import Optimizer
from deeplab_tf.lab.models.encoder import in_backbone, is_output


def make_schedule(options: Optimizer, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate by step: a linear warm-up, then down to 0 at the last step (or constant)."""
    schedules = keras.optimizers.schedules
    rate, rest = options.learning_rate, max(1, steps - options.warmup_steps)
    if options.schedule == "cosine":
        after = schedules.CosineDecay(rate, rest)
    elif options.schedule == "poly":
        after = schedules.PolynomialDecay(rate, rest, end_learning_rate=0.0, power=options.power)
    else:
        after = schedules.PolynomialDecay(rate, rest, end_learning_rate=rate)
    return WarmUp(after, rate, options.warmup_steps)


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that begins with a linear warm-up."""

    def __init__(self, after, learning_rate: float, steps: int):
        self.after, self.learning_rate, self.steps = after, learning_rate, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rising = self.learning_rate * (step + 1) / max(1, self.steps)
        return tf.where(step < self.steps, rising, self.after(tf.maximum(step - self.steps, 0)))

    def get_config(self):
        return {"after": self.after, "learning_rate": self.learning_rate, "steps": self.steps}


def make_optimizer(options: Optimizer, model: keras.Model, steps: int) -> keras.optimizers.Optimizer:
    """Make the optimizer of a recipe, built for a model's variables.

    Args:
        options: the recipe's section.
        model: its layers' names say which variables are the backbone's.
        steps: of the whole training.
    """
    common = {
        "learning_rate": make_schedule(options, steps),
        "global_clipnorm": options.clip_norm,
        "use_ema": options.ema is not None,
        "ema_momentum": 0.99 if options.ema is None else options.ema,  # unused without EMA
    }
    optimizer: _PerVariable
    if options.name == "sgd":
        optimizer = SGD(momentum=options.momentum, **common)
    elif options.name == "muon":
        optimizer = Muon(outputs=model.output, **common)
    else:
        optimizer = Adam(**common)
    optimizer.build(model.trainable_variables)
    for variable in model.trainable_variables:
        multiplier = options.backbone_lr_multiplier if in_backbone(variable.path) else 1.0
        optimizer.settings[variable.value.ref()] = multiplier, options.weight_decay if decays(variable) else 0.0
    return optimizer


def decays(variable) -> bool:
    """Return whether weight decay applies to a variable: to kernels of convolutions, but not to depthwise ones."""
    return variable.path.endswith("/kernel") and "depthwise" not in variable.path


class _PerVariable(keras.optimizers.Optimizer):
    """Adds to a Keras optimizer a multiplier of the learning rate, and weight decay, of each variable.

    Weight decay is decoupled from the gradient, as in AdamW, at the variable's own learning rate; with `l2` it is added
    to the gradient, as SGD recipes mean it. `settings` has both by the variable's `value.ref()`.
    """

    l2 = False

    def __init__(self, **options):
        super().__init__(**options)
        self.settings: dict[Any, tuple[float, float]] = {}

    def finalize_variable_values(self, var_list):
        """Leave the weights as they are at the end of `fit`: the export takes their averages; training may go on."""

    def update_step(self, gradient, variable, learning_rate):
        multiplier, weight_decay = self.settings[variable.ref()]
        learning_rate = learning_rate * multiplier
        if weight_decay and self.l2:
            gradient = gradient + weight_decay * tf.cast(variable, gradient.dtype)
        elif weight_decay:
            variable.assign_sub(variable * weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)


class SGD(_PerVariable, keras.optimizers.SGD):
    """keras.optimizers.SGD with `settings`."""

    l2 = True


class Adam(_PerVariable, keras.optimizers.Adam):
    """keras.optimizers.Adam with `settings`; with weight decay it is AdamW."""


class Muon(_PerVariable, keras.optimizers.Muon):
    """keras.optimizers.Muon with `settings`, for convolutions too (Jordan, 2024, kellerjordan.github.io/posts/muon).

    The kernel of a convolution is a matrix of shape (kh * kw * in, out). Its momentum is made orthogonal, so that it
    moves alike in all directions, and scaled to the size of Adam's steps (arXiv:2502.16982), so that Adam's learning
    rates and decay hold. Depthwise kernels, biases, batch normalization and output layers take Adam's steps.
    """

    def __init__(self, outputs=(), **options):
        """Take the names of a model's outputs."""
        super().__init__(weight_decay=None, adam_weight_decay=None, **options)
        self.outputs = tuple(outputs)

    def _should_use_adamw(self, variable):
        return not decays(variable) or any(is_output(variable.path, name) for name in self.outputs)

    def zeropower_via_newtonschulz5(self, x, steps):
        """Orthogonalize a kernel (kh, kw, in, out), or each block (in, out) of a block-diagonal one."""
        if x.shape.rank == 3:
            return tf.stack([self._orthogonal(block, steps) for block in tf.unstack(x)])
        return tf.reshape(self._orthogonal(tf.reshape(x, (-1, x.shape[-1])), steps), x.shape)

    def _orthogonal(self, matrix, steps):
        return super().lr_adjust(super().zeropower_via_newtonschulz5(matrix, steps))

    def lr_adjust(self, x):
        return x  # adjusted above, where the shape is a matrix's
