"""The software that the commands need: what is installed, in which version, whether it loads, and how to install it."""

import importlib.util
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, NamedTuple, Optional, Tuple

from deeplab_tf.core.extras import EXTRAS, LAB_PYTHON
from deeplab_tf.deploy import device, jetpack, probe

RETRY = "deeplab-tf doctor --limit 60"

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
_ONNX_RUNTIME = """
import onnxruntime
providers = [name.replace("ExecutionProvider", "") for name in onnxruntime.get_available_providers()]
answer = {"version": onnxruntime.__version__, "providers": providers}
"""
_RUNTIMES = """
from deeplab_tf.deploy import runtimes
answer = {name: [reason, runtimes.module(name).PACKAGE] for name, reason in runtimes.missing().items()}
"""
_GPU = "from deeplab_tf.deploy import device\nanswer = device.gpu()"
_INSTALL_SCRIPT = "sh jetson/install.sh"
_OF_OTHERS = "not on a Jetson, whose GPU is faster: see the runtimes tensorrt and tf_trt"
_JETPACK_OPENCV = "sudo apt-get install python3-opencv"
_PIP_TENSORFLOW = "pip install tensorflow==2.17.1" if sys.version_info >= (3, 9) else "pip install tensorflow"


class Package(NamedTuple):
    """How a package is installed and examined.

    Attributes:
        title: its name for a person.
        install: the line that installs it.
        install_on_jetson: the same on a Jetson, whose JetPack has builds that PyPI's would hide.
        probe: source for `probe.ask_all`, which answers with its `version`; None for a part of another package.
    """

    title: str
    install: str
    install_on_jetson: str
    probe: Optional[str] = None


PACKAGES = {
    "numpy": Package(
        "NumPy", "pip install numpy", _INSTALL_SCRIPT, "import numpy\nanswer = {'version': numpy.__version__}"
    ),
    "cv2": Package("OpenCV", "pip install opencv-python-headless", _JETPACK_OPENCV, _OPENCV),
    "tensorflow": Package("TensorFlow", _PIP_TENSORFLOW, _INSTALL_SCRIPT, _TENSORFLOW),
    "tensorrt": Package(
        "TensorRT",
        "see https://docs.nvidia.com/deeplearning/tensorrt (it needs an NVIDIA GPU)",
        "sudo apt-get install nvidia-jetpack",
        "import tensorrt\nanswer = {'version': tensorrt.__version__}",
    ),
    "onnxruntime": Package("ONNX Runtime", "pip install onnxruntime", _INSTALL_SCRIPT, _ONNX_RUNTIME),
    "openvino": Package(
        "OpenVINO",
        "pip install openvino",
        _OF_OTHERS,
        "import openvino\nanswer = {'version': openvino.__version__.split('-')[0]}",
    ),
    "ai_edge_litert": Package(
        "LiteRT",
        "pip install ai-edge-litert",
        _OF_OTHERS,
        "import ai_edge_litert\nanswer = {'version': ai_edge_litert.__version__}",
    ),
    "tornado": Package(
        "Tornado (stream --serve)",
        "pip install tornado",
        _INSTALL_SCRIPT,
        "import tornado\nanswer = {'version': tornado.version}",
    ),
    "tf_trt": Package("TF-TRT", _PIP_TENSORFLOW, _INSTALL_SCRIPT),
    "windows": Package(
        "windows (stream --show)",
        "pip uninstall -y opencv-python-headless && pip install opencv-python",  # two of them break each other
        _JETPACK_OPENCV,
    ),
}
TITLES = dict(
    {name: package.title for name, package in PACKAGES.items()}, python="Python", lab="training", export="convert"
)

_GROUPS = (
    ("numpy", "cv2", "tornado", "gpu", "runtimes"),  # the runtimes last: to look for TF-TRT may load TensorFlow
    ("onnxruntime", "tensorrt", "openvino", "ai_edge_litert"),
    ("tensorflow",),
)
"""What is asked in one process."""


class Component(NamedTuple):
    """One thing that commands need.

    Attributes:
        works: None if it did not load within the time limit.
        text: the version and what is in it, or what is wrong.
        fix: the line to run if it does not work; None if there is none.
    """

    works: Optional[bool]
    text: str
    fix: Optional[str] = None


