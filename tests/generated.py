"""Generated inputs: run a command on each, and hold what every command promises whatever it is given.

`check` runs one command line in this process and asserts that it ended in 0, 1 or 2, within five seconds, with one
sentence and no traceback where it failed, and that no input file changed. Every distinct input is counted;
pytest prints the total, of all its processes, at its end.
"""

import contextlib
import hashlib
import os
import signal

import hypothesis
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.files import files_below

SECONDS = 5
"""The longest that a command may take for a generated input, all of which are tiny."""
seen = set()
"""Digests of the inputs so far, in this process."""


def examples(count):
    """Return hypothesis's settings: `count` inputs, the same in every run, and no time limit but that of `check`."""
    return hypothesis.settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def count(*parts):
    """Count an input once, by what it consists of."""
    seen.add(hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest())


def check(arguments, *, inputs=(), counted=None):
    """Run `deeplab-tf ARGUMENTS` and return click's result, once all promises hold.

    Args:
        inputs: files and folders that must not change; a folder may get new files.
        counted: what makes this input distinct; the arguments where None.
    """
    arguments = [str(part) for part in arguments]
    count(arguments if counted is None else counted)
    before = _contents(inputs)
    with time_limit(arguments):
        result = CliRunner().invoke(group, arguments)
    described = f"deeplab-tf {arguments}\n{result.output}\n{result.stderr}"
    assert result.exception is None or isinstance(result.exception, SystemExit), f"{described}\n{result.exception!r}"
    assert result.exit_code in (0, 1, 2), described
    assert "Traceback" not in result.output + result.stderr, described
    if result.exit_code:
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1 and result.stderr.rstrip().endswith(errors[0]), described
    after = _contents(inputs)
    changed = [name for name in before if after.get(name) != before[name]]
    assert not changed, f"{described}\nchanged: {changed}"
    return result


@contextlib.contextmanager
def time_limit(described, seconds=SECONDS):
    """Fail the block where it takes longer."""

    def fail(number, frame):
        raise AssertionError(f"longer than {seconds} s: {described}")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _contents(paths):
    """Return the bytes of every regular file, by its path."""
    files = {}
    for path in map(os.fspath, paths):
        for name in [os.path.join(path, name) for name in files_below(path)] if os.path.isdir(path) else [path]:
            if os.path.isfile(name):
                with open(name, "rb") as file:
                    files[name] = file.read()
    return files
