"""The layers that the networks need and Keras lacks. They are few, because a saved model loads only where they exist.

Their registered names ("deeplab_tf>Upsample", ...) stand in saved models and must stay.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers


@keras.saving.register_keras_serializable("deeplab_tf")
class Upsample(layers.Layer):
    """Bilinear upsampling by a whole factor: feature i lands on pixel factor * i, whatever the image's size.

    Strided layers of the backbones pad symmetrically, so feature i of a stride-s map is centered on pixel s * i, and
    returns there. Past the last feature its value is kept.

    That is `ResizeBilinear` with neither aligned corners nor half-pixel centers. TF-TRT does not convert it;
    `export.graph` writes the same function in a form that TF-TRT and TensorRT 8.2 both take into an engine.

    Call with [features (B, h, w, C), reference (B, H, W, *)], where H <= factor * h and W <= factor * w; returns (B, H,
    W, C) in the layer's compute dtype. Called with features alone, it returns (B, factor * h, factor * w, C).
    """

    def __init__(self, factor: int, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        features, reference = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        return tf.cast(upsample(features, reference, self.factor), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        if isinstance(input_shape[0], list | tuple):
            features, reference = input_shape
            return (features[0], reference[1], reference[2], features[3])
        sides = (None if side is None else self.factor * side for side in input_shape[1:3])
        return (input_shape[0], *sides, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def upsample(features, reference, factor: int):
    """Return the result of `Upsample`, in float32."""
    size = [factor * side for side in _sides(features)]
    resized = tf.raw_ops.ResizeBilinear(images=features, size=size)  # pixel i from feature i / factor
    if reference is None:
        return resized
    height, width = _sides(reference)
    if not _are_known_and_equal(size, (height, width)):  # a crop's gradient costs as much as a convolution's
        resized = resized[:, :height, :width]
    # not ensure_shape, which is an operation of its own
    resized.set_shape((features.shape[0], *reference.shape[1:3], features.shape[3]))
    return resized


def _sides(images):
    """Return height and width of (B, H, W, C): numbers where the graph knows them, else tensors."""
    known = images.shape
    return [tf.shape(images)[axis] if known[axis] is None else known[axis] for axis in (1, 2)]


def _are_known_and_equal(sides, others):
    return all(isinstance(side, int) for side in (*sides, *others)) and tuple(sides) == tuple(others)


@keras.saving.register_keras_serializable("deeplab_tf")
class BatchNormalization(layers.BatchNormalization):
    """Keras' batch normalization over the last axis, computed by TensorFlow's fused kernel.

    Keras 3 normalizes with a chain of element-wise operations, each of which reads and writes the whole tensor. The
    fused kernel does not, and keeps its sums in float32 under mixed precision. Weights, arguments and results are those
    of the stock layer, except that the running variance is Bessel-corrected, as the fused kernel returns it.

    Attributes:
        workers: the `lab.workers.Workers` over whose features together a training normalizes; None for this process's.
    """

    workers: Any = None

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        inputs = tf.cast(inputs, self.compute_dtype)
        if training and self.workers is not None:
            return self._over_workers(inputs)
        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=None if training else tf.convert_to_tensor(self.moving_mean),
            variance=None if training else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            self.moving_mean.assign(self.momentum * self.moving_mean + (1 - self.momentum) * mean)
            self.moving_variance.assign(self.momentum * self.moving_variance + (1 - self.momentum) * variance)
        return output

    def _over_workers(self, inputs):
        """Return the same with the mean and the variance of all workers' features; each has as many."""
        x = tf.cast(inputs, tf.float32)
        count = tf.cast(self.workers.size * tf.reduce_prod(tf.shape(x)[:-1]), tf.float32)
        # Squares of what is far from 0 would lose the variance in rounding.
        shift = tf.stop_gradient(tf.convert_to_tensor(self.moving_mean))
        sums = [tf.reduce_sum(x - shift, (0, 1, 2)), tf.reduce_sum(tf.square(x - shift), (0, 1, 2))]
        mean, square = tf.split(self.workers.total_through(tf.concat(sums, axis=0)) / count, 2)
        variance = tf.maximum(square - tf.square(mean), 0.0)
        mean += shift
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance * count / (count - 1))):
            moving.assign(self.momentum * moving + (1 - self.momentum) * value)
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(x * scale + (tf.convert_to_tensor(self.beta) - mean * scale), self.compute_dtype)


