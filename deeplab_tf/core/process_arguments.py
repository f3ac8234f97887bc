"""The arguments of this process as others see them, in `ps` and /proc/PID/cmdline: for everyone on this machine."""

import ctypes
import os
from typing import Sequence


def overwrite(arguments: Sequence[str]) -> None:
    """Show others these arguments in place of those that the program was called with; `sys.argv` stays.

    They take the place of the last ones of the command line, which begins with the interpreter. Linux only; elsewhere,
    and where the system does not let a process find its command line, this does nothing.
    """
    try:
        with open("/proc/self/cmdline", "rb") as file:
            before = file.read()
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return
    start, end = (int(fields[45]), int(fields[46]))  # arg_start and arg_end: numbers 48 and 49 in proc(5)
    if not start or end - start != len(before) or ctypes.string_at(start, len(before)) != before:
        return
    words = before[:-1].split(b"\0")
    words[len(words) - len(arguments) :] = [os.fsencode(argument) for argument in arguments]
    shown = b"\0".join(words)[: len(before) - 1]
    ctypes.memmove(start, shown.ljust(len(before), b"\0"), len(before))
