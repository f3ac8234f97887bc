"""Devices: what their makers specify, and what fraction of it networks have been measured to attain.

Peaks are operations/s (a multiply-add is two), dense, of the GPU alone: that is where our engines run, and NVIDIA's
totals for the modules with deep-learning accelerators (DLA) include those. They follow from cores and clocks in the
data sheets:

- A CUDA core does 2 operations a clock in FP32 and, on a Nano and a TX2, 4 in FP16. The Nano has 128 at 921 MHz, the
  TX2 256 at 1.30 GHz (its mode Max-N).
- A tensor core of Volta does 128 operations a clock in FP16 and 256 in INT8, one of Orin's Ampere 512 and 1024. AGX
  Xavier has 64 at 1.377 GHz (NVIDIA's table: 11 TFLOPS FP16, 22 TOPS INT8, and 5 and 10 for its DLAs), Xavier NX 48 at
  1.1 GHz.
- AGX Orin has 64 at 1.3 GHz: 171 TOPS with sparsity, half of it dense, beside 105 of its DLAs
  (https://github.com/NVIDIA/Deep-Learning-Accelerator-SW). Orin NX has 32 at 918 MHz, Orin Nano 32 at 625 MHz and no
  DLA.

Bandwidth is bytes/s, from the same data sheets.
"""

import re
from difflib import get_close_matches
from typing import Dict, NamedTuple

from deeplab_tf.core.errors import DeepLabError, did_you_mean


class Device(NamedTuple):
    """A device in the roofline model.

    Attributes:
        peak: operations/s by precision, for those that it has.
        bandwidth: bytes/s.
        efficiency: a key of EFFICIENCIES.
        note: a remark on the figures.
    """

    title: str
    peak: Dict[str, float]
    bandwidth: float
    efficiency: str
    note: str = ""


class Efficiency(NamedTuple):
    """Fractions of peak (by kind of layer) and bandwidth that layers attain, and the seconds to launch one.

    A fraction can exceed 1: a Winograd convolution multiplies less than is counted.
    """

    conv: float
    conv1x1: float
    depthwise: float
    memory: float
    launch: float


EFFICIENCIES = {
    # conv and conv1x1: fitted on two published figures for a Jetson Nano, see `references.FITTED`; the rest is assumed.
    "maxwell": Efficiency(conv=0.994, conv1x1=0.443, depthwise=0.1, memory=0.8, launch=5e-6),
    # conv and conv1x1: fitted on one published figure for a Jetson AGX Xavier; the rest is assumed.
    "tensor cores": Efficiency(conv=0.259, conv1x1=0.259, depthwise=0.02, memory=0.8, launch=5e-6),
}

_DLA = "GPU alone, without its DLAs"

DEVICES = {
    "jetson-nano": Device("Jetson Nano", {"float32": 0.236e12, "float16": 0.472e12}, 25.6e9, "maxwell", "no INT8"),
    "jetson-tx2": Device(
        "Jetson TX2", {"float32": 0.665e12, "float16": 1.33e12}, 59.7e9, "maxwell", "no INT8; efficiency of a Nano"
    ),
    "xavier-nx": Device("Jetson Xavier NX", {"float16": 6.75e12, "int8": 13.5e12}, 59.7e9, "tensor cores", _DLA),
    "agx-xavier": Device("Jetson AGX Xavier", {"float16": 11e12, "int8": 22e12}, 137e9, "tensor cores", _DLA),
    "orin-nano": Device("Jetson Orin Nano 8 GB", {"float16": 10e12, "int8": 20e12}, 68e9, "tensor cores"),
    "orin-nx": Device("Jetson Orin NX 16 GB", {"float16": 15e12, "int8": 30e12}, 102.4e9, "tensor cores", _DLA),
    "agx-orin": Device("Jetson AGX Orin 64 GB", {"float16": 42.75e12, "int8": 85.5e12}, 204.8e9, "tensor cores", _DLA),
}


def find(name: str) -> Device:
    """Return a device by its name.

    Raises:
        DeepLabError: there is none; the sentence names what may be meant.
    """
    if name not in DEVICES:
        raise DeepLabError(f"There is no device '{name}'. {_meant(name)}")
    return DEVICES[name]


def _meant(name):
    """Name the devices that share most words with `name`; without any, the one spelled most like it."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    ranks = {}
    for known in DEVICES:
        parts = known.split("-")
        shared = [
            part for part in parts if any(part in word for word in words) or get_close_matches(part, words, 1, 0.7)
        ]
        ranks[known] = len(set(shared) - {"jetson"}), len(shared) - len(parts)
    best = max(ranks.values())
    if not best[0]:
        return did_you_mean(name, DEVICES)
    return f"Did you mean {' or '.join(repr(known) for known in DEVICES if ranks[known] == best)}?"


def best_precision(device: Device) -> str:
    """Return the fastest precision of a device."""
    return max(device.peak, key=lambda precision: device.peak[precision])
