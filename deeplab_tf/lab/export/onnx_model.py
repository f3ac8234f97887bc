"""A network as ONNX, through tf2onnx: opset 13 (TensorRT 8.2, for ever on a Jetson Nano, reads no more), float32 NHWC
in."""

import contextlib
import logging
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.graph import frozen_graph, output_tensors
from deeplab_tf.lab.export.nodes import Network

OPSET = 13

OPERATORS = (
    *(
        "Add",
        "ArgMax",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DequantizeLinear",
        "GlobalAveragePool",
    ),
    *(
        "HardSigmoid",
        "Identity",
        "MaxPool",
        "Mul",
        "Pad",
        "QuantizeLinear",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
    ),
    *("Slice", "Softmax", "Sub", "Transpose"),
)
"""Those that we write, or may, of the ones that onnx-tensorrt lists as supported for TensorRT 8.2."""


def onnx_model(network: Network, size: tuple[int, int]) -> onnx.ModelProto:
    """The network for one image of one size: `image` (1, H, W, 3) float32 RGB 0..255 to `labels` (int32) or `logits`,
    and to `center` and `offset` where it predicts instances.

    Every tensor that a node of the network makes has that node's name.

    Raises:
        DeepLabError: tf2onnx made something that TensorRT 8.2 does not take.
    """
    import tf2onnx

    graph = frozen_graph(network, size, uint8=False, target="onnx")
    outputs = {name: tensor.name for name, tensor in output_tensors(graph).items()}
    with _quiet("tf2onnx", "tensorflow"):
        model, _ = tf2onnx.convert.from_graph_def(
            graph.as_graph_def(), input_names=["image:0"], output_names=list(outputs.values()), opset=OPSET
        )
    _fold_padding(model.graph)
    _drop_reshapes_to_the_same_shape(model)
    _write_hard_sigmoids(model.graph)
    _name_tensors(model.graph, network, list(outputs))
    drop_unused(model.graph)
    model.producer_name, model.producer_version = "deeplab_tf", ""
    model.graph.name, model.graph.doc_string = "deeplab", ""
    check(model)
    return model


@contextlib.contextmanager
def _quiet(*names):
    """Those loggers' warnings, and what TensorFlow's C++ side writes, are about the insides of tf2onnx, not about the
    network."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    standard_error, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nowhere)
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def check(model: onnx.ModelProto) -> None:
    """onnx.checker, and what TensorRT 8.2 asks beyond it. Raises DeepLabError, naming the operator."""
    onnx.checker.check_model(model, full_check=True)
    foreign = sorted({node.op_type for node in model.graph.node} - set(OPERATORS))
    if foreign:
        raise DeepLabError(f"TensorRT 8.2 may not take these ONNX operators of the network: {', '.join(foreign)}.")
    transposes = [node.name for node in model.graph.node if node.op_type == "Transpose"]
    outer = [node.name for node in model.graph.node if node.op_type == "Transpose" and _at_an_end(model.graph, node)]
    if transposes != outer:
        raise DeepLabError(
            f"The ONNX network has transposes in its middle: {', '.join(sorted(set(transposes) - set(outer)))}."
        )


def _at_an_end(graph, node):
    """Whether a transpose stands behind the image (and its normalisation) or before the output."""
    if node.output[0] in {value.name for value in graph.output}:
        return True
    makers = {output: maker for maker in graph.node for output in maker.output}
    name = node.input[0]
    while name in makers and makers[name].op_type in ("Add", "Mul", "Sub"):
        name = makers[name].input[0]
    return name in {value.name for value in graph.input}


def initializers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The constants of a graph, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _fold_padding(graph):
    """Padding becomes part of what reads it. tf2onnx does that for dense convolutions, but not for depthwise ones. For
    a maximum it is the same too: MaxPool's own padding is minus infinity, but values that are not negative do not
    care."""
    constants = initializers(graph)
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for node in [node for node in graph.node if node.op_type in ("Conv", "MaxPool") and node.input[0] in pads]:
        pad = pads[node.input[0]]
        amounts = constants[pad.input[1]]  # begin of N, C, H, W, then end
        for attribute in [
            each for each in node.attribute if each.name in ("auto_pad", "pads")
        ]:  # none, or zeros: see `graph`
            node.attribute.remove(attribute)
        node.attribute.append(onnx.helper.make_attribute("pads", [int(amounts[i]) for i in (2, 3, 6, 7)]))
        node.input[0] = pad.input[0]
        graph.node.remove(pad)


def _drop_reshapes_to_the_same_shape(model):
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in inferred.value_info}
    for node in [node for node in model.graph.node if node.op_type == "Reshape"]:
        before, after = shapes.get(node.input[0]), shapes.get(node.output[0])
        if before and before == after:
            _replace(model.graph, node.output[0], node.input[0])
            model.graph.node.remove(node)


def _write_hard_sigmoids(graph):
    """clip(x + 3, 0, 6) / 6, which three operations compute, is ONNX' HardSigmoid with a slope of 1/6."""
    constants = {name: value.item() for name, value in initializers(graph).items() if value.size == 1}
    makers = {output: node for node in graph.node for output in node.output}

    def made_by(op_type, name, constant):
        """What `op_type` joins with a constant to give a tensor, and the operation; Nones where it does not."""
        node = makers.get(name)
        if node is None or node.op_type != op_type:
            return None, None
        rest = [each for each in node.input if not np.isclose(constants.get(each, np.nan), constant)]
        return (rest[0], node) if len(rest) == 1 else (None, None)

    for name in list(makers):
        clipped, scale = made_by("Mul", name, 1 / 6)
        clip = makers.get(clipped)
        if scale is None or clip is None or clip.op_type != "Clip":
            continue
        source, shift = made_by("Add", clip.input[0], 3)
        if shift is not None:
            made = onnx.helper.make_node("HardSigmoid", [source], [name], scale.name, alpha=1 / 6, beta=0.5)
            graph.node.insert(list(graph.node).index(scale), made)
            for node in (shift, clip, scale):
                graph.node.remove(node)


