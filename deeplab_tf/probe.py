"""Asks a Python of its own: what would crash, hang, print, or fill the memory of this process does it there."""

import json
import os
import subprocess
import sys
from typing import NamedTuple, Optional

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MARK = "deeplab_tf.probe:"


class Answer(NamedTuple):
    """Of `ask`: `value` where `problem` is None."""

    value: object
    problem: Optional[str]


def environment() -> dict:
    """That of a child that imports this package from where it is."""
    paths = [PACKAGE] + [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths), TF_CPP_MIN_LOG_LEVEL="3", PYTHONIOENCODING="utf-8")


def ask(source: str, seconds: float) -> Answer:
    """Runs Python source that assigns `answer`, anything JSON can hold.

    Returns:
        the value, or why there is none: the last line of the error, the signal that ended it, or that it took too long.
    """
    tail = "\nimport json, sys\nsys.stdout.write('\\n{}' + json.dumps(answer) + '\\n')".format(_MARK)
    child = subprocess.Popen(
        [sys.executable, "-c", source + tail], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    try:
        out, complaints = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Answer(None, "no answer within {:.0f} s".format(seconds))
    lines = [line for line in out.decode("utf-8", "replace").splitlines() if line.startswith(_MARK)]
    if child.returncode == 0 and lines:
        return Answer(json.loads(lines[-1][len(_MARK) :]), None)
    return Answer(None, last_words(child.returncode, complaints.decode("utf-8", "replace")))


def last_words(code: int, complaints: str) -> str:
    """Why a process ended, in one line."""
    if code < 0:
        hint = ": out of memory?" if code == -9 else ""
        return "ended by signal {}{}".format(-code, hint)
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    return lines[-1] if lines else "ended with code {}".format(code)


def runtimes(seconds: float) -> Answer:
    """{name of each runtime: None where it works here, else what is missing}"""
    return ask("from deeplab_tf import runtimes\nanswer = {name: runtimes.module(name).missing() for name in runtimes.names()}", seconds)
