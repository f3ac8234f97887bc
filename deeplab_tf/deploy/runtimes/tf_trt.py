"""TF-TRT: the bundle's tf_trt/ graphs converted inside TensorFlow (2.6 to 2.17), with engines built for the GPU that
runs them.

int8 takes tf_trt/int8, whose fake-quantize nodes hold the ranges, so that nothing is calibrated on the device; with
`calibrate_on_gpu=True` TF-TRT finds ranges of its own from images. The other precisions take tf_trt/float.
"""

import importlib.util
import os
import re
from typing import Iterable, Optional, Tuple

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import Runtime, _cudart, _engines, _tf_trt_convert
from deeplab_tf.deploy.runtimes.saved_model import SavedModelRuntime, memory_as_needed

PRECISIONS = ("int8", "float16", "float32")

WHERE = (
    "TF-TRT is in TensorFlow up to 2.17 as PyPI has it for x86-64, and in NVIDIA's builds for Jetson (2.7, "
    "2.11, 2.16, 2.17)"
)


def missing() -> Optional[str]:
    """None, or why it cannot run here. Loads TensorFlow only where a GPU and a fitting version speak for it."""
    found = importlib.util.find_spec("tensorflow")
    if found is None:
        return f"TensorFlow is not installed. {WHERE}."
    version = _installed_version(os.path.dirname(os.path.dirname(found.origin or "")))
    if version is not None and not (2, 6) <= version <= (2, 17):
        return "TensorFlow {}.{} is installed. {}.".format(*(version + (WHERE,)))
    reason = _cudart.gpu_missing()
    if reason is not None:
        return f"TF-TRT needs an NVIDIA GPU. {reason}"
    return _not_enabled()


def _installed_version(folder) -> Optional[Tuple[int, int]]:
    """TensorFlow's version by the name of its package's description, without the seconds that importing it takes."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        match = re.match(r"tensorflow(?:_cpu|_gpu)?-(\d+)\.(\d+).*\.(?:dist|egg)-info$", name)
        if match:
            return int(match.group(1)), int(match.group(2))
    return None


def _not_enabled() -> Optional[str]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
        from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as parts
    except (ImportError, OSError) as error:
        return f"TensorFlow cannot be loaded: {error}. {WHERE}."
    if parts.is_tensorrt_enabled():
        return None
    wanted = tuple(parts.get_linked_tensorrt_version())
    if wanted == (0, 0, 0):
        return f"TensorFlow {tf.__version__} was built without TF-TRT. {WHERE}."
    return (
        f"TensorFlow {tf.__version__} has TF-TRT, but finds no TensorRT library: it wants {'.'.join(map(str, wanted))} "
        "(libnvinfer) on LD_LIBRARY_PATH."
    )


def build(
    bundle: Bundle,
    precision: str = "int8",
    *,
    strict: bool = False,
    rebuild: bool = False,
    say=print,
    calibrate_on_gpu: bool = False,
    images: Optional[Iterable[np.ndarray]] = None,
) -> dict:
    """Converts and builds for this GPU into the bundle's engines/, unless what fits is there.

    Args:
        bundle, precision, strict, rebuild, say: as in `runtimes.tensorrt.build`.
        calibrate_on_gpu: int8 by TF-TRT's own calibration; needs `images`.
        images: (H, W, 3) uint8 RGB frames at the network's size.
    Returns:
        precision: what was built, path, megabytes, seconds, reused; `engines` and `outside`, see `build_saved_model`.
    """
    gpu = _cudart.open_cuda().gpu()
    precision = _engines.affordable(precision, gpu, strict=strict, say=say)
    calibrate_on_gpu = calibrate_on_gpu and precision == "int8"
    source = bundle.file("tf_trt/int8" if precision == "int8" and not calibrate_on_gpu else "tf_trt/float")
    name = "tf_trt_" + precision + ("_calibrated_here" if calibrate_on_gpu else "")
    folder = os.path.join(bundle.engines, _engines.fingerprint(gpu, _tf_trt_convert.versions()))
    return build_saved_model(
        source,
        os.path.join(folder, name),
        precision,
        calibrate_on_gpu=calibrate_on_gpu,
        images=images,
        elsewhere=_engines.sisters(bundle.engines, name),
        rebuild=rebuild,
        say=say,
        gpu=gpu,
    )


def build_saved_model(
    source: str,
    path: str,
    precision: str,
    *,
    calibrate_on_gpu: bool = False,
    images: Optional[Iterable[np.ndarray]] = None,
    elsewhere=(),
    rebuild: bool = False,
    say=print,
    gpu: Optional[_cudart.Gpu] = None,
) -> dict:
    """As `build`, from a SavedModel to a SavedModel.

    Args:
        source: a folder with one signature, serving_default, that takes one image of a fixed shape.
        path: the folder to write; its description goes beside it, with .json at the end.
    Returns:
        as `build`; `engines` is how many TensorRT engines it has, `outside` counts the ops that TensorFlow runs, by
        kind.
    """
    if not os.path.isfile(os.path.join(source, "saved_model.pb")):
        raise DeepLabError(f"There is no SavedModel in {source}.")
    gpu = gpu or _cudart.open_cuda().gpu()
    versions = _tf_trt_convert.versions()
    facts = _engines.facts(gpu, versions, precision, _engines.digest(source), {"calibrate_on_gpu": calibrate_on_gpu})
    reason = "asked for" if rebuild else _engines.stale(path, facts, elsewhere)
    if reason is not None:
        if calibrate_on_gpu and images is None:
            raise DeepLabError("TF-TRT's own calibration needs images.")
        say(f"Building TF-TRT {precision} engines for {gpu.name} ({reason}); this takes minutes.")
        memory_as_needed()
        made = _tf_trt_convert.convert(
            source,
            path,
            precision,
            workspace=_engines.workspace(gpu.free),
            calibration=images if calibrate_on_gpu else None,
        )
        _engines.write_record(path, facts, **made)
    record = _engines.read_record(path)
    built = _engines.outcome(path, reused=reason is None)
    built.update(engines=record["engines"], outside=record["outside"])
    return built


def load(bundle: Bundle, precision: str = "int8", *, strict: bool = False, say=print, **options) -> Runtime:
    """Loads what was built, building it first where nothing fits, and says why. Arguments and errors as in `build`."""
    built = build(bundle, precision, strict=strict, say=say, **options)
    return TfTrtRuntime(bundle, built["precision"], built["path"])


class TfTrtRuntime(SavedModelRuntime):
    """See `SavedModelRuntime`: a converted model is loaded and called like any other."""

    name = "tf_trt"
