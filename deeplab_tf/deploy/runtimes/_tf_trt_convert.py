"""TF-TRT's converter, called in the one form that TensorFlow 2.6 to 2.17 have in common, and what it made, checked.

TF-TRT says nothing when it fails: a graph that it cannot convert, or an engine that cannot be built, stays with
TensorFlow and runs slowly. So the saved model is opened afterwards, its engines are counted, and each must be there.
"""

import collections
import os
import shutil
import time
import uuid
from typing import Iterable, Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError

_MODES = {"int8": "INT8", "float16": "FP16", "float32": "FP32"}

_HARMLESS = ("Placeholder", "Const", "Identity", "NoOp")


def versions() -> dict:
    """What engines depend on beside the GPU: TensorFlow and the TensorRT that it has loaded."""
    import tensorflow as tf

    return {"TensorFlow": tf.__version__, "TensorRT": ".".join(str(part) for part in _tensorrt_version())}


def _tensorrt_version():
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as parts

    if not parts.is_tensorrt_enabled():  # asked without its library, the next call would end the process
        raise DeepLabError("This TensorFlow has no working TF-TRT.")
    return parts.get_loaded_tensorrt_version()


def convert(
    source: str, path: str, precision: str, *, workspace: int, calibration: Optional[Iterable[np.ndarray]] = None
) -> dict:
    """Converts a SavedModel, builds its engines, writes it to `path` whole.

    Args:
        workspace: bytes of scratch memory for an engine.
        calibration: (H, W, 3) uint8 frames from which TF-TRT finds ranges; without them the graph must hold them.
    Returns:
        seconds, engines (how many), outside (kind of op -> how many TensorFlow runs).
    Raises:
        DeepLabError: TF-TRT failed, loudly or silently.
    """
    import tensorflow as tf

    start = time.perf_counter()
    name, shape, dtype = image_input(source)
    part = f"{os.path.abspath(path)}.{uuid.uuid4().hex[:8]}.part"
    converter = _converter(source, precision, workspace, calibrating=calibration is not None)
    try:
        if calibration is not None:
            converter.convert(calibration_input_fn=lambda: ((frame[None],) for frame in calibration))
        else:
            converter.convert()
        converter.build(input_fn=lambda: iter([(np.zeros(shape, dtype),)]))
        converter.save(part)
        made = inspect(part)
        _refuse_fallback(made, precision)
        _replace(part, path)
    except (RuntimeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DeepLabError(f"TF-TRT in TensorFlow {tf.__version__} failed on {source}: {reason}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {"seconds": time.perf_counter() - start, "engines": len(made["engines"]), "outside": made["outside"]}


def _converter(source, precision, workspace, *, calibrating):
    """2.6 and 2.7 take parameters in this form only; later versions still do.

    Building at run time stays allowed: forbidding it is broken in 2.6, and turns a missing engine into TensorFlow
    without a word.
    """
    from tensorflow.python.compiler.tensorrt import trt_convert

    parameters = trt_convert.DEFAULT_TRT_CONVERSION_PARAMS._replace(
        precision_mode=_MODES[precision],
        max_workspace_size_bytes=workspace,
        maximum_cached_engines=1,  # for the one input shape
        use_calibration=calibrating,
        allow_build_at_runtime=True,
    )
    return trt_convert.TrtGraphConverterV2(input_saved_model_dir=source, conversion_params=parameters)


def image_input(folder: str):
    """Name, shape and NumPy type of the one input of a SavedModel's serving_default. Raises DeepLabError for anything
    else."""
    import tensorflow as tf

    signature = _meta_graph(folder).signature_def.get("serving_default")
    inputs = [] if signature is None else list(signature.inputs.items())
    if len(inputs) != 1:
        raise DeepLabError(f"{folder}: expected a signature serving_default with one image, got {len(inputs)} inputs.")
    name, tensor = inputs[0]
    shape = tuple(side.size for side in tensor.tensor_shape.dim)
    if len(shape) != 4 or min(shape) < 1:
        raise DeepLabError(f"{folder}: expected an image of a fixed shape such as (1, 512, 1024, 3), got {shape}.")
    return name, shape, tf.dtypes.as_dtype(tensor.dtype).as_numpy_dtype


def inspect(folder: str) -> dict:
    """What a converted SavedModel holds.

    Returns:
        engines: name of each TRTEngineOp -> (its precision in TF-TRT's words, bytes of its built engine; 0 where there
            is none).
        outside: kind of op -> how many TensorFlow runs beside them; constants and the like left out.
    """
    model = _meta_graph(folder)
    engines, outside = {}, collections.Counter()
    for node in _called_nodes(model):
        if node.op == "TRTEngineOp":
            name = node.name.split("/")[-1]
            asset = os.path.join(folder, "assets", "trt-serialized-engine." + name)
            built = os.path.getsize(asset) if os.path.exists(asset) else 0
            engines[name] = (node.attr["precision_mode"].s.decode(), built)
        elif node.op not in _HARMLESS:
            outside[node.op] += 1
    return {"engines": engines, "outside": dict(outside)}


def _called_nodes(model):
    """The nodes that serving_default runs, through the functions that it calls. What else is in the graph saves,
    restores, sets up."""
    functions = {function.signature.name: function.node_def for function in model.graph_def.library.function}
    outputs = {output.name.split(":")[0] for output in model.signature_def["serving_default"].outputs.values()}
    waiting = [node for node in model.graph_def.node if node.name in outputs]
    while waiting:
        node = waiting.pop()
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            waiting += functions[node.attr["f"].func.name]
        else:
            yield node


def _refuse_fallback(made, precision):
    engines = made["engines"]
    if not engines:
        raise DeepLabError("TF-TRT took nothing of the graph into an engine: all of it would run in TensorFlow.")
    for name, (mode, built) in sorted(engines.items()):
        if mode != _MODES[precision]:  # TF-TRT makes INT8 into FP16 where it finds no ranges
            raise DeepLabError(f"TF-TRT made the engine {name} in {mode}, not in {_MODES[precision]}.")
        if not built:
            raise DeepLabError(
                f"TF-TRT did not build {name}, one of {len(engines)} {precision} engines: it would run in "
                "TensorFlow. Its log above has the reason."
            )


def _replace(part, path):
    old = part[: -len(".part")] + ".old"
    if os.path.isdir(path):
        os.rename(path, old)
    os.rename(part, path)
    shutil.rmtree(old, ignore_errors=True)


def _meta_graph(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    return model.meta_graphs[0]
