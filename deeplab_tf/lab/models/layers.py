"""The layers that DeepLab needs and Keras lacks, and the two blocks that everything is made of.

Keras' stock layers do the rest. Custom layers are few because a trained file can be read only where they exist.
"""

import keras
import tensorflow as tf
from keras import layers

BATCH_NORM_EPSILON = 1.001e-5
"""As in keras.applications.ResNet50, whose weights fit."""


def kernel_initializer() -> keras.initializers.Initializer:
    """For networks trained from scratch (He et al., ICCV 2015, counted over outputs as is usual with batch
    normalisation).

    A new one for every layer: Keras' initializers draw their seed when they are made, and give the same values each
    time they are asked.
    """
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


@keras.saving.register_keras_serializable("deeplab_tf")
class Upsample(layers.Layer):
    """Bilinear resizing by a whole factor: feature i lands on pixel factor * i, whatever the image's size.

    The backbone's strided layers pad symmetrically, so feature i of a stride-s map looks at pixel s * i, and that is
    where it is put back. Past the last feature its value is kept.

    That is `ResizeBilinear` neither with corners aligned nor with centers half a pixel off. TF-TRT does not take it;
    `export.graph` writes the same function in the form that TF-TRT and TensorRT 8.2 both take into an engine.

    Call with [features (B, h, w, C), reference (B, H, W, *)], where H <= factor * h and W <= factor * w; gives (B, H,
    W, C) in the layer's compute type.
    """

    def __init__(self, factor: int, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return tf.cast(upsample(*inputs, self.factor), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        features, reference = input_shape
        return (features[0], reference[1], reference[2], features[3])

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def upsample(features, reference, factor: int):
    """What `Upsample` computes, in float32."""
    size = [factor * side for side in _sides(features)]
    resized = tf.raw_ops.ResizeBilinear(images=features, size=size)  # pixel i from feature i / factor
    height, width = _sides(reference)
    if not _are_known_and_equal(size, (height, width)):  # the gradient of a cut costs as much as that of a convolution
        resized = resized[:, :height, :width]
    resized.set_shape(
        (features.shape[0], *reference.shape[1:3], features.shape[3])
    )  # not ensure_shape, an operation of its own
    return resized


def _sides(images):
    """Height and width of (B, H, W, C): numbers where they are known while the graph is built, tensors otherwise."""
    known = images.shape
    return [tf.shape(images)[axis] if known[axis] is None else known[axis] for axis in (1, 2)]


def _are_known_and_equal(sides, others):
    return all(isinstance(side, int) for side in (*sides, *others)) and tuple(sides) == tuple(others)


@keras.saving.register_keras_serializable("deeplab_tf")
class BatchNormalization(layers.BatchNormalization):
    """Keras' batch normalisation over the last axis, computed by TensorFlow's fused kernel.

    Keras 3 normalises with a chain of element-wise operations, each of which reads and writes the whole tensor. The
    fused kernel does not, and keeps its sums in float32 under mixed precision. Weights, arguments and results are those
    of the stock layer, except that the running variance is Bessel-corrected, as the fused kernel gives it.
    """

    def call(self, inputs, training=None, mask=None):
        training = bool(training) and self.trainable
        inputs = tf.cast(inputs, self.compute_dtype)
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


@keras.saving.register_keras_serializable("deeplab_tf")
class DepthwiseConv2D(layers.DepthwiseConv2D):
    """Keras' depthwise convolution, with a faster way to the gradient of a 5x5 kernel on a CPU.

    oneDNN computes that gradient fast for 3x3 kernels only, and 5x5 is how Panoptic-DeepLab and MobileNets have them:
    there, the gradient alone was a fifth of a training step. Weights, arguments and results are those of the stock
    layer.
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
    """A depthwise convolution whose kernel's gradient comes from four gradients of 3x3 kernels, one for each corner of
    the 5x5."""
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


def batch_norm(x, *, name: str, momentum: float = 0.99, zero: bool = False):
    """Batch normalisation; with `zero` its scale starts at 0, so that a residual block starts as the identity (Goyal et
    al., 2017)."""
    gamma = "zeros" if zero else "ones"
    return BatchNormalization(epsilon=BATCH_NORM_EPSILON, momentum=momentum, gamma_initializer=gamma, name=name)(x)


def conv_bn(x, filters: int, kernel: int, *, name: str, rate: int = 1, separable: bool = False, momentum: float = 0.99):
    """Convolution, batch normalisation, ReLU; `separable` splits it into a depthwise and a 1x1 convolution, each with
    the other two."""
    if separable:
        x = DepthwiseConv2D(
            kernel,
            padding="same",
            dilation_rate=rate,
            use_bias=False,
            depthwise_initializer=kernel_initializer(),
            name=f"{name}_depthwise",
        )(x)
        x = batch_norm(x, name=f"{name}_depthwise_bn", momentum=momentum)
        x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
        kernel, rate = 1, 1
    x = layers.Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=rate,
        use_bias=False,
        kernel_initializer=kernel_initializer(),
        name=f"{name}_conv",
    )(x)
    x = batch_norm(x, name=f"{name}_bn", momentum=momentum)
    return layers.ReLU(name=f"{name}_relu")(x)
