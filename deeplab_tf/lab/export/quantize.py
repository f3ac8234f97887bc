"""Which tensors become 8-bit integers, and with which ranges: one plan for every export, under TensorRT's rules.

- Symmetric: a tensor with range r has 255 levels, scale r / 127, zero at 0. Weights have a range per output channel;
  biases stay float.
- Scales are short: 4 significant bits for tensors, 6 for weights. Then most of what a program computes with the numbers
  that integers stand for is exact in float32, and programs that sum in another order, or another version, give the same
  integers.
- Every convolution reads integers and weights of integers, unless it is named as excluded.
- All inputs of a concatenation, and both sides of a pooling or resizing, share one range, so that nothing is rounded
  twice.
- What a hard swish reads is rounded, and so is the map that a gate multiplies: a convolution before it must end in
  integers. The gate itself, of a single position, stays float.
- A ReLU6 has a range below 6, so that rounding cuts it off there, and it can be a ReLU.
- Of a residual sum, the skip branch is rounded and the convolution's own branch is not: TensorRT adds it before it
  rounds. ONNX Runtime on a CPU cannot do that and rounds both (`Plan.sums`). Sum and branches share one range, and a
  whole number of steps may be added before rounding or after: the result is the same.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node

LEVELS = 127
"""Of a tensor's range, on either side of zero."""

TENSOR_BITS, WEIGHT_BITS = 4, 6
"""Significant bits of scales. Those of tensors are rounded up, so that nothing more is clipped; those of weights down,
so that the largest weight still is LEVELS, from which TensorRT finds the scale again where it is not told."""


class Plan(NamedTuple):
    """Where integers go.

    Attributes:
        ranges: largest magnitude by tensor, for every tensor that is rounded.
        sums: likewise for the convolutions' own branches of residual sums, which are rounded only where the runtime
            must.
        excluded: convolutions whose weights stay float, and why.
    """

    ranges: dict[str, float]
    sums: dict[str, float]
    excluded: dict[str, str]


def make_plan(network: Network, measured: Mapping[str, float], *, float_layers: Collection[str] = ()) -> Plan:
    """The plan for a network.

    Args:
        network: with its head.
        measured: range of every tensor of the network; see `calibrate`.
        float_layers: convolutions that are to stay float besides those that always do.

    Raises:
        DeepLabError: a tensor has no range, or an endless one.
    """
    excluded = dict.fromkeys(float_layers, "left in float: that agreed better with the float network")
    excluded.update(dict.fromkeys(_after_mean(network), "computed at a single position"))
    ties = _Ties()
    waiting = [
        node.inputs[0]
        for node in network.nodes
        if node.op in CONVOLUTIONS and not _reads_float(network, node, excluded)
    ]
    rounded: dict[str, None] = {}
    sums: dict[str, None] = {}
    while waiting:
        name = waiting.pop()
        if name in rounded:
            continue
        rounded[name] = None
        waiting += _through(network, network[name], ties, sums)
    own = {name: _range(measured, name) for name in [*rounded, *sums]}
    shared = {root: max(own[name] for name in group if name in own) for root, group in ties.groups().items()}
    limits = {node.name: shared.get(ties.root(node.name), own[node.name]) for node in network.nodes if node.name in own}
    ranges = {name: LEVELS * float(_short(limit / LEVELS, TENSOR_BITS, np.ceil)) for name, limit in limits.items()}
    for name in [name for name in ranges if network[name].op == "relu6" and name not in ties.parent]:
        ranges[name] = min(ranges[name], LEVELS * float(_short(6 / LEVELS, TENSOR_BITS, np.floor)))
    return Plan(
        {name: limit for name, limit in ranges.items() if name in rounded},
        {name: limit for name, limit in ranges.items() if name in sums},
        excluded,
    )


def first_convolution(network: Network) -> str:
    """The name of the convolution nearest to the image."""
    return next(node.name for node in network.nodes if node.op in CONVOLUTIONS)


def last_convolutions(network: Network) -> list[str]:
    """The names of the convolutions nearest to the outputs: the class scores' first, several where they are summed."""
    found, waiting = [], list(network.outputs.values())
    while waiting:
        node = network[waiting.pop(0)]
        if node.op in CONVOLUTIONS:
            found.append(node.name)
        else:
            waiting = [*(node.inputs if node.op == "add" else node.inputs[:1]), *waiting]
    return found


