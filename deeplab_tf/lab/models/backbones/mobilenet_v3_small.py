"""MobileNetV3-Small (Howard et al., ICCV 2019, table 2), with atrous convolutions in place of the last strides (section
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

PRETRAINED = {
    "file": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "url": PUBLISHED,
    "md5": "d3e8ec802a04aa4fc771ee12a9a9b836",
}


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """The features of every stage; for arguments and result see `resnet50.build`. Raises DeepLabError for a
    multi-grid."""
    check_multi_grid(multi_grid, "mobilenet_v3_small")
    return _mobilenet_v3.build(image, BLOCKS, LAST, width=width, output_stride=output_stride, momentum=momentum)


def load_pretrained(model: keras.Model, path: str) -> None:
    """Fills the layers of `build`, at width 1, from the published file at `path`."""
    source = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(None, None, 3))
    source.load_weights(path)
    _mobilenet_v3.copy_weights(model, source)
