"""The doctor's findings for a person."""

from typing import Dict, List, Sequence

from deeplab_tf.deploy.doctor.commands import Command
from deeplab_tf.deploy.doctor.parts import Part

_MARKS = {True: "ok", False: "--", None: "? "}
_TITLES = {
    "cv2": "OpenCV",
    "numpy": "NumPy",
    "tensorflow": "TensorFlow",
    "tf_trt": "TF-TRT",
    "tensorrt": "TensorRT",
    "python": "Python",
}
_TITLES.update(
    onnxruntime="ONNX Runtime",
    tornado="Tornado (stream --serve)",
    windows="windows (stream --show)",
    lab="training",
    export="convert",
)


def text(machine: dict, parts: Dict[str, Part], commands: Sequence[Command], advice: Sequence[str]) -> str:
    """All of it: the machine, its software, what the commands can do, and what to run."""
    lines = ["Machine"] + ["  {:<14}{}".format(*row) for row in _machine(machine)]
    lines += ["", "Software"] + _aligned(_row(name, part) for name, part in parts.items())
    lines += ["", "Commands"]
    for command in commands:
        lines += _aligned([(_MARKS[command.works], command.name, "; ".join(command.lacks))], 16)
        lines += ["      " + " " * 16 + "$ " + fix for fix in command.fixes]
    lines += [""] + list(advice) if advice else []
    return "\n".join(line.rstrip() for line in lines)


def _row(name, part):
    says_how = name.startswith("runtime ")  # in its own words
    fix = "" if part.works is not False or not part.fix or says_how else "   $ " + part.fix
    return _MARKS[part.works], _TITLES.get(name, name), part.text + fix


def _aligned(rows, width=0) -> List[str]:
    rows = list(rows)
    width = width or max(len(title) for _, title, _ in rows) + 2
    return [f"  {mark}  {title.ljust(width)}{said}" for mark, title, said in rows]


def _machine(found):
    """(title, what it says) of all that the machine tells."""
    yield "device", found["device"]
    yield "processor", found["processor"]
    yield "GPU", found["gpu"] or "no NVIDIA GPU that works"
    if found["memory_mb"]:
        yield (
            "memory",
            "{:.1f} GB, {:.1f} GB available".format(found["memory_mb"] / 1024, (found["available_mb"] or 0) / 1024),
        )
    yield "free disk", "{:.1f} GB".format(found["free_disk_mb"] / 1000)
    if found["jetpack"]:
        yield "JetPack", "{} (L4T {})".format(found["jetpack"], found["l4t"])
    if found["power_mode"]:
        yield "power mode", found["power_mode"]
    if found["clocks_held"] is not None:
        yield "clocks", "held at their highest" if found["clocks_held"] else "may fall"
    if found["cuda"]:
        yield "CUDA", found["cuda"]
    if found["temperature_c"] is not None:
        yield "temperature", "{:.0f} C{}".format(found["temperature_c"], ", slowed down" if found["throttled"] else "")
    for camera in found["cameras"]:
        yield (
            "camera",
            "{device} {name}".format(**camera)
            + ("" if camera["open"] else " (no permission: sudo usermod -aG video $USER)"),
        )
    if not found["cameras"]:
        yield "camera", "none (/dev/video*)"
    if found["csi"]:
        yield "CSI", "nvargus-daemon is there; csi:// also needs an OpenCV with GStreamer"
    yield "display", found["display"] or "none"
