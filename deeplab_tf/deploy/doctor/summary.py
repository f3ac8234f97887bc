"""The doctor's findings as text."""

from typing import Dict, List, Sequence

from deeplab_tf.deploy.doctor.commands import Command
from deeplab_tf.deploy.doctor.software import TITLES, Component

_MARKS = {True: "ok", False: "--", None: "? "}


def summary(machine: dict, components: Dict[str, Component], commands: Sequence[Command], advice: Sequence[str]) -> str:
    """Return the machine, its software, what the commands can do, and what to run, as lines."""
    lines = ["Machine", *(f"  {title:<14}{text}" for title, text in _machine(machine))]
    lines += ["", "Software", *_aligned([_row(name, component) for name, component in components.items()])]
    lines += ["", "Commands"]
    for command in commands:
        lines += _aligned([(_MARKS[command.works], command.name, "; ".join(command.lacks))], 16)
        lines += [f"{'':22}$ {fix}" for fix in command.fixes]
    lines += ["", *advice] if advice else []
    return "\n".join(line.rstrip() for line in lines)


def _row(name, component):
    names_fix = name.startswith("runtime ")  # in its text
    fix = "" if component.works is not False or not component.fix or names_fix else f"   $ {component.fix}"
    return _MARKS[component.works], TITLES.get(name, name), component.text + fix


def _aligned(rows, width=0) -> List[str]:
    width = width or max(len(title) for _, title, _ in rows) + 2
    return [f"  {mark}  {title:<{width}}{text}" for mark, title, text in rows]


def _machine(found):
    """Yield (title, text) of every known fact."""
    yield "device", found["device"]
    yield "processor", found["processor"]
    if found.get("features"):
        yield "features", ", ".join(found["features"])
    yield "GPU", found["gpu"] or "no NVIDIA GPU that works"
    if found["memory_mb"]:
        available = (found["available_mb"] or 0) / 1024
        yield "memory", f"{found['memory_mb'] / 1024:.1f} GB, {available:.1f} GB available"
    yield "free disk", f"{found['free_disk_mb'] / 1000:.1f} GB"
    if found["jetpack"]:
        yield "JetPack", f"{found['jetpack']} (L4T {found['l4t']})"
    if found["power_mode"]:
        yield "power mode", found["power_mode"]
    if found["clocks_held"] is not None:
        yield "clocks", "locked at their maximum" if found["clocks_held"] else "may fall"
    if found["cuda"]:
        yield "CUDA", found["cuda"]
    if found["temperature_c"] is not None:
        yield "temperature", f"{found['temperature_c']:.0f} C{', throttled' if found['throttled'] else ''}"
    for camera in found["cameras"]:
        problem = "" if camera["open"] else " (no permission: sudo usermod -aG video $USER)"
        yield "camera", f"{camera['device']} {camera['name']}{problem}"
    if not found["cameras"]:
        yield "camera", "none (/dev/video*)"
    if found["csi"]:
        yield "CSI", "nvargus-daemon is there; csi:// also needs an OpenCV with GStreamer"
    yield "display", found["display"] or "none"
