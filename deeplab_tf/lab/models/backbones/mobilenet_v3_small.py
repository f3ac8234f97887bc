"""MobileNetV3-Small (Howard et al., ICCV 2019, table 2), with atrous convolutions in place of the last strides.

It keeps all channels of the table, so that published weights fit; the authors' own segmentation networks halve those
behind the last stride (section 6.4).
"""

import keras

from deeplab_tf.lab.models.backbones import _mobilenet_v3
from deeplab_tf.lab.models.backbones._inverted_residual import Block, check_multi_grid
from deeplab_tf.lab.models.backbones._mobilenet_v3 import NORMALIZATION

__all__ = ["NORMALIZATION", "PRETRAINED", "build", "load_pretrained"]

BLOCKS = (
    Block(3, None, 16, stride=2, squeeze=True),
    Block(3, 72, 24, stride=2),
    Block(3, 88, 24),
    Block(5, 96, 40, stride=2, activation="hard_swish", squeeze=True),
    Block(5, 240, 40, activation="hard_swish", squeeze=True),
    Block(5, 240, 40, activation="hard_swish", squeeze=True),
    Block(5, 120, 48, activation="hard_swish", squeeze=True),
    Block(5, 144, 48, activation="hard_swish", squeeze=True),
    Block(5, 288, 96, stride=2, activation="hard_swish", squeeze=True),
    Block(5, 576, 96, activation="hard_swish", squeeze=True),
    Block(5, 576, 96, activation="hard_swish", squeeze=True),
)
LAST = 576

PRETRAINED = _mobilenet_v3.published("small", md5="d3e8ec802a04aa4fc771ee12a9a9b836")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    check_multi_grid(multi_grid, "mobilenet_v3_small")
    return _mobilenet_v3.build(image, BLOCKS, LAST, width=width, output_stride=output_stride, momentum=momentum)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1."""
    _mobilenet_v3.load_pretrained(model, keras.applications.MobileNetV3Small, path)
