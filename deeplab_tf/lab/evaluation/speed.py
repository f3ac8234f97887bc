"""Frame rate of a network on this machine, and the machine's description."""

import statistics
import sys
import time

import numpy as np

from deeplab_tf.core import __version__, processor
from deeplab_tf.core.predictor import Predictor


def frames_per_second(network: Predictor, *, seconds: float = 5.0) -> float:
    """Return the median frame rate within `seconds`, at the network's size, from uint8 RGB to label map, in turn."""
    frame = np.random.default_rng(0).integers(0, 256, (*network.size, 3), dtype=np.uint8)
    for _ in range(2):  # tracing and warming up
        network(frame)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        start = time.perf_counter()
        network(frame)
        times.append(time.perf_counter() - start)
    return 1.0 / statistics.median(times)


def machine() -> str:
    """Return the GPUs that TensorFlow sees, the processor and the cores that may be used.

    Such as "AMD EPYC 9R14, 2 cores", or "NVIDIA H200; AMD EPYC 9R14, 16 cores".
    """
    return "; ".join([*_gpus(), f"{processor.model_name()}, {processor.cores()} cores"])


def _gpus():
    tf = sys.modules.get("tensorflow")  # if it is not loaded, nothing was computed with it
    if tf is None:
        return []
    devices = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in devices]


def measured_with() -> dict:
    """Return the machine, version and date of a report."""
    return {"machine": machine(), "version": __version__, "date": time.strftime("%Y-%m-%d")}
