"""Convert with TF-TRT, in the one form of call that TensorFlow 2.6 to 2.17 share, and check the result.

TF-TRT fails silently: a graph that it cannot convert, or an engine that it cannot build, is left to TensorFlow and runs
slowly. So each engine of the saved result must be there, built, and of the precision asked for.
"""

import collections
import os
import time
from typing import Dict, Iterable, Optional, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import new_folder

_MODES = {"int8": "INT8", "float16": "FP16", "float32": "FP32"}

_HARMLESS = ("Placeholder", "Const", "Identity", "NoOp")


def versions() -> dict:
    """Return the versions that engines depend on: TensorFlow, and the TensorRT that it has loaded."""
    import tensorflow as tf

    return {"TensorFlow": tf.__version__, "TensorRT": ".".join(str(part) for part in _tensorrt_version())}


def _tensorrt_version():
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as parts

    if not parts.is_tensorrt_enabled():  # without its library, the next call would abort the process
        raise DeepLabError("This TensorFlow has no working TF-TRT.")
    return parts.get_loaded_tensorrt_version()


def convert(
    source: str, path: str, precision: str, *, workspace: int, calibration: Optional[Iterable[np.ndarray]] = None
) -> dict:
    """Convert a SavedModel, build its engines, and write it to the folder `path`, whole or not at all.

    Args:
        workspace: bytes of scratch memory for an engine.
        calibration: (H, W, 3) uint8 frames for TF-TRT's own calibration; without them the graph must hold the ranges.
    Returns:
        seconds, engines (their number), outside (op type -> number of ops that TensorFlow runs).
    Raises:
        DeepLabError: TF-TRT failed, loudly or silently.
    """
    import tensorflow as tf

    start = time.perf_counter()
    name, shape, dtype = image_input(source)
    converter = _converter(source, precision, workspace, calibrating=calibration is not None)
    try:
        if calibration is not None:
            converter.convert(calibration_input_fn=lambda: ((frame[None],) for frame in calibration))
        else:
            converter.convert()
        converter.build(input_fn=lambda: iter([(np.zeros(shape, dtype),)]))
        with new_folder(path) as part:
            converter.save(part)
            made = inspect(part)
            _refuse_fallback(made, precision)
    except (RuntimeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DeepLabError(f"TF-TRT in TensorFlow {tf.__version__} failed on {source}: {reason}") from error
    return {"seconds": time.perf_counter() - start, "engines": len(made["engines"]), "outside": made["outside"]}


def _converter(source, precision, workspace, *, calibrating):
    """Return the converter; 2.6 and 2.7 take parameters in this form only, and later versions still do.

    Building at run time stays allowed: forbidding it is broken in 2.6, and silently leaves a missing engine to
    TensorFlow.
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


def image_input(folder: str) -> Tuple[str, Tuple[int, ...], type]:
    """Return name, shape and NumPy type of the one input of a SavedModel's serving_default.

    Raises DeepLabError if it does not take one image of a fixed shape.
    """
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
    """Return what a converted SavedModel holds.

    Returns:
        engines: name of each TRTEngineOp -> (its precision as TF-TRT calls it, bytes of its built engine or 0).
        outside: op type -> number of ops that TensorFlow runs, without constants and the like.
    """
    model = _meta_graph(folder)
    engines: Dict[str, Tuple[str, int]] = {}
    outside: Dict[str, int] = collections.Counter()
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
    """Yield the nodes that serving_default runs, through the functions that it calls.

    Other nodes of the graph save, restore and set up.
    """
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


def _meta_graph(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    return model.meta_graphs[0]
