"""MobileNetV3-Large (Howard et al., ICCV 2019, table 1), with atrous convolutions in place of the last strides.

It keeps all channels of the table, so that published weights fit; the authors' own segmentation networks halve those
behind the last stride (section 6.4).
"""

import keras

from deeplab_tf.lab.models.backbones import _mobilenet_v3
from deeplab_tf.lab.models.backbones._inverted_residual import Block, check_multi_grid
from deeplab_tf.lab.models.backbones._mobilenet_v3 import NORMALIZATION

__all__ = ["NORMALIZATION", "PRETRAINED", "build", "load_pretrained"]

BLOCKS = (
    Block(3, None, 16),
    Block(3, 64, 24, stride=2),
    Block(3, 72, 24),
    Block(5, 72, 40, stride=2, squeeze=True),
    Block(5, 120, 40, squeeze=True),
    Block(5, 120, 40, squeeze=True),
    Block(3, 240, 80, stride=2, activation="hard_swish"),
    Block(3, 200, 80, activation="hard_swish"),
    Block(3, 184, 80, activation="hard_swish"),
    Block(3, 184, 80, activation="hard_swish"),
    Block(3, 480, 112, activation="hard_swish", squeeze=True),
    Block(3, 672, 112, activation="hard_swish", squeeze=True),
    Block(5, 672, 160, stride=2, activation="hard_swish", squeeze=True),
    Block(5, 960, 160, activation="hard_swish", squeeze=True),
    Block(5, 960, 160, activation="hard_swish", squeeze=True),
)
LAST = 960

PRETRAINED = _mobilenet_v3.published("large", md5="07fb09a5933dd0c8eaafa16978110389")


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    check_multi_grid(multi_grid, "mobilenet_v3_large")
    return _mobilenet_v3.build(image, BLOCKS, LAST, width=width, output_stride=output_stride, momentum=momentum)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1."""
    _mobilenet_v3.load_pretrained(model, keras.applications.MobileNetV3Large, path)