@keras.saving.register_keras_serializable("deeplab_tf")
class DepthwiseConv2D(layers.DepthwiseConv2D):
    """Keras' depthwise convolution with a faster gradient of 5x5 kernels on a CPU.

    oneDNN has a fast kernel gradient for 3x3 only. Weights, arguments and results are those of the stock layer.
    """

    def call(self, inputs):
        if not self._is_plain_5x5() or tf.config.list_physical_devices("GPU"):
            return super().call(inputs)
        inputs = tf.convert_to_tensor(inputs)
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype)
        return self.activation(_depthwise_5x5(inputs, kernel, self.strides[0], self.padding.upper()))

    def _is_plain_5x5(self):
        strides = self.strides == (1, 1) or self.padding == "valid" and self.strides[0] == self.strides[1]
        simple = self.depth_multiplier == 1 and self.data_format == "channels_last" and not self.use_bias
        return self.kernel_size == (5, 5) and self.dilation_rate == (1, 1) and strides and simple


def _depthwise_5x5(inputs, kernel, stride: int, padding: str):
    """Convolve depthwise; the kernel's gradient is put together from four gradients of 3x3 kernels, one a corner."""
    options = {"strides": [1, stride, stride, 1], "padding": padding}

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            of_inputs = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, **options
            )
            return of_inputs, _kernel_gradient_5x5(inputs, upstream, stride, padding)

        return tf.raw_ops.DepthwiseConv2dNative(input=inputs, filter=kernel, **options), gradient

    return convolve(inputs, kernel)


def _kernel_gradient_5x5(inputs, upstream, stride, padding):
    if padding == "SAME":
        inputs = tf.pad(inputs, [[0, 0], [2, 2], [2, 2], [0, 0]])
    height, width = _sides(inputs)

    def corner(top, left):
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs[:, top : height - 2 + top, left : width - 2 + left],
            filter_sizes=[3, 3, inputs.shape[3], 1],
            out_backprop=upstream,
            strides=[1, stride, stride, 1],
            padding="VALID",
        )

    upper, lower = (tf.concat([corner(top, 0), corner(top, 2)[:, 1:]], axis=1) for top in (0, 2))
    return tf.concat([upper, lower[1:]], axis=0)


@keras.saving.register_keras_serializable("deeplab_tf")
class LinearAttention(layers.Layer):
    """Attention of every position to every other one, at a cost that grows with their number alone (Cai et al., ICCV
    2023, section 3.1): queries and keys pass a ReLU in place of the softmax, so that keys and values are summed once.

    Call with (B, H, W, heads * 3 * dim), of each head its queries, keys and values in turn; returns (B, H, W, heads *
    dim). Sums over positions are means, which stay in float16's range; the quotient is the same.
    """

    EPSILON = 1e-6

    def __init__(self, dim: int, **options):
        super().__init__(**options)
        self.dim = dim

    def call(self, inputs):
        return linear_attention(inputs, self.dim)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], input_shape[3] // 3)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


def linear_attention(x, dim: int):
    """Return the result of `LinearAttention`. Known sides become constants of the graph, as TF-TRT needs them."""
    batch = 1 if x.shape[0] == 1 else tf.shape(x)[0]
    height, width = _sides(x)
    heads, count = x.shape[3] // (3 * dim), height * width
    tokens = tf.transpose(tf.reshape(x, (batch, count, heads, 3 * dim)), (0, 2, 1, 3))  # (B, heads, N, 3 * dim)
    queries, keys = (tf.nn.relu(tokens[..., start : start + dim]) for start in (0, dim))
    keys = keys * tf.cast(1 / count, keys.dtype)
    over = tf.matmul(queries, tf.matmul(keys, tokens[..., 2 * dim :], transpose_a=True))  # (B, heads, N, dim)
    under = tf.matmul(queries, tf.reduce_sum(keys, 2, keepdims=True), transpose_b=True)  # (B, heads, N, 1)
    heads_last = tf.transpose(over / (under + LinearAttention.EPSILON), (0, 2, 1, 3))
    return tf.reshape(heads_last, (batch, height, width, heads * dim))


@keras.saving.register_keras_serializable("deeplab_tf")
class BlockDiagonalConv(layers.Layer):
    """A 1x1 convolution in groups of `group` channels, without bias: a dense one whose kernel is zero outside the
    blocks on its diagonal. TensorFlow has no gradient of grouped convolutions on a CPU.

    Call with (B, H, W, groups * group); returns the same shape. `kernel` is (groups, group, group): in, out.
    """

    def __init__(self, group: int, **options):
        super().__init__(**options)
        self.group = group

    def build(self, input_shape):
        shape = (input_shape[-1] // self.group, self.group, self.group)
        initializer = keras.initializers.TruncatedNormal(stddev=(2 / self.group) ** 0.5)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")

    def call(self, inputs):
        return tf.nn.conv2d(inputs, block_diagonal(tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype)), 1, "SAME")

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "group": self.group}


def block_diagonal(kernel):
    """Return (1, 1, C, C) with the blocks (groups, c, c) on its diagonal."""
    groups, side, _ = kernel.shape
    blocks = kernel[:, :, None, :] * tf.eye(groups, dtype=kernel.dtype)[:, None, :, None]  # (groups, in, groups, out)
    return tf.reshape(blocks, (1, 1, groups * side, groups * side))
