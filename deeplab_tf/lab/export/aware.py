"""A network in training that computes with the numbers that its integers will stand for (Jacob et al., CVPR 2018,
section 3).

Nothing of it is written twice: the Keras model is read into nodes and folded as for every export, only that the weights
of those nodes follow its variables; a plan says where integers go; `graph.run` computes. What remains is how weights
are rounded while they move.

- Rounding has no slope, so gradients pass it as if it were not there; those of tensors are 0 beyond the range (straight
  through).
- Batch normalisation is folded with the statistics that the network came with, which stay: training computes what the
  device will.
- Ranges of tensors are those that calibration found, and stay (as in Wu et al., arXiv:2004.09602): the weights learn to
  live with them. Scales of weights follow the weights.
"""

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.quantize import LEVELS, WEIGHT_BITS, Plan, is_integer, step


class QuantizedModel(keras.Model):
    """Computes as the integers of a Keras model do; its variables are that model's own, under their own names."""

    def __init__(self, model: keras.Model, plan: Plan):
        """
        Args:
            model: from `deeplab_v3_plus` or `panoptic_deeplab`, trained, without an auxiliary head, which no export
                has.
            plan: where integers go in the network that `read_network` reads from it.
        """
        super().__init__(name=f"{model.name}_quantized")
        self.network = model
        self.plan = plan

    @property
    def output(self) -> dict:
        """The model's own symbolic outputs, by their names."""
        return self.network.output

    def call(self, images, training=None):
        """(B, H, W, 3) RGB, uint8 or 0..255 -> the model's outputs, by their names."""
        network = read_network(self.network, _followed)
        nodes = [_rounded(node, self.plan) if is_integer(node, self.plan) else node for node in network.nodes]
        limits = {**self.plan.ranges, **self.plan.sums}
        tensors = graph.run(network._replace(nodes=tuple(nodes)), tf.cast(images, tf.float32), ranges=limits)
        return {name: tensors[node] for name, node in network.outputs.items()}


def _followed(layer):
    """A layer's weights as tensors that follow its variables."""
    return [tf.cast(variable.value, tf.float64) for variable in layer.weights]


def _rounded(node, plan):
    """As `quantize.with_rounded_weights`, to the last bit, with gradients that pass."""
    kernel, bias = node.weights["kernel"], node.weights["bias"]
    axes = (0, 1, 3) if node.op == "depthwise" else (0, 1, 2)
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=axes))
    scale = _short(tf.where(largest > 0, largest, 1.0) / LEVELS)
    per_channel = scale[:, None] if node.op == "depthwise" else scale
    sums = tf.cast(tf.cast(scale, tf.float64) * step(plan.ranges[node.inputs[0]]), tf.float32)
    rounded_kernel = tf.grad_pass_through(
        lambda x: tf.clip_by_value(tf.round(x / per_channel), -LEVELS, LEVELS) * per_channel
    )(kernel)
    rounded_bias = tf.grad_pass_through(lambda x: _whole_steps(x, sums))(bias)
    return node._replace(weights={"kernel": rounded_kernel, "bias": rounded_bias})


def _whole_steps(bias, sums):
    steps = tf.cast(sums, tf.float64)
    largest = 2.0**31 - 1
    return tf.cast(tf.clip_by_value(tf.round(tf.cast(bias, tf.float64) / steps), -largest, largest) * steps, tf.float32)


_BITS_BEHIND = 52 - (WEIGHT_BITS - 1)
"""Of a float64's 52, in which the leading 1 is not written, those that are cut off."""
_NUDGE = int(1e-6 * 2**_BITS_BEHIND)


def _short(scale):
    """Rounds down to WEIGHT_BITS significant bits; as `quantize._short`, what is short already stays."""
    bits = tf.bitcast(tf.cast(scale, tf.float64), tf.int64) + _NUDGE
    cut = tf.bitwise.bitwise_and(bits, np.int64(-(2**_BITS_BEHIND)))
    return tf.cast(tf.bitcast(cut, tf.float64), tf.float32)
