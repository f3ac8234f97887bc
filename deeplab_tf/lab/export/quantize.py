"""Which tensors are quantized, and with which ranges: one plan for every export, by TensorRT's rules.

- Symmetric: a tensor with range r has 255 levels, scale r / 127, zero point 0. Kernels have a range per output channel;
  biases stay float.
- Scales have few significant bits: 4 for tensors, 6 for kernels. Then most of what a runtime computes with the
  dequantized values is exact in float32, and runtimes that sum in another order give the same INT8 values.
- Every convolution reads quantized input and weights, unless it is excluded by name.
- All inputs of a concatenation, and input and output of pooling or upsampling, share one range, so that nothing is
  rounded twice.
- The input of a hard swish or of linear attention is quantized, and what happens within stays float. So is the map that
  a gate multiplies quantized: the convolution before it must end in INT8. The gate itself, of a single position, stays
  float.
- The same holds for a GELU and for softmax attention. A layer normalization reads the float sum of its Transformer,
  which no step rounds: of a convolution that is added to it, ONNX Runtime on a CPU rounds the result
  (`Plan.branches`), each with a range of its own.
- A ReLU6 has a range below 6, so that quantization clips it there, and it can be a ReLU.
- Of a residual sum, the skip branch is quantized and the convolution's own branch is not: TensorRT adds it before it
  rounds. ONNX Runtime on a CPU cannot do that and quantizes both (`Plan.branches`). Sum and branches share one range,
  and a whole number of steps may be added before rounding or after: the result is the same, but for an exact half,
  which goes to the even neighbor of another number.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node

LEVELS = 127
"""Quantization levels on either side of zero."""

LARGEST_BIAS = 2**30
"""In steps. The sum of the products is added to it in 32 bits, where one that exceeds them changes its sign."""

TENSOR_BITS, KERNEL_BITS = 4, 6
"""Significant bits of scales. Those of tensors are rounded up, so that nothing more is clipped; those of kernels down,
so that the largest weight still is LEVELS, from which TensorRT derives the scale where it is not given."""


class Plan(NamedTuple):
    """What is quantized.

    Attributes:
        ranges: largest magnitude of every tensor that is quantized.
        branches: likewise of convolutions that are added in a residual sum, quantized only where the runtime must.
        excluded: convolutions whose weights stay float, and why.
    """

    ranges: dict[str, float]
    branches: dict[str, float]
    excluded: dict[str, str]

    @property
    def all_ranges(self) -> dict[str, float]:
        """Both `ranges` and `branches`."""
        return {**self.ranges, **self.branches}


def make_plan(network: Network, measured: Mapping[str, float], *, float_layers: Collection[str] = ()) -> Plan:
    """Return the plan for a network.

    Args:
        network: with its head.
        measured: range of every tensor of the network, from calibration.
        float_layers: convolutions that stay float besides those that always do.

    Raises:
        DeepLabError: a tensor has no range, or an infinite one.
    """
    excluded = dict.fromkeys(float_layers, "stays in float: agrees better with the float network")
    excluded.update(dict.fromkeys(_after_mean(network), "computed at a single position"))
    quantized, branches, ties = _quantized_tensors(network, excluded)
    own = {name: _measured_range(measured, name) for name in [*quantized, *branches]}
    ranges = {}
    for node in network.nodes:
        if node.name in own:
            limit = max(own[name] for name in ties.get(node.name, (node.name,)) if name in own)
            ranges[node.name] = LEVELS * float(_short(limit / LEVELS, TENSOR_BITS, np.ceil))
            if node.op == "relu6" and node.name not in ties:
                six = LEVELS * float(_short(6 / LEVELS, TENSOR_BITS, np.floor))
                ranges[node.name] = min(ranges[node.name], six)
    return Plan(
        {name: limit for name, limit in ranges.items() if name in quantized},
        {name: limit for name, limit in ranges.items() if name in branches},
        excluded,
    )


def _quantized_tensors(network, excluded):
    """Follow what convolutions read: (quantized tensors, branches, tensors that share a range, by each of them)."""
    ties: dict[str, set[str]] = {}
    quantized: dict[str, None] = {}
    branches: dict[str, None] = {}
    convolutions = [node for node in network.nodes if node.op in CONVOLUTIONS]
    waiting = [node.inputs[0] for node in convolutions if not _reads_float(network, node, excluded)]
    while waiting:
        name = waiting.pop()
        if name not in quantized:
            quantized[name] = None
            waiting += _also_quantized(network, network[name], ties, branches)
    return quantized, branches, ties


def first_convolution(network: Network) -> str:
    """Return the name of the convolution nearest to the image."""
    return next(node.name for node in network.nodes if node.op in CONVOLUTIONS)


def last_convolutions(network: Network) -> list[str]:
    """Return the names of the convolutions nearest to the outputs: the logits' first, several where they are summed."""
    found, waiting = [], list(network.outputs.values())
    while waiting:
        node = network[waiting.pop(0)]
        if node.op in CONVOLUTIONS:
            found.append(node.name)
        else:
            waiting = [*(node.inputs if node.op == "add" else node.inputs[:1]), *waiting]
    return found


def is_quantized(node: Node, plan: Plan) -> bool:
    """Return whether a node is a convolution with quantized weights."""
    return node.op in CONVOLUTIONS and node.name not in plan.excluded


