"""Keras' optimizers with what segmentation recipes ask for: warm-up, poly decay, a slower backbone, weight decay on
kernels only."""

import re

import keras
import tensorflow as tf

from deeplab_tf.lab.config import Optimizer


def make_schedule(options: Optimizer, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rate by step: a linear warm-up, then down to 0 at the last step (or constant)."""
    rest = max(1, steps - options.warmup_steps)
    if options.schedule == "cosine":
        after = keras.optimizers.schedules.CosineDecay(options.learning_rate, rest)
    elif options.schedule == "poly":
        after = keras.optimizers.schedules.PolynomialDecay(
            options.learning_rate, rest, end_learning_rate=0.0, power=options.power
        )
    else:
        after = keras.optimizers.schedules.PolynomialDecay(
            options.learning_rate, rest, end_learning_rate=options.learning_rate
        )
    return WarmUp(after, options.learning_rate, options.warmup_steps)


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule behind a linear warm-up."""

    def __init__(self, after, learning_rate: float, steps: int):
        self.after, self.learning_rate, self.steps = after, learning_rate, steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rising = self.learning_rate * (step + 1) / max(1, self.steps)
        return tf.where(step < self.steps, rising, self.after(tf.maximum(step - self.steps, 0)))

    def get_config(self):
        return {"after": self.after, "learning_rate": self.learning_rate, "steps": self.steps}


def make_optimizer(options: Optimizer, model: keras.Model, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe, built for a model's variables.

    Args:
        options: the recipe's section.
        model: the variables, and by the names of their layers which of them are the backbone's.
        steps: of the whole training.
    """
    common = {
        "learning_rate": make_schedule(options, steps),
        "global_clipnorm": options.clip_norm,
        "use_ema": options.ema is not None,
        "ema_momentum": 0.99 if options.ema is None else options.ema,  # unused where there is none
    }
    if options.name == "sgd":
        optimizer = SGD(momentum=options.momentum, **common)
    else:
        decay = {"weight_decay": options.weight_decay or None}
        optimizer = Muon(outputs=model.output, **decay, **common) if options.name == "muon" else Adam(**decay, **common)
        if options.weight_decay:
            optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if not decays(v)])
    optimizer.build(model.trainable_variables)
    l2 = options.weight_decay if options.name == "sgd" else 0.0
    optimizer.l2 = [l2 if decays(v) else 0.0 for v in model.trainable_variables]
    optimizer.rates = [options.backbone_lr_multiplier if in_backbone(v) else 1.0 for v in model.trainable_variables]
    return optimizer


def decays(variable) -> bool:
    """Whether weight decay applies to a variable: kernels of convolutions, but not depthwise ones, biases and batch
    normalisation."""
    return variable.path.endswith("/kernel") and "depthwise" not in variable.path


def in_backbone(variable) -> bool:
    """Whether a variable belongs to the backbone, by the name of its layer."""
    return not variable.path.startswith(("aspp", "decoder", "logits", "auxiliary", "instance", "center", "offset"))


class _PerVariable:
    """Adds to a Keras optimizer, variable by variable, a factor on the rate, and L2 regularisation through the
    gradient: what SGD recipes mean by weight decay."""

    rates: list[float]
    l2: list[float]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        if self.l2[index]:
            gradient = gradient + self.l2[index] * tf.cast(variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate * self.rates[index])

    def _apply_weight_decay(self, variables):
        """Decoupled from the gradient, at each variable's own rate."""
        for variable in variables if self.weight_decay else ():
            if self._use_weight_decay(variable):
                rate = self.learning_rate * self.rates[self._get_variable_index(variable)]
                variable.assign_sub(variable * self.weight_decay * rate)


class SGD(_PerVariable, keras.optimizers.SGD):
    """keras.optimizers.SGD with `rates` and `l2`."""


class Adam(_PerVariable, keras.optimizers.Adam):
    """keras.optimizers.Adam with `rates` and `l2`; with weight_decay it is AdamW."""


class Muon(_PerVariable, keras.optimizers.Muon):
    """keras.optimizers.Muon with `rates` and `l2`, for convolutions too (Jordan et al., 2024,
    kellerjordan.github.io/posts/muon).

    The kernel of a convolution is a matrix from all that an output looks at to the outputs: (kh * kw * in, out). Its
    momentum is made orthogonal, so that it moves alike in all directions, and scaled to the size of Adam's steps
    (arXiv:2502.16982), so that Adam's learning rates and decay do. Depthwise kernels, biases, batch normalisation and
    the layers that score take Adam's steps.
    """

    def __init__(self, outputs=(), **options):
        """`outputs`: the names of a model's outputs, whose last convolutions are called after them."""
        super().__init__(exclude_layers=[f"^{name}_conv/" for name in outputs], **options)

    def _should_use_adamw(self, variable):
        return not decays(variable) or any(re.match(layer, variable.path) for layer in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x, steps):
        matrix = super().zeropower_via_newtonschulz5(tf.reshape(x, (-1, x.shape[-1])), steps)
        return tf.reshape(super().lr_adjust(matrix), x.shape)

    def lr_adjust(self, x):
        return x  # done above, where the shape is a matrix's
