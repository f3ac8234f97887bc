"""The errors that a person is meant to read: one clear sentence, no traceback."""

import difflib
from typing import Iterable


class DeepLabError(Exception):
    """Bad data, a wrong value or a missing part.

    The message is one sentence for the person at the keyboard: what was expected, what came, what to do.
    The command line prints it and exits 1; anything else that escapes is a bug and keeps its traceback.
    """


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The end of an error message for an unknown name: the closest choice, or else all of them."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return "Choose from: {}.".format(", ".join(choices))
