"""EfficientNet-Lite3: 1.2 times the channels and 1.4 times the blocks of Lite0; see `_efficientnet_lite`."""

from deeplab_tf.lab.models.backbones import _efficientnet_lite
from deeplab_tf.lab.models.backbones._efficientnet_lite import NORMALIZATION

__all__ = ["NORMALIZATION", "ROWS", "build"]

ROWS = _efficientnet_lite.rows(1.2, 1.4)


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _efficientnet_lite.build(image, ROWS, name="efficientnet_lite3", **options)
