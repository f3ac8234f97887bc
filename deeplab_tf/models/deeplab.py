"""DeepLabV3+ (Chen et al., ECCV 2018): backbone, atrous spatial pyramid, decoder, classifier, in this order on the page."""

import contextlib
import importlib
from pathlib import Path

import keras
from keras import layers

from deeplab_tf.errors import DeepLabError, did_you_mean
from deeplab_tf.models.layers import Upsample, batch_norm, conv_bn, kernel_initializer

ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""By output stride: the same field of view in input pixels each time."""


def deeplab_v3_plus(
    num_classes: int,
    *,
    size: tuple[int | None, int | None] = (None, None),
    backbone: str = "resnet50",
    width: float = 1.0,
    output_stride: int = 16,
    multi_grid: tuple[int, int, int] = (1, 1, 1),
    separable: bool = True,
    aspp_channels: int = 256,
    low_level_channels: int = 48,
    decoder_channels: int = 256,
    dropout: float = 0.1,
    auxiliary: bool = False,
    batch_norm_momentum: float = 0.99,
    precision: str = "float32",
) -> keras.Model:
    """A Keras functional DeepLabV3+.

    Args:
        num_classes: C, the number of rows of the class table.
        size: height and width of the input; None leaves them open.
        backbone: the name of a file under models/backbones.
        width: multiplies the backbone's channels.
        output_stride: 8, 16 or 32: input pixels a side for one position of the deepest features.
        multi_grid: multiplies the dilations of the three blocks of `res5`.
        separable: pyramid and decoder with depthwise separable convolutions (arXiv:1802.02611, section 3.2).
        aspp_channels: of each branch of the pyramid.
        low_level_channels: to which `res2` is reduced before it joins the decoder.
        decoder_channels: of the decoder's two 3x3 convolutions.
        dropout: share of pyramid features dropped in training.
        auxiliary: adds a fully convolutional head on `res4`, for training only (Zhao et al., CVPR 2017).
        batch_norm_momentum: of the running statistics.
        precision: float32, mixed_bfloat16 or mixed_float16: the dtype policy of every layer; weights and logits stay float32.

    Returns:
        A model from RGB images (B, H, W, 3), uint8 or 0..255, to a dictionary: `logits` (B, H, W, C) float32, and with
        `auxiliary` also `auxiliary_logits` of the same shape.

    Raises:
        DeepLabError: for an output stride, backbone or width that does not exist.
    """
    channels = {"aspp_channels": aspp_channels, "low_level_channels": low_level_channels, "decoder_channels": decoder_channels}
    _check_positive(width=width, **channels, multi_grid=min(multi_grid))
    if output_stride not in ATROUS_RATES:
        raise DeepLabError(f"model.output_stride must be 8, 16 or 32. Got {output_stride} instead.")
    block = {"separable": separable, "momentum": batch_norm_momentum}
    with dtype_policy(precision):
        network = load_backbone(backbone)
        image = keras.Input((*size, 3), name="image")  # (B, H, W, 3)
        x = normalize(image, **network.NORMALIZATION)
        features = network.build(x, width=width, output_stride=output_stride, multi_grid=tuple(multi_grid), momentum=batch_norm_momentum)
        x = aspp(features["res5"], aspp_channels, ATROUS_RATES[output_stride], **block)  # (B, H/16, W/16, 256)
        x = layers.Dropout(dropout, name="aspp_dropout")(x)
        x = decoder(x, features["res2"], output_stride // 4, decoder_channels, low_level_channels, **block)  # (B, H/4, W/4, 256)
        outputs = {"logits": classifier(x, image, 4, num_classes, name="logits")}  # (B, H, W, C)
        if auxiliary:
            x = conv_bn(features["res4"], decoder_channels, 3, name="auxiliary", momentum=batch_norm_momentum)
            outputs["auxiliary_logits"] = classifier(x, image, min(16, output_stride), num_classes, name="auxiliary_logits")
    return keras.Model(image, outputs, name="deeplab_v3_plus")


def normalize(image, mean, std):
    """Pixels 0..255 to mean 0 and standard deviation 1 a channel, in float32 under every policy."""
    return layers.Normalization(mean=mean, variance=[s * s for s in std], dtype="float32", name="normalization")(image)


@contextlib.contextmanager
def dtype_policy(precision: str):
    """Keras' global dtype policy for as long as layers are made."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def aspp(x, channels: int, rates, *, separable: bool, momentum: float):
    """Atrous spatial pyramid pooling: a 1x1 convolution, three atrous ones, and the image's mean.

    The projection behind the pyramid is linear, so the mean's share of it is computed at one position and added by broadcasting: the same
    function as concatenating a mean copied to every position, without the copies, and right at any input size.
    """
    branches = [conv_bn(x, channels, 1, name="aspp_1x1", momentum=momentum)]
    for rate in rates:
        branches.append(conv_bn(x, channels, 3, rate=rate, separable=separable, name=f"aspp_rate{rate}", momentum=momentum))
    pyramid = layers.Concatenate(name="aspp_concat")(branches)  # (B, h, w, 4 * 256)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x)  # (B, 1, 1, 2048)
    mean = layers.Conv2D(channels, 1, kernel_initializer="he_normal", activation="relu", name="aspp_mean_conv")(mean)
    pyramid = _projection(pyramid, channels, name="aspp_project_conv")
    mean = _projection(mean, channels, name="aspp_project_mean")
    # The mean first: second, at batch 1, Keras would make it the bias of a BiasAdd, which TF-TRT takes with constant biases only.
    x = layers.Add(name="aspp_project_add")([mean, pyramid])
    return layers.ReLU(name="aspp_project_relu")(batch_norm(x, name="aspp_project_bn", momentum=momentum))


def _projection(x, channels: int, *, name: str):
    return layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=kernel_initializer(), name=name)(x)


def decoder(x, low_level, factor: int, channels: int, low_level_channels: int, *, separable: bool, momentum: float):
    """Pyramid features, upsampled by `factor` to stride 4, refined with the backbone's `res2`."""
    low_level = conv_bn(low_level, low_level_channels, 1, name="decoder_low_level", momentum=momentum)  # (B, H/4, W/4, 48)
    x = Upsample(factor, name="decoder_upsample")([x, low_level])
    x = layers.Concatenate(name="decoder_concat")([x, low_level])
    for i in (1, 2):
        x = conv_bn(x, channels, 3, separable=separable, name=f"decoder_{i}", momentum=momentum)
    return x


def classifier(x, image, factor: int, num_classes: int, *, name: str):
    """Class scores at the image's size, `factor` times that of the features.

    The scores are upsampled, not the features: the two commute, and this order is ten times cheaper.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Conv2D(num_classes, 1, kernel_initializer=small, dtype="float32", name=f"{name}_conv")(x)
    return Upsample(factor, dtype="float32", name=name)([x, image])


def load_backbone(name: str):
    """The module of a backbone by its file's name. Raises DeepLabError, naming the choices, where there is none."""
    folder = Path(__file__).parent / "backbones"
    names = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    if name not in names:
        raise DeepLabError(f"There is no backbone '{name}'. {did_you_mean(str(name), names)}")
    return importlib.import_module(f"deeplab_tf.models.backbones.{name}")


def _check_positive(**values):
    for key, value in values.items():
        if not value > 0:
            raise DeepLabError(f"model.{key} must be greater than 0. Got {value} instead.")
