"""Write a plan into ONNX as QuantizeLinear/DequantizeLinear (Q/DQ) pairs, and check their places."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.channels_last import channels_last
from deeplab_tf.lab.export.nodes import RELUS, Network
from deeplab_tf.lab.export.onnx_model import drop_unused, initializers, kernel_as_onnx
from deeplab_tf.lab.export.quantize import LEVELS, Plan, is_quantized, quantized_bias, quantized_kernel, step


def for_tensorrt(model: onnx.ModelProto, network: Network, plan: Plan) -> onnx.ModelProto:
    """Return the model for TensorRT 8.2 or newer: int8, zero point 0, Q/DQ pairs around float weights, float biases.

    Args:
        model: float, from `onnx_model.onnx_model`; it is not changed.
        network, plan: of the model.

    Raises:
        DeepLabError: see `check`.
    """
    writer = _PairWriter(model, plan)
    for name, limit in plan.ranges.items():
        writer.quantize_tensor(name, limit, np.int8)
        writer.drop_relu6(name, limit)
    for node in _quantized_convolutions(network, plan):
        writer.pair_around_weights(node)
    made = writer.finish()
    check(made, plan)
    return made


def for_cpu(model: onnx.ModelProto, network: Network, plan: Plan) -> onnx.ModelProto:
    """Return the model for ONNX Runtime on x86: the same ranges and scales, with uint8 activations, int8 weights and
    int32 biases.

    A tensor without negative values has zero point 0, so that its ReLU costs nothing, and is clipped at its range,
    which uint8 would exceed; others have zero point 128. Both branches of a residual sum are quantized, because ONNX
    Runtime has no convolution that adds first. The first and last layers are rewritten by `channels_last`.
    """
    writer = _PairWriter(model, plan)
    positive = _never_negative(network)
    for name, limit in plan.all_ranges.items():
        from_zero = name in positive
        clip = from_zero and network[name].op in (*RELUS, "multiply")
        writer.quantize_tensor(name, limit, np.uint8, zero=0 if from_zero else 128, clip=clip)
        writer.drop_relu6(name, limit)
    for node in _quantized_convolutions(network, plan):
        writer.store_weights(node)
    return writer.finish(then=channels_last)


def check(model: onnx.ModelProto, plan: Plan) -> None:
    """Check that a model for TensorRT keeps the rules of `quantize`.

    Raises:
        DeepLabError: a rule is broken; the operation is named.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = initializers(model.graph)
    for node in model.graph.node:
        problem = _problem(node, makers, constants, plan)
        if problem:
            raise DeepLabError(f"Quantization: {node.op_type} {node.name} {problem}.")


def tensor_ranges(model: onnx.ModelProto, ranges: dict[str, float]) -> dict[str, float]:
    """Return the ranges of all float tensors of a model, with those of its input and between the network's own.

    TensorRT leaves a layer in float that has a tensor without a range: so it is within attention, a layer normalization
    and a GELU.

    Args:
        model: float, from `onnx_model.onnx_model`.
        ranges: of the network's tensors.
    """
    constants = initializers(model.graph)
    found = {"image": 255.0, **ranges}
    for node in model.graph.node:
        (name,), own = node.output, node.output[0].removesuffix("_nhwc").removesuffix("_inner")
        if name in found or node.op_type in ("ArgMax", "Cast"):  # integers
            continue
        factors = [
            float(np.abs(constants[each]).max()) for each in node.input if each in constants and constants[each].size
        ]
        follows = node.op_type in ("HardSigmoid", "Transpose", "Resize", "Slice") or node.op_type == "Mul" and factors
        if own in ranges:
            found[name] = ranges[own]
        elif name.split("/")[0] in ranges and not (follows and node.input[0] in found):
            continue
        elif node.op_type == "HardSigmoid":
            found[name] = 1.0
        elif node.op_type == "Mul" and factors:
            found[name] = found[node.input[0]] * factors[0]
        elif node.op_type in ("Transpose", "Resize", "Slice"):
            found[name] = found[node.input[0]]
        else:
            raise DeepLabError(f"The tensor {name} ({node.op_type}) has no range; calibrate again.")
    return found


def calibration_cache(ranges: dict[str, float]) -> str:
    """Return ranges in TensorRT's text format: the scale of a tensor as hexadecimal digits of a big-endian float32."""
    lines = [f"{name}: {np.array(step(limit), '>f4').tobytes().hex()}" for name, limit in sorted(ranges.items())]
    return "\n".join(["TRT-8201-EntropyCalibration2", *lines, ""])


def _quantized_convolutions(network, plan):
    return [node for node in network.nodes if is_quantized(node, plan)]


def _never_negative(network):
    found: set[str] = set()
    for node in network.nodes:
        kept = node.op in ("max_pool", "avg_pool", "concat", "multiply") and all(name in found for name in node.inputs)
        if node.op in (*RELUS, "sigmoid", "hard_sigmoid") or kept or node.op == "upsample" and node.inputs[0] in found:
            found.add(node.name)
    return found


