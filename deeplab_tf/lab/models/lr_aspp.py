"""Lite reduced ASPP (Howard et al., ICCV 2019, section 6.4): a gate from the image's mean for a pyramid, a sum of
scores for a decoder."""

from typing import Annotated

import keras
from keras import layers
from pydantic import PositiveInt

from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.layers import Upsample, conv_bn
from deeplab_tf.lab.models.parts import (
    check_output_stride,
    check_positive,
    dtype_policy,
    load_backbone,
    normalize,
    scores,
)


def lr_aspp(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "mobilenet_v3_large",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 16,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    aspp_channels: Annotated[PositiveInt, "channels of the gated features"] = 128,
    dropout: arguments.Dropout = 0.1,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """A Keras functional LR-ASPP.

    The deepest features are scored before they are enlarged, not after as in the paper: the same function, and cheaper.
    The mean is taken over the whole image.

    Args:
        num_classes: C, the number of rows of the class table.
        aspp_channels: of both branches on the deepest features.
        size, backbone, width, output_stride, multi_grid, dropout, batch_norm_momentum, precision: as of
        `deeplab_v3_plus`.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32.

    Raises:
        DeepLabError: for an output stride, backbone or width that does not exist.
    """
    check_positive(width=width, aspp_channels=aspp_channels, multi_grid=tuple(multi_grid))
    check_output_stride(output_stride)
    with dtype_policy(precision):
        network = load_backbone(backbone)
        image = keras.Input((*size, 3), name="image")  # (B, H, W, 3)
        x = normalize(image, **network.NORMALIZATION)
        features = network.build(
            x, width=width, output_stride=output_stride, multi_grid=tuple(multi_grid), momentum=batch_norm_momentum
        )
        x = gated(features["res5"], aspp_channels, momentum=batch_norm_momentum)  # (B, H/16, W/16, 128)
        x = layers.Dropout(dropout, name="aspp_dropout")(x)
        deep, low = scores(x, num_classes, name="logits_deep"), scores(features["res3"], num_classes, name="logits_low")
        if output_stride > 8:
            deep = Upsample(output_stride // 8, dtype="float32", name="logits_deep_upsample")([deep, low])
        x = layers.Add(dtype="float32", name="logits_add")([deep, low])  # (B, H/8, W/8, C)
        outputs = {"logits": Upsample(8, dtype="float32", name="logits")([x, image])}
    return keras.Model(image, outputs, name="lr_aspp")


def gated(x, channels: int, *, momentum: float):
    """A 1x1 convolution, each channel of it times a number between 0 and 1 that comes from the image's mean."""
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)  # (B, 1, 1, 960)
    gate = layers.Conv2D(channels, 1, use_bias=False, name="aspp_mean_conv")(mean)
    gate = layers.Activation("sigmoid", name="aspp_mean_gate")(gate)
    return layers.Multiply(name="aspp_gate")([conv_bn(x, channels, 1, name="aspp_1x1", momentum=momentum), gate])
