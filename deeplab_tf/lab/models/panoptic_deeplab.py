"""Panoptic-DeepLab (Cheng et al., CVPR 2020): DeepLab with a second branch that says where things are and to which one
a pixel belongs."""

from typing import Annotated, Literal

import keras
from keras import layers
from pydantic import PositiveInt

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.models import arguments
from deeplab_tf.lab.models.layers import Upsample, conv_bn
from deeplab_tf.lab.models.parts import (
    aspp,
    check_output_stride,
    check_positive,
    classifier,
    dtype_policy,
    load_backbone,
    normalize,
)

SHARED = ("none", "aspp", "decoder")
"""What both branches have in common behind the backbone; the paper's best has nothing (its table 3)."""


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
        Literal["none", "aspp", "decoder"],
        "what classes and instances share behind the backbone; less is better and slower",
    ] = "none",
    aspp_channels: arguments.AsppChannels = 256,
    low_level_channels: Annotated[
        tuple[PositiveInt, PositiveInt], "channels of `res3` and `res2` in the decoder of the classes"
    ] = (64, 32),
    decoder_channels: arguments.DecoderChannels = 256,
    instance_low_level_channels: Annotated[
        tuple[PositiveInt, PositiveInt], "channels of `res3` and `res2` in the decoder of the instances"
    ] = (32, 16),
    instance_channels: Annotated[PositiveInt, "channels of the convolutions in the decoder of the instances"] = 128,
    head_channels: Annotated[PositiveInt, "channels of the convolutions before centers and offsets"] = 32,
    dropout: arguments.Dropout = 0.1,
    batch_norm_momentum: arguments.BatchNormMomentum = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """A Keras functional Panoptic-DeepLab.

    Args:
        num_classes: C, the number of rows of the class table.
        shared: of SHARED.
        low_level_channels: to which `res3` and `res2` are reduced before they join the decoder of the classes.
        decoder_channels: of that decoder, and of the layer before its classifier.
        instance_low_level_channels, instance_channels: likewise for the decoder of the instances.
        head_channels: of the layers before the centers and the offsets.
        size, backbone, width, output_stride, multi_grid, separable, aspp_channels, dropout, batch_norm_momentum,
        precision: as of
            `deeplab_v3_plus`; separable convolutions of decoders and heads are 5x5.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary of float32 tensors: `logits` (B, H, W,
        C), `center` (B, H, W, 1), near 1 at the center of mass of a thing, and `offset` (B, H, W, 2), rows and columns
        to the center of a pixel's thing.

    Raises:
        DeepLabError: for an output stride, backbone, width or `shared` that does not exist.
    """
    channels = {
        "aspp_channels": aspp_channels,
        "decoder_channels": decoder_channels,
        "instance_channels": instance_channels,
    }
    channels.update(
        low_level_channels=tuple(low_level_channels), instance_low_level_channels=tuple(instance_low_level_channels)
    )
    check_positive(width=width, **channels, head_channels=head_channels, multi_grid=tuple(multi_grid))
    check_output_stride(output_stride)
    if shared not in SHARED:
        raise DeepLabError(f"Got '{shared}' for model.shared. {did_you_mean(str(shared), SHARED)}")
    block = {"separable": separable, "momentum": batch_norm_momentum}

    def pyramid(name):
        x = aspp(features["res5"], aspp_channels, output_stride, name=name, **block)  # (B, H/16, W/16, 256)
        return layers.Dropout(dropout, name=f"{name}_dropout")(x)

    with dtype_policy(precision):
        network = load_backbone(backbone)
        image = keras.Input((*size, 3), name="image")  # (B, H, W, 3)
        x = normalize(image, **network.NORMALIZATION)
        features = network.build(
            x, width=width, output_stride=output_stride, multi_grid=tuple(multi_grid), momentum=batch_norm_momentum
        )
        context = pyramid("aspp")
        classes = decoder(
            context, features, output_stride, decoder_channels, low_level_channels, name="decoder", **block
        )  # (B, H/4, W/4, 256)
        instances = classes
        if shared != "decoder":
            x = context if shared == "aspp" else pyramid("instance_aspp")
            options = {"name": "instance_decoder", **block}
            instances = decoder(
                x, features, output_stride, instance_channels, instance_low_level_channels, **options
            )  # (B, H/4, W/4, 128)
        x = conv_bn(classes, decoder_channels, 5, name="decoder_head", **block)
        outputs = {"logits": classifier(x, image, 4, num_classes, name="logits")}  # (B, H, W, C)
        for name, numbers in (("center", 1), ("offset", 2)):
            x = conv_bn(instances, head_channels, 5, name=f"{name}_head", **block)
            outputs[name] = classifier(x, image, 4, numbers, name=name)  # (B, H, W, 1 or 2)
    return keras.Model(image, outputs, name="panoptic_deeplab")


def decoder(
    x,
    features: dict,
    output_stride: int,
    channels: int,
    low_level_channels,
    *,
    separable: bool,
    momentum: float,
    name: str,
):
    """Pyramid features, upsampled to stride 8 and then to stride 4, each time refined with the backbone's features of
    that stride."""
    steps = (("res3", output_stride // 8, low_level_channels[0]), ("res2", 2, low_level_channels[1]))
    for stage, factor, reduced in steps:
        low_level = conv_bn(features[stage], reduced, 1, name=f"{name}_{stage}", momentum=momentum)
        if factor > 1:
            x = Upsample(factor, name=f"{name}_{stage}_upsample")([x, low_level])
        x = layers.Concatenate(name=f"{name}_{stage}_concat")([x, low_level])
        x = conv_bn(x, channels, 5, separable=separable, name=f"{name}_{stage}_fuse", momentum=momentum)
    return x
