"""Errors that the user reads: one clear sentence, no traceback."""

import difflib
from typing import Iterable, Sequence


class DeepLabError(Exception):
    """Bad data, a wrong value or a missing part.

    The message is one sentence: what was expected, what came, what to do. The command line prints it and exits 1;
    any other exception is a bug and keeps its traceback.
    """


class WrongCall(DeepLabError):
    """A call that names the wrong files, such as an output that is an input; the command line exits 2."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error message for an unknown name: the closest choice, or else all of them."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Choose from: {', '.join(choices)}."


def some_of(items: Sequence) -> str:
    """Return the first three items as text, and how many more there are."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(str(item) for item in items[:3]) + more
