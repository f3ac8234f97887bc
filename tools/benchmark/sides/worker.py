"""A process that repeats one piece of work on request, and the handle to it; standard library only.

Each side of a comparison runs in its own process, because they need different libraries and thread pools. A side is a
file here that ends with `serve(prepare)`; `prepare` gets the options and returns a description and the work.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


class WorkerError(Exception):
    """A side failed; the message names it and the reason."""


class Worker:
    """A handle to the process of one side."""

    def __init__(self, python, program, options):
        variables = {
            "OMP_NUM_THREADS": str(options["threads"]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
        }
        path = [str(FOLDER.parents[2]), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
        command = [str(python), str(FOLDER / (program + ".py")), json.dumps(options)]
        self.program = program
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
        )
        self.about = self._answer()

    def seconds(self, count):
        """Return the seconds of each of `count` repetitions."""
        print(count, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise WorkerError(f"{self.program} ended early (exit {self.process.returncode})")
        return json.loads(line)

    def close(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):  # it may have ended already
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(prepare):
    """Run the side: send its description, then repeat the work on request until standard input ends.

    Args:
        prepare: gets the options, returns (about, work): a dict for the report, and a function without arguments that
            is timed, or an object with `seconds(count)` that times itself.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes to stderr
    about, work = prepare(json.loads(sys.argv[1]))
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        count = int(line)
        found = work.seconds(count) if hasattr(work, "seconds") else [timed(work) for _ in range(count)]
        print(json.dumps(found), file=answers, flush=True)


def named(title, package):
    """Return the title with the version of an installed package."""
    from importlib import metadata

    return f"{title} {metadata.version(package)}" if package else title


def timed(work):
    """Return the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
