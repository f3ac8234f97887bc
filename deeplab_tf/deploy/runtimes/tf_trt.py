"""TF-TRT: the bundle's tf_trt/ graphs converted inside TensorFlow (2.6 to 2.17), with engines built for the GPU that
runs them.

INT8 takes tf_trt/int8, whose fake-quantize nodes hold the ranges, so that nothing is calibrated on the device; with
`calibrate_on_gpu=True` TF-TRT calibrates tf_trt/float itself, on images.
"""

import importlib.util
import os
import re
from typing import Iterable, Optional, Tuple

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import sha256
from deeplab_tf.deploy.runtimes import Runtime, _cudart, _engines, _tf_trt_convert
from deeplab_tf.deploy.runtimes.saved_model import SavedModelRuntime, memory_as_needed

PRECISIONS = {"int8": "tf_trt/int8", "float16": "tf_trt/float", "float32": "tf_trt/float"}
PRIORITY = 30
PACKAGE = "tf_trt"

_WHERE = "TF-TRT is part of TensorFlow up to 2.17 on x86-64, and of NVIDIA's builds for Jetson (2.7, 2.11, 2.16, 2.17)."


def missing() -> Optional[str]:
    """Return None, or why it cannot run here. Loads TensorFlow only if there is a GPU and the version fits."""
    found = importlib.util.find_spec("tensorflow")
    if found is None:
        return f"TensorFlow is not installed. {_WHERE}"
    version = _installed_version(os.path.dirname(os.path.dirname(found.origin or "")))
    if version is not None and not (2, 6) <= version <= (2, 17):
        return f"TensorFlow {version[0]}.{version[1]} is installed. {_WHERE}"
    reason = _cudart.gpu_missing()
    if reason is not None:
        return f"TF-TRT needs an NVIDIA GPU. {reason}"
    return _not_enabled()


def _installed_version(folder) -> Optional[Tuple[int, int]]:
    """Return TensorFlow's version from its package's metadata, without importing it, which takes seconds."""
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
        return f"TensorFlow cannot be loaded: {error}. {_WHERE}"
    if parts.is_tensorrt_enabled():
        return None
    wanted = tuple(parts.get_linked_tensorrt_version())
    if wanted == (0, 0, 0):
        return f"TensorFlow {tf.__version__} was built without TF-TRT. {_WHERE}"
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
    """Convert and build for this GPU into the bundle's engines/, unless what fits is there.

    Args:
        bundle, precision, strict, rebuild, say: as in `runtimes.tensorrt.build`.
        calibrate_on_gpu: INT8 by TF-TRT's own calibration; needs `images`.
        images: (H, W, 3) uint8 RGB frames at the network's size.
    Returns:
        as `runtimes.tensorrt.build`; `engines` and `outside` as `build_saved_model`.
    """
    gpu = _cudart.open_cuda().gpu()
    precision = _engines.supported_precision(precision, gpu, strict=strict, say=say)
    calibrate_on_gpu = calibrate_on_gpu and precision == "int8"
    name = f"tf_trt_{precision}" + ("_calibrated_here" if calibrate_on_gpu else "")
    folder = os.path.join(bundle.engines, _engines.fingerprint(gpu, _tf_trt_convert.versions()))
    return build_saved_model(
        bundle.file(PRECISIONS["float32" if calibrate_on_gpu else precision]),
        os.path.join(folder, name),
        precision,
        calibrate_on_gpu=calibrate_on_gpu,
        images=images,
        siblings=_engines.sibling_engines(bundle.engines, name),
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
    siblings: Iterable[str] = (),
    rebuild: bool = False,
    say=print,
    gpu: Optional[_cudart.Gpu] = None,
) -> dict:
    """Build from a SavedModel to a SavedModel, as `build` does.

    Args:
        source: a folder with one signature, serving_default, that takes one image of a fixed shape.
        path: the folder to write; its description goes beside it, with .json at the end.
        siblings: as in `_engines.stale_reason`.
    Returns:
        as `build`; `engines` is the number of TensorRT engines, `outside` counts the ops that TensorFlow runs, by type.
    """
    if not os.path.isfile(os.path.join(source, "saved_model.pb")):
        raise DeepLabError(f"There is no SavedModel in {source}.")
    gpu = gpu or _cudart.open_cuda().gpu()

    def make():
        if calibrate_on_gpu and images is None:
            raise DeepLabError("TF-TRT's own calibration needs images.")
        memory_as_needed()
        return _tf_trt_convert.convert(
            source,
            path,
            precision,
            workspace=_engines.workspace(gpu.free),
            calibration=images if calibrate_on_gpu else None,
        )

    options = {"calibrate_on_gpu": calibrate_on_gpu}
    built = _engines.build_if_stale(
        path,
        _engines.facts(gpu, _tf_trt_convert.versions(), precision, sha256(source), options),
        make,
        kind=f"TF-TRT {precision} engines",
        siblings=siblings,
        rebuild=rebuild,
        say=say,
    )
    record = _engines.read_record(path) or {}
    return dict(built, engines=record.get("engines"), outside=record.get("outside"))


def load(bundle: Bundle, precision: str = "int8", *, strict: bool = False, say=print, **options) -> Runtime:
    """Load what was built; build it first if nothing fits. Arguments and errors as in `build`."""
    built = build(bundle, precision, strict=strict, say=say, **options)
    return TfTrtRuntime(bundle, built["precision"], built["path"])


class TfTrtRuntime(SavedModelRuntime):
    """See `SavedModelRuntime`: a converted model is loaded and called like any other."""

    name = "tf_trt"
