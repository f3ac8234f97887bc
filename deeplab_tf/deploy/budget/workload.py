"""The layers that a device runs for one frame, with their operations and bytes.

Layers are counted after fusion: a convolution includes its bias, its ReLU and a residual sum.
"""

from typing import Dict, List, NamedTuple, Sequence

KINDS = {
    "conv": "convolutions larger than 1x1",
    "conv1x1": "1x1 convolutions",
    "depthwise": "depthwise convolutions",
    "other": "pooling, resizing, sums, products, hard swish and argmax",
}
"""Kinds of layers that devices run at different efficiency."""

BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes a value."""


class Layer(NamedTuple):
    """One kernel, for one frame.

    Attributes:
        kind: a key of KINDS.
        macs: multiply-adds; two operations each.
        weights: parameters.
        reads, writes: values of the feature maps that go in and out.
    """

    name: str
    kind: str
    macs: int
    weights: int
    reads: int
    writes: int

    def traffic(self, precision: str) -> int:
        """Return the bytes moved between memory and processor, if nothing stays in a cache."""
        return BYTES[precision] * (self.weights + self.reads + self.writes)


def macs(layers: Sequence[Layer]) -> int:
    """Return the multiply-adds per frame."""
    return sum(layer.macs for layer in layers)


def parameters(layers: Sequence[Layer]) -> int:
    """Return the number of parameters."""
    return sum(layer.weights for layer in layers)


def traffic(layers: Sequence[Layer], precision: str) -> int:
    """Return the bytes moved per frame."""
    return sum(layer.traffic(precision) for layer in layers)


def to_rows(layers: Sequence[Layer]) -> List[dict]:
    """Return layers for JSON; `from_rows` reads them back."""
    return [dict(layer._asdict()) for layer in layers]


def from_rows(rows: Sequence[Dict]) -> List[Layer]:
    """Return the layers of `to_rows`."""
    return [Layer(**row) for row in rows]


def convolution(
    name: str, size: Sequence[int], channels: int, out: int, kernel: int, stride: int = 1, *, skip: bool = False
) -> Layer:
    """Return a dense convolution that keeps the size, but for its stride; with `skip` it includes a residual sum.

    Args:
        size: height, width of its input.
        channels, out: of input and output.
    """
    height, width = (-(-side // stride) for side in size)
    made = height * width * out
    count = kernel * kernel * channels * out
    kind = "conv1x1" if kernel == 1 else "conv"
    return Layer(name, kind, height * width * count, count + out, size[0] * size[1] * channels + made * skip, made)