def _name_tensors(graph, network, outputs):
    """Tensors get the names of the network's nodes; ONNX nodes those of the tensors they make."""
    known = {node.name for node in network.nodes}
    ends = {value.name for value in graph.output}  # these get the names of what the network gives, below
    last = {
        _owner(node, known): node for node in graph.node if node.op_type != "Transpose" and node.output[0] not in ends
    }
    for owner, node in last.items():
        if owner:
            _rename(graph, node.output[0], owner)
    for node in graph.node:  # tf2onnx gives a resize a name of its own
        owner = next(
            (each.name for each in network.nodes if each.op == "upsample" and each.inputs[0] == node.input[0]), None
        )
        if node.op_type == "Resize" and owner not in last:
            _rename(graph, node.output[0], owner)
    for value, name in ((graph.input[0], "image"), *zip(graph.output, outputs)):
        for node in graph.node:  # what stands under this name inside makes room
            if name in node.output and name != value.name:
                _rename(graph, name, f"{name}_inner")
        _rename(graph, value.name, name)
        value.name = name
    _name_the_rest(graph, known | {"image", *outputs})


def _name_the_rest(graph, known):
    """Names after the tensor that is made from them, in place of tf2onnx's own, which count up from conversion to
    conversion."""
    first = next(node for node in graph.node if node.op_type == "Transpose")
    normalized = first.input[0]
    if normalized in known:  # the network goes on with the transposed one
        _rename(graph, normalized, f"{normalized}_nhwc")
        _rename(graph, first.output[0], normalized)
    for node in reversed(graph.node):
        name = node.output[0]
        if name not in known and not name.endswith(("_inner", "_nhwc")):
            reader = next(each for each in graph.node if name in each.input)
            _rename(graph, name, f"{reader.output[0]}/{node.op_type.lower()}")
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in tensors:
                new = f"{node.output[0]}/{_ROLES.get((node.op_type, position), position)}"
                tensors.pop(name).name = new
                _replace(graph, name, new)
    graph.initializer.sort(key=lambda tensor: tensor.name)
    for node in graph.node:
        node.name = node.output[0]


_ROLES = {("Conv", 1): "kernel", ("Conv", 2): "bias"}


def _owner(node, known):
    """The network's node that an ONNX node stands for: the scope of its name or, where tf2onnx renamed it, of its
    weights."""
    for name in (node.name, *node.output, *node.input[1:]):
        if "/" in name and name.split("/")[0] in known:
            return name.split("/")[0]
    return None


def _rename(graph, old, new):
    _replace(graph, old, new)
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]


def _replace(graph, old, new):
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def drop_unused(graph: onnx.GraphProto) -> None:
    """Takes out constants that nothing reads."""
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Writes the model; equal models give equal bytes."""
    Path(path).write_bytes(model.SerializeToString(deterministic=True))
