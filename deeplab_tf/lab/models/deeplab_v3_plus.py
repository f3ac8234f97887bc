"""DeepLabV3+ (Chen et al., ECCV 2018): backbone, atrous spatial pyramid, decoder, classifier, in this order."""

from typing import Annotated

import keras
from keras import layers

from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.blocks import aspp, conv_bn, output_head
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.encoder import check_positive, dtype_policy, encode
from deeplab_tf.lab.schema import Channels


def deeplab_v3_plus(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "resnet50",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 16,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    separable: arguments.Separable = True,
    aspp_channels: arguments.AsppChannels = 256,
    low_level_channels: Annotated[Channels, "channels of the early features (`res2`) in the decoder"] = 48,
    decoder_channels: arguments.DecoderChannels = 256,
    dropout: arguments.Dropout = 0.1,
    auxiliary: Annotated[bool, "a second head on `res4`, in training only"] = False,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build a DeepLabV3+.

    Args:
        num_classes: C, the number of rows of the class table.
        size: height and width of the input; None leaves them open.
        separable: as in arXiv:1802.02611, section 3.2.
        auxiliary: a fully convolutional head (Zhao et al., CVPR 2017).
        precision: float32, mixed_bfloat16 or mixed_float16; weights and logits stay float32.

    The other arguments are described where they are annotated.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32, and with
        `auxiliary` also `auxiliary_logits` of the same shape.

    Raises:
        DeepLabError: for an invalid output stride, backbone, width or number of channels.
    """
    check_positive(
        aspp_channels=aspp_channels, low_level_channels=low_level_channels, decoder_channels=decoder_channels
    )
    momentum = batch_norm_momentum
    with dtype_policy(precision):
        image, features = encode(
            backbone, size, width=width, output_stride=output_stride, multi_grid=multi_grid, momentum=momentum
        )
        # (B, H/16, W/16, 256)
        x = aspp(features["res5"], aspp_channels, output_stride, separable=separable, momentum=momentum)
        x = layers.Dropout(dropout, name="aspp_dropout")(x)
        low_level = conv_bn(features["res2"], low_level_channels, 1, name="decoder_low_level", momentum=momentum)
        x = Upsample(output_stride // 4, name="decoder_upsample")([x, low_level])
        x = layers.Concatenate(name="decoder_concat")([x, low_level])  # (B, H/4, W/4, 256 + 48)
        for i in (1, 2):
            x = conv_bn(x, decoder_channels, 3, separable=separable, name=f"decoder_{i}", momentum=momentum)
        outputs = {"logits": output_head(x, image, 4, num_classes, name="logits")}  # (B, H, W, C)
        if auxiliary:
            x = conv_bn(features["res4"], decoder_channels, 3, name="auxiliary", momentum=momentum)
            factor = min(16, output_stride)
            outputs["auxiliary_logits"] = output_head(x, image, factor, num_classes, name="auxiliary_logits")
    return keras.Model(image, outputs, name="deeplab_v3_plus")