def examine(root: str = "/", seconds: float = 4.0) -> Tuple[Optional[str], Dict[str, Component]]:
    """Return the GPU or None, and every component by name.

    SDKs are loaded in processes of their own, in parallel, for `seconds` at most.
    """
    sources = {name: package.probe for name, package in PACKAGES.items() if package.probe and _installed(name)}
    sources.update(gpu=_GPU, runtimes=_RUNTIMES)
    groups = [{name: sources[name] for name in group if name in sources} for group in _GROUPS]
    answers: Dict[str, probe.Answer] = {}
    with ThreadPoolExecutor(len(groups)) as pool:
        for found in pool.map(lambda group: probe.ask_all(group, seconds) if group else {}, groups):
            answers.update(found)
    return answers["gpu"].value, _components(answers, root)


def _components(answers, root):
    fixes = fix_lines(root)
    found = {"python": Component(True, f"{platform.python_version()} ({sys.executable})")}
    for name in (name for name, package in PACKAGES.items() if package.probe):
        found[name] = _component(name, answers.get(name), fixes[name])
    found["tf_trt"] = _tf_trt(answers.get("tensorflow"), found["tensorflow"], fixes)
    found["windows"] = _windows(answers.get("cv2"), fixes["windows"])
    found["lab"] = _lab(root)
    found["export"] = _packages(EXTRAS["convert"], "pip install '.[convert]'")
    runtimes = answers["runtimes"]
    if runtimes.problem is not None:
        works = None if runtimes.problem.startswith(probe.TIMEOUT) else False
        found["runtimes"] = Component(works, runtimes.problem, RETRY)
    for name, (missing, package) in sorted((runtimes.value or {}).items()):
        fix = None if missing is None else fixes.get(package, f"pip install {package}")
        found["runtime " + name] = Component(missing is None, missing or "works", fix)
    return found


def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _component(name, answer, fix):
    if answer is None:
        return Component(False, "not installed", fix)
    if answer.problem is None:
        more = answer.value.get("parts", answer.value.get("providers"))
        contents = "" if more is None else f" with {', '.join(more) or 'neither GStreamer nor FFmpeg'}"
        return Component(True, answer.value["version"] + contents)
    version = device.versions().get(name, "")
    if answer.problem.startswith(probe.TIMEOUT):
        return Component(None, f"{version} installed; it did not load within the time limit".strip(), RETRY)
    return Component(False, f"{version} installed, but it does not load: {answer.problem}".strip(), fix)


def _tf_trt(answer, tensorflow, fixes):
    """Return whether TensorFlow has TF-TRT: only `is_tensorrt_enabled` is sure, its Python files are always there."""
    if answer is None or answer.problem is not None:
        if tensorflow.works is None:
            return Component(None, "not known", tensorflow.fix)
        return Component(False, "no TensorFlow", tensorflow.fix)
    version, found = answer.value["version"], answer.value["tf_trt"]
    if found is None:
        return Component(False, f"TensorFlow {version} has none", fixes["tf_trt"])
    enabled, linked = found
    if enabled:
        return Component(True, f"in TensorFlow, for TensorRT {'.'.join(map(str, linked))}")
    if linked == [0, 0, 0]:
        return Component(False, f"TensorFlow {version} was built without it", fixes["tf_trt"])
    return Component(False, f"in TensorFlow, but finds no TensorRT {'.'.join(map(str, linked))}", fixes["tensorrt"])


def _windows(answer, fix):
    if answer is None or answer.problem is not None:
        return Component(False, "no OpenCV")
    if answer.value["windows"]:
        return Component(True, "OpenCV can open them")
    return Component(False, "this OpenCV is built without windows", fix)


def _lab(root):
    """Return what training needs: a Python that TensorFlow 2.17 and Keras 3 support, and their packages."""
    if sys.version_info[:2] in LAB_PYTHON:
        return _packages(EXTRAS["train"], "pip install '.[train]'")
    text = "needs Python 3.11 or 3.12, this is {}.{}".format(*sys.version_info[:2])
    if jetpack.l4t(root):
        return Component(False, f"{text}; train on another machine")
    return Component(False, text, "make .venv/ready PYTHON=python3.11")


def _packages(names, fix):
    lacking = [name for name in names if not _installed(name)]
    return Component(False, f"lacks {', '.join(lacking)}", fix) if lacking else Component(True, ", ".join(names))


def fix_lines(root: str = "/") -> Dict[str, str]:
    """Return the line that installs each package on this kind of machine."""
    on_jetson = jetpack.l4t(root) is not None
    return {name: package.install_on_jetson if on_jetson else package.install for name, package in PACKAGES.items()}
