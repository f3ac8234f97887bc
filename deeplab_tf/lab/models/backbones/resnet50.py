"""ResNet-50: bottlenecks; see `_resnet`."""

import keras

from deeplab_tf.lab.models.backbones import _resnet
from deeplab_tf.lab.models.backbones._resnet import NORMALIZATION, copy_weights

__all__ = ["NORMALIZATION", "PRETRAINED", "STAGES", "build", "copy_weights", "load_pretrained"]

STAGES = _resnet.stages(3, 4, 6, 3)

PRETRAINED = _resnet.published("resnet50", md5="4d473c1dd8becc155b73f8504c6f6626")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage; see `_resnet.build`."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _resnet.build(image, STAGES, _resnet.bottleneck, **options)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1."""
    source = keras.applications.ResNet50(include_top=False, weights=None)
    source.load_weights(path)
    copy_weights(model, source)
