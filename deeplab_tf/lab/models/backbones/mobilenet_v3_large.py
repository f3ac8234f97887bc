"""MobileNetV3-Large (Howard et al., ICCV 2019, table 1), with atrous convolutions in place of the last strides (section
6.4).

All channels of the table are there, so that published weights fit. The paper's networks for segmentation have half of
those behind the last stride; `width` makes it small here, everywhere alike.
"""

import keras

from deeplab_tf.lab.models.backbones import _mobilenet_v3
from deeplab_tf.lab.models.backbones._inverted_residual import Block, check_multi_grid
from deeplab_tf.lab.models.backbones._mobilenet_v3 import NORMALIZATION, PUBLISHED

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

PRETRAINED = {
    "file": "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    "url": PUBLISHED,
    "md5": "07fb09a5933dd0c8eaafa16978110389",
}


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """The features of every stage; for arguments and result see `resnet50.build`. Raises DeepLabError for a
    multi-grid."""
    check_multi_grid(multi_grid, "mobilenet_v3_large")
    return _mobilenet_v3.build(image, BLOCKS, LAST, width=width, output_stride=output_stride, momentum=momentum)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Fills the layers of `build`, at width 1, from the published file at `path`."""
    source = keras.applications.MobileNetV3Large(include_top=False, weights=None, input_shape=(None, None, 3))
    source.load_weights(path)
    _mobilenet_v3.copy_weights(model, source)
