"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019, table 1) with ReLU6 and without squeeze-and-excitation.

Its authors changed that for INT8 devices, and keep the stem's 32 channels at any width. The 1x1 convolution to 1,280
channels belongs to the image classifier and is left out.
"""

from deeplab_tf.lab.models.backbones._inverted_residual import Block, check_multi_grid, stages, stem

NORMALIZATION = {"mean": (127.0, 127.0, 127.0), "std": (128.0, 128.0, 128.0)}

STEM = 32

ROWS = (
    # kernel, expansion ratio, channels, blocks, stride of the first
    (3, None, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage, as `resnet50.build` does; raise DeepLabError for a multi-grid."""
    check_multi_grid(multi_grid, "efficientnet_lite0")
    x = stem(image, STEM, activation="relu6", momentum=momentum)
    return stages(x, _blocks(), width=width, output_stride=output_stride, momentum=momentum)


def _blocks():
    blocks, before = [], STEM
    for kernel, ratio, channels, count, stride in ROWS:
        for i in range(count):
            expansion = None if ratio is None else ratio * before
            blocks.append(Block(kernel, expansion, channels, stride=stride if i == 0 else 1, activation="relu6"))
            before = channels
    return blocks
