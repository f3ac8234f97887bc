"""A stand-alone TensorRT engine (8.2 to 11), built from the bundle's ONNX files on the GPU that runs it.

INT8 comes from model_int8.onnx, whose Q/DQ nodes hold the ranges; with `implicit=True` (not in TensorRT 11) from
model.onnx and calibration.cache, where TensorRT chooses which layers run in INT8. Layers that an INT8 network leaves in
float run in FP16, and FP32 in TF32 on a GPU that has it, as TensorRT does by default.
"""

import importlib.util
import os
import time
from typing import Iterable, Optional

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import sha256
from deeplab_tf.deploy.runtimes import Runtime, _cudart, _engines, _tensorrt_build
from deeplab_tf.deploy.runtimes._tensorrt_run import Engine

PRECISIONS = {"int8": "model_int8.onnx", "float16": "model.onnx", "float32": "model.onnx"}
PRIORITY = 40
PACKAGE = "tensorrt"


def missing() -> Optional[str]:
    """Return None, or why it cannot run here."""
    if importlib.util.find_spec("tensorrt") is None:
        return "The package tensorrt is not installed; it comes with JetPack, or with NVIDIA's TensorRT 8.2 or newer."
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
    dla: Optional[int] = None,
) -> dict:
    """Build the engine for this GPU into the bundle's engines/, unless one that fits is there.

    Args:
        bundle: from `open_bundle`.
        precision: a GPU without it gets the next (int8, float16, float32), with one line through `say`.
        strict: refuse that instead.
        rebuild: build even if one that fits is there.
        say: takes lines for a person.
        implicit: INT8 by calibration.cache instead of Q/DQ nodes.
        own_kernels: use no kernels of cuBLAS and cuDNN; if left out, the environment variable DEEPLAB_TF_OWN_KERNELS=1
            asks for it.
        dla: the DLA core to build for, with INT8 by calibration.cache: a DLA takes no Q/DQ nodes. If left out, that of
            the environment variable DEEPLAB_TF_DLA.
    Returns:
        precision: of what was built, path, megabytes, seconds (0.0 if reused), reused.
    Raises:
        DeepLabError: no GPU or no TensorRT, something refused, or a build that failed, with TensorRT's own message.
    """
    gpu = _cudart.open_cuda().gpu()
    precision = _engines.supported_precision(precision, gpu, strict=strict, say=say)
    dla = _tensorrt_build.dla_wanted() if dla is None else dla
    implicit = (implicit or dla is not None) and precision == "int8"
    model = bundle.file(PRECISIONS["float32" if implicit else precision])
    name = precision + ("_implicit" if implicit else "") + ("" if dla is None else f"_dla{dla}") + ".engine"
    folder = os.path.join(bundle.engines, _engines.fingerprint(gpu, {"tensorrt": _tensorrt().__version__}))
    return build_engine(
        model,
        os.path.join(folder, name),
        precision,
        calibration=bundle.file("calibration.cache") if implicit else None,
        timings=os.path.join(folder, "timing.cache"),
        siblings=_engines.sibling_engines(bundle.engines, name),
        rebuild=rebuild,
        say=say,
        own_kernels=own_kernels,
        dla=dla,
        gpu=gpu,
    )


def build_engine(
    model: str,
    path: str,
    precision: str,
    *,
    calibration: Optional[str] = None,
    timings: Optional[str] = None,
    siblings: Iterable[str] = (),
    rebuild: bool = False,
    say=print,
    own_kernels: Optional[bool] = None,
    dla: Optional[int] = None,
    gpu: Optional[_cudart.Gpu] = None,
) -> dict:
    """Build an engine as `build` does, from files.

    Args:
        model: an ONNX file; with Q/DQ nodes for int8, unless `calibration` is given.
        path: the engine; its description goes beside it, with .json at the end.
        precision: one that the GPU has.
        calibration: a calibration cache, for implicit INT8.
        timings: the file that keeps measurements of kernels from build to build.
        siblings: as in `_engines.stale_reason`.
        gpu: the current one if left out.
    """
    trt = _tensorrt()
    gpu = gpu or _cudart.open_cuda().gpu()
    for file in (model, calibration):
        if file is not None and not os.path.isfile(file):
            raise DeepLabError(f"There is no file {file}.")
    digest = "-".join(sha256(file) for file in (model, calibration) if file is not None)

    def make():
        spec = _tensorrt_build.EngineSpec(
            _read(model),
            precision,
            half=_engines.has_precision("float16", gpu.capability),
            workspace=_engines.workspace(gpu.free),
            calibration=_read(calibration) if calibration else None,
            timings=_read(timings) if timings and os.path.exists(timings) else b"",
            own_kernels=_tensorrt_build.own_kernels_wanted() if own_kernels is None else own_kernels,
            dla=dla,
        )
        start = time.perf_counter()
        plan, measured = _tensorrt_build.build_plan(trt, spec, say)
        seconds = time.perf_counter() - start
        _engines.write_file(path, plan)
        if timings:
            _engines.write_file(timings, measured)
        return {"seconds": seconds, "workspace": spec.workspace}

    options = {"implicit": calibration is not None, **({} if dla is None else {"dla": dla})}
    return _engines.build_if_stale(
        path,
        _engines.facts(gpu, {"TensorRT": trt.__version__}, precision, digest, options),
        make,
        kind=f"a TensorRT {precision} engine",
        siblings=siblings,
        rebuild=rebuild,
        say=say,
    )


def load(bundle: Bundle, precision: str = "int8", *, strict: bool = False, say=print, **options) -> Runtime:
    """Load the engine; build it first if none fits. Arguments and errors as in `build`."""
    options["dla"] = _tensorrt_build.dla_wanted() if options.get("dla") is None else options["dla"]
    built = build(bundle, precision, strict=strict, say=say, **options)
    return TensorRTRuntime(bundle, built["precision"], built["path"], dla=options["dla"])


class TensorRTRuntime(Runtime):
    """See `Runtime`. The frame becomes float32 on the host, in the pinned buffer that the GPU copies from.

    Attributes:
        path: of the engine.
    """

    name = "tensorrt"

    def __init__(self, bundle, precision, path, *, dla=None):
        super().__init__(bundle, precision)
        self.path = path
        self._engine = Engine(_tensorrt(), _cudart.open_cuda(), _read(path), dla=dla)
        height, width = self.size
        shapes = [tensor.host.shape for tensor in self._engine.inputs]
        names = sorted(tensor.name for tensor in self._engine.outputs)
        if shapes != [(1, height, width, 3)] or names != sorted(bundle.outputs):
            self.close()
            raise DeepLabError(
                f"{path} takes {shapes} to {', '.join(names)}; expected one image of {height}x{width} to "
                f"{', '.join(bundle.outputs)}. Build it again."
            )
        self.check_outputs(path, {tensor.name: tensor.host.shape for tensor in self._engine.outputs})

    def upload(self, frame):
        np.copyto(self._engine.inputs[0].host[0], frame)
        self._engine.upload()

    def run(self):
        self._engine.run()

    def download(self):
        self._engine.download()
        return {  # copies: the buffers are used again
            tensor.name: tensor.host[0].copy() if tensor.name == "labels" else tensor.host[0].astype(np.float32)
            for tensor in self._engine.outputs
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


def _read(path):
    with open(path, "rb") as file:
        return file.read()
