"""A plan written into ONNX as pairs of QuantizeLinear and DequantizeLinear, and a check that they stand where they
should."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.channels_last import channels_last
from deeplab_tf.lab.export.nodes import RELUS, Network
from deeplab_tf.lab.export.onnx_model import drop_unused, initializers
from deeplab_tf.lab.export.quantize import LEVELS, Plan, integer_bias, integer_weights, is_integer, step


def for_tensorrt(model: onnx.ModelProto, network: Network, plan: Plan) -> onnx.ModelProto:
    """int8 with zero point 0, float weights with a pair of their own, float biases: what TensorRT from 8.2 on reads.

    Args:
        model: float, from `onnx_model.onnx_model`; it is not changed.
        network, plan: what it was made from, and where integers go.

    Raises:
        DeepLabError: see `check`.
    """
    writer = _Writer(model, plan)
    for name, limit in plan.ranges.items():
        writer.round_tensor(name, limit, np.int8)
        writer.unlimit(name, limit)
    for node in _integer_convolutions(network, plan):
        writer.round_weights(node)
    made = writer.finish()
    check(made, plan)
    return made


def for_cpu(model: onnx.ModelProto, network: Network, plan: Plan) -> onnx.ModelProto:
    """The same ranges and scales, with uint8 activations, integer weights and integer biases: what ONNX Runtime is fast
    with on x86.

    A tensor without negative values has its zero at 0, so that its ReLU costs nothing, and is clipped at its range,
    which uint8 would exceed; others have their zero at 128. Both branches of a residual sum are rounded, because ONNX
    Runtime has no convolution that adds first. The ends of the network are written as `channels_last` does it.
    """
    writer = _Writer(model, plan)
    positive = _never_negative(network)
    for name, limit in {**plan.ranges, **plan.sums}.items():
        from_zero = name in positive
        clip = from_zero and network[name].op in (*RELUS, "multiply")
        writer.round_tensor(name, limit, np.uint8, zero=0 if from_zero else 128, clip=clip)
        writer.unlimit(name, limit)
    for node in _integer_convolutions(network, plan):
        writer.store_integer_weights(node)
    return writer.finish(then=channels_last)


def check(model: onnx.ModelProto, plan: Plan) -> None:
    """Holds a model for TensorRT to the rules of `quantize`, such as: a convolution reads integers or is named as
    excluded.

    Raises:
        DeepLabError: a rule is broken; the operation is named.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = initializers(model.graph)
    for node in model.graph.node:
        problem = _problem(node, makers, constants, plan)
        if problem:
            raise DeepLabError(f"Quantization: {node.op_type} {node.name} {problem}.")


def calibration_cache(ranges: dict[str, float]) -> str:
    """Ranges in TensorRT's text format: a tensor's scale as the hexadecimal digits of a big-endian float32."""
    lines = [f"{name}: {np.array(step(limit), '>f4').tobytes().hex()}" for name, limit in sorted(ranges.items())]
    return "\n".join(["TRT-8201-EntropyCalibration2", *lines, ""])


def _integer_convolutions(network, plan):
    return [node for node in network.nodes if is_integer(node, plan)]


def _as_onnx(kernel, node):
    """(h, w, in, out) -> (out, in, h, w); depthwise (h, w, in, 1) -> (in, 1, h, w)."""
    return kernel.transpose(2, 3, 0, 1) if node.op == "depthwise" else kernel.transpose(3, 2, 0, 1)


def _never_negative(network):
    found = set()
    for node in network.nodes:
        kept = node.op in ("max_pool", "avg_pool", "concat", "multiply") and all(name in found for name in node.inputs)
        if node.op in (*RELUS, "sigmoid", "hard_sigmoid") or kept or node.op == "upsample" and node.inputs[0] in found:
            found.add(node.name)
    return found


