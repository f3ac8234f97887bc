"""EfficientNet-Lite2: 1.1 times the channels and 1.2 times the blocks of Lite0; see `_efficientnet_lite`."""

from deeplab_tf.lab.models.backbones import _efficientnet_lite
from deeplab_tf.lab.models.backbones._efficientnet_lite import NORMALIZATION, load_pretrained

__all__ = ["NORMALIZATION", "PRETRAINED", "ROWS", "build", "load_pretrained"]

ROWS = _efficientnet_lite.rows(channels=1.1, blocks=1.2)

PRETRAINED = _efficientnet_lite.published(2, "efficientnet-lite2-9656183e.pth", md5="1ff5589222bbf5d55c3ed7cfcd6de936")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _efficientnet_lite.build(image, ROWS, name="efficientnet_lite2", **options)
