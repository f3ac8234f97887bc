"""Environments beside .venv, for tests that need another Python. Where one is missing the test is skipped, and told
what makes it."""

import importlib
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def python36():
    """The Python of .venv-py36: Python 3.6 and TensorFlow 2.6, as on a Jetson Nano."""
    return _python(".venv-py36", "DEEPLAB_PY36_ENVIRONMENT", "tools/environments/jetson.sh")


def tf_trt_python():
    """The Python of .venv-tftrt: TensorFlow 2.14 with TF-TRT and TensorRT 8.5. It needs the variables of env.sh beside
    it."""
    return _python(".venv-tftrt", "DEEPLAB_TF_TRT_ENVIRONMENT", "tools/environments/tf_trt.sh")


def cityscapes_scripts():
    """cityscapesScripts' evaluation of pixel labels, for comparison. A Jetson's Python does without."""
    if sys.version_info[:2] == (3, 6):
        pytest.skip("cityscapesScripts is not installed with Python 3.6")
    return importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")


def beam():
    """Python with Apache Beam; skips the test where there is none."""
    return _python(".venv-beam", "DEEPLAB_BEAM_ENVIRONMENT", "tools/environments/beam.sh")


def trackeval():
    """Python with TrackEval; skips the test where there is none."""
    return _python(".venv-trackeval", "DEEPLAB_TRACKEVAL_ENVIRONMENT", "tools/environments/trackeval.sh")


def _python(name, variable, script):
    folder = Path(os.environ.get(variable) or ROOT / name)
    if not (folder / "ready").is_file():
        pytest.skip(f"no {name}; sh {script} makes it")
    return str(folder / "bin" / "python")