def integer_weights(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """A convolution's kernel as int8 -127..127, and the scale (C,) of each of its output channels."""
    kernel = node.weights["kernel"]
    axes = (0, 1, 3) if node.op == "depthwise" else (0, 1, 2)
    largest = np.abs(kernel).max(axis=axes)
    scale = _short(np.where(largest > 0, largest, 1) / LEVELS, WEIGHT_BITS, np.floor)
    per_channel = scale[:, None] if node.op == "depthwise" else scale
    return np.clip(np.rint(kernel / per_channel), -LEVELS, LEVELS).astype(np.int8), scale


def with_rounded_weights(network: Network, plan: Plan) -> Network:
    """The network with the kernels that its integers stand for, and biases that are whole numbers of an integer sum's
    steps."""
    nodes = [_rounded(node, plan) if is_integer(node, plan) else node for node in network.nodes]
    return network._replace(nodes=tuple(nodes))


def is_integer(node: Node, plan: Plan) -> bool:
    """Whether a node is a convolution of integers."""
    return node.op in CONVOLUTIONS and node.name not in plan.excluded


def integer_bias(node: Node, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """A convolution's bias as int32, and the scale (C,) of its sums: that of the input times those of the kernel."""
    _, scale = integer_weights(node)
    sums = (scale.astype(np.float64) * step(plan.ranges[node.inputs[0]])).astype(np.float32)
    return np.clip(np.rint(node.weights["bias"] / sums.astype(np.float64)), -(2**31) + 1, 2**31 - 1).astype(
        np.int32
    ), sums


def _short(scale, bits, rounding):
    """A scale with so many significant bits; `rounding` is numpy.ceil or numpy.floor."""
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    nudge = 1e-6 if rounding is np.floor else -1e-6  # what is short already stays
    return np.ldexp(rounding(mantissa * 2**bits + nudge) / 2**bits, exponent).astype(np.float32)


def step(limit: float) -> np.float32:
    """The difference of two neighbouring levels of a tensor with this range."""
    return np.float32(limit) / np.float32(LEVELS)


def _rounded(node, plan):
    kernel, scale = integer_weights(node)
    bias, sums = integer_bias(node, plan)
    per_channel = scale[:, None] if node.op == "depthwise" else scale
    weights = {"kernel": kernel * per_channel, "bias": bias * sums}
    return node._replace(weights={key: value.astype(np.float32) for key, value in weights.items()})


def _after_mean(network):
    """The convolutions that work at one position: nothing is gained by integers there."""
    single = network.single()
    return [node.name for node in network.nodes if node.name in single and node.op in CONVOLUTIONS]


def _reads_float(network, node, excluded):
    """Whether an excluded convolution's input stays float too. The last one's does not: the convolution before it must
    end in integers."""
    return node.name in excluded and node.name not in last_convolutions(network)


def _through(network, node, ties, sums):
    """What must be rounded because the tensor that `node` makes is."""
    if node.op in ("max_pool", "avg_pool", "concat", "upsample"):
        parts = node.inputs[:1] if node.op == "upsample" else node.inputs
        for part in parts:
            ties.tie(node.name, part)
        return parts
    if node.op == "hard_swish":
        return node.inputs
    if node.op == "multiply":
        single = network.single()
        return [name for name in node.inputs if name not in single]
    add = network[node.inputs[0]] if node.op == "relu" else node
    if add.op == "add":
        own = _own_branch(network, add)
        sums.update(dict.fromkeys([own] if own else []))
        for part in add.inputs:
            ties.tie(node.name, part)
        return [name for name in add.inputs if name != own]
    return []


def _own_branch(network, add):
    """The input of a sum that comes straight from a convolution that nothing else reads; the last one of several."""
    for name in reversed(add.inputs):
        if network[name].op in CONVOLUTIONS and len(network.consumers(name)) == 1:
            return name
    return None


def _range(measured, name):
    value = measured.get(name)
    if value is None or not np.isfinite(value):
        raise DeepLabError(
            f"The tensor {name} has no range (measured: {value}); calibrate on real images of the run's own data."
        )
    return float(max(value, 1e-6))


class _Ties:
    """Tensors that share a range."""

    def __init__(self):
        self.parent: dict[str, str] = {}

    def root(self, name):
        while self.parent.get(name, name) != name:
            name = self.parent[name]
        return name

    def tie(self, a, b):
        self.parent.setdefault(a, a)
        self.parent.setdefault(b, b)
        self.parent[self.root(b)] = self.root(a)

    def groups(self):
        groups: dict[str, list[str]] = {}
        for name in self.parent:
            groups.setdefault(self.root(name), []).append(name)
        return groups
