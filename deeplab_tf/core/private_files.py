"""Files that hold a secret, such as a camera's address with its password, and that only their owner may read."""

import os
import stat

from deeplab_tf.core.errors import DeepLabError

_MOST = 65536


def read_private(path: str, name: str) -> str:
    """Return the single line of a file that nobody but its owner can read.

    Empty lines and those that begin with # do not count.

    Args:
        path: of the file.
        name: the path as it may be shown: what is mistaken for one may be a secret itself.

    Raises:
        DeepLabError: no such file, one that others can read, or not one line of text. The text is never shown.
    """
    try:
        with open(os.path.expanduser(path), "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DeepLabError(f"{name} is not a file; write the secret into a file of mode 600.")
            if status.st_mode & 0o077:
                mode = stat.S_IMODE(status.st_mode)
                raise DeepLabError(f"Others can read {name} (mode {mode:o}), which holds a secret: chmod 600 {name}")
            data = file.read(_MOST)
    except OSError as error:
        raise DeepLabError(f"{name} cannot be read: {error.strerror}.") from None
    try:
        lines = [line.strip() for line in data.decode("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise DeepLabError(f"{name} is not text in UTF-8.") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1:
        raise DeepLabError(f"{name} must hold one line, and has {len(lines)}.")
    return lines[0]


def _open_at_once(path, flags):
    """Open a file without waiting for who writes into it, where it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
