"""The software that the commands need: which of it is here, which version, whether it works, and the line that installs
it."""

import importlib.util
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, NamedTuple, Optional, Tuple

from deeplab_tf.core.extras import EXTRAS, LAB_PYTHON
from deeplab_tf.deploy import device, jetpack, probe

EXPORT = ("tf2onnx", "onnx")
LONGER = "deeplab-tf doctor --limit 60"

_OPENCV = """
import cv2, re
def value(name):
    found = re.search(r"^ +" + name + r":\\s*(.*?)\\s*$", cv2.getBuildInformation(), re.MULTILINE)
    return found.group(1) if found else "NO"
parts = [title for name, title in (("GStreamer", "GStreamer"), ("FFMPEG", "FFmpeg")) if value(name).startswith("YES")]
answer = {"version": cv2.__version__, "parts": parts, "windows": value("GUI") not in ("NO", "NONE", "")}
"""
_TENSORFLOW = """
import tensorflow as tf
answer = {"version": tf.__version__, "tf_trt": None}
try:
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as parts
    answer["tf_trt"] = [bool(parts.is_tensorrt_enabled()), list(parts.get_linked_tensorrt_version())]
except ImportError:
    pass
"""
_TENSORRT = """
import tensorrt
answer = {"version": tensorrt.__version__}
"""
_ONNX_RUNTIME = """
import onnxruntime
providers = [name.replace("ExecutionProvider", "") for name in onnxruntime.get_available_providers()]
answer = {"version": onnxruntime.__version__, "providers": providers}
"""
_NUMPY = "import numpy\nanswer = {'version': numpy.__version__}"
_TORNADO = "import tornado\nanswer = {'version': tornado.version}"


class Part(NamedTuple):
    """One thing that commands need.

    Attributes:
        works: None where it could not be found out in the time given.
        text: the version and what is in it, or what is wrong.
        fix: the line to run where it is missing; None where there is none.
    """

    works: Optional[bool]
    text: str
    fix: Optional[str] = None


_GPU = "from deeplab_tf.deploy import device\nanswer = device.gpu()"
_QUICK = {"numpy": _NUMPY, "cv2": _OPENCV, "tornado": _TORNADO, "gpu": _GPU, "runtimes": probe.RUNTIMES}
_GROUPS = (_QUICK, {"onnxruntime": _ONNX_RUNTIME, "tensorrt": _TENSORRT}, {"tensorflow": _TENSORFLOW})
"""What is asked in one process. The runtimes come last of theirs: to look for TF-TRT may load TensorFlow."""


def examine(root: str = "/", seconds: float = 4.0) -> Tuple[Optional[str], Dict[str, Part]]:
    """(the GPU or None, every part by name). SDKs are loaded in processes of their own, at the same time, for `seconds`
    at most."""
    groups = [
        {name: source for name, source in group.items() if name in ("gpu", "runtimes") or _installed(name)}
        for group in _GROUPS
    ]
    answers = {}  # type: Dict[str, probe.Answer]
    with ThreadPoolExecutor(len(groups)) as pool:
        for found in pool.map(lambda group: probe.ask_all(group, seconds) if group else {}, groups):
            answers.update(found)
    return answers["gpu"].value, _parts(answers, root)


def _parts(answers, root):
    fixes = fix_lines(root)
    found = {"python": Part(True, f"{platform.python_version()} ({sys.executable})")}
    for name in ("numpy", "cv2", "tensorflow", "tensorrt", "onnxruntime", "tornado"):
        found[name] = _part(name, answers.get(name), fixes[name])
    found["tf_trt"] = _tf_trt(answers.get("tensorflow"), found["tensorflow"], fixes)
    found["windows"] = _windows(answers.get("cv2"), fixes["windows"])
    found["lab"] = _lab(root)
    found["export"] = _packages(EXPORT, "pip install '.[convert]'")
    runtimes = answers["runtimes"]
    if runtimes.problem is not None:
        found["runtimes"] = Part(
            None if runtimes.problem.startswith(probe.TOO_LONG) else False, runtimes.problem, LONGER
        )
    for name, missing in sorted((runtimes.value or {}).items()):
        found["runtime " + name] = Part(
            missing is None, missing or "works", None if missing is None else _runtime_fix(name, fixes)
        )
    return found


