"""The wheel: it holds the whole package and nothing else, and its command starts where only click is installed."""

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import deeplab_tf

ROOT = Path(__file__).parent.parent


def call(*command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout.decode()
    return result.stdout.decode()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves files beside its sources."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "deeplab_tf", source / "deeplab_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", source / "wheels"]
    alone = [] if find_spec("setuptools") is None or find_spec("wheel") is None else ["--no-build-isolation"]
    call(*pip, *alone, source)
    (path,) = (source / "wheels").iterdir()
    return path


def test_the_wheel_holds_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [path for path in (ROOT / "deeplab_tf").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {name for name in names if ".dist-info/" not in name} == {str(path.relative_to(ROOT)) for path in sources}
    assert {"deeplab_tf/py.typed", "deeplab_tf/deploy/video/page_files/index.html"} <= names
    assert wheel.name.startswith(f"deeplab_tf-{deeplab_tf.__version__}-py3-none-any")


def test_the_wheel_installs_into_an_empty_environment(wheel, tmp_path):
    import click

    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    shutil.copytree(Path(click.__file__).parent, packages / "click")
    help_text = call(tmp_path / "venv" / "bin" / "deeplab-tf", "--help")
    assert "stream" in help_text and "train" in help_text
    assert deeplab_tf.__version__ in call(tmp_path / "venv" / "bin" / "deeplab-tf", "--version")
    call(python, "-I", "-c", "import deeplab_tf")
