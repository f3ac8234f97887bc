"""Published speeds of networks on devices: what the estimate is fitted on and validated with."""

from typing import Callable, List, NamedTuple, Tuple

from deeplab_tf.deploy.budget.workload import Layer, convolution


class Published(NamedTuple):
    """A published speed."""

    device: str
    precision: str
    network: Callable
    size: Tuple[int, int]
    fps: float
    source: str


def resnet50(size) -> List[Layer]:
    """Return torchvision's ResNet-50, with the stride in the 3x3 convolutions and 1,000 classes."""
    layers, size, channels = _stem(size)
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for block in range(blocks):
            name, stride = f"res{stage}_{block + 1}", 2 if stage > 2 and block == 0 else 1
            small = tuple(-(-side // stride) for side in size)
            if block == 0:
                layers.append(convolution(name + "_skip", size, channels, 4 * width, 1, stride))
            layers.append(convolution(name + "_1", size, channels, width, 1))
            layers.append(convolution(name + "_2", size, width, width, 3, stride))
            layers.append(convolution(name + "_3", small, width, 4 * width, 1, skip=True))
            size, channels = small, 4 * width
    return layers + [convolution("classes", (1, 1), channels, 1000, 1)]


def fcn_resnet18(size, classes: int = 21) -> List[Layer]:
    """Return jetson-inference's ResNet-18 with a 1x1 convolution to logits at stride 32."""
    layers, size, channels = _stem(size)
    for stage, width in enumerate((64, 128, 256, 512), 2):
        for block in range(2):
            name, stride = f"res{stage}_{block + 1}", 2 if stage > 2 and block == 0 else 1
            small = tuple(-(-side // stride) for side in size)
            if stride == 2:
                layers.append(convolution(name + "_skip", size, channels, width, 1, stride))
            layers.append(convolution(name + "_1", size, channels, width, 3, stride))
            layers.append(convolution(name + "_2", small, width, width, 3, skip=True))
            size, channels = small, width
    return layers + [convolution("classes", size, channels, classes, 1)]


def _stem(size):
    """Return (layers, size, channels) of a 7x7 convolution and max pooling, each of stride 2."""
    half, quarter = (tuple(-(-side // by) for side in size) for by in (2, 4))
    pixels, fewer = (64 * height * width for height, width in (half, quarter))
    return [convolution("conv1", size, 3, 64, 7, 2), Layer("pool1", "other", 0, 0, pixels, fewer)], quarter, 64


FITTED = (
    Published("jetson-nano", "float16", resnet50, (224, 224), 34.2, "torch2trt"),
    Published("jetson-nano", "float16", fcn_resnet18, (256, 512), 48.0, "jetson-inference"),
    Published("agx-xavier", "float16", resnet50, (224, 224), 312.0, "torch2trt"),
)
"""The sources of `devices.EFFICIENCIES`."""

HELD_OUT = (
    Published("jetson-nano", "float16", fcn_resnet18, (512, 1024), 12.0, "jetson-inference"),
    Published("jetson-nano", "float16", resnet50, (256, 256), 1 / 0.042, "a published 42 ms"),
    Published("jetson-nano", "float32", resnet50, (256, 256), 1 / 0.079, "a published 79 ms"),
)
"""Validates the estimate."""
