"""The blocks that networks and backbones are built from."""

import keras
from keras import layers

from deeplab_tf.lab.models.custom_layers import BatchNormalization, DepthwiseConv2D, Upsample

BATCH_NORM_EPSILON = 1.001e-5
"""As in keras.applications.ResNet50, whose weights fit."""
ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""By output stride: the same field of view in input pixels each time."""


def kernel_initializer() -> keras.initializers.Initializer:
    """Return a new initializer for training from scratch (He et al., ICCV 2015, by fan-out).

    Every layer needs its own: an initializer draws its seed when it is made, and returns the same values each time.
    """
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


def conv(x, filters: int, kernel: int, *, name: str, padding: str = "same", **options):
    """Convolve without bias; `options` are those of Conv2D."""
    options.update(padding=padding, use_bias=False, kernel_initializer=kernel_initializer(), name=name)
    return layers.Conv2D(filters, kernel, **options)(x)


def depthwise_conv(x, kernel: int, *, name: str, padding: str = "same", **options):
    """Convolve each channel by itself, without bias; `options` are those of DepthwiseConv2D."""
    options.update(padding=padding, use_bias=False, depthwise_initializer=kernel_initializer(), name=name)
    return DepthwiseConv2D(kernel, **options)(x)


def batch_norm(x, *, name: str, momentum: float = 0.99, epsilon: float = BATCH_NORM_EPSILON, zero: bool = False):
    """Normalize; with `zero` the scale starts at 0 and a residual block as the identity (Goyal et al., 2017)."""
    gamma = "zeros" if zero else "ones"
    return BatchNormalization(epsilon=epsilon, momentum=momentum, gamma_initializer=gamma, name=name)(x)


def bn_relu(x, *, name: str, momentum: float):
    """Normalize, then ReLU, as layers NAME_bn and NAME_relu."""
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, name=f"{name}_bn", momentum=momentum))


def activate(x, activation: str, *, name: str):
    """Apply `relu`, `relu6`, or `hard_swish`: x * relu6(x + 3) / 6 (Howard et al., ICCV 2019, section 5.2)."""
    if activation == "hard_swish":
        return layers.Activation("hard_silu", name=name)(x)
    return layers.ReLU(6.0 if activation == "relu6" else None, name=name)(x)


def conv_bn(x, filters: int, kernel: int, *, name: str, rate: int = 1, separable: bool = False, momentum: float = 0.99):
    """Convolve, normalize, ReLU; `separable` does so depthwise first, and then with a 1x1 convolution."""
    if separable:
        x = depthwise_conv(x, kernel, dilation_rate=rate, name=f"{name}_depthwise")
        x = bn_relu(x, name=f"{name}_depthwise", momentum=momentum)
        kernel, rate = 1, 1
    return bn_relu(conv(x, filters, kernel, dilation_rate=rate, name=f"{name}_conv"), name=name, momentum=momentum)


def normalize(image, mean, std):
    """Map pixels 0..255 to mean 0 and standard deviation 1 per channel, in float32 under every policy."""
    return layers.Normalization(mean=mean, variance=[s * s for s in std], dtype="float32", name="normalization")(image)


def aspp(x, channels: int, output_stride: int, *, separable: bool, momentum: float, name: str = "aspp"):
    """Apply atrous spatial pyramid pooling: a 1x1 convolution, three atrous ones, and the image's mean.

    The projection behind the pyramid is linear, so the mean's share of it is computed at one position and added by
    broadcasting: the same function as concatenating a mean copied to every position, without the copies.
    """
    branches = [conv_bn(x, channels, 1, name=f"{name}_1x1", momentum=momentum)]
    for rate in ATROUS_RATES[output_stride]:
        branches.append(
            conv_bn(x, channels, 3, rate=rate, separable=separable, name=f"{name}_rate{rate}", momentum=momentum)
        )
    pyramid = layers.Concatenate(name=f"{name}_concat")(branches)  # (B, h, w, 4 * 256)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)  # (B, 1, 1, 2048)
    mean = layers.Conv2D(channels, 1, kernel_initializer="he_normal", activation="relu", name=f"{name}_mean_conv")(mean)
    pyramid = conv(pyramid, channels, 1, name=f"{name}_project_conv")
    mean = conv(mean, channels, 1, name=f"{name}_project_mean")
    # The mean first: second, at batch 1, Keras would make it the bias of a BiasAdd, which TF-TRT takes with constant
    # biases only.
    return bn_relu(layers.Add(name=f"{name}_project_add")([mean, pyramid]), name=f"{name}_project", momentum=momentum)


def output_head(x, image, factor: int, channels: int, *, name: str):
    """Compute an output at the image's size, `factor` times that of the features.

    The output is upsampled, not the features: the two commute, and this order is ten times cheaper.
    """
    return Upsample(factor, dtype="float32", name=name)([output_conv(x, channels, name=name), image])


def output_conv(x, channels: int, *, name: str):
    """Map features to logits (or to centers or offsets) by a 1x1 convolution, in float32 under every policy."""
    small = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(channels, 1, kernel_initializer=small, dtype="float32", name=f"{name}_conv")(x)
