"""A stand-alone TensorRT engine (8.2 to 11), built from the bundle's ONNX files on the GPU that runs it.

int8 comes from model_int8.onnx, whose Q/DQ nodes hold the ranges; with `implicit=True` (not in TensorRT 11) from
model.onnx and calibration.cache, where TensorRT chooses which layers run in int8. What an int8 network leaves in float
runs in float16, and float32 in TF32 where a GPU has it, as TensorRT does by default.
"""

import importlib.util
import os
import time
from typing import Optional

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import Runtime, _cudart, _engines, _tensorrt_build
from deeplab_tf.deploy.runtimes._tensorrt_run import Engine

PRECISIONS = ("int8", "float16", "float32")


def missing() -> Optional[str]:
    """None, or why it cannot run here."""
    if importlib.util.find_spec("tensorrt") is None:
        return (
            "The Python package tensorrt is not installed; JetPack brings it, elsewhere it comes with "
            "NVIDIA's TensorRT 8.2 or newer."
        )
    reason = _cudart.gpu_missing()
    if reason is not None:
        return f"TensorRT needs an NVIDIA GPU. {reason}"
    try:
        _tensorrt()
    except DeepLabError as error:
        return str(error)
    return None


def build(
    bundle: Bundle,
    precision: str = "int8",
    *,
    strict: bool = False,
    rebuild: bool = False,
    say=print,
    implicit: bool = False,
    own_kernels: Optional[bool] = None,
) -> dict:
    """Builds the engine for this GPU into the bundle's engines/, unless one that fits is there.

    Args:
        bundle: from `open_bundle`.
        precision: what is asked; a GPU without it gets the next (int8, float16, float32) with one line through `say`.
        strict: refuse that instead.
        rebuild: build even if one that fits is there.
        say: takes lines for a person.
        implicit: int8 by calibration.cache instead of Q/DQ nodes.
        own_kernels: no kernels of cuBLAS and cuDNN; where left out, the environment variable DEEPLAB_TF_OWN_KERNELS=1
            says so.
    Returns:
        precision: what was built, path, megabytes, seconds (of building; 0.0 where reused), reused.
    Raises:
        DeepLabError: no GPU or no TensorRT, something refused, or a build that failed, with TensorRT's own words.
    """
    cuda = _cudart.open_cuda()
    gpu = cuda.gpu()
    precision = _engines.affordable(precision, gpu, strict=strict, say=say)
    implicit = implicit and precision == "int8"
    model = bundle.file("model_int8.onnx" if precision == "int8" and not implicit else "model.onnx")
    calibration = bundle.file("calibration.cache") if implicit else None
    name = precision + ("_implicit" if implicit else "") + ".engine"
    folder = os.path.join(bundle.engines, _engines.fingerprint(gpu, {"tensorrt": _tensorrt().__version__}))
    return build_engine(
        model,
        os.path.join(folder, name),
        precision,
        calibration=calibration,
        timings=os.path.join(folder, "timing.cache"),
        elsewhere=_engines.sisters(bundle.engines, name),
        rebuild=rebuild,
        say=say,
        own_kernels=own_kernels,
        gpu=gpu,
    )


def build_engine(
    model: str,
    path: str,
    precision: str,
    *,
    calibration: Optional[str] = None,
    timings: Optional[str] = None,
    elsewhere=(),
    rebuild: bool = False,
    say=print,
    own_kernels: Optional[bool] = None,
    gpu: Optional[_cudart.Gpu] = None,
) -> dict:
    """As `build`, from files.

    Args:
        model: an ONNX file; with Q/DQ nodes for int8, unless `calibration` is given.
        path: the engine; its description goes beside it, with .json at the end.
        precision: one that the GPU has.
        calibration: a calibration cache, for implicit int8.
        timings: where measurements of kernels are kept from build to build.
        elsewhere: other engines, as for `_engines.stale`.
        gpu: the current one, where left out.
    """
    trt = _tensorrt()
    gpu = gpu or _cudart.open_cuda().gpu()
    files = [model] + ([calibration] if calibration else [])
    digest = "-".join(_engines.digest(file) for file in _existing(files))
    facts = _engines.facts(gpu, {"TensorRT": trt.__version__}, precision, digest, {"implicit": calibration is not None})
    reason = "asked for" if rebuild else _engines.stale(path, facts, elsewhere)
    if reason is None:
        return _engines.outcome(path, reused=True)
    say(f"Building a TensorRT {precision} engine for {gpu.name} ({reason}); this takes minutes.")
    order = _tensorrt_build.Order(
        _read(model),
        precision,
        half=_engines.has_precision("float16", gpu.capability),
        workspace=_engines.workspace(gpu.free),
        calibration=_read(calibration) if calibration else None,
        timings=_read(timings) if timings and os.path.exists(timings) else b"",
        own_kernels=_tensorrt_build.own_kernels_wanted() if own_kernels is None else own_kernels,
    )
    start = time.perf_counter()
    plan, measured = _tensorrt_build.build_plan(trt, order, say)
    seconds = time.perf_counter() - start
    _engines.write_whole(path, plan)
    if timings:
        _engines.write_whole(timings, measured)
    _engines.write_record(path, facts, seconds, workspace=order.workspace)
    return _engines.outcome(path, reused=False)


def load(bundle: Bundle, precision: str = "int8", *, strict: bool = False, say=print, **options) -> Runtime:
    """Loads the engine, building it first where none fits, and says why. Arguments and errors as in `build`."""
    built = build(bundle, precision, strict=strict, say=say, **options)
    return TensorRTRuntime(bundle, built["precision"], built["path"])


class TensorRTRuntime(Runtime):
    """See `Runtime`. The frame becomes float32 on the host, in the pinned buffer that the GPU copies from.

    Attributes:
        path: of the engine.
    """

    name = "tensorrt"

    def __init__(self, bundle, precision, path):
        super().__init__(bundle, precision)
        self.path = path
        self._engine = Engine(_tensorrt(), _cudart.open_cuda(), _read(path))
        height, width = self.size
        shapes = [tensor.host.shape for tensor in self._engine.inputs]
        names = sorted(tensor.name for tensor in self._engine.outputs)
        if shapes != [(1, height, width, 3)] or names != sorted(bundle.outputs):
            self.close()
            wanted = "one image of {}x{} to {}".format(height, width, ", ".join(bundle.outputs))
            raise DeepLabError(
                "{} takes {} to {}; expected {}. Build it again.".format(path, shapes, ", ".join(names), wanted)
            )

    def upload(self, frame):
        np.copyto(self._engine.inputs[0].host[0], frame)
        self._engine.upload()

    def run(self):
        self._engine.run()

    def download(self):
        self._engine.download()
        kinds = {"labels": np.uint8}  # copies: the buffers are used again
        return {
            tensor.name: tensor.host[0].astype(kinds.get(tensor.name, np.float32)) for tensor in self._engine.outputs
        }

    def close(self):
        self._engine.close()


def _tensorrt():
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise DeepLabError(f"TensorRT's Python package cannot be loaded: {error}") from error
    _tensorrt_build.version(tensorrt)
    return tensorrt


def _existing(files):
    for file in files:
        if not os.path.isfile(file):
            raise DeepLabError(f"There is no file {file}.")
    return files


def _read(path):
    with open(path, "rb") as file:
        return file.read()
