"""Lite reduced ASPP (Howard et al., ICCV 2019, section 6.4): a gate from the image's mean for a pyramid, a sum of
logits for a decoder."""

from typing import Annotated

import keras
from keras import layers

from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.blocks import conv_bn, output_conv
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.encoder import check_positive, dtype_policy, encode
from deeplab_tf.lab.schema import Channels


def lr_aspp(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "mobilenet_v3_large",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 16,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    aspp_channels: Annotated[Channels, "channels of the gated features"] = 128,
    dropout: arguments.Dropout = 0.1,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build an LR-ASPP.

    `res5` is classified before it is upsampled, not after as in the publication: the same function, and cheaper. The
    mean is taken over the whole image.

    Args:
        num_classes, size, precision: as in `deeplab_v3_plus`; the others are described where they are annotated.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32.

    Raises:
        DeepLabError: for an invalid output stride, backbone, width or number of channels.
    """
    check_positive(aspp_channels=aspp_channels)
    momentum = batch_norm_momentum
    with dtype_policy(precision):
        image, features = encode(
            backbone, size, width=width, output_stride=output_stride, multi_grid=multi_grid, momentum=momentum
        )
        x = gated(features["res5"], aspp_channels, momentum=momentum)  # (B, H/16, W/16, 128)
        x = layers.Dropout(dropout, name="aspp_dropout")(x)
        deep = output_conv(x, num_classes, name="logits_deep")
        low = output_conv(features["res3"], num_classes, name="logits_low")
        if output_stride > 8:
            deep = Upsample(output_stride // 8, dtype="float32", name="logits_deep_upsample")([deep, low])
        x = layers.Add(dtype="float32", name="logits_add")([deep, low])  # (B, H/8, W/8, C)
        outputs = {"logits": Upsample(8, dtype="float32", name="logits")([x, image])}
    return keras.Model(image, outputs, name="lr_aspp")


def gated(x, channels: int, *, momentum: float):
    """Convolve 1x1, and multiply each channel by a gate of 0 to 1 that is computed from the image's mean."""
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)  # (B, 1, 1, 960)
    gate = layers.Conv2D(channels, 1, use_bias=False, name="aspp_mean_conv")(mean)
    gate = layers.Activation("sigmoid", name="aspp_mean_gate")(gate)
    return layers.Multiply(name="aspp_gate")([conv_bn(x, channels, 1, name="aspp_1x1", momentum=momentum), gate])
