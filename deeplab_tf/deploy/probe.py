"""Asks a Python of its own: what would crash, hang, print, or fill the memory of this process does it there."""

import json
import os
import subprocess
import sys
from typing import Dict, NamedTuple, Optional

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOO_LONG = "no answer within"
_MARK = "deeplab_tf.deploy.probe:"
_PROGRAM = """
import json, sys
for name, source in json.loads(sys.argv[1]):
    scope = {}
    try:
        exec(source, scope)
        found = [name, scope["answer"], None]
    except BaseException as error:
        found = [name, None, "{}: {}".format(type(error).__name__, " ".join(str(error).split()))]
    sys.stdout.write("\\nMARK" + json.dumps(found) + "\\n")
    sys.stdout.flush()
""".replace("MARK", _MARK)


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
    return ask_all({"answer": source}, seconds)["answer"]


def ask_all(sources: Dict[str, str], seconds: float) -> Dict[str, Answer]:
    """As `ask`, several questions by name, in one process, one after the other; `seconds` is for all of them.

    One that fails does not keep the next from its answer; one that ends the process does.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(list(sources.items()))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        out, complaints = child.communicate(timeout=seconds)
        problem = last_words(child.returncode, complaints.decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        child.kill()
        out, _ = child.communicate()
        problem = f"{TOO_LONG} {seconds:.0f} s"
    lines = [line[len(_MARK) :] for line in out.decode("utf-8", "replace").splitlines() if line.startswith(_MARK)]
    answers = {name: Answer(value, failure) for name, value, failure in map(json.loads, lines)}
    return {name: answers.get(name, Answer(None, problem)) for name in sources}


def last_words(code: int, complaints: str) -> str:
    """Why a process ended, in one line."""
    if code < 0:
        hint = ": out of memory?" if code == -9 else ""
        return f"ended by signal {-code}{hint}"
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with code {code}"


RUNTIMES = (
    "from deeplab_tf.deploy import runtimes\nanswer = "
    "{name: runtimes.module(name).missing() for name in runtimes.names()}"
)
"""Asks for {name of each runtime: None where it works here, else what is missing}."""
