"""U-Net (Ronneberger et al., MICCAI 2015) with a backbone for its contracting path."""

from typing import Annotated

import keras
from annotated_types import MaxLen, MinLen
from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.blocks import conv_bn, output_head
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.encoder import check_positive, dtype_policy, encode
from deeplab_tf.lab.schema import Channels

STEPS = (("res4", 16), ("res3", 8), ("res2", 4), ("res1", 2))
"""The stages that are joined on the way up, with their strides."""


def unet(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "resnet50",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 32,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    decoder_channels: Annotated[
        tuple[Channels, ...],
        MinLen(1),
        MaxLen(len(STEPS)),
        "channels at strides 16, 8, 4 and 2, from the deepest on; fewer values stop at a coarser stride",
    ] = (256, 128, 64, 32),
    separable: arguments.Separable = False,
    dropout: arguments.Dropout = 0.0,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build a U-Net: upsample, join with the features of that stride, and convolve 3x3 twice, step by step.

    Upsampling is bilinear, without Ronneberger et al.'s 2x2 convolution.

    Args:
        num_classes, size, precision: as in `deeplab_v3_plus`; the others are described where they are annotated.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32.

    Raises:
        DeepLabError: for an invalid output stride, backbone, width or number of channels.
    """
    check_positive(decoder_channels=tuple(decoder_channels))
    momentum, stride = batch_norm_momentum, int(output_stride)
    with dtype_policy(precision):
        image, features = encode(
            backbone, size, width=width, output_stride=output_stride, multi_grid=multi_grid, momentum=momentum
        )
        x = features["res5"]
        for (stage, finer), channels in zip(STEPS, decoder_channels):
            skip, name = _skip(features, stage, backbone), f"decoder_{stage}"
            if finer < stride:
                x = Upsample(stride // finer, name=f"{name}_upsample")([x, skip])
                stride = finer
            x = layers.Concatenate(name=f"{name}_concat")([x, skip])
            for i in (1, 2):  # (B, H/16, W/16, 256), (B, H/8, W/8, 128), (B, H/4, W/4, 64), (B, H/2, W/2, 32)
                x = conv_bn(x, channels, 3, separable=separable, name=f"{name}_{i}", momentum=momentum)
        x = layers.Dropout(dropout, name="decoder_dropout")(x)
        outputs = {"logits": output_head(x, image, stride, num_classes, name="logits")}
    return keras.Model(image, outputs, name="unet")


def _skip(features, stage, backbone):
    if stage not in features:  # of a Transformer, whose patches are coarser
        steps = [name for name, _ in STEPS].index(stage)
        raise DeepLabError(
            f"The backbone {backbone} has no features of stride {dict(STEPS)[stage]}; give model.decoder_channels at "
            f"most {steps} values, one a step."
        )
    return features[stage]
