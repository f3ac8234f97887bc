"""Lists folders with any number of files in bounded memory: they are read entry by entry and sorted on the disk."""

import heapq
import json
import os
import tempfile
import weakref
from typing import Any, Callable, Iterable, Iterator, List, Set, Tuple

from deeplab_tf.core.errors import DeepLabError

IN_MEMORY = 1 << 14
"""Rows that `SortedRows` keeps in memory; more go to temporary files, so many to each."""


def each_folder(folder) -> Iterator[Tuple[str, Iterator[str]]]:
    """Yield each folder below a folder, itself first, with the names of its files in no order; these are to be read
    before the next folder is.

    Links are followed, but no folder is visited twice; its own name goes before that of a link. Raises DeepLabError for
    a folder that cannot be listed.
    """
    folders = [os.fspath(folder)]
    links: List[str] = []
    seen: Set[Tuple[int, int]] = set()
    while folders or links:
        parent = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(parent)
        except OSError as error:
            raise _cannot_list(error) from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        below: List[os.DirEntry] = []
        yield parent, _names(parent, below)
        below.sort(key=lambda entry: entry.name)
        folders += [entry.path for entry in reversed(below) if not entry.is_symlink()]
        links += [entry.path for entry in below if entry.is_symlink()]


def _names(parent, below):
    try:
        with os.scandir(parent) as found:
            for entry in found:
                if entry.is_dir():
                    below.append(entry)
                else:
                    yield entry.name
    except OSError as error:
        raise _cannot_list(error) from None


def _cannot_list(error):
    return DeepLabError(f"Cannot list the folder {error.filename}: {error.strerror}.")


class SortedRows:
    """Rows of text in the order of a key, each time that it is iterated over; they are added first.

    Beyond IN_MEMORY rows they lie in temporary files without names, which end with the process.
    """

    def __init__(self, key: Callable[[Tuple], Any], rows: Iterable[Tuple] = ()):
        """
        Args:
            key: of a row; rows of equal keys keep their order.
            rows: to begin with.
        """
        self._key = key
        self._recent: List[Tuple] = []
        self._files: List[Any] = []
        self._count = 0
        for row in rows:
            self.add(row)

    def add(self, row: Tuple) -> None:
        """Add a tuple of strings."""
        self._recent.append(row)
        self._count += 1
        if len(self._recent) >= IN_MEMORY:
            file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (closed with these rows)
            weakref.finalize(self, file.close)
            for each in sorted(self._recent, key=self._key):
                file.write(json.dumps(each).encode() + b"\n")
            file.flush()
            self._files.append(file)
            self._recent = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tuple]:
        recent = sorted(self._recent, key=self._key)
        if not self._files:
            return iter(recent)
        return heapq.merge(*map(_rows_of, self._files), recent, key=self._key)


def _rows_of(file) -> Iterator[Tuple]:
    """Yield the rows of a file, a block at a time: several iterations may go over it at once."""
    at, rest = 0, b""
    while True:
        block = os.pread(file.fileno(), 1 << 15, at)
        at += len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield tuple(json.loads(line.decode()))
        if not block:
            return
