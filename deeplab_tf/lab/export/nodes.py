"""What a network is made of, once it no longer learns."""

from typing import NamedTuple

import numpy as np

from deeplab_tf.core.bundle import INSTANCE_OUTPUTS


class Node(NamedTuple):
    """One operation; the tensor that it makes has its name.

    op         inputs               attributes                                  weights
    input
    affine     x                                                                scale (C,) or none, shift (C,): x *
    scale + shift pad        x                    padding
    conv       x                    stride, rate, padding "same" or             kernel (h, w, in, out), bias (out,)
    depthwise  x                    ((top, bottom), (left, right))              kernel (h, w, in, 1), bias (in,)
    max_pool   x                    size, stride, padding
    avg_pool   x                    size, stride, padding; the mean of what lies inside the image
    relu       x
    relu6      x                                                                between 0 and 6
    sigmoid    x
    hard_sigmoid x                                                              relu6(x + 3) / 6
    hard_swish x                                                                x * relu6(x + 3) / 6
    add        a, b
    multiply   a, b                                                             one may be (B, 1, 1, C)
    concat     a, b, ...
    mean       x                                                                over height and width, (B, 1, 1, C)
    upsample   x, reference         factor                                      see models.custom_layers.Upsample
    argmax     x
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attributes: dict = {}
    weights: dict[str, np.ndarray] = {}


CONVOLUTIONS = ("conv", "depthwise")

RELUS = ("relu", "relu6")


class Network(NamedTuple):
    """Nodes in an order in which each comes after its inputs; the first is the image, the last is the output.

    Where the network predicts instances, `instances` names the nodes that give its centers and its offsets, further
    outputs.
    """

    nodes: tuple[Node, ...]
    instances: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if name in node.inputs]

    def single(self) -> set[str]:
        """The tensors of a single position: an image's mean, and what is made from it alone."""
        found: set[str] = set()
        for node in self.nodes:
            if node.op == "mean" or node.inputs and all(name in found for name in node.inputs):
                found.add(node.name)
        return found

    @property
    def output(self) -> str:
        """The name of the last node."""
        return self.nodes[-1].name

    @property
    def gives(self) -> str:
        """What it is made for: "labels" or "logits"."""
        return "labels" if self.nodes[-1].op == "argmax" else "logits"

    @property
    def outputs(self) -> dict[str, str]:
        """What the exported network gives, and the names of the nodes that make it: labels or logits, then center and
        offset."""
        return {self.gives: self.output, **dict(zip(INSTANCE_OUTPUTS, self.instances))}

    @property
    def scores(self) -> str:
        """The name of the class scores: what the argmax reads, or the output."""
        last = self.nodes[-1]
        return last.inputs[0] if last.op == "argmax" else last.name
