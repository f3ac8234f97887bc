"""Devices: what their maker says that they can do, and what share of it networks have been measured to get.

Peaks are operations a second (a multiply-add is two), dense, of the GPU and its accelerators together; bandwidth is bytes a second. Both
are figures of NVIDIA's data sheets.
"""

from typing import Dict, NamedTuple

from deeplab_tf.errors import DeepLabError, did_you_mean


class Device(NamedTuple):
    """One device.

    Attributes:
        peak: by precision, operations a second; a precision that it lacks is not there.
        bandwidth: bytes a second.
        gains: of GAINS: what share of both networks get on it.
        note: what to know about the figures.
    """

    title: str
    peak: Dict[str, float]
    bandwidth: float
    gains: str
    note: str = ""


class Gains(NamedTuple):
    """Shares of the peak by kind of layer, the share of the bandwidth, and the seconds that it takes to start a layer.

    A share can exceed 1: 3x3 convolutions take fewer multiplications than are counted (Winograd's way).
    """

    conv: float
    conv1x1: float
    depthwise: float
    memory: float
    start: float


GAINS = {
    # conv and conv1x1: fitted on two published figures for a Jetson Nano, see `references.FITTED`; the rest is assumed.
    "maxwell": Gains(conv=0.994, conv1x1=0.443, depthwise=0.1, memory=0.8, start=5e-6),
    # One share for both, fitted on one published figure for a Jetson AGX Xavier; the rest is assumed.
    "tensor cores": Gains(conv=0.259, conv1x1=0.259, depthwise=0.02, memory=0.8, start=5e-6),
}

_HALF = "FP16 taken as half of INT8"

DEVICES = {
    "jetson-nano": Device("Jetson Nano", {"float32": 0.236e12, "float16": 0.472e12}, 25.6e9, "maxwell", "no INT8"),
    "jetson-tx2": Device("Jetson TX2", {"float32": 0.665e12, "float16": 1.33e12}, 59.7e9, "maxwell", "no INT8; shares as of a Nano"),
    "xavier-nx": Device("Jetson Xavier NX", {"float16": 10.5e12, "int8": 21e12}, 59.7e9, "tensor cores", _HALF),
    "agx-xavier": Device("Jetson AGX Xavier", {"float16": 11e12, "int8": 22e12}, 137e9, "tensor cores"),
    "orin-nano": Device("Jetson Orin Nano 8 GB", {"float16": 10e12, "int8": 20e12}, 68e9, "tensor cores", _HALF),
    "orin-nx": Device("Jetson Orin NX 16 GB", {"float16": 25e12, "int8": 50e12}, 102.4e9, "tensor cores", _HALF),
    "agx-orin": Device("Jetson AGX Orin 64 GB", {"float16": 42.75e12, "int8": 85.5e12}, 204.8e9, "tensor cores", "GPU alone; " + _HALF),
}


def find(name: str) -> Device:
    """A device by its name. Raises DeepLabError, naming the choices, where there is none."""
    if name not in DEVICES:
        raise DeepLabError("There is no device '{}'. {}".format(name, did_you_mean(name, sorted(DEVICES))))
    return DEVICES[name]


def best_precision(device: Device) -> str:
    """The fastest that a device has."""
    return max(device.peak, key=device.peak.get)
