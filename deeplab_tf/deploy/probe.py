"""Run Python in a child process, because it may crash, hang, print, or fill the memory."""

import json
import os
import subprocess
import sys
from typing import Any, Dict, NamedTuple, Optional

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMEOUT = "no answer within"
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
    """The result of `ask`: a value, or the problem why there is none."""

    value: Any
    problem: Optional[str]


def environment() -> dict:
    """Return the environment of a child process that imports this package."""
    paths = [PACKAGE] + [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths), TF_CPP_MIN_LOG_LEVEL="3", PYTHONIOENCODING="utf-8")


def ask(source: str, seconds: float) -> Answer:
    """Run Python source that assigns `answer`, anything JSON can hold.

    Returns:
        the value, or the problem: the last line of the error, the signal that ended it, or a timeout.
    """
    return ask_all({"answer": source}, seconds)["answer"]


def ask_all(sources: Dict[str, str], seconds: float) -> Dict[str, Answer]:
    """Run several sources by name, as `ask` does, one after the other in one process; `seconds` is for all of them.

    One that raises does not keep the next from its answer; one that ends the process does.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(list(sources.items()))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        out, errors = child.communicate(timeout=seconds)
        problem = last_words(child.returncode, errors.decode("utf-8", "replace"))
    except subprocess.TimeoutExpired:
        child.kill()
        out, _ = child.communicate()
        problem = f"{TIMEOUT} {seconds:.0f} s"
    except BaseException:
        child.kill()
        child.wait()
        raise
    lines = [line[len(_MARK) :] for line in out.decode("utf-8", "replace").splitlines() if line.startswith(_MARK)]
    answers = {name: Answer(value, failure) for name, value, failure in map(json.loads, lines)}
    return {name: answers.get(name, Answer(None, problem)) for name in sources}


def last_words(code: int, errors: str) -> str:
    """Return why a process ended, in one line."""
    if code < 0:
        hint = ": out of memory?" if code == -9 else ""
        return f"ended by signal {-code}{hint}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else f"ended with code {code}"
