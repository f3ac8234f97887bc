"""The folder for a Jetson, as far as a machine without one can check it: it parses, it is pinned, and it names what
exists."""

import configparser
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import click
import pytest
import tiny_bundle

from deeplab_tf.cli import group

ROOT = Path(__file__).parent.parent
JETSON = ROOT / "jetson"
REQUIREMENTS = sorted(JETSON.glob("requirements-*.txt"))
PYTHONS = {"4": "36", "5": "38", "6": "310"}


@pytest.fixture(scope="module")
def compare_paths():
    spec = importlib.util.spec_from_file_location("compare_paths", JETSON / "compare_paths.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(JETSON.glob("*.sh")), ids=lambda path: path.name)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_scripts_parse_and_refuse_other_machines(path, shell):
    subprocess.run([shell, "-n", str(path)], check=True)
    if not Path("/etc/nv_tegra_release").exists():
        refused = subprocess.run([shell, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert refused.returncode == 1 and len(refused.stderr.decode().splitlines()) == 1


def test_every_jetpack_has_its_requirements_and_its_container():
    assert [path.name for path in REQUIREMENTS] == [f"requirements-jetpack{number}.txt" for number in "456"]
    script = (JETSON / "install.sh").read_text()
    assert re.findall(r"jetpack=(\d); python=python3\.(\d+)", script) == [("4", "6"), ("5", "8"), ("6", "10")]
    for number in "456":
        text = (JETSON / f"Dockerfile.jetpack{number}").read_text()
        assert re.search(r"^FROM nvcr\.io/nvidia/l4t-\w+:r3\d\.\d\.\d", text, re.MULTILINE)
        for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
            assert all((ROOT / name).exists() for name in source.split())


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_pinned_and_leave_jetpacks_own_alone(path):
    lines = [line.split("  #")[0].strip() for line in path.read_text().splitlines() if not line.startswith("#")]
    names = {re.split(r"==| @ ", line)[0].lower() for line in lines}
    assert {"numpy", "click", "tornado", "onnxruntime", "tensorflow"} <= names
    assert not names & {"opencv-python", "opencv-python-headless", "tensorrt"}, "a wheel would hide JetPack's own"
    python = PYTHONS[re.search(r"(\d)\.txt", path.name)[1]]
    for line in lines:
        assert re.match(r"[\w-]+==[\w.]+$", line) or re.match(
            r"tensorflow @ https://developer\.download\.nvidia\.com/.*\.whl$", line
        ), line
    assert f"-cp{python}-" in lines[-1] and lines[-1].endswith("_aarch64.whl")


def test_the_service_is_watched_and_runs_a_command_that_exists(monkeypatch):
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str
    unit.read(str(JETSON / "deeplab-stream.service"))
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"], service["Restart"]) == ("notify", "main", "always")
    assert 5 <= int(service["WatchdogSec"]) <= 120, "the stream notifies once a second"
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    values = dict(
        line.split("=", 1) for line in (JETSON / "deeplab-stream.env").read_text().splitlines() if line[:1] not in "#"
    )
    assert values["BUNDLE"] + " " in (JETSON / "deeplab-stream.service").read_text(), "where the head says to copy it"
    assert "DEEPLAB_TF_SOURCE" not in service["ExecStart"], "ps would show its password"
    monkeypatch.setenv("DEEPLAB_TF_SOURCE", values["DEEPLAB_TF_SOURCE"].strip('"'))
    program, *words = shlex.split(re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], service["ExecStart"]))
    assert program.endswith("/bin/deeplab-tf") and words[0] == "stream"
    with click.Context(group, info_name="deeplab-tf") as parent:
        command = group.get_command(parent, "stream")
        with command.make_context("stream", list(words[1:]), parent=parent) as context:
            assert context.params["serve"] == ("127.0.0.1", 8080) and context.params["uris"][0].startswith("csi://")


def test_the_runner_is_python_3_6():
    run = "import sys, vermin; sys.exit(vermin.main())"
    command = [
        sys.executable,
        "-c",
        run,
        "-t=3.6-",
        "--no-tips",
        "--violations",
        "--processes=1",
        str(JETSON / "compare_paths.py"),
    ]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout.decode()


def test_numbers_are_not_believed_while_clocks_may_fall(compare_paths, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        compare_paths.jetpack,
        "problems",
        lambda: ["Clocks may fall (gpu): sudo jetson_clocks locks them at their maximum."],
    )
    assert compare_paths.main(["bundle", "--out", str(tmp_path / "report")]) == 1
    assert capsys.readouterr().err.startswith("Error: Numbers would mislead. Clocks may fall (gpu): sudo jetson_clocks")
    assert not (tmp_path / "report").exists()
    assert compare_paths.main([str(tmp_path), "--out", "report", "--anyway"]) == 1
    assert "has no bundle.json in it" in capsys.readouterr().err, "it went on"


def test_the_report_holds_what_was_found(compare_paths, monkeypatch, tmp_path, capsys):
    """Where there is no GPU: ONNX Runtime takes the place of both paths, and an engine that cannot be built is
    reported, not run."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    bundle = tiny_bundle.write_bundle(tmp_path / "bundle", size=(32, 48))
    chosen = [
        compare_paths.Variant(*variant) for variant in (("onnx", "float32"), ("tensorrt", "float16"), ("onnx", "int8"))
    ]
    monkeypatch.setattr(compare_paths, "variants", lambda wanted, opened, missing: chosen)
    monkeypatch.setattr(compare_paths.jetpack, "problems", lambda: ["The power mode is 1 (5W)."])
    out = tmp_path / "report"
    options = ["--source", "sample://?size=32x48", "--frames", "2", "--seconds", "0", "--anyway"]
    assert compare_paths.main([bundle.path, "--out", str(out)] + options) == 0
    report = json.loads((out / "report.json").read_text())
    assert [(row["name"], row["precision"]) for row in report["runtimes"]] == [("onnx", "float32"), ("onnx", "int8")]
    (engine,) = report["built"]
    assert engine["error"] and engine["seconds"] is None
    assert (
        "The power mode is 1 (5W)." in report["warnings"]
        and report["bundle_info"]["label_stride"] == tiny_bundle.STRIDE
    )
    with tarfile.open(str(out / "report.tar.gz")) as packed:
        assert sorted(packed.getnames()) == [
            "report/disagreement_onnx_int8.png",
            "report/report.json",
            "report/report.md",
        ]
    text = (out / "report.md").read_text()
    assert "Warning: The power mode is 1 (5W)." in text and "| tensorrt:float16 | " in text
    assert str(out / "report.tar.gz") in capsys.readouterr().out
