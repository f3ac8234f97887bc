"""Panoptic-DeepLab (Cheng et al., CVPR 2020): DeepLab with a second branch that predicts the centers of instances and
the offset of each pixel to its own."""

from typing import Annotated, Literal, get_args

import keras
from keras import layers

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.blocks import aspp, conv_bn, output_head
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.encoder import check_positive, dtype_policy, encode
from deeplab_tf.lab.schema import Channels

Shared = Literal["none", "aspp", "decoder"]
"""What both branches share behind the backbone; the best of Cheng et al. share nothing (table 3)."""


def panoptic_deeplab(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: arguments.Backbone = "resnet50",
    width: arguments.Width = 1.0,
    output_stride: arguments.OutputStride = 16,
    multi_grid: arguments.MultiGrid = (1, 1, 1),
    separable: arguments.Separable = True,
    shared: Annotated[
        Shared, "what classes and instances share behind the backbone; less is better and slower"
    ] = "none",
    aspp_channels: arguments.AsppChannels = 256,
    low_level_channels: Annotated[
        tuple[Channels, Channels], "channels of `res3` and `res2` in the semantic decoder"
    ] = (64, 32),
    decoder_channels: arguments.DecoderChannels = 256,
    instance_low_level_channels: Annotated[
        tuple[Channels, Channels], "channels of `res3` and `res2` in the instance decoder"
    ] = (32, 16),
    instance_channels: Annotated[Channels, "channels of the convolutions in the instance decoder"] = 128,
    head_channels: Annotated[Channels, "channels of the convolutions before centers and offsets"] = 32,
    dropout: arguments.Dropout = 0.1,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """Build a Panoptic-DeepLab.

    Args:
        num_classes, size, precision: as in `deeplab_v3_plus`; the others are described where they are annotated.
            Separable convolutions of decoders and heads are 5x5.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary of float32 tensors: `logits` (B, H, W,
        C), `center` (B, H, W, 1), near 1 at the center of mass of an instance, and `offset` (B, H, W, 2), rows and
        columns to the center of a pixel's instance.

    Raises:
        DeepLabError: for an invalid output stride, backbone, width, number of channels or `shared`.
    """
    low_level, instance_low_level = tuple(low_level_channels), tuple(instance_low_level_channels)
    check_positive(
        aspp_channels=aspp_channels,
        decoder_channels=decoder_channels,
        instance_channels=instance_channels,
        low_level_channels=low_level,
        instance_low_level_channels=instance_low_level,
        head_channels=head_channels,
    )
    if shared not in get_args(Shared):
        raise DeepLabError(f"Got '{shared}' for model.shared. {did_you_mean(str(shared), get_args(Shared))}")
    momentum = batch_norm_momentum

    def pyramid(name):
        x = aspp(features["res5"], aspp_channels, output_stride, separable=separable, momentum=momentum, name=name)
        return layers.Dropout(dropout, name=f"{name}_dropout")(x)  # (B, H/16, W/16, 256)

    def decoder(x, channels, low_level_channels, *, name):
        """Upsample to stride 8, then to stride 4, each time refined with the backbone's features of that stride."""
        for stage, factor, reduced in zip(("res3", "res2"), (output_stride // 8, 2), low_level_channels):
            low_level = conv_bn(features[stage], reduced, 1, name=f"{name}_{stage}", momentum=momentum)
            if factor > 1:
                x = Upsample(factor, name=f"{name}_{stage}_upsample")([x, low_level])
            x = layers.Concatenate(name=f"{name}_{stage}_concat")([x, low_level])
            x = fused(x, channels, name=f"{name}_{stage}_fuse")
        return x

    def fused(x, channels, *, name):
        return conv_bn(x, channels, 5, separable=separable, name=name, momentum=momentum)

    with dtype_policy(precision):
        image, features = encode(
            backbone, size, width=width, output_stride=output_stride, multi_grid=multi_grid, momentum=momentum
        )
        context = pyramid("aspp")
        semantic = decoder(context, decoder_channels, low_level, name="decoder")  # (B, H/4, W/4, 256)
        instances = semantic
        if shared != "decoder":
            x = context if shared == "aspp" else pyramid("instance_aspp")
            instances = decoder(x, instance_channels, instance_low_level, name="instance_decoder")
        x = fused(semantic, decoder_channels, name="decoder_head")
        outputs = {"logits": output_head(x, image, 4, num_classes, name="logits")}  # (B, H, W, C)
        for name, channels in (("center", 1), ("offset", 2)):
            x = fused(instances, head_channels, name=f"{name}_head")
            outputs[name] = output_head(x, image, 4, channels, name=name)  # (B, H, W, 1 or 2)
    return keras.Model(image, outputs, name="panoptic_deeplab")