class _PairWriter:
    """Puts Q/DQ pairs into a copy of a model."""

    def __init__(self, model: onnx.ModelProto, plan: Plan):
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph, self.plan = self.model.graph, plan
        self.convolutions = {node.output[0]: node for node in self.graph.node if node.op_type == "Conv"}
        self.bounds: list[str] = []
        self.pairs: dict[str, list[onnx.NodeProto]] = {}  # tensor -> its nodes, which follow the one that makes it

    def quantize_tensor(self, name, limit, dtype, zero=0, clip=False):
        """Put a pair between a tensor and its readers; `clip` keeps uint8 within 0..127."""
        if name in {value.name for value in self.graph.output}:
            raise DeepLabError(f"The tensor {name} is the network's output and cannot be quantized.")
        for node in self.graph.node:
            node.input[:] = [f"{name}/dequantized" if each == name else each for each in node.input]
        self.pairs[name] = self._pair(name, step(limit), np.array(zero, dtype))
        if clip:
            self._clip(self.pairs[name])

    def drop_relu6(self, name, limit):
        """Make a ReLU of the ReLU6 that makes a tensor, where quantization clips it below 6: it fuses everywhere."""
        (maker,) = [node for node in self.graph.node if name in node.output]
        if maker.op_type == "Clip" and limit <= 6:
            maker.op_type = "Relu"
            del maker.input[1:]

    def pair_around_weights(self, node):
        """Store dequantized weights with a pair of their own, and a float bias.

        Unrounded, weights below the lowest level would become -128, which `quantized_kernel` does not use.
        """
        kernel, scale = quantized_kernel(node, self.plan)
        bias, bias_scale = quantized_bias(node, self.plan)
        name = f"{node.name}/kernel"
        floats = kernel_as_onnx(kernel, node).astype(np.float32) * scale[:, None, None, None]
        values = self._constant(f"{name}/rounded", floats)
        self.pairs[name] = self._pair(name, scale, np.zeros(len(scale), np.int8), axis=0)
        self.pairs[name][0].input[0] = values
        rounded_bias = self._constant(f"{node.name}/bias/rounded", bias.astype(np.float32) * bias_scale)
        self.convolutions[node.name].input[1:] = [f"{name}/dequantized", rounded_bias]

    def store_weights(self, node):
        """Store quantized weights and bias, each with a DequantizeLinear."""
        kernel, scale = quantized_kernel(node, self.plan)
        bias, bias_scale = quantized_bias(node, self.plan)
        self.convolutions[node.name].input[1:] = [
            self._stored(f"{node.name}/kernel", kernel_as_onnx(kernel, node), scale),
            self._stored(f"{node.name}/bias", bias, bias_scale),
        ]

    def _stored(self, name, values, scale):
        parts = {"integers": values, "scale": scale, "zero": np.zeros(len(scale), values.dtype)}
        constants = [self._constant(f"{name}/{part}", constant) for part, constant in parts.items()]
        result = f"{name}/dequantized"
        self.pairs[name] = [helper.make_node("DequantizeLinear", constants, [result], result, axis=0)]
        return result

    def finish(self, then=None):
        """Return the checked model, its nodes in order; `then` may rewrite the graph before."""
        ordered = [pair for name, nodes in self.pairs.items() if name.endswith(("/kernel", "/bias")) for pair in nodes]
        for node in self.graph.node:
            ordered += [node, *self.pairs.get(node.output[0], ())]
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        if then:
            then(self.graph)
        drop_unused(self.graph)
        self.graph.initializer.sort(key=lambda tensor: tensor.name)
        onnx.checker.check_model(self.model, full_check=True)
        return self.model

    def _pair(self, name, scale, zero, **axis):
        ends = [self._constant(f"{name}/scale", np.asarray(scale, np.float32)), self._constant(f"{name}/zero", zero)]
        integers, result = f"{name}/quantized", f"{name}/dequantized"
        return [
            helper.make_node("QuantizeLinear", [name, *ends], [integers], integers, **axis),
            helper.make_node("DequantizeLinear", [integers, *ends], [result], result, **axis),
        ]

    def _clip(self, pair):
        quantize, dequantize = pair
        if not self.bounds:
            bounds = {"levels/low": 0, "levels/high": LEVELS}
            self.bounds = [self._constant(name, np.array(value, np.uint8)) for name, value in bounds.items()]
        clipped = f"{quantize.input[0]}/clipped"
        pair.insert(1, helper.make_node("Clip", [quantize.output[0], *self.bounds], [clipped], clipped))
        dequantize.input[0] = clipped

    def _constant(self, name, values):
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name


def _problem(node, makers, constants, plan):
    """Return what is wrong with an operation of a model for TensorRT, or None."""
    quantized = [makers.get(name) is not None and makers[name].op_type == "DequantizeLinear" for name in node.input]
    scales = [constants[makers[name].input[1]] for name, yes in zip(node.input, quantized) if yes]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        scale, zero = (constants[name] for name in node.input[1:3])
        if zero.dtype != np.int8 or zero.any() or not (scale > 0).all():
            return "must be symmetric int8 with scales above 0"
        if scale.ndim != int("/kernel/" in node.name):
            return "must have one scale, or one an output channel for weights"
    if node.op_type == "Conv":
        if node.output[0] not in plan.excluded and quantized[:2] != [True, True]:
            return "reads floats and is not excluded"
        if len(quantized) > 2 and quantized[2]:
            return "has a quantized bias"
    if (
        node.op_type == "Concat"
        and any(quantized)
        and (not all(quantized) or len({float(scale) for scale in scales}) > 1)
    ):
        return "has inputs of different scales"
    if node.op_type == "Add" and sum(quantized) > 1:
        return "has two quantized branches"
    return None