class _Writer:
    """Puts pairs into a copy of a model."""

    def __init__(self, model, plan):
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph, self.plan = self.model.graph, plan
        self.convolutions = {node.output[0]: node for node in self.graph.node if node.op_type == "Conv"}
        self.bounds = []
        self.pairs = {}  # tensor -> its two nodes, which stand behind the node that makes it

    def round_tensor(self, name, limit, dtype, zero=0, clip=False):
        """Everything that read the tensor reads it rounded; `clip` keeps unsigned integers within 0..127."""
        outputs = {value.name for value in self.graph.output}
        if name in outputs:
            raise DeepLabError(f"The tensor {name} is the network's output and cannot be rounded.")
        for node in self.graph.node:
            node.input[:] = [f"{name}/dequantized" if each == name else each for each in node.input]
        self.pairs[name] = self._pair(name, step(limit), np.array(zero, dtype))
        if clip:
            self._clip(self.pairs[name])

    def unlimit(self, name, limit):
        """Makes a ReLU of the ReLU6 that gives a tensor, where rounding cuts it off below 6 anyway: part of a
        convolution everywhere."""
        (maker,) = [node for node in self.graph.node if name in node.output]
        if maker.op_type == "Clip" and limit <= 6:
            maker.op_type = "Relu"
            del maker.input[1:]

    def round_weights(self, node):
        """Float weights behind a pair of their own, and a float bias: what the integers of `for_cpu` stand for.

        Left as they were, weights below the lowest level would become -128, which `integer_weights` does not use.
        """
        kernel, scale = integer_weights(node)
        bias, sums = integer_bias(node, self.plan)
        name = f"{node.name}/kernel"
        values = self._constant(
            f"{name}/rounded", _as_onnx(kernel, node).astype(np.float32) * scale[:, None, None, None]
        )
        self.pairs[name] = self._pair(name, scale, np.zeros(len(scale), np.int8), axis=0)
        self.pairs[name][0].input[0] = values
        inputs = self.convolutions[node.name].input
        inputs[1:] = [
            f"{name}/dequantized",
            self._constant(f"{node.name}/bias/rounded", bias.astype(np.float32) * sums),
        ]

    def store_integer_weights(self, node):
        """Weights and bias as integers, each with a DequantizeLinear."""
        kernel, scale = integer_weights(node)
        bias, sums = integer_bias(node, self.plan)
        convolution = self.convolutions[node.name]
        for position, role, values, scales in ((1, "kernel", _as_onnx(kernel, node), scale), (2, "bias", bias, sums)):
            name = f"{node.name}/{role}"
            zeros = np.zeros(len(scales), values.dtype)
            parts = {"integers": np.ascontiguousarray(values), "scale": scales, "zero": zeros}
            inputs = [self._constant(f"{name}/{part}", constant) for part, constant in parts.items()]
            result = f"{name}/dequantized"
            self.pairs[name] = [helper.make_node("DequantizeLinear", inputs, [result], result, axis=0)]
            convolution.input[position:] = [
                result,
                *convolution.input[position + 1 :],
            ]  # a bias of zeros may have been left out

    def finish(self, then=None):
        """The model, its nodes in order; `then` may rewrite the graph before it is checked."""
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
            self.bounds = [
                self._constant(f"levels/{name}", np.array(value, np.uint8))
                for name, value in (("low", 0), ("high", LEVELS))
            ]
        clipped = f"{quantize.input[0]}/clipped"
        pair.insert(1, helper.make_node("Clip", [quantize.output[0], *self.bounds], [clipped], clipped))
        dequantize.input[0] = clipped

    def _constant(self, name, values):
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def _problem(node, makers, constants, plan):
    """What is wrong with an operation of a model for TensorRT, or None."""
    rounded = [makers.get(name) is not None and makers[name].op_type == "DequantizeLinear" for name in node.input]
    scales = [constants[makers[name].input[1]] for name, yes in zip(node.input, rounded) if yes]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        scale, zero = (constants[name] for name in node.input[1:3])
        if zero.dtype != np.int8 or zero.any() or not (scale > 0).all():
            return "must be symmetric int8 with scales above 0"
        if scale.ndim != int("/kernel/" in node.name):
            return "must have one scale, or one an output channel for weights"
    if node.op_type == "Conv":
        if node.output[0] not in plan.excluded and rounded[:2] != [True, True]:
            return "reads floats and is not named as excluded"
        if len(rounded) > 2 and rounded[2]:
            return "has a rounded bias"
    if node.op_type == "Concat" and any(rounded) and (not all(rounded) or len({float(scale) for scale in scales}) > 1):
        return "has inputs of different scales"
    if node.op_type == "Add" and sum(rounded) > 1:
        return "has two rounded branches"
    return None
