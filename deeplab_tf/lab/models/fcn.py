"""FCN (Long et al., CVPR 2015) on any backbone: logits of the deepest features, and those of finer stages added on the
way up."""

from typing import Annotated, Literal

import keras
from keras import layers

from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.blocks import conv_bn, output_conv
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.encoder import check_positive, dtype_policy, encode
from deeplab_tf.lab.schema import Channels

SKIPS = {32: (), 16: (("res4", 16),), 8: (("res4", 16), ("res3", 8))}
"""By the stride of the finest logits: the stages whose logits are added, with their strides."""


def fcn(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "resnet50",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 32,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    finest: Annotated[Literal[8, 16, 32], "stride of the finest logits: 8 is FCN-8s"] = 8,
    separable: arguments.Separable = False,
    head_channels: Annotated[Channels, "channels of the 3x3 convolution behind the backbone"] = 512,
    dropout: arguments.Dropout = 0.1,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build FCN-32s, FCN-16s or FCN-8s, by `finest`.

    Upsampling is bilinear, as the transposed convolutions of Long et al. start out (section 4.3). Their two
    convolutions of 4,096 channels, which come from an image classifier, are one 3x3 here.

    Args:
        num_classes, size, precision: as in `deeplab_v3_plus`; the others are described where they are annotated.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32.

    Raises:
        DeepLabError: for an invalid output stride, backbone, width or number of channels.
    """
    check_positive(head_channels=head_channels)
    momentum, stride = batch_norm_momentum, int(output_stride)
    with dtype_policy(precision):
        image, features = encode(
            backbone, size, width=width, output_stride=output_stride, multi_grid=multi_grid, momentum=momentum
        )
        x = conv_bn(features["res5"], head_channels, 3, separable=separable, name="decoder", momentum=momentum)
        x = layers.Dropout(dropout, name="decoder_dropout")(x)  # (B, H/32, W/32, 512)
        x = output_conv(x, num_classes, name="logits_res5")
        for stage, finer in SKIPS[finest]:
            low = output_conv(features[stage], num_classes, name=f"logits_{stage}")
            if finer < stride:
                x = Upsample(stride // finer, dtype="float32", name=f"logits_{stage}_upsample")([x, low])
                stride = finer
            x = layers.Add(dtype="float32", name=f"logits_{stage}_add")([x, low])  # (B, H/16, W/16, C), then H/8
        outputs = {"logits": Upsample(stride, dtype="float32", name="logits")([x, image])}
    return keras.Model(image, outputs, name="fcn")
