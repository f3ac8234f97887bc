"""EfficientNet-Lite0: channels and blocks of EfficientNet-B0; see `_efficientnet_lite`."""

from deeplab_tf.lab.models.backbones import _efficientnet_lite
from deeplab_tf.lab.models.backbones._efficientnet_lite import NORMALIZATION, load_pretrained

__all__ = ["NORMALIZATION", "PRETRAINED", "ROWS", "build", "load_pretrained"]

ROWS = _efficientnet_lite.rows()

PRETRAINED = _efficientnet_lite.published(0, "efficientnet-lite0-57934424.pth", md5="7406efdd8a1cb90d2464ddc714e33aa3")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _efficientnet_lite.build(image, ROWS, name="efficientnet_lite0", **options)
