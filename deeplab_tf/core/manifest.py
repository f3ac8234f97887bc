"""What a command knows of the files that it wrote into a folder: a hidden file there has a line for each of them.

A line is only ever appended. In memory it takes 8 bytes, since a folder may hold a million files.
"""

import array
import glob
import hashlib
import json
import os
import stat
from typing import Any, BinaryIO, List, Set

from deeplab_tf.core import files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.parts import Part

MANIFEST = ".deeplab-tf.jsonl"
"""The file that names what commands wrote to its folder, but to folders below it."""
_LARGEST = 1 << 34
_LONGEST_LINE = 1 << 14
_RECENT = 1 << 15


def part_manifest(folder, part: Part) -> str:
    """Return the file for one part of a command's files, in `folder` and below it: each part has one of its own, since
    processes of other machines may write beside it."""
    return os.path.join(folder, f".deeplab-tf.{part.file_name}.jsonl")


def part_manifests(folder) -> List[str]:
    """Return the manifests of all parts that are in a folder."""
    return sorted(glob.glob(os.path.join(glob.escape(folder), ".deeplab-tf.*-of-*.jsonl")))


class KeySet:
    """A set of lists of values, of which it keeps 64 bits of a digest each."""

    def __init__(self):
        self._sorted: Any = array.array("Q")
        self._recent: Set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def add(self, *values) -> None:
        """Add a list of strings and numbers."""
        self._recent.add(_key(values))
        if len(self._recent) >= _RECENT:
            import numpy as np  # which the help of a command does without

            recent = np.fromiter(self._recent, np.uint64, len(self._recent))
            merged = np.concatenate([np.asarray(self._sorted, np.uint64), recent])
            merged.sort()
            self._sorted, self._recent = merged, set()

    def has(self, *values) -> bool:
        """Return whether a list was added."""
        key = _key(values)
        if key in self._recent:
            return True
        if not len(self._sorted):
            return False
        place = int(self._sorted.searchsorted(self._sorted.dtype.type(key)))
        return place < len(self._sorted) and int(self._sorted[place]) == key


def _key(values) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(values).encode()).digest()[:8], "little")


class Manifest:
    """The lines of one file.

    Attributes:
        path: of the file.
        folder: the one that names in it are relative to.
    """

    def __init__(self, path: str):
        self.path, self.folder = path, os.path.dirname(path)
        self._keys = KeySet()
        try:
            with _open(path, os.O_RDONLY) as file:
                for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
                    self._remember(line)
        except FileNotFoundError:
            pass

    def _remember(self, line):
        try:
            row = json.loads(line.decode())
            values = [row[key] for key in ("name", "command", "sha256")]
            done = row.get("done", "")
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # unfinished by a killed process, or none of ours
        self._keys.add(*values)
        if done:
            self._keys.add(*values, done)

    def __len__(self) -> int:
        return len(self._keys)

    def signed(self, path: str, command: str, done: str = "") -> bool:
        """Return whether a command wrote the file that is at `path`, and nobody changed it since.

        Args:
            path: the real path, below `folder`.
            done: a digest of what it was made from, with which it must be signed.
        """
        if not len(self):
            return False
        values = [os.path.relpath(path, self.folder), command, files.sha256(path), *([done] if done else [])]
        return self._keys.has(*values)

    def sign(self, path: str, temporary: str, command: str, done: str = "") -> None:
        """Append the line of a complete temporary file, which gets its name `path` next."""
        row = {"name": os.path.relpath(path, self.folder), "command": command, "sha256": files.sha256(temporary)}
        line = json.dumps(dict(row, done=done) if done else row).encode() + b"\n"
        with _open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
            size = file.seek(0, os.SEEK_END)
            unfinished = size and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n"
            file.write(b"\n" * bool(unfinished) + line)
        self._remember(line)


def _open(path, flags) -> BinaryIO:
    """Open a manifest. Raise DeepLabError for a link, a device, or a file that is too large to be one."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        raise
    except OSError as error:  # of a link, or a pipe that nobody reads
        raise DeepLabError(f"{path} cannot be opened ({error.strerror}); remove it.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        os.close(descriptor)
        raise DeepLabError(f"{path} is no list of written files, as a command keeps it there; remove it.")
    return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "r+b")
