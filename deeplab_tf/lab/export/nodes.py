"""A network as a list of operations: what every export is written from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from deeplab_tf.core.bundle import INSTANCE_OUTPUTS


class Node(NamedTuple):
    """One operation; the tensor that it makes has its name.

    op            inputs         attributes                          weights
    input
    affine        x                                                  scale (C,) or none, shift (C,): x * scale + shift
    pad           x              padding
    conv          x              stride, rate, padding ("same" or    kernel (h, w, in, out), bias (out,)
    depthwise     x              ((top, bottom), (left, right)))     kernel (h, w, in, 1), bias (in,)
    max_pool      x              size, stride, padding
    avg_pool      x              size, stride, padding; the mean of the pixels inside the image
    relu          x
    relu6         x                                                  relu, at most 6
    sigmoid       x
    hard_sigmoid  x                                                  relu6(x + 3) / 6
    hard_swish    x                                                  x * relu6(x + 3) / 6
    add           a, b
    multiply      a, b                                               one may be (B, 1, 1, C)
    concat        a, b, ...
    mean          x                                                  over height and width, (B, 1, 1, C)
    upsample      x, reference   factor                              see models.custom_layers.Upsample; or x alone
    linear_attention  x          dim                                 see models.custom_layers.LinearAttention
    attention     x              heads                               see models.attention_layers.Attention
    window_attention  x          heads, window, shift                bias (3 * C,), relative_bias; see there
    layer_norm    x              epsilon; over the channels          scale (C,), shift (C,)
    gelu          x                                                  x (1 + erf(x / sqrt(2))) / 2
    position      x                                                  embedding (rows, columns, C), resized and added
    space_to_depth  x            before                              see models.attention_layers.SpaceToDepth
    argmax        x

    Weights are arrays or, in training, tensors.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}
    weights: dict[str, Any] = {}

    @property
    def reads(self) -> tuple[str, ...]:
        """The inputs whose values count: of the reference of an upsampling, only the size does."""
        return self.inputs[:1] if self.op == "upsample" else self.inputs


CONVOLUTIONS = ("conv", "depthwise")

RELUS = ("relu", "relu6")


@dataclass(frozen=True)
class Network:
    """Nodes, each after its inputs; the first is the image, the last is the output.

    Attributes:
        instances: names of the nodes with the centers and offsets of a panoptic network, which are outputs, too.
    """

    nodes: tuple[Node, ...]
    instances: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def with_nodes(self, nodes: Iterable[Node]) -> "Network":
        """Return the network with other nodes."""
        return replace(self, nodes=tuple(nodes))

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read the values of a tensor."""
        return [node for node in self.nodes if name in node.reads]

    def single_position(self) -> set[str]:
        """Return the tensors of height and width 1: an image's mean, and what depends on it alone."""
        found: set[str] = set()
        for node in self.nodes:
            if node.op == "mean" or node.inputs and all(name in found for name in node.inputs):
                found.add(node.name)
        return found

    @property
    def output(self) -> str:
        """Name of the last node."""
        return self.nodes[-1].name

    @property
    def outputs(self) -> dict[str, str]:
        """Names of the nodes that make the outputs, by output: "labels" or "logits", then "center" and "offset"."""
        first = "labels" if self.nodes[-1].op == "argmax" else "logits"
        return {first: self.output, **dict(zip(INSTANCE_OUTPUTS, self.instances))}

    @property
    def logits(self) -> str:
        """Name of the node with the logits."""
        last = self.nodes[-1]
        return last.inputs[0] if last.op == "argmax" else last.name
