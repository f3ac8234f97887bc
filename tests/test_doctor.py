"""`doctor`: it tells what is there and what to run, on odd machines too, and knows what each command needs."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.deploy import device, probe
from deeplab_tf.deploy.doctor import commands, machine, parts, text
from deeplab_tf.deploy.doctor.parts import Part
from deeplab_tf.deploy.probe import Answer

CLI = Path(commands.__file__).parents[2] / "cli"


@pytest.mark.alone
def test_the_report_names_every_command_and_is_quick(tmp_path):
    start = time.monotonic()
    result = CliRunner().invoke(group, ["doctor", "--json", str(tmp_path / "a.json"), "--limit", "4"])
    assert time.monotonic() - start < 6.0
    assert result.exit_code == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert sorted(report["commands"]) == group.list_commands(None)
    assert report["machine"]["processor"] == device.processor() and report["machine"]["memory_mb"] > 100
    assert report["parts"]["python"]["text"].startswith("{}.{}.".format(*sys.version_info[:2]))
    assert report["commands"]["doctor"] == {"works": True, "lacks": [], "fixes": []}
    for title in ("Machine", "Software", "Commands"):
        assert title in result.output.splitlines()


def test_it_needs_the_standard_library_and_click_alone(tmp_path):
    """Runs where neither NumPy nor OpenCV can be imported, as on a machine where nothing is installed yet."""
    for name in ("numpy", "cv2", "tensorflow", "onnxruntime", "tensorrt"):
        (tmp_path / (name + ".py")).write_text("raise ImportError('broken for this test')\n")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(CLI.parent.parent)]), LANG="C.UTF-8")
    command = [sys.executable, "-m", "deeplab_tf", "doctor", "--json", "-", "--limit", "30"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    report = json.loads(done.stdout.decode())
    # probes put the package before PYTHONPATH; there is nothing of these names in it
    for name in ("numpy", "cv2", "tensorflow"):
        assert report["parts"][name]["works"] is False and "broken for this test" in report["parts"][name]["text"]
    assert report["commands"]["stream"]["works"] is False
    assert "pip install opencv-python-headless" in report["commands"]["sample"]["fixes"]


def reached(name):
    """The packages of the lab that a command imports, inside functions too."""
    tree = ast.parse((CLI / (name.replace("-", "_") + ".py")).read_text(encoding="utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    found = {"lab" for module in modules if module.startswith("deeplab_tf.lab.")}
    return found | {"runtimes" for module in modules if module.startswith("deeplab_tf.deploy.runtimes")}


@pytest.mark.parametrize("name", commands.names())
def test_what_a_command_imports_is_among_its_needs(name):
    needs = " ".join([*commands.NEEDS.get(name, ()), *(need for need, _ in commands.EXTRAS.get(name, ()))])
    for package in reached(name):
        assert ("runtime" if package == "runtimes" else "lab") in needs or "lab" in needs, f"{name} imports {package}"


def everything(**changes):
    """The parts of a machine that has all, with some changed."""
    names = (
        "python",
        "numpy",
        "cv2",
        "tensorflow",
        "tensorrt",
        "onnxruntime",
        "tornado",
        "tf_trt",
        "windows",
        "lab",
        "export",
    )
    found = {name: Part(True, "1.0") for name in names}
    found["runtime onnx"] = Part(True, "works")
    return dict(found, **changes)


def row(name, **changes):
    return next(command for command in commands.examine(everything(**changes)) if command.name == name)


def test_commands_lack_what_they_need_and_nothing_else():
    assert all(command.works for command in commands.examine(everything()))
    no_lab = {"lab": Part(False, "lacks keras", "pip install '.[train]'")}
    assert row("train", **no_lab) == ("train", False, ["lab: lacks keras"], ["pip install '.[train]'"])
    assert row("stream", **no_lab).works and row("score", **no_lab).works
    assert row("evaluate", **no_lab).works, "a bundle can still be evaluated by a runtime"
    no_runtime = {"runtime onnx": Part(False, "ONNX Runtime is not installed.", "pip install onnxruntime")}
    assert row("stream", **no_runtime) == ("stream", False, ["no runtime works here"], ["pip install onnxruntime"])
    no_page = {"tornado": Part(False, "not installed", "pip install tornado")}
    assert row("stream", **no_page) == (
        "stream",
        True,
        ["--serve needs tornado: not installed"],
        ["pip install tornado"],
    )
    slow = {"numpy": Part(None, "it was not loaded in the time given", parts.LONGER)}
    assert row("score", **slow).works is None and row("score", **slow).fixes == [parts.LONGER]


@pytest.mark.parametrize(
    "answer, works, said",
    [
        (Answer({"version": "2.17.1", "tf_trt": [True, [8, 6, 1]]}, None), True, "in TensorFlow, for TensorRT 8.6.1"),
        (
            Answer({"version": "2.17.1", "tf_trt": [False, [8, 6, 1]]}, None),
            False,
            "in TensorFlow, but finds no TensorRT 8.6.1",
        ),
        (
            Answer({"version": "2.6.2", "tf_trt": [False, [0, 0, 0]]}, None),
            False,
            "TensorFlow 2.6.2 was built without it",
        ),
        (Answer({"version": "2.18.0", "tf_trt": None}, None), False, "TensorFlow 2.18.0 has none"),
        (Answer(None, "ImportError: libcudart"), False, "no TensorFlow"),
    ],
)
def test_tf_trt_is_believed_only_where_tensorflow_says_so(answer, works, said):
    tensorflow = Part(answer.problem is None, "")
    found = parts._tf_trt(answer, tensorflow, {"tf_trt": "a", "tensorrt": "b"})
    assert (found.works, found.text) == (works, said)


def test_advice_fits_the_machine(tmp_path):
    assert parts.fix_lines(str(tmp_path))["cv2"] == "pip install opencv-python-headless"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text("# R32 (release), REVISION: 7.1\n")
    advice = parts.fix_lines(str(tmp_path))
    assert advice["cv2"] == advice["windows"] == "sudo apt-get install python3-opencv", (
        "a wheel would hide JetPack's own OpenCV"
    )
    for line in advice.values():
        assert "pip" not in line


def test_a_machine_of_another_kind_tells_nothing_and_harms_nothing(tmp_path):
    facts = machine.facts(str(tmp_path))
    assert (
        facts["cameras"] == []
        and facts["cuda"] is None
        and facts["memory_mb"] is None
        and facts["temperature_c"] is None
    )
    told = text.text(dict(facts, gpu=None), {"python": Part(True, "3")}, [], [])
    assert "no NVIDIA GPU" in told and "None" not in told


def test_cameras_and_cuda_of_a_file_system(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "video0").write_text("")
    (tmp_path / "sys/class/video4linux/video0").mkdir(parents=True)
    (tmp_path / "sys/class/video4linux/video0/name").write_text("Webcam C270\n")
    (tmp_path / "usr/local/cuda").mkdir(parents=True)
    assert machine.cameras(str(tmp_path)) == [{"device": "/dev/video0", "name": "Webcam C270", "open": True}]
    (tmp_path / "usr/local/cuda/version.txt").write_text("CUDA Version 10.2.300\n")
    assert machine.cuda(str(tmp_path)) == "10.2.300"
    (tmp_path / "usr/local/cuda/version.json").write_text(json.dumps({"cuda": {"version": "11.4.19"}}))
    assert machine.cuda(str(tmp_path)) == "11.4.19"


def test_one_part_that_ends_its_process_is_told_and_hides_no_other():
    answers = probe.ask_all({"good": "answer = 1", "bad": "import os; os.kill(os.getpid(), 11)"}, 30.0)
    assert answers["good"].value == 1 and answers["bad"].problem == "ended by signal 11"
    found = parts._part("onnxruntime", answers["bad"], "pip install onnxruntime")
    assert found.works is False and found.text.endswith("installed, but it does not load: ended by signal 11")
