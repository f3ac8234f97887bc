"""The scripts that make environments with another Python: what they say where there is none, and where all is done."""

import os
import shutil
import subprocess

import pytest
from environments import ROOT

SCRIPTS = {"jetson.sh": "3.6", "tf_trt.sh": "3.10"}


def run(script, folder, home):
    """(exit code, standard output, standard error) where the path holds nothing but `dirname`, and an older Python that
    says so."""
    (home / "bin").mkdir()
    (home / "bin" / "dirname").symlink_to(shutil.which("dirname"))
    for name in ("python3.6", "python3.10"):
        (home / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (home / "bin" / name).chmod(0o755)
    variables = {"PATH": str(home / "bin"), "HOME": str(home)}
    call = [shutil.which("sh"), str(ROOT / "tools" / "environments" / script), str(folder)]
    result = subprocess.run(call, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


@pytest.mark.parametrize("script, version", SCRIPTS.items())
def test_a_missing_python_is_one_sentence_and_exit_code_3(script, version, tmp_path):
    code, _, said = run(script, tmp_path / "environment", tmp_path)
    assert code == 3
    assert said.startswith(f"Python {version} is not on the path") and "PYTHON=" in said
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_ready_is_left_alone_unless_the_script_is_newer(script, tmp_path):
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "ready").touch()
    future = os.stat(ROOT / "tools" / "environments" / script).st_mtime + 10
    os.utime(folder / "ready", (future, future))
    home = tmp_path / "home"
    home.mkdir()
    assert run(script, folder, home) == (0, f"{folder} is ready\n", "")
    os.utime(folder / "ready", (1, 1))
    shutil.rmtree(str(home / "bin"))
    assert run(script, folder, home)[0] == 3
