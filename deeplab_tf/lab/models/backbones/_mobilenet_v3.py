"""What both MobileNetV3 share: stem and last convolution around a table of blocks, and copying published weights."""

from collections.abc import Callable, Sequence

import keras
from keras import layers

from deeplab_tf.lab.models.backbones._inverted_residual import Block, pointwise, scaled, stages, stem

NORMALIZATION = {"mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
"""As in keras.applications, whose weights fit."""
STEM = 16
EPSILON = 1e-3
"""Of batch normalization, in the published networks."""


def published(size: str, md5: str) -> dict[str, str]:
    """Return where the ImageNet weights of `large` or `small` are published."""
    url = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v3/"
    return {"file": f"weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5", "url": url, "md5": md5}


def build(image, blocks: Sequence[Block], last: int, *, width: float, output_stride: int, momentum: float) -> dict:
    """Return the features of every stage; `last`: channels of the 1x1 convolution that ends `res5`."""
    x = stem(image, scaled(STEM, width), activation="hard_swish", momentum=momentum, epsilon=EPSILON)
    norm = {"momentum": momentum, "epsilon": EPSILON}
    features = stages(x, blocks, width=width, output_stride=output_stride, **norm)
    x = features["res5"]
    features["res5"] = pointwise(x, scaled(last, width), name="res5_last", activation="hard_swish", **norm)
    return features


def load_pretrained(model: keras.Model, application: Callable[..., keras.Model], path: str) -> None:
    """Load the published weights of a network of keras.applications into the layers of `build` at width 1."""
    source = application(include_top=False, weights=None, input_shape=(None, None, 3))
    source.load_weights(path)
    copy_weights(model, source)


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy the weights of a keras.applications MobileNetV3 without its top, layer by layer in their order.

    At sizes that are a multiple of 32 plus 1 the features are equal; at others its strided convolutions pad
    one side only, and are centered half an input pixel further on.
    """
    for kind in (layers.Conv2D, layers.DepthwiseConv2D, layers.BatchNormalization):
        ours, theirs = ([layer for layer in network.layers if isinstance(layer, kind)] for network in (model, source))
        for layer, other in zip([layer for layer in ours if layer.name.startswith(("conv1", "res"))], theirs):
            layer.set_weights([weight.numpy() for weight in other.weights])
