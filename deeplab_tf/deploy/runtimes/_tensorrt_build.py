"""From an ONNX file to a TensorRT plan, with TensorRT 8.2 to 11. Features are looked up by name, not by version.

| TensorRT | differences |
| --- | --- |
| before 8.4.1 | `max_workspace_size` in place of memory pools |
| before 10 | networks need the flag EXPLICIT_BATCH |
| from 11 | no FP16, no INT8, no calibrator: the network holds the types, so INT8 needs Q/DQ, and FP16 is refused |
"""

import functools
import os
from typing import Any, List, NamedTuple, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError, WrongCall

OLDEST = (8, 2)
OWN_KERNELS_VARIABLE = "DEEPLAB_TF_OWN_KERNELS"
"""Set to 1 if cuBLAS or cuDNN is missing or broken: TensorRT then uses none of their kernels."""


DLA_VARIABLE = "DEEPLAB_TF_DLA"
"""The number of the deep-learning accelerator (DLA) of a Jetson Xavier or Orin that runs the network."""


class EngineSpec(NamedTuple):
    """What to build.

    Attributes:
        model: the ONNX file.
        precision: "int8", "float16" or "float32".
        half: whether float layers of an INT8 network may run in FP16.
        workspace: bytes of scratch memory.
        calibration: a calibration cache for implicit INT8 of a float model; without it the model's Q/DQ nodes count.
        timings: measurements of an earlier build, which save time.
        own_kernels: use TensorRT's own kernels only.
        dla: the DLA core that runs what it can, and the GPU the rest; None: the GPU runs all.
    """

    model: bytes
    precision: str
    half: bool
    workspace: int
    calibration: Optional[bytes] = None
    timings: bytes = b""
    own_kernels: bool = False
    dla: Optional[int] = None


def version(trt) -> Tuple[int, ...]:
    """Return TensorRT's version, such as (8, 5, 3). Raises DeepLabError if it is too old."""
    found = tuple(int(part) for part in trt.__version__.split(".")[:3])
    if found < OLDEST:
        raise DeepLabError(f"TensorRT {trt.__version__} is installed; this needs 8.2 or newer (JetPack 4.6.1).")
    return found


@functools.lru_cache(maxsize=None)
def logger(trt: Any) -> Any:
    """Return the process's one logger, as TensorRT requires it; `errors` holds those since it was last cleared."""

    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)  # super() would skip the part of it that is C++
            self.errors: List[str] = []

        def log(self, severity, message):
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Logger()


def build_plan(trt, spec: EngineSpec, say=print) -> Tuple[bytes, bytes]:
    """Build an engine; takes minutes.

    Returns:
        the plan, and the measurements for the next build's `timings`.
    Raises:
        DeepLabError: no GPU, a network that this TensorRT does not take, no memory; with TensorRT's own message.
    """
    _check(trt, spec)
    log = logger(trt)
    del log.errors[:]
    try:
        builder = trt.Builder(log)
    except TypeError:  # what a null pointer becomes on its way to Python
        builder = None
    if builder is None:
        raise DeepLabError(f"TensorRT {trt.__version__} finds no working GPU{reasons(log)}")
    plan, timings = _build(trt, builder, spec)
    broken = any(name in line.lower() for line in log.errors for name in ("cublas", "cudnn"))
    if plan is None and broken and not spec.own_kernels:
        say("cuBLAS or cuDNN does not work here: building again with TensorRT's own kernels only.")
        del log.errors[:]
        plan, timings = _build(trt, builder, spec._replace(own_kernels=True))
    if plan is None:
        raise DeepLabError(f"TensorRT {trt.__version__} could not build the {spec.precision} engine{reasons(log)}")
    return plan, timings


def own_kernels_wanted() -> bool:
    """Return what the environment variable asks for."""
    return os.environ.get(OWN_KERNELS_VARIABLE, "") not in ("", "0")


def dla_wanted() -> Optional[int]:
    """Return the DLA core that the environment variable names. Raises WrongCall for what is no number."""
    text = os.environ.get(DLA_VARIABLE, "")
    if text and not text.isdigit():
        raise WrongCall(f"{DLA_VARIABLE} takes the number of a DLA core, 0 or 1; got '{text}'.")
    return int(text) if text else None