def quantized_kernel(node: Node, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return a convolution's kernel as int8, -127..127, and the scale (C,) of each output channel.

    A dead channel has weights near zero beside its bias. Its scale is the least at which the bias fits.
    """
    kernel = node.weights["kernel"]
    axes = (0, 1, 3) if node.op == "depthwise" else (0, 1, 2)
    largest = np.abs(kernel).max(axis=axes)
    scale = _short(np.where(largest > 0, largest, 1) / LEVELS, KERNEL_BITS, np.floor)
    least = np.abs(node.weights["bias"]).astype(np.float64) / (LARGEST_BIAS * np.float64(_input_step(node, plan)))
    scale = np.maximum(scale, _short(least, KERNEL_BITS, np.ceil))
    return np.clip(np.rint(kernel / _per_channel(scale, node)), -LEVELS, LEVELS).astype(np.int8), scale


def quantized_bias(node: Node, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return a convolution's bias as int32, and its scale (C,): that of the input times those of the kernel."""
    _, kernel_scale = quantized_kernel(node, plan)
    scale = (kernel_scale.astype(np.float64) * _input_step(node, plan)).astype(np.float32)
    return np.rint(node.weights["bias"] / scale.astype(np.float64)).astype(np.int32), scale


def _input_step(node, plan):
    return step(plan.ranges[node.inputs[0]])


def with_quantized_weights(network: Network, plan: Plan) -> Network:
    """Return the network with the kernels and biases of its INT8 network, dequantized."""
    return network.with_nodes(_dequantized(node, plan) if is_quantized(node, plan) else node for node in network.nodes)


def _dequantized(node, plan):
    kernel, scale = quantized_kernel(node, plan)
    bias, bias_scale = quantized_bias(node, plan)
    weights = {"kernel": kernel * _per_channel(scale, node), "bias": bias * bias_scale}
    return node._replace(weights={key: value.astype(np.float32) for key, value in weights.items()})


def _per_channel(scale, node):
    """Return a scale (C,) in a shape that multiplies a kernel."""
    return scale[:, None] if node.op == "depthwise" else scale


def _short(scale, bits, rounding):
    """Round a scale to `bits` significant bits; `rounding` is numpy.ceil or numpy.floor."""
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    nudge = 1e-6 if rounding is np.floor else -1e-6  # keeps what is short already
    return np.ldexp(rounding(mantissa * 2**bits + nudge) / 2**bits, exponent).astype(np.float32)


def step(limit: float) -> np.float32:
    """Return the scale of a tensor with this range: the difference of two neighboring levels."""
    return np.float32(limit) / np.float32(LEVELS)


def _after_mean(network):
    """Return the convolutions of a single position, where INT8 gains nothing."""
    single = network.single_position()
    return [node.name for node in network.nodes if node.name in single and node.op in CONVOLUTIONS]


def _reads_float(network, node, excluded):
    """Return whether an excluded convolution's input stays float, too. That of the last ones does not: the convolution
    before must end in INT8."""
    return node.name in excluded and node.name not in last_convolutions(network)


def _also_quantized(network, node, ties, branches):
    """Return the tensors that must be quantized because the one of `node` is."""
    if node.op in ("max_pool", "avg_pool", "concat", "upsample", "space_to_depth"):
        for part in node.reads:
            _tie(ties, node.name, part)
        return node.reads
    if node.op in ("hard_swish", "gelu", "linear_attention", "attention", "window_attention"):
        return node.inputs
    if node.op == "layer_norm":
        branches.update(dict.fromkeys(_convolutions_of_sum(network, network[node.inputs[0]], set())))
        return []
    if node.op == "multiply":
        single = network.single_position()
        return [name for name in node.inputs if name not in single]
    add = network[node.inputs[0]] if node.op == "relu" else node
    if add.op == "add":
        own = _own_branch(network, add)
        branches.update(dict.fromkeys([own] if own else []))
        for part in add.inputs:
            _tie(ties, node.name, part)
        return [name for name in add.inputs if name != own]
    return []


def _convolutions_of_sum(network, node, seen):
    """Return the convolutions whose results make up a tensor that stays float: they end in INT8 where they must."""
    if node.name in seen:
        return []
    seen.add(node.name)
    if node.op in CONVOLUTIONS:
        return [node.name]
    if node.op in ("add", "affine", "position", "space_to_depth"):
        parts = [_convolutions_of_sum(network, network[name], seen) for name in node.inputs]
        return [name for part in parts for name in part]
    return []


def _own_branch(network, add):
    """Return the input of a sum that is a convolution which nothing else reads; the last one of several."""
    for name in reversed(add.inputs):
        if network[name].op in CONVOLUTIONS and len(network.consumers(name)) == 1:
            return name
    return None


def _measured_range(measured, name):
    value = measured.get(name)
    if value is None or not np.isfinite(value):
        raise DeepLabError(
            f"The tensor {name} has no range (measured: {value}); calibrate on real images of the run's own data."
        )
    return float(max(value, 1e-6))


def _tie(ties, a, b):
    """Let two tensors share a range, and all that share one with them."""
    group = ties.get(a, {a}) | ties.get(b, {b})
    ties.update(dict.fromkeys(group, group))
