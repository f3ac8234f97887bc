"""Convert a graph with TF-TRT on a machine without a GPU; tf_trt_coverage.py starts it in TF-TRT's own environment.

    python tools/check/tf_trt_without_gpu.py '{"jobs": [["SAVED_MODEL", "FP16"]], "minimum_segment": 3}' ANSWER.json

Writes the engines, the operations outside, and TF-TRT's log of each graph.
"""

import collections
import json
import os
import sys
import tempfile
import types

import numpy as np

os.environ.update(TF_CPP_VMODULE="segment=1", TF_CPP_MIN_LOG_LEVEL="0")  # read once, when TensorFlow is imported

import tensorflow as tf  # noqa: E402
from tensorflow.python.compiler.tensorrt import trt_convert  # noqa: E402
from tensorflow.python.compiler.tensorrt import utils as trt_utils  # noqa: E402

NO_RANGE_NEEDED = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "BiasAdd", "AddV2", "MatMul")
"""Operations that TensorRT fuses with the one that follows, so that the tensor between them does not exist."""
FUSED_INTO = ("BiasAdd", "AddV2", "Relu", "Relu6")


class ArrayOps:
    """Replaces `array_ops` in trt_convert, which only asks where TensorFlow puts a tensor: on a GPU."""

    @staticmethod
    def zeros(shape):
        return types.SimpleNamespace(device="/device:GPU:0")


class Converter(trt_convert.TrtGraphConverterV2):
    """Keeps the frozen graph as it was before conversion."""

    def _run_conversion(self, meta_graph_def):
        self.before = meta_graph_def.graph_def
        self.after = super()._run_conversion(meta_graph_def)
        return self.after


def convert(folder, precision, minimum_segment):
    """Return (GraphDef before, GraphDef after, log)."""
    trt_convert.array_ops = ArrayOps
    parameters = trt_convert.TrtConversionParams(
        precision_mode=precision, minimum_segment_size=minimum_segment, maximum_cached_engines=1, use_calibration=False
    )
    converter = Converter(input_saved_model_dir=folder, conversion_params=parameters)
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)  # TensorFlow's C++ side writes there
        try:
            converter.convert()
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
        log.seek(0)
        text = log.read().decode(errors="replace")
    return converter.before, converter.after, text


def examine(folder, precision, minimum_segment):
    """Return the facts of one graph; see tools/check/tf_trt_coverage.py."""
    before, after, log = convert(folder, precision, minimum_segment)
    macs = multiply_adds(before)
    functions = {function.signature.name: function for function in after.library.function}
    engines = [node for node in after.node if node.op == "TRTEngineOp"]
    segments = {engine.name: functions[engine.attr["segment_func"].func.name] for engine in engines}
    return {
        "folder": folder,
        "precision": precision,
        "engines": [engine_facts(name, segments[name], macs) for name in sorted(segments)],
        "outside": [node_facts(node, macs) for node in after.node if node.op != "TRTEngineOp"],
        "without_range": sorted(name for segment in segments.values() for name in without_range(segment)),
        "macs": sum(macs.values()),
        "log": log,
    }


def engine_facts(name, segment, macs):
    nodes = [node for node in segment.node_def if node.op != "Const"]
    arguments = {argument.name for argument in segment.signature.input_arg}
    first = [node for node in nodes if any(producer(tensor) in arguments for tensor in node.input)]
    given = {producer(tensor) for tensor in segment.ret.values()}
    return {
        "name": name,
        "nodes": len(nodes),
        "macs": sum(macs.get(node.name, 0) for node in nodes),
        "ops": collections.Counter(node.op for node in nodes),
        "first": named(first),
        "last": named([node for node in nodes if node.name in given]),
    }


def named(nodes):
    if not nodes:
        return ""
    return f"{nodes[0].op} {nodes[0].name}" + (f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else "")


def node_facts(node, macs):
    kinds = [tf.as_dtype(node.attr[key].type).name for key in ("SrcT", "DstT")] if node.op == "Cast" else []
    return {"name": node.name, "op": node.op, "types": kinds, "macs": macs.get(node.name, 0)}


def producer(tensor):
    """Return the node of a function's input `node:output:0`, or of an argument."""
    return tensor.lstrip("^").split(":")[0]


def without_range(segment):
    """Return the nodes of an engine whose output needs a range in INT8 and has none."""
    readers = collections.defaultdict(list)
    for node in segment.node_def:
        for tensor in node.input:
            readers[producer(tensor)].append(node.op)
    given = {producer(tensor) for tensor in segment.ret.values()}
    found = []
    for node in segment.node_def:
        after = readers[node.name]
        fused = node.op in NO_RANGE_NEEDED and len(after) == 1 and after[0] in FUSED_INTO
        ranged = any(op.startswith("FakeQuant") for op in after) or node.op.startswith("FakeQuant")
        if node.op not in ("Const", "ArgMax") and not fused and not ranged and node.name not in given:
            found.append(node.name)
    return found


def multiply_adds(graph_def):
    """Return the multiply-adds of convolutions and matrix products by name; none where shapes are not known."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    counts = {}
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul"):
            counts[operation.name] = operation_macs(operation)
    return counts if None not in counts.values() else {}


def operation_macs(operation):
    inputs, output = [tensor.shape for tensor in operation.inputs], operation.outputs[0].shape
    places = inputs[2] if operation.type == "Conv2DBackpropInput" else output
    weights = inputs[1]
    if not (places.is_fully_defined() and weights.is_fully_defined()):
        return None
    if operation.type == "MatMul":
        return int(np.prod(places)) * int(weights[1 if operation.get_attr("transpose_b") else 0])
    positions = places[1] * places[2] if operation.get_attr("data_format") == b"NHWC" else places[2] * places[3]
    return int(places[0] * positions * np.prod(weights))


def main(question, answer):
    asked = json.loads(question)
    graphs = [examine(folder, precision, asked["minimum_segment"]) for folder, precision in asked["jobs"]]
    versions = {
        "tensorflow": tf.__version__,
        "tensorrt": ".".join(map(str, trt_utils._pywrap_py_utils.get_loaded_tensorrt_version())),
    }
    with open(answer, "w", encoding="utf-8") as file:
        json.dump({**versions, "graphs": graphs}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
