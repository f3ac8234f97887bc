"""A Jetson's JetPack, power mode and clocks, read from its files without root permissions.

Nothing here raises; on another machine everything is None. `root` is where the file system begins.
"""

import glob
import os
import re
from typing import Dict, List, NamedTuple, Optional

_JETPACK_OF = {
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6": "5.1.4",
    "35.6.1": "5.1.5",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
}
_MAJOR_OF = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}


class PowerMode(NamedTuple):
    """A mode of `nvpmodel`.

    Attributes:
        name: such as MAXN or 10W; "" if the machine has no list of modes.
        full: whether it has no limit (MAXN, MAXN_SUPER); None if there is no list.
    """

    id: int
    name: str
    full: Optional[bool]


class Clock(NamedTuple):
    """One clock of the processor, the GPU or the memory, in MHz."""

    name: str
    now: float
    low: float  # governor's minimum
    high: float  # maximum of the power mode

    @property
    def held(self) -> bool:
        """Whether it is locked at its maximum, as by `jetson_clocks`."""
        return self.low >= self.high


def l4t(root: str = "/") -> Optional[str]:
    """Return NVIDIA's release of Linux for Tegra, such as "32.7.1"."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", read_text(root, "etc/nv_tegra_release"))
    if found:
        return "{}.{}".format(*found.groups())
    package = re.search(
        r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: ([\d.]+)", read_text(root, "var/lib/dpkg/status"), re.MULTILINE
    )
    return package and package.group(1)


def jetpack(root: str = "/") -> Optional[str]:
    """Return JetPack's version: of the package nvidia-jetpack, else by the release, else its major number."""
    package = re.search(
        r"^Package: nvidia-jetpack\n(?:.+\n)*?Version: ([\d.]+)", read_text(root, "var/lib/dpkg/status"), re.MULTILINE
    )
    if package:
        return package.group(1)
    release = l4t(root)
    if release is None:
        return None
    short = re.sub(r"(\.0)+$", "", release)
    return _JETPACK_OF.get(short) or _MAJOR_OF.get(release.split(".")[0])


def power_mode(root: str = "/") -> Optional[PowerMode]:
    """Return the current mode."""
    found = re.search(r"pmode:(\d+)", read_text(root, "var/lib/nvpmodel/status"))
    if not found:
        return None
    number = int(found.group(1))
    names = {
        int(i): name
        for i, name in re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", read_text(root, "etc/nvpmodel.conf"))
    }
    name = names.get(number, "")
    unlimited = [each for each in names.values() if each.upper().startswith("MAXN")]
    full = None if not unlimited else name.upper() == max(unlimited, key=len).upper()  # MAXN_SUPER goes beyond MAXN
    return PowerMode(number, name, full)


def clocks(root: str = "/") -> List[Clock]:
    """Return the clocks of the processor's cores that are on, and of the GPU."""
    found = []
    for folder in sorted(glob.glob(os.path.join(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq"))):
        found.append(_clock(os.path.basename(os.path.dirname(folder)), folder, "scaling_{}_freq", 1e3))
    gpus = [
        folder
        for pattern in ("*gpu*", "*ga10b*", "*gv11b*", "*gp10b*", "*gm20b*")
        for folder in _devfreq(root, pattern)
    ]
    found += [_clock("gpu", folder, "{}_freq", 1e6) for folder in sorted(set(map(os.path.realpath, gpus)))]
    return [clock for clock in found if clock is not None]


def _devfreq(root, pattern):
    return glob.glob(os.path.join(root, "sys/class/devfreq", pattern))


def _clock(name, folder, pattern, divisor):
    values = []
    for part in ("cur", "min", "max"):
        text = read_text(folder, pattern.format(part))
        if not text.isdigit():
            return None
        values.append(int(text) / divisor)
    return Clock(name, *values)


def problems(root: str = "/") -> List[str]:
    """Return why this Jetson is not at full speed: one sentence each, with the command that helps."""
    if l4t(root) is None:
        return []
    found, mode = [], power_mode(root)
    if mode is not None and mode.full is False:
        found.append(
            f"The power mode is {mode.id} ({mode.name}), not the full one: sudo nvpmodel -m MODE sets another "
            "(sudo nvpmodel -q --verbose lists them)."
        )
    free = [clock.name for clock in clocks(root) if not clock.held]
    if free:
        found.append(f"Clocks may fall ({', '.join(free)}): sudo jetson_clocks locks them at their maximum.")
    return found


def describe(root: str = "/") -> Dict[str, object]:
    """Return JetPack, release, power mode and whether all clocks are locked, for a report."""
    mode, found = power_mode(root), clocks(root)
    return {
        "jetpack": jetpack(root),
        "l4t": l4t(root),
        "power_mode": None if mode is None else mode.name or str(mode.id),
        "clocks_held": all(clock.held for clock in found) if found and l4t(root) else None,
    }


def read_text(folder, path) -> str:
    """Return a small file of the system without its trailing newlines; empty if there is none."""
    try:
        with open(os.path.join(folder, path), encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""
