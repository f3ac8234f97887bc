"""ResNet-34: blocks of two 3x3 convolutions; see `_resnet`."""

from deeplab_tf.lab.models.backbones import _resnet
from deeplab_tf.lab.models.backbones._resnet import NORMALIZATION

__all__ = ["NORMALIZATION", "STAGES", "build"]

STAGES = _resnet.stages(3, 4, 6, 3)


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage; see `_resnet.build`."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid, "momentum": momentum}
    return _resnet.build(image, STAGES, _resnet.basic, **options)
