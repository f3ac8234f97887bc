"""What every network begins with: its precision, its input and its backbone."""

import contextlib
from collections.abc import Iterator

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.blocks import ATROUS_RATES, normalize
from deeplab_tf.lab.models.registry import load_backbone


@contextlib.contextmanager
def dtype_policy(precision: str) -> Iterator[None]:
    """Set Keras' global dtype policy while layers are made."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def encode(backbone: str, size, *, width: float, output_stride: int, multi_grid, momentum: float) -> tuple:
    """Return a network's input (B, H, W, 3), and the features of its backbone by stage.

    Raises:
        DeepLabError: for a backbone, width, output stride or multi-grid that does not exist.
    """
    check_positive(width=width, multi_grid=tuple(multi_grid))
    if output_stride not in ATROUS_RATES:
        raise DeepLabError(f"model.output_stride must be 8, 16 or 32. Got {output_stride} instead.")
    module = load_backbone(backbone)
    image = keras.Input((*size, 3), name="image")
    options = {"width": width, "output_stride": output_stride, "multi_grid": tuple(multi_grid), "momentum": momentum}
    return image, module.build(normalize(image, **module.NORMALIZATION), **options)


def in_backbone(path: str) -> bool:
    """Return whether a layer or one of its variables belongs to the backbone, by its name."""
    return not path.startswith(("aspp", "decoder", "logits", "auxiliary", "instance", "center", "offset"))


def is_output(path: str, name: str) -> bool:
    """Return whether a variable belongs to a convolution that makes an output, such as `logits`: one, or several that
    are added (`logits_res4_conv`)."""
    layer = path.split("/")[0]
    return layer.startswith(f"{name}_") and layer.endswith("_conv")


def check_positive(**values) -> None:
    """Raise DeepLabError for an option of a model, or an item of a tuple, that is not greater than 0."""
    for key, value in values.items():
        if not min(value if isinstance(value, tuple) else (value,)) > 0:
            raise DeepLabError(f"model.{key} must be greater than 0. Got {value} instead.")
