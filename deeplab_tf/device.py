"""What the machine says of itself: its name, its temperature, whether it has been slowed down. Read from Linux's /proc and /sys.

Nothing here raises: what a machine does not tell is None.
"""

import glob
import os
import platform
from typing import List, Optional

_FIXED_ZONES = ("pmic",)
"""A Jetson's PMIC-Die always reads 100 degrees."""

_THROTTLES = ("throttl", "balanced", "heavy", "cpufreq", "devfreq", "processor")
"""In the type of a cooling device that cools by slowing down; the others are fans."""


def name(root: str = "/") -> str:
    """What the machine is called: a board's own name (NVIDIA Jetson Nano Developer Kit), else its processor's.

    Args:
        root: where /proc and /sys are.
    """
    board = _read(root, "proc/device-tree/model")
    if board:
        return board
    for line in _read(root, "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or "unknown machine"


def temperature_c(root: str = "/") -> Optional[float]:
    """Degrees Celsius of the hottest thermal zone; None where there is none that can be read."""
    degrees = []
    for zone in _folders(root, "sys/class/thermal/thermal_zone*"):
        millidegrees = _number(os.path.join(zone, "temp"))
        fixed = any(part in _read(zone, "type").lower() for part in _FIXED_ZONES)
        if millidegrees is not None and 0 < millidegrees < 150000 and not fixed:  # a zone that is switched off reads 0 or -256000
            degrees.append(millidegrees / 1000.0)
    return max(degrees) if degrees else None


def throttled(root: str = "/") -> Optional[bool]:
    """Whether Linux slows the machine down right now for its temperature; None where no cooling device could tell."""
    states = []
    for device in _folders(root, "sys/class/thermal/cooling_device*"):
        state = _number(os.path.join(device, "cur_state"))
        if state is not None and any(part in _read(device, "type").lower() for part in _THROTTLES):
            states.append(state > 0)
    return any(states) if states else None


def _folders(root, pattern) -> List[str]:
    return sorted(glob.glob(os.path.join(root, pattern)))


def _read(folder, path) -> str:
    try:
        with open(os.path.join(folder, path), encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def _number(path) -> Optional[int]:
    try:
        return int(_read("", path))
    except ValueError:
        return None
