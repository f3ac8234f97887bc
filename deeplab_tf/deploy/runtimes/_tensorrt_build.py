"""From an ONNX file to a TensorRT plan, with TensorRT 8.2 to 11. What a version lacks is asked for by name, not guessed
from its number.

| TensorRT | what differs here |
| --- | --- |
| before 8.4.1 | `max_workspace_size`; from there on memory pools |
| before 10 | networks want the flag EXPLICIT_BATCH |
| from 11 | no FP16, no INT8, no calibrator: types are those in the network, so int8 comes from a file with Q/DQ, and
float16 is refused |
"""

import functools
import os
from typing import NamedTuple, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError

OLDEST = (8, 2)
OWN_KERNELS_VARIABLE = "DEEPLAB_TF_OWN_KERNELS"
"""Set to 1 where cuBLAS and cuDNN are missing or do not work: TensorRT then takes none of their kernels."""


class Order(NamedTuple):
    """What to build."""

    model: bytes  # the ONNX file
    precision: str  # "int8", "float16", "float32"
    half: bool  # whether the rest of an int8 network may run in float16
    workspace: int  # bytes of scratch memory
    calibration: Optional[bytes] = (
        None  # a calibration cache: implicit int8 of a float model; else the model's Q/DQ nodes count
    )
    timings: bytes = b""  # what an earlier build measured; saves time
    own_kernels: bool = False


def version(trt) -> Tuple[int, ...]:
    """Such as (8, 5, 3). Raises DeepLabError for one that is too old."""
    found = tuple(int(part) for part in trt.__version__.split(".")[:3])
    if found < OLDEST:
        raise DeepLabError(f"TensorRT {trt.__version__} is installed; this needs 8.2 or newer (JetPack 4.6.1).")
    return found


@functools.lru_cache(maxsize=None)
def logger(trt):
    """The one logger of the process, as TensorRT wants it; keeps the errors of the last piece of work in `errors`."""

    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)  # super() would skip the part of it that is C++
            self.errors = []

        def log(self, severity, message):
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Logger()


def build_plan(trt, order: Order, say=print) -> Tuple[bytes, bytes]:
    """Builds an engine; takes minutes.

    Returns:
        the plan, and what was measured on the way, for the next build's `timings`.
    Raises:
        DeepLabError: no GPU, a network that this TensorRT does not take, no memory; with what TensorRT said.
    """
    _check(trt, order)
    log = logger(trt)
    del log.errors[:]
    try:
        builder = trt.Builder(log)
    except TypeError:  # what a null pointer becomes on its way to Python
        builder = None
    if builder is None:
        raise DeepLabError(f"TensorRT {trt.__version__} finds no working GPU{_said(log)}")
    plan, timings = _build(trt, builder, order)
    if (
        plan is None
        and not order.own_kernels
        and any("cublas" in line.lower() or "cudnn" in line.lower() for line in log.errors)
    ):
        say("cuBLAS or cuDNN does not work here: building again with TensorRT's own kernels only.")
        del log.errors[:]
        plan, timings = _build(trt, builder, order._replace(own_kernels=True))
    if plan is None:
        raise DeepLabError(f"TensorRT {trt.__version__} could not build the {order.precision} engine{_said(log)}")
    return plan, timings


def own_kernels_wanted() -> bool:
    """What the environment variable says."""
    return os.environ.get(OWN_KERNELS_VARIABLE, "") not in ("", "0")


def takes_types_from_network(trt) -> bool:
    """Whether this is a TensorRT without precision flags (11)."""
    return not hasattr(trt.BuilderFlag, "FP16")


def is_quantized(model: bytes) -> bool:
    """Whether an ONNX file has Q/DQ nodes; by the name of their operator in its bytes, since a device has no onnx
    package."""
    return b"DequantizeLinear" in model


def _check(trt, order):
    version(trt)
    quantized = is_quantized(order.model)
    if takes_types_from_network(trt):
        wish = "float16" if order.precision == "float16" else "implicit int8" if order.calibration else None
        if wish:
            raise DeepLabError(
                f"TensorRT {trt.__version__} takes all types from the network and cannot make {wish} of it; take "
                "int8 with Q/DQ nodes (model_int8.onnx), "
                "float32, or TensorRT 10."
            )
    if order.precision == "int8" and not order.calibration and not quantized:
        raise DeepLabError(
            "int8 needs a model with Q/DQ nodes (model_int8.onnx) or a calibration cache; this model has neither."
        )
    if quantized and (order.precision != "int8" or order.calibration):
        raise DeepLabError("The model has Q/DQ nodes, which mean int8; give the float model (model.onnx) instead.")


def _build(trt, builder, order):
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse(order.model):
        errors = "; ".join(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
        raise DeepLabError(
            "TensorRT {} cannot read the ONNX model: {}".format(trt.__version__, errors or "no reason given.")
        )
    config = builder.create_builder_config()
    _set_workspace(trt, config, order.workspace)
    _set_precision(trt, config, order)
    if order.own_kernels:
        config.set_tactic_sources(0)
    timings = config.create_timing_cache(order.timings)
    if not config.set_timing_cache(timings, False):  # of another version or GPU
        config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        return None, order.timings
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


def _set_precision(trt, config, order):
    if takes_types_from_network(trt):
        return
    if order.precision == "float16" or (order.precision == "int8" and order.half):
        config.set_flag(trt.BuilderFlag.FP16)
    if order.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
        if order.calibration is not None:
            config.int8_calibrator = _calibrator(trt, with_header(order.calibration, version(trt)))


def with_header(cache: bytes, found: Tuple[int, ...]) -> bytes:
    """A calibration cache with the first line that this version of TensorRT looks for; one with another it leaves
    unread.

    Scales do not depend on the version. The number is NV_TENSORRT_VERSION of NvInferVersion.h: 8.5.3 is 8503, 10.3.0 is
    100300.
    """
    major, minor, patch = (tuple(found) + (0, 0, 0))[:3]
    number = major * (1000 if major < 10 else 10000) + minor * 100 + patch
    return f"TRT-{number}-EntropyCalibration2\n".encode() + cache.partition(b"\n")[2]


def _calibrator(trt, cache):
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


def _said(log):
    return ": " + " | ".join(log.errors[-3:]) if log.errors else "; it gave no reason."
