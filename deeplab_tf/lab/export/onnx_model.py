"""Write a network as ONNX: opset 13, which the TensorRT 8.2 of a Jetson Nano reads; float32, NHWC in, NCHW inside."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node
from deeplab_tf.lab.export.onnx_attention import GraphWriter
from deeplab_tf.lab.export.onnx_attention import write as write_attention
from deeplab_tf.lab.export.shapes import Shape, kernel_size, network_shapes, padding

OPSET, IR_VERSION = 13, 7
CHANNELS_LAST = (0, 2, 3, 1)
"""(B, C, H, W) -> (B, H, W, C)."""
CHANNELS_FIRST = (0, 3, 1, 2)
"""(B, H, W, C) -> (B, C, H, W)."""

_HARD_SIGMOID = {"alpha": 1 / 6, "beta": 0.5}
_OPERATORS: dict[str, tuple[str, dict]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", _HARD_SIGMOID),
    "add": ("Add", {}),
    "multiply": ("Mul", {}),
    "concat": ("Concat", {"axis": 1}),
    "mean": ("GlobalAveragePool", {}),
    "argmax": ("ArgMax", {"axis": 1, "keepdims": 0}),
}
"""Nodes that are one ONNX operation."""


def onnx_model(network: Network, size: tuple[int, int]) -> onnx.ModelProto:
    """Return the network for one image of one size.

    Its input is `image` (1, H, W, 3) float32 RGB, 0..255; its outputs are `labels` (int32) or `logits` and, of a
    panoptic network, `center` and `offset`. The tensor of each node of the network has that node's name.

    Args:
        network: with its head.
        size: height, width.
    """
    writer = _Writer(network, network_shapes(network, size))
    writer.write_image()
    for node in network.nodes:
        if node.name not in writer.tensors:
            writer.write(node)
    outputs = [writer.write_output(output, network[name]) for output, name in network.outputs.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, *size, 3))
    writer.constants.sort(key=lambda tensor: tensor.name)
    graph = helper.make_graph(writer.nodes, "deeplab", [image], outputs, writer.constants)
    imports = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="deeplab_tf")
    onnx.checker.check_model(model, full_check=True)
    return model


class _Writer(GraphWriter):
    """Writes the nodes of a network; `tensors` has the ONNX tensor of each."""

    def __init__(self, network: Network, shapes: dict[str, Shape]):
        super().__init__()
        self.network, self.shapes = network, shapes
        self.tensors: dict[str, str] = {}

    def write_image(self) -> None:
        """Write the image with channels first, after its normalization, if only that reads it."""
        image, source = self.network.nodes[0].name, "image"
        self.tensors[image], name = source, f"{image}/channels_first"
        readers = self.network.consumers(image)
        if [node.op for node in readers] == ["affine"]:
            image = name = readers[0].name
            source = self._affine(readers[0].weights, source, f"{name}_nhwc", (-1,))
        self.tensors[image] = self.add("Transpose", [source], name, perm=CHANNELS_FIRST)

    def write(self, node: Node) -> None:
        """Write a node of the network."""
        name = f"{node.name}_inner" if node.name in self.network.outputs else node.name
        inputs = [self.tensors[source] for source in node.inputs]
        self.tensors[node.name] = name
        if node.op in _OPERATORS:
            kind, attributes = _OPERATORS[node.op]
            self.add(kind, inputs, name, **attributes)
        elif node.op in CONVOLUTIONS:
            self._convolution(node, inputs[0], name)
        elif node.op in ("max_pool", "avg_pool"):
            self.add("MaxPool" if node.op == "max_pool" else "AveragePool", inputs, name, **self._window(node))
        elif node.op == "affine":
            self._affine(node.weights, inputs[0], name, (-1, 1, 1))
        elif node.op == "relu6":
            limits = [self.constant(f"{name}/{end}", np.float32(value)) for end, value in (("min", 0), ("max", 6))]
            self.add("Clip", [*inputs, *limits], name)
        elif node.op == "hard_swish":
            gate = self.add("HardSigmoid", inputs, f"{name}/hardsigmoid", **_HARD_SIGMOID)
            self.add("Mul", [*inputs, gate], name)
        elif not write_attention(self, node, inputs[0], name, self.shapes[node.inputs[0]], self.shapes[node.name]):
            self._upsample(node, inputs[0], name)

    def write_output(self, output: str, node: Node) -> onnx.ValueInfoProto:
        """Write labels as int32, other outputs with channels last; return the description of the output."""
        height, width, channels = self.shapes[node.name]
        if output == "labels":
            self.add("Cast", [self.tensors[node.name]], output, to=TensorProto.INT32)
            return helper.make_tensor_value_info(output, TensorProto.INT32, (1, height, width))
        self.add("Transpose", [self.tensors[node.name]], output, perm=CHANNELS_LAST)
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, height, width, channels))

    def _convolution(self, node, x, name):
        groups = node.weights["kernel"].shape[2] if node.op == "depthwise" else 1
        constants = {"kernel": kernel_as_onnx(node.weights["kernel"], node), "bias": node.weights["bias"]}
        inputs = [x, *(self.constant(f"{node.name}/{role}", values) for role, values in constants.items())]
        rates = [node.attributes["rate"]] * 2
        self.add("Conv", inputs, name, dilations=rates, group=groups, **self._window(node))

    def _window(self, node):
        (top, bottom), (left, right) = padding(node, self.shapes[node.inputs[0]])
        strides = [node.attributes["stride"]] * 2
        return {"kernel_shape": kernel_size(node), "pads": (top, left, bottom, right), "strides": strides}

    def _affine(self, weights, x, name, shape):
        if "scale" in weights:
            scale = self.constant(f"{name}/scale", weights["scale"].reshape(shape))
            x = self.add("Mul", [x, scale], f"{name}/scaled")
        return self.add("Add", [x, self.constant(f"{name}/shift", weights["shift"].reshape(shape))], name)

    def _upsample(self, node, x, name):
        factor = node.attributes["factor"]
        before, after = (self.shapes[each][:2] for each in (node.inputs[0], node.name))
        crop = tuple(factor * side for side in before) != after
        resized = f"{name}/resize" if crop else name
        constants = {"roi": [], "scales": [1, 1, factor, factor]}
        inputs = [x, *(self.constant(f"{name}/{each}", np.array(v, np.float32)) for each, v in constants.items())]
        modes = {"mode": "linear", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.add("Resize", inputs, resized, **modes)
        if crop:
            self.slice(resized, name, starts=(0, 0), ends=after, axes=(2, 3))


def kernel_as_onnx(kernel: np.ndarray, node: Node) -> np.ndarray:
    """Transpose (h, w, in, out) -> (out, in, h, w); depthwise (h, w, in, 1) -> (in, 1, h, w)."""
    return kernel.transpose(2, 3, 0, 1) if node.op == "depthwise" else kernel.transpose(3, 2, 0, 1)


def initializers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the constants of a graph, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove constants that nothing reads."""
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Write the model; equal models give equal bytes."""
    Path(path).write_bytes(model.SerializeToString(deterministic=True))
