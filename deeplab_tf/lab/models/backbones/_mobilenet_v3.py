"""What both MobileNetV3 have in common: stem and last convolution around a table of blocks, and how published weights
get in."""

from collections.abc import Sequence

import keras
from keras import layers

from deeplab_tf.lab.models.backbones._inverted_residual import Block, conv, stages, stem, widened
from deeplab_tf.lab.models.layers import BATCH_NORM_EPSILON

NORMALIZATION = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
"""As in keras.applications, whose weights fit."""

PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v3/"

STEM = 16


def build(image, blocks: Sequence[Block], last: int, *, width: float, output_stride: int, momentum: float) -> dict:
    """The features of every stage; `last` channels come out of the 1x1 convolution that ends `res5`."""
    x = stem(image, widened(STEM, width), activation="hard_swish", momentum=momentum)
    features = stages(x, blocks, width=width, output_stride=output_stride, momentum=momentum)
    features["res5"] = conv(
        features["res5"], widened(last, width), name="res5_last", activation="hard_swish", momentum=momentum
    )
    return features


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copies the weights of a keras.applications MobileNetV3 without its top into the layers of the same place.

    Its batch normalisation has an epsilon of 1e-3; what ours lacks is added to the variance, which is the same
    function. Layers correspond by their order: both are made block by block. At sizes that are a multiple of 32 plus 1
    the features are equal; at others its strided convolutions pad one side only, and look half a pixel of their input
    further on.
    """
    for kind in (layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization):
        ours, theirs = ([layer for layer in network.layers if isinstance(layer, kind)] for network in (model, source))
        for layer, other in zip([layer for layer in ours if layer.name.startswith(("conv1", "res"))], theirs):
            values = [weight.numpy() for weight in other.weights]
            if kind is layers.BatchNormalization:
                values[3] = values[3] + other.epsilon - BATCH_NORM_EPSILON
            layer.set_weights(values)