def takes_types_from_network(trt) -> bool:
    """Return whether this is a TensorRT without precision flags (11)."""
    return not hasattr(trt.BuilderFlag, "FP16")


def is_quantized(model: bytes) -> bool:
    """Return whether an ONNX file has Q/DQ nodes, by their name in its bytes: a device has no onnx package."""
    return b"DequantizeLinear" in model


def _check(trt, spec):
    version(trt)
    quantized = is_quantized(spec.model)
    if takes_types_from_network(trt):
        wish = "float16" if spec.precision == "float16" else "implicit int8" if spec.calibration else None
        if wish:
            raise DeepLabError(
                f"TensorRT {trt.__version__} takes all types from the network and cannot make {wish} of it; use int8 "
                "with Q/DQ nodes (model_int8.onnx), float32, or TensorRT 10."
            )
    if spec.precision == "int8" and not spec.calibration and not quantized:
        raise DeepLabError(
            "int8 needs a model with Q/DQ nodes (model_int8.onnx) or a calibration cache; this model has neither."
        )
    if quantized and (spec.precision != "int8" or spec.calibration):
        raise DeepLabError("The model has Q/DQ nodes, which mean int8; give the float model (model.onnx) instead.")


def _build(trt, builder, spec):
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse(spec.model):
        errors = "; ".join(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
        raise DeepLabError(f"TensorRT {trt.__version__} cannot read the ONNX model: {errors or 'no reason given.'}")
    config = builder.create_builder_config()
    _set_workspace(trt, config, spec.workspace)
    _set_precision(trt, config, spec)
    if spec.dla is not None:
        _set_dla(trt, builder, config, spec)
    if spec.own_kernels:
        config.set_tactic_sources(0)
    timings = config.create_timing_cache(spec.timings)
    if timings is None or not config.set_timing_cache(timings, False):  # damaged, or of another version or GPU
        config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None, spec.timings
    timings = config.get_timing_cache()
    return bytes(plan), bytes(timings.serialize())


def _network_flags(trt):
    flags = trt.NetworkDefinitionCreationFlag
    if takes_types_from_network(trt):
        return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0
    return 1 << int(flags.EXPLICIT_BATCH) if version(trt) < (10,) else 0


def _set_workspace(trt, config, size):
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def _set_precision(trt, config, spec):
    if takes_types_from_network(trt):
        return
    if spec.precision == "float16" or (spec.precision == "int8" and spec.half):
        config.set_flag(trt.BuilderFlag.FP16)
    if spec.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
        if spec.calibration is not None:
            config.int8_calibrator = _calibrator(trt, with_header(spec.calibration, version(trt)))


def _set_dla(trt, builder, config, spec):
    if spec.precision == "float32":
        raise DeepLabError("A DLA runs int8 and float16; choose one of them, or float32 without a DLA.")
    if spec.dla >= builder.num_DLA_cores:
        raise DeepLabError(
            f"There is no DLA core {spec.dla}: this machine has {builder.num_DLA_cores}. Only Jetson Xavier and Orin "
            "have any."
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = spec.dla
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def with_header(cache: bytes, found: Tuple[int, ...]) -> bytes:
    """Return a calibration cache with the first line that a version of TensorRT requires to read it.

    Scales do not depend on the version. The number is NV_TENSORRT_VERSION of NvInferVersion.h: 8.5.3 is 8503, 10.3.0 is
    100300.
    """
    major, minor, patch = (tuple(found) + (0, 0, 0))[:3]
    number = major * (1000 if major < 10 else 10000) + minor * 100 + patch
    return f"TRT-{number}-EntropyCalibration2\n".encode() + cache.partition(b"\n")[2]


def _calibrator(trt: Any, cache: bytes) -> Any:
    class CacheReader(trt.IInt8EntropyCalibrator2):
        """Has a cache and no images."""

        def __init__(self):
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self):
            return 1

        def get_batch(self, names):
            return None

        def read_calibration_cache(self):
            return cache

        def write_calibration_cache(self, written):
            pass

    return CacheReader()


def reasons(log) -> str:
    """Return the last errors that TensorRT logged, as the end of a sentence."""
    return f": {' | '.join(log.errors[-3:])}" if log.errors else "; it gave no reason."
