"""The machine's name, processor, memory, temperature, throttling and power, from Linux's /proc and /sys.

Nothing here raises: what is unknown is None. `root` is where /proc and /sys are.
"""

import glob
import os
import platform
import re
import sys
from typing import Dict, List, Optional, Tuple

from deeplab_tf.core import processor as cpu
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy import jetpack

_FIXED_ZONES = ("pmic",)
"""A Jetson's PMIC-Die always reads 100 degrees Celsius."""

_THROTTLES = ("throttl", "balanced", "heavy", "cpufreq", "devfreq", "processor")
"""Types of cooling devices that throttle; the others are fans."""

_INPUT_RAILS = ("VDD_IN", "POM_5V_IN")
"""The power of the whole board, on JetPack 5 and 6 and on JetPack 4."""

_PACKAGES = (
    "numpy",
    "opencv_python_headless",
    "opencv_python",
    "tensorflow",
    "tensorrt",
    "onnxruntime",
    "onnxruntime_gpu",
    "openvino",
    "ai_edge_litert",
    "deeplab_tf",
)


def name(root: str = "/") -> str:
    """Return the name of the board, such as NVIDIA Jetson Nano Developer Kit, else of the processor."""
    board = jetpack.read_text(root, "proc/device-tree/model")
    if board:
        return board
    return cpu.model_name(root) or platform.processor() or platform.machine() or "unknown machine"


def temperature_c(root: str = "/") -> Optional[float]:
    """Return the temperature of the hottest thermal zone in degrees Celsius."""
    degrees = []
    for zone in _folders(root, "sys/class/thermal/thermal_zone*"):
        millidegrees = _number(os.path.join(zone, "temp"))
        fixed = any(part in jetpack.read_text(zone, "type").lower() for part in _FIXED_ZONES)
        # a zone that is switched off reads 0 or -256000
        if millidegrees is not None and 0 < millidegrees < 150000 and not fixed:
            degrees.append(millidegrees / 1000.0)
    return max(degrees) if degrees else None


def throttled(root: str = "/") -> Optional[bool]:
    """Return whether Linux throttles the machine now; None if no cooling device reports it."""
    states = []
    for device in _folders(root, "sys/class/thermal/cooling_device*"):
        state = _number(os.path.join(device, "cur_state"))
        if state is not None and any(part in jetpack.read_text(device, "type").lower() for part in _THROTTLES):
            states.append(state > 0)
    return any(states) if states else None


def _folders(root, pattern) -> List[str]:
    return sorted(glob.glob(os.path.join(root, pattern)))


def _number(path) -> Optional[int]:
    try:
        return int(jetpack.read_text("", path))
    except ValueError:
        return None


def power_w(root: str = "/") -> Optional[float]:
    """Return the power of the board in watts, by a Jetson's INA3221 sensors: its input rail, else the sum of all."""
    rails = {}
    for sensor in _folders(root, "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*"):  # JetPack 5 and 6
        for i in range(1, 4):
            label = jetpack.read_text(sensor, f"in{i}_label")
            millivolts, milliamperes = (_number(os.path.join(sensor, f"{kind}{i}_input")) for kind in ("in", "curr"))
            if label and millivolts is not None and milliamperes is not None:
                rails[label] = millivolts * milliamperes / 1e6
    for sensor in _folders(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*"):  # JetPack 4
        for i in range(3):
            label = jetpack.read_text(sensor, f"rail_name_{i}")
            milliwatts = _number(os.path.join(sensor, f"in_power{i}_input"))
            if label and milliwatts is not None:
                rails[label] = milliwatts / 1e3
    board = [watts for label, watts in rails.items() if label in _INPUT_RAILS]
    return board[0] if board else sum(rails.values()) if rails else None


def memory_mb(root: str = "/") -> Tuple[Optional[float], Optional[float]]:
    """Return total and available memory in MB, which a Jetson's GPU shares."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", jetpack.read_text(root, "proc/meminfo"), re.MULTILINE))
    total, available = (int(values[key]) / 1024.0 if key in values else None for key in ("MemTotal", "MemAvailable"))
    return total, available


def processor(root: str = "/") -> str:
    """Return the processor and how many of its cores this process may use."""
    kind = cpu.model_name(root) or platform.processor() or platform.machine() or "unknown"
    return f"{kind}, {cpu.cores()} cores"


def gpu() -> Optional[str]:
    """Return the NVIDIA GPU with its compute capability, such as "Orin (8.7)"; None if none works."""
    from deeplab_tf.deploy.runtimes import _cudart

    if _cudart.gpu_missing() is not None:
        return None
    try:
        found = _cudart.open_cuda().gpu()
    except DeepLabError:
        return None
    return "{} ({}.{})".format(found.name, *found.capability)


def versions() -> Dict[str, str]:
    """Return the versions of Python and of the packages that compute, from their metadata: nothing is imported."""
    found = {"python": platform.python_version()}
    for folder in sys.path:
        for place in glob.glob(os.path.join(glob.escape(folder or "."), "*-info")):
            match = re.match(r"(\w+?)-(\d[\w.+]*?)(?:-py[\d.]+.*)?\.(?:dist|egg)-info$", os.path.basename(place))
            if match and match.group(1).lower() in _PACKAGES:
                found.setdefault(match.group(1).lower(), match.group(2))
    return found


def fingerprint(root: str = "/") -> dict:
    """Return what measurements on this machine depend on, for a report."""
    return dict(
        {"name": name(root), "processor": processor(root), "gpu": gpu(), "memory_mb": memory_mb(root)[0]},
        features=cpu.features(root),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=versions(),
        **jetpack.describe(root),
    )
