"""The house: rooms whose arrows point downward, no circles, a deploy floor that runs on a Jetson, and an instant
`--help`."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "deeplab_tf"
ROOMS = ("core", "synth", "deploy", "lab", "cli")
"""A room may import the rooms before it and itself."""
LAB_ROOMS = (
    "yaml_text",
    "schema",
    "data",
    "layouts",
    "models",
    "config",
    "workers",
    "checks",
    "runs",
    "evaluation",
    "export",
    "training",
    "pruning",
)
"""The same, inside the lab."""
DEPLOY_PARTIES = {"numpy", "cv2", "click", "deeplab_tf"}
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "yaml", "matplotlib", "onnx", "onnxruntime", "tensorrt")

FILES = sorted(PACKAGE.rglob("*.py"))
DEPLOY_FILES = [path for path in FILES if path.relative_to(PACKAGE).parts[0] != "lab"]
"""Everything but the lab: what is installed on a device."""


def short(path):
    return str(path.relative_to(PACKAGE))


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


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
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        waiting += ast.iter_child_nodes(node)
    return found


def imported_modules(path, *, inside_functions=True):
    """The package's own modules that a source imports; a name in a module counts as that module."""
    names = [name for name in imports(path, inside_functions=inside_functions) if name.startswith("deeplab_tf")]
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def room(name, rooms):
    """Where a module stands among the rooms, by its position; None for what is in none."""
    found = [i for i, each in enumerate(rooms) if each in name.split(".")[1:3]]
    return found[0] if found else None


def test_the_package_folder_shows_the_rooms():
    entries = {entry.name for entry in PACKAGE.iterdir() if entry.name != "__pycache__"}
    assert set(ROOMS) <= entries
    assert len(entries) <= 8


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_point_downward(path):
    name = module_name(path)
    here = room(name, ROOMS)
    for other in imported_modules(path):
        there = room(other, ROOMS)
        if here is not None and there is not None:
            assert there <= here, f"{name} imports upward: {other}"
        if name.startswith("deeplab_tf.lab.") and other.startswith("deeplab_tf.lab."):
            assert room(other[11:], LAB_ROOMS) <= room(name[11:], LAB_ROOMS), (
                f"{name} imports upward in the lab: {other}"
            )


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imported_modules(path) - {name} for name, path in MODULES.items()}
    done, above = set(), []

    def visit(name):
        assert name not in above, " -> ".join(above[above.index(name) :] + [name])
        if name in done:
            return
        above.append(name)
        for other in sorted(graph.get(name, ())):
            visit(other)
        done.add(above.pop())

    for name in sorted(graph):
        visit(name)


@pytest.mark.parametrize("path", DEPLOY_FILES, ids=short)
def test_the_deploy_floor_imports_only_what_a_jetson_has(path):
    for name in imports(path, inside_functions=False):
        top = name.split(".")[0]
        assert top in DEPLOY_PARTIES or top in sys.stdlib_module_names, f"{path} imports {name} at module level"
        assert not name.startswith("deeplab_tf.lab"), f"{path} imports the lab: {name}"


def test_the_walk_sees_imports_where_they_stand(tmp_path):
    source = tmp_path / "a.py"
    source.write_text(
        "import os\ntry:\n    import yaml\nexcept ImportError:\n    pass\ndef f():\n    from deeplab_tf.lab.data "
        "import split\n"
    )
    assert sorted(imports(source, inside_functions=False)) == ["os", "yaml"]
    assert imported_modules(source) == {"deeplab_tf.lab.data.split"}


def test_the_deploy_floor_is_python_3_6():
    run = "import sys, vermin; sys.exit(vermin.main())"
    command = [sys.executable, "-c", run, "-t=3.6-", "--no-tips", "--violations", "--processes=1"]
    command += [str(path) for path in DEPLOY_FILES]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout.decode()


def test_the_deploy_floor_and_every_help_load_nothing_heavy():
    source = f"""
import importlib, sys
for name in {[module_name(path) for path in DEPLOY_FILES]}: importlib.import_module(name)
from click.testing import CliRunner
from deeplab_tf.cli import group
for name in [None] + group.list_commands(None):
    result = CliRunner().invoke(group, [name, '--help'] if name else ['--help'])
    assert result.exit_code == 0, result.output
print(' '.join(name for name in {HEAVY} if name in sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    assert loaded == []


def test_help_loads_only_click_and_takes_under_a_second():
    source = f"""
import sys
from click.testing import CliRunner
from deeplab_tf.cli import group
assert CliRunner().invoke(group, ['--help']).exit_code == 0
print(' '.join(name for name in {("numpy", "cv2", *HEAVY)} if name in sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    assert loaded == [], "a command imports these for its help; import them inside its function"
    before = sum(os.times()[2:4])  # the processor time of children: a busy machine does not change it
    subprocess.run([sys.executable, "-m", "deeplab_tf", "--help"], stdout=subprocess.DEVNULL, check=True)
    assert sum(os.times()[2:4]) - before < 1.0
