"""ResNet-101: bottlenecks; see `_resnet`."""

import keras

from deeplab_tf.lab.models.backbones import _resnet
from deeplab_tf.lab.models.backbones._resnet import NORMALIZATION, copy_weights

__all__ = ["NORMALIZATION", "PRETRAINED", "STAGES", "build", "copy_weights", "load_pretrained"]

STAGES = _resnet.stages(3, 4, 23, 3)

PRETRAINED = _resnet.published("resnet101", md5="88cf7a10940856eca736dc7b7e228a21")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage; see `_resnet.build`."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _resnet.build(image, STAGES, _resnet.bottleneck, **options)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1."""
    source = keras.applications.ResNet101(include_top=False, weights=None)
    source.load_weights(path)
    copy_weights(model, source)
