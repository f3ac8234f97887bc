"""`doctor`: it reports what is there and what to run, on odd machines too, and knows what each command needs."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from deeplab_tf.cli import doctor, group
from deeplab_tf.deploy import device, probe
from deeplab_tf.deploy.doctor import commands, machine, software
from deeplab_tf.deploy.doctor.software import Component
from deeplab_tf.deploy.doctor.summary import summary
from deeplab_tf.deploy.probe import Answer

CLI = Path(doctor.__file__).parent


@pytest.mark.alone
def test_the_report_names_every_command_and_is_quick(tmp_path):
    start = time.monotonic()
    result = CliRunner().invoke(group, ["doctor", "--json", str(tmp_path / "a.json"), "--limit", "4"])
    assert time.monotonic() - start < 6.0
    assert result.exit_code == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert sorted(report["commands"]) == group.list_commands(None)
    assert report["machine"]["processor"] == device.processor() and report["machine"]["memory_mb"] > 100
    assert report["software"]["python"]["text"].startswith("{}.{}.".format(*sys.version_info[:2]))
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
        assert report["software"][name]["works"] is False and "broken for this test" in report["software"][name]["text"]
    assert report["commands"]["stream"]["works"] is False
    assert "pip install opencv-python-headless" in report["commands"]["sample"]["fixes"]


def reached(name):
    """The packages of the lab that a command imports, inside functions too."""
    tree = ast.parse((CLI / (name.replace("-", "_") + ".py")).read_text(encoding="utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    found = {"lab" for module in modules if module.startswith("deeplab_tf.lab.")}
    return found | {"runtimes" for module in modules if module.startswith("deeplab_tf.deploy.runtimes")}


@pytest.mark.parametrize("name", group.list_commands(None))
def test_what_a_command_imports_is_among_its_needs(name):
    required = doctor.requirements()[name]
    needs = " ".join([*required.needs, *required.option_needs.values()])
    for package in reached(name):
        assert ("runtime" if package == "runtimes" else "lab") in needs or "lab" in needs, f"{name} imports {package}"


def everything(**changes):
    """The components of a machine that has all, with some changed."""
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
    found = {name: Component(True, "1.0") for name in names}
    found["runtime onnx"] = Component(True, "works")
    return dict(found, **changes)


def examine(**changes):
    return commands.examine(doctor.requirements(), everything(**changes))


def row(name, **changes):
    return next(command for command in examine(**changes) if command.name == name)


def test_commands_lack_what_they_need_and_nothing_else():
    assert all(command.works for command in examine())
    no_lab = {"lab": Component(False, "lacks keras", "pip install '.[train]'")}
    assert row("train", **no_lab) == ("train", False, ["lab: lacks keras"], ["pip install '.[train]'"])
    assert row("stream", **no_lab).works and row("score", **no_lab).works
    assert not row("evaluate", **no_lab).works, "also of a bundle: its dataset and its metrics are the lab's"
    no_runtime = {"runtime onnx": Component(False, "ONNX Runtime is not installed.", "pip install onnxruntime")}
    assert row("stream", **no_runtime) == ("stream", False, ["no runtime works here"], ["pip install onnxruntime"])
    no_page = {"tornado": Component(False, "not installed", "pip install tornado")}
    assert row("stream", **no_page) == (
        "stream",
        True,
        ["--serve needs tornado: not installed"],
        ["pip install tornado"],
    )
    slow = {"numpy": Component(None, "it did not load within the time limit", software.RETRY)}
    assert row("score", **slow).works is None and row("score", **slow).fixes == [software.RETRY]


@pytest.mark.parametrize(
    "answer, works, text",
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
def test_tf_trt_works_only_if_tensorflow_says_so(answer, works, text):
    tensorflow = Component(answer.problem is None, "")
    found = software._tf_trt(answer, tensorflow, {"tf_trt": "a", "tensorrt": "b"})
    assert (found.works, found.text) == (works, text)


def test_convert_works_on_a_device_without_the_lab():
    """From a bundle: a run needs the lab."""
    lacking = Component(False, "lacks keras", "pip install '.[train]'")
    assert row("convert", lab=lacking).works
    onnx = Component(False, "ONNX Runtime is not installed.", "pip install onnxruntime")
    assert row("convert", lab=lacking, **{"runtime onnx": onnx}).works is False


def test_a_runtimes_package_is_what_installs_it(tmp_path):
    """Also a package that the doctor does not know."""
    answers = {"runtimes": Answer({"onnx": ["missing", "onnxruntime"], "new": ["missing", "some_sdk"]}, None)}
    found = software._components(answers, str(tmp_path))
    assert found["runtime onnx"].fix == "pip install onnxruntime"
    assert found["runtime new"].fix == "pip install some_sdk"


def test_advice_fits_the_machine(tmp_path):
    assert software.fix_lines(str(tmp_path))["cv2"] == "pip install opencv-python-headless"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nv_tegra_release").write_text("# R32 (release), REVISION: 7.1\n")
    advice = software.fix_lines(str(tmp_path))
    assert advice["cv2"] == advice["windows"] == "sudo apt-get install python3-opencv", (
        "a wheel would hide JetPack's own OpenCV"
    )
    for line in advice.values():
        assert "pip" not in line


def test_the_processors_features_are_listed(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("model name\t: A CPU\nflags\t\t: avx avx2 avx512_vnni\n")
    facts = machine.facts(str(tmp_path))
    text = summary(dict(facts, gpu=None), {"python": Component(True, "3")}, [], [])
    assert facts["features"] == ["AVX", "AVX2", "VNNI"]
    assert "  features      AVX, AVX2, VNNI\n" in text


def test_a_machine_of_another_kind_has_no_facts(tmp_path):
    facts = machine.facts(str(tmp_path))
    assert (
        facts["cameras"] == []
        and facts["cuda"] is None
        and facts["memory_mb"] is None
        and facts["temperature_c"] is None
    )
    text = summary(dict(facts, gpu=None), {"python": Component(True, "3")}, [], [])
    assert "no NVIDIA GPU" in text and "None" not in text


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


def test_a_crash_hides_no_other_component():
    answers = probe.ask_all({"good": "answer = 1", "bad": "import os; os.kill(os.getpid(), 11)"}, 30.0)
    assert answers["good"].value == 1 and answers["bad"].problem == "ended by signal 11"
    found = software._component("onnxruntime", answers["bad"], "pip install onnxruntime")
    assert found.works is False and found.text.endswith("installed, but it does not load: ended by signal 11")
