"""The two floors: what runs on a Jetson (Python 3.6, NumPy, OpenCV, click) never imports the lab, and help is instant."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "deeplab_tf"
LAB = {"data", "models", "training", "evaluation", "export", "pruning"}
GROUND_PARTIES = {"numpy", "cv2", "click", "deeplab_tf"}
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "yaml", "matplotlib", "onnx", "onnxruntime", "tensorrt")

GROUND_FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in LAB]


def short(path):
    return str(path.relative_to(PACKAGE))


def imports(path, *, inside_functions):
    """Full names of the modules that a source imports, at module level or anywhere."""
    found = []
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "{} imports relatively; write the whole name".format(path)
            found += ["{}.{}".format(node.module, alias.name) for alias in node.names]
        waiting += ast.iter_child_nodes(node)
    return found


def is_lab(name):
    parts = name.split(".")
    return parts[0] == "deeplab_tf" and len(parts) > 1 and parts[1] in LAB


@pytest.mark.parametrize("path", GROUND_FILES, ids=short)
def test_ground_floor_imports_only_what_a_jetson_has(path):
    for name in imports(path, inside_functions=False):
        top = name.split(".")[0]
        assert top in GROUND_PARTIES or top in sys.stdlib_module_names, "{} imports {} at module level".format(path, name)
        assert not is_lab(name), "{} imports the lab: {}".format(path, name)


@pytest.mark.parametrize("path", [path for path in GROUND_FILES if path.parent.name != "cli"], ids=short)
def test_only_commands_reach_up_to_the_lab(path):
    reached = [name for name in imports(path, inside_functions=True) if is_lab(name)]
    assert not reached, "{} imports the lab: {}".format(path, reached)


def test_the_walk_sees_imports_where_they_stand(tmp_path):
    source = tmp_path / "a.py"
    source.write_text("import os\ntry:\n    import yaml\nexcept ImportError:\n    pass\ndef f():\n    from deeplab_tf.data import split\n")
    assert sorted(imports(source, inside_functions=False)) == ["os", "yaml"]
    assert [name for name in imports(source, inside_functions=True) if is_lab(name)] == ["deeplab_tf.data.split"]


def test_ground_floor_is_python_3_6():
    run = "import sys, vermin; sys.exit(vermin.main())"
    command = [sys.executable, "-c", run, "-t=3.6-", "--no-tips", "--violations", "--processes=1"]
    result = subprocess.run(command + [str(path) for path in GROUND_FILES], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout.decode()


def test_ground_floor_and_every_help_load_nothing_heavy():
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in GROUND_FILES]
    names = [name[: -len(".__init__")] if name.endswith(".__init__") else name for name in names]
    source = (
        "import importlib, sys\n"
        "for name in {}: importlib.import_module(name)\n"
        "from click.testing import CliRunner\n"
        "from deeplab_tf.cli import group\n"
        "for name in [None] + group.list_commands(None):\n"
        "    result = CliRunner().invoke(group, [name, '--help'] if name else ['--help'])\n"
        "    assert result.exit_code == 0, result.output\n"
        "print(' '.join(name for name in {} if name in sys.modules))\n"
    ).format(names, HEAVY)
    loaded = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    assert loaded == []


def test_help_loads_only_click_and_takes_under_a_second():
    source = (
        "import sys\nfrom click.testing import CliRunner\nfrom deeplab_tf.cli import group\n"
        "assert CliRunner().invoke(group, ['--help']).exit_code == 0\n"
        "print(' '.join(name for name in ('numpy', 'cv2') + {} if name in sys.modules))\n"
    ).format(HEAVY)
    loaded = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    assert loaded == [], "a command imports these for its help; import them inside its function"
    before = sum(os.times()[2:4])  # the processor time of children: a busy machine does not change it
    subprocess.run([sys.executable, "-m", "deeplab_tf", "--help"], stdout=subprocess.DEVNULL, check=True)
    assert sum(os.times()[2:4]) - before < 1.0
