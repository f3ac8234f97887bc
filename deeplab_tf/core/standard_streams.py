"""Standard input, output and error as a program may find them: closed, full, or a pipe that nobody reads any more.

None of that may keep a command from its work, nor let a file of the user get the number of a closed one, which
libraries would then print into.
"""

import errno
import io
import os
import sys
from typing import Optional


class _Unfailing(io.FileIO):
    """Keeps the first error of its writes in `error`; what comes after that goes nowhere."""

    error: Optional[OSError] = None

    def write(self, data):
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)


_output: Optional[_Unfailing] = None


def prepare() -> None:
    """Open /dev/null in the place of each closed one, and keep failing writes to the others from raising."""
    global _output
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (until the end)
    sys.stdout, _output = _unfailing(sys.stdout, 1)
    sys.stderr, _ = _unfailing(sys.stderr, 2)


def _unfailing(stream, descriptor):
    """Return a text stream like `stream`, and the raw one beneath it."""
    raw = _Unfailing(descriptor, "w", closefd=False)
    if stream is None:
        raw.error = OSError(errno.EBADF, os.strerror(errno.EBADF))
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8"), raw
    stream.flush()
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # python -u
    buffer = raw if unbuffered else io.BufferedWriter(raw)
    text = io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=unbuffered
    )
    return text, raw


def output_error() -> Optional[OSError]:
    """Return why standard output took no more; None while it works. EBADF: it was closed from the start."""
    return None if _output is None else _output.error


def raise_output_error() -> None:
    """Raise the OSError of a standard output that takes no more."""
    error = output_error()
    if error is not None:
        raise error


def output_is_closed() -> bool:
    """Return whether the program was started without a standard output."""
    error = output_error()
    return error is not None and error.errno == errno.EBADF
