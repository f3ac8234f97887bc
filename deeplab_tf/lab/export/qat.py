"""The network of quantization-aware training (Jacob et al., CVPR 2018, section 3): it computes as its INT8 export.

The Keras model is read into nodes and folded as for every export, with weights that follow its variables; a plan says
what is quantized; `graph.run` computes.

- Rounding passes gradients unchanged; those of tensors are 0 beyond the range (straight-through estimator).
- Batch normalization is folded with fixed statistics: training computes what the device will.
- Ranges of tensors are those of calibration, fixed (Wu et al., arXiv:2004.09602); scales of kernels follow the weights.
"""

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.quantize import KERNEL_BITS, LEVELS, Plan, is_quantized, step


class QATModel(keras.Model):
    """Computes as the INT8 network of a Keras model; its variables are that model's own."""

    def __init__(self, model: keras.Model, plan: Plan):
        """
        Args:
            model: trained, one of `deeplab_tf.lab.models`, without an auxiliary head, which no export has.
            plan: of the network that `read_network` reads from it.
        """
        super().__init__(name=f"{model.name}_quantized")
        self.network = model
        self.plan = plan

    @property
    def output(self) -> dict:
        """The model's own symbolic outputs, by name."""
        return self.network.output

    def call(self, images, training=None):
        """Return the model's outputs, by name.

        Args:
            images: (B, H, W, 3) RGB, uint8 or 0..255.
        """
        network = read_network(self.network, _variable_weights)
        nodes = [_quantized(node, self.plan) if is_quantized(node, self.plan) else node for node in network.nodes]
        image = tf.cast(images, tf.float32)
        tensors = graph.run(network.with_nodes(nodes), image, ranges=self.plan.all_ranges)
        return {name: tensors[node] for name, node in network.outputs.items()}


def _variable_weights(layer):
    """Return a layer's weights as tensors that follow its variables."""
    return [tf.cast(variable.value, tf.float64) for variable in layer.weights]


def _quantized(node, plan):
    """As `quantize.with_quantized_weights`, to the last bit, with gradients that pass."""
    kernel, bias = node.weights["kernel"], node.weights["bias"]
    axes = (0, 1, 3) if node.op == "depthwise" else (0, 1, 2)
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=axes))
    scale = _short(tf.where(largest > 0, largest, 1.0) / LEVELS)
    per_channel = scale[:, None] if node.op == "depthwise" else scale
    bias_scale = tf.cast(tf.cast(scale, tf.float64) * step(plan.ranges[node.inputs[0]]), tf.float32)
    quantize_kernel = tf.grad_pass_through(
        lambda x: tf.clip_by_value(tf.round(x / per_channel), -LEVELS, LEVELS) * per_channel
    )
    quantize_bias = tf.grad_pass_through(lambda x: _whole_steps(x, bias_scale))
    return node._replace(weights={"kernel": quantize_kernel(kernel), "bias": quantize_bias(bias)})


def _whole_steps(bias, scale):
    steps = tf.cast(scale, tf.float64)
    largest = 2.0**31 - 1
    return tf.cast(tf.clip_by_value(tf.round(tf.cast(bias, tf.float64) / steps), -largest, largest) * steps, tf.float32)


_CUT_BITS = 52 - (KERNEL_BITS - 1)
"""Of a float64's 52, which leave out the leading 1."""
_NUDGE = int(1e-6 * 2**_CUT_BITS)


def _short(scale):
    """Round down to KERNEL_BITS significant bits; as in `quantize`, what is short already stays."""
    bits = tf.bitcast(tf.cast(scale, tf.float64), tf.int64) + _NUDGE
    cut = tf.bitwise.bitwise_and(bits, np.int64(-(2**_CUT_BITS)))
    return tf.cast(tf.bitcast(cut, tf.float64), tf.float32)