def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _part(name, answer, fix):
    if answer is None:
        return Part(False, "not installed", fix)
    if answer.problem is None:
        value = answer.value
        more = value.get("parts", value.get("providers"))
        return Part(
            True,
            value["version"] + ("" if more is None else " with " + (", ".join(more) or "neither GStreamer nor FFmpeg")),
        )
    version = device.versions().get(name, "")
    if answer.problem.startswith(probe.TOO_LONG):
        return Part(None, f"{version} installed; it was not loaded in the time given".strip(), LONGER)
    return Part(False, f"{version} installed, but it does not load: {answer.problem}".strip(), fix)


def _tf_trt(answer, tensorflow, fixes):
    """TF-TRT is in TensorFlow or it is not: only `is_tensorrt_enabled` tells, its Python files are always there."""
    if answer is None or answer.problem is not None:
        return Part(
            None if tensorflow.works is None else False,
            "not known" if tensorflow.works is None else "no TensorFlow",
            tensorflow.fix,
        )
    found = answer.value["tf_trt"]
    if found is None:
        return Part(False, "TensorFlow {} has none".format(answer.value["version"]), fixes["tf_trt"])
    enabled, linked = found
    version = ".".join(map(str, linked))
    if enabled:
        return Part(True, f"in TensorFlow, for TensorRT {version}")
    if linked == [0, 0, 0]:
        return Part(False, "TensorFlow {} was built without it".format(answer.value["version"]), fixes["tf_trt"])
    return Part(False, f"in TensorFlow, but finds no TensorRT {version}", fixes["tensorrt"])


def _windows(answer, fix):
    if answer is None or answer.problem is not None:
        return Part(False, "no OpenCV")
    works = answer.value["windows"]
    return Part(
        works, "OpenCV can open them" if works else "this OpenCV is built without windows", None if works else fix
    )


def _lab(root):
    """What trains: a Python that TensorFlow 2.17 and Keras 3 know, and their packages."""
    if sys.version_info[:2] not in LAB_PYTHON:
        fix = None if jetpack.l4t(root) else "make .venv/ready PYTHON=python3.11"
        text = "needs Python 3.11 or 3.12, this is {}.{}".format(*sys.version_info[:2])
        return Part(False, text + ("; train on another machine" if fix is None else ""), fix)
    return _packages(EXTRAS["train"], "pip install '.[train]'")


def _packages(names, fix):
    lacking = [name for name in names if not _installed(name)]
    return Part(False, "lacks " + ", ".join(lacking), fix) if lacking else Part(True, ", ".join(names))


def fix_lines(root: str = "/") -> Dict[str, str]:
    """The line that brings each package, on this kind of machine: JetPack has builds of its own, which those of PyPI
    would hide."""
    if jetpack.l4t(root) is not None:
        install = "sh jetson/install.sh"
        fixes = {
            "cv2": "sudo apt-get install python3-opencv",
            "tensorrt": "sudo apt-get install nvidia-jetpack",
            "numpy": install,
        }
        fixes["windows"] = fixes["cv2"]
        fixes.update(tensorflow=install, onnxruntime=install, tornado=install, tf_trt=install)
        return fixes
    fixes = {name: "pip install " + name for name in ("numpy", "onnxruntime", "tornado")}
    fixes["cv2"] = "pip install opencv-python-headless"
    fixes["windows"] = (
        "pip uninstall -y opencv-python-headless && pip install opencv-python"  # two of them break each other
    )
    fixes["tensorflow"] = "pip install tensorflow==2.17.1" if sys.version_info >= (3, 9) else "pip install tensorflow"
    fixes["tf_trt"] = fixes["tensorflow"]
    fixes["tensorrt"] = "see https://docs.nvidia.com/deeplearning/tensorrt (it needs an NVIDIA GPU)"
    return fixes


def _runtime_fix(name, fixes):
    packages = {"saved_model": "tensorflow", "tf_trt": "tf_trt", "tensorrt": "tensorrt", "onnx": "onnxruntime"}
    return fixes.get(packages.get(name, ""))
