"""Files and folders that appear whole or not at all, and their digests."""

import contextlib
import fcntl
import glob
import hashlib
import importlib.machinery
import json
import os
import re
import shutil
import stat
import sys
import types
import uuid
from typing import Callable, Iterator, List

before_replacing: List[Callable[[str, str], None]] = []
"""Called by `put_in_place` with a complete temporary file and the real path that it gets next; see `core.guard`."""


@contextlib.contextmanager
def replacing(path, *, sync: bool = False) -> Iterator[str]:
    """Yield a temporary path to write to; the block's end renames it to `path`, an error in the block removes it.

    The temporary file is in the same folder, which is made if needed, is hidden, and keeps the suffix of `path`. A
    link stays a link: its target is replaced. With `sync` the file is on the disk before it is renamed, and survives a
    power cut. An OSError that names no file, such as that of a full disk, gets the name of `path`.
    """
    path = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(folder, f".{stem}.{uuid.uuid4().hex[:8]}.part{suffix}")
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        put_in_place(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def is_part(name: str) -> bool:
    """Return whether a name is that of a temporary file of `replacing`, which a killed process leaves."""
    return re.fullmatch(r"\..*\.[0-9a-f]{8}\.part(\.[^.]*)?", name) is not None


def put_in_place(temporary, path) -> None:
    """Rename a complete temporary file to `path`."""
    for watch in before_replacing:
        watch(temporary, os.path.realpath(path))
    os.replace(temporary, path)


def write_bytes(path, data: bytes) -> None:
    """Write a file, whole or not at all; a pipe or a device is written to as it is."""
    if is_device(path):
        with open(path, "wb") as file:
            file.write(data)
        return
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path, text: str) -> None:
    """Write a UTF-8 text file as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path, value, **options) -> None:
    """Write a value as JSON, as `write_bytes` does; `options` are those of `json.dumps`."""
    write_text(path, json.dumps(value, indent=2, **options) + "\n")


def is_device(path) -> bool:
    """Return whether a path is a pipe or a device, which is written to and never replaced."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)


@contextlib.contextmanager
def new_folder(path) -> Iterator[str]:
    """Yield a temporary folder to fill; the block's end makes it the folder `path`, replacing one that is there.

    If the block fails, what was at `path` is still there. A killed process never leaves half a folder at `path`; the
    next call for the same path removes what it left, and first puts the old folder back if the process was killed
    between moving it away and moving the new one in. Whoever calls makes sure that what is replaced may be.
    """
    path = os.path.realpath(os.fspath(path))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _remove_leftovers(path)
    part = f"{path}.{uuid.uuid4().hex[:8]}.part"
    os.mkdir(part)
    lock = os.open(part, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases it when the process ends, however it ends
    try:
        yield part
        _swap(part, path)
    finally:
        os.close(lock)
        shutil.rmtree(part, ignore_errors=True)


def _swap(part, path):
    old = None
    if os.path.isdir(path):
        old = part[: -len(".part")] + ".old"
        os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        if old:
            os.rename(old, path)
        raise
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(path):
    """Put back an old folder that a killed process had moved away, and remove all else that such processes left."""
    ours = glob.escape(path) + "." + "[0-9a-f]" * 8
    parts = {part: _is_locked(part) for part in glob.glob(ours + ".part")}
    for old in glob.glob(ours + ".old"):
        if parts.get(old[: -len(".old")] + ".part"):
            continue  # a process is swapping them
        if os.path.exists(path):
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, path)
    for part, locked in parts.items():
        if not locked:
            shutil.rmtree(part, ignore_errors=True)


def _is_locked(part):
    """Return whether a process is filling a folder."""
    folder = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(folder)
    return False


def files_below(folder) -> List[str]:
    """Return the names of all files below a folder, sorted, with / between their parts."""
    found = []
    for parent, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/") for name in names]
    return sorted(found)


def modules_in(folder) -> List[str]:
    """Return the names of the Python modules in a folder, without private ones (_NAME.py)."""
    stems = [os.path.splitext(name) for name in os.listdir(folder)]
    return sorted(stem for stem, ending in stems if ending == ".py" and not stem.startswith("_"))


def sha256(path) -> str:
    """Return the SHA-256 of a file, or of a folder: of the names, sizes and contents of all files below it."""
    total = hashlib.sha256()
    for name in files_below(path) if os.path.isdir(path) else [""]:
        place = os.path.join(path, name) if name else path
        if name:
            total.update(f"{name}\0{os.path.getsize(place)}\0".encode())
        with open(place, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                total.update(block)
    return total.hexdigest()


def megabytes(path) -> float:
    """Return the size of a file, or of all files below a folder, in MB (10**6 bytes)."""
    if os.path.isdir(path):
        return sum(megabytes(os.path.join(path, name)) for name in files_below(path))
    return os.path.getsize(path) / 1e6


def import_file(path) -> types.ModuleType:
    """Import a Python file that belongs to no package, once, and return the module."""
    path = os.path.abspath(path)
    name = f"{os.path.splitext(os.path.basename(path))[0]}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        module = types.ModuleType(name)
        module.__file__ = path
        importlib.machinery.SourceFileLoader(name, path).exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
