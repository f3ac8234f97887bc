"""What the networks are put together from; the networks themselves are one file each beside this one."""

import contextlib
import importlib
from pathlib import Path

import keras
from keras import layers

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import import_file
from deeplab_tf.lab.models.layers import Upsample, batch_norm, conv_bn, kernel_initializer

ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""By output stride: the same field of view in input pixels each time."""


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


def aspp(x, channels: int, output_stride: int, *, separable: bool, momentum: float, name: str = "aspp"):
    """Atrous spatial pyramid pooling: a 1x1 convolution, three atrous ones, and the image's mean.

    The projection behind the pyramid is linear, so the mean's share of it is computed at one position and added by
    broadcasting: the same function as concatenating a mean copied to every position, without the copies, and right at
    any input size.
    """
    branches = [conv_bn(x, channels, 1, name=f"{name}_1x1", momentum=momentum)]
    for rate in ATROUS_RATES[output_stride]:
        branches.append(
            conv_bn(x, channels, 3, rate=rate, separable=separable, name=f"{name}_rate{rate}", momentum=momentum)
        )
    pyramid = layers.Concatenate(name=f"{name}_concat")(branches)  # (B, h, w, 4 * 256)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)  # (B, 1, 1, 2048)
    mean = layers.Conv2D(channels, 1, kernel_initializer="he_normal", activation="relu", name=f"{name}_mean_conv")(mean)
    pyramid = _projection(pyramid, channels, name=f"{name}_project_conv")
    mean = _projection(mean, channels, name=f"{name}_project_mean")
    # The mean first: second, at batch 1, Keras would make it the bias of a BiasAdd, which TF-TRT takes with constant
    # biases only.
    x = layers.Add(name=f"{name}_project_add")([mean, pyramid])
    return layers.ReLU(name=f"{name}_project_relu")(batch_norm(x, name=f"{name}_project_bn", momentum=momentum))


def _projection(x, channels: int, *, name: str):
    return layers.Conv2D(channels, 1, use_bias=False, kernel_initializer=kernel_initializer(), name=name)(x)


def classifier(x, image, factor: int, channels: int, *, name: str):
    """Class scores (or other numbers) at the image's size, `factor` times that of the features.

    The scores are upsampled, not the features: the two commute, and this order is ten times cheaper.
    """
    return Upsample(factor, dtype="float32", name=name)([scores(x, channels, name=name), image])


def scores(x, channels: int, *, name: str):
    """A 1x1 convolution to class scores (or other numbers), in float32 under every policy."""
    small = keras.initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(channels, 1, kernel_initializer=small, dtype="float32", name=f"{name}_conv")(x)


def backbones() -> list[str]:
    """Return the names of the backbones."""
    return sorted(path.stem for path in (Path(__file__).parent / "backbones").glob("[!_]*.py"))


def load_backbone(name: str):
    """Return the module of a backbone, by its file's name or the path of a file of your own (NAME.py).

    Raise DeepLabError, with the choices, where there is none.
    """
    if name.endswith(".py") and Path(name).is_file():
        return import_file(name)
    if name not in backbones():
        raise DeepLabError(f"There is no backbone '{name}'. {did_you_mean(str(name), backbones())}")
    return importlib.import_module(f"deeplab_tf.lab.models.backbones.{name}")


def networks() -> list[str]:
    """Return the names of the networks."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in files if f"\ndef {path.stem}(" in path.read_text(encoding="utf-8")]


def load_network(name: str):
    """Return the function that builds a network, by its file's name. Raise DeepLabError, with the choices, where there
    is none."""
    if name not in networks():
        raise DeepLabError(f"There is no network '{name}' for model.name. {did_you_mean(str(name), networks())}")
    return getattr(importlib.import_module(f"deeplab_tf.lab.models.{name}"), name)


def check_output_stride(output_stride: int) -> None:
    """Raises DeepLabError for an output stride that does not exist."""
    if output_stride not in ATROUS_RATES:
        raise DeepLabError(f"model.output_stride must be 8, 16 or 32. Got {output_stride} instead.")


def check_positive(**values) -> None:
    """Raises DeepLabError for an option of a model that is not above 0; of a tuple each item."""
    for key, value in values.items():
        if not min(value if isinstance(value, tuple) else (value,)) > 0:
            raise DeepLabError(f"model.{key} must be greater than 0. Got {value} instead.")
