"""`training.precision: auto`: the precision that is fast on this machine."""

from pathlib import Path

import tensorflow as tf

from deeplab_tf.core import processor
from deeplab_tf.core.progress import say
from deeplab_tf.lab.config import Config
from deeplab_tf.lab.training import run_folder

BFLOAT16_SINCE, FLOAT16_SINCE = (8, 0), (7, 0)
"""Compute capabilities: of GPUs with tensor cores for bfloat16, and for float16 alone."""


def with_precision(config: Config, run_dir: Path) -> Config:
    """Return a recipe whose precision is not auto: that of the run, if it has begun, else what is fast here; say it."""
    if config.training.precision != "auto":
        return config
    if run_folder.has_begun(run_dir):
        chosen, why = run_folder.precision_before(run_dir), "as the run began"
    elif config.quantization.aware:
        chosen, why = "float32", "INT8 values need it (quantization.aware)"
    else:
        chosen, why = fastest()
    say(f"training.precision: {chosen}; {why}.")
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": chosen})})


def fastest() -> tuple[str, str]:
    """Return the precision that is fast on this machine's GPU, or processor without one, and why."""
    for gpu in tf.config.list_physical_devices("GPU")[:1]:
        details = tf.config.experimental.get_device_details(gpu)
        return of_gpu(details.get("device_name", "this GPU"), details.get("compute_capability"))
    return of_processor(processor.features())


def of_gpu(name: str, capability: tuple[int, int] | None) -> tuple[str, str]:
    """Return the precision for a GPU of a compute capability, None where it is not known, and why."""
    if capability is None:
        return "float32", f"the compute capability of {name} is unknown"
    for precision, kind, since in (
        ("mixed_bfloat16", "bfloat16", BFLOAT16_SINCE),
        ("mixed_float16", "float16", FLOAT16_SINCE),
    ):
        if capability >= since:
            return precision, f"{name} computes {kind} fast"
    return "float32", f"{name} has no tensor cores"


def of_processor(features: list[str]) -> tuple[str, str]:
    """Return the precision for a processor of these features, and why."""
    if not processor.has_fast_bfloat16(features):
        return "float32", "this processor would emulate bfloat16"
    kinds = [name for name, there in (("AVX-512", "bfloat16"), ("AMX", "AMX bfloat16")) if there in features]
    return "mixed_bfloat16", f"this processor computes bfloat16 fast ({' and '.join(kinds)})"
