"""Files and folders that appear whole or not at all, and their digests."""

import atexit
import contextlib
import errno
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
import tempfile
import types
import uuid
from typing import Callable, Dict, Iterator, List, Optional, Set

from deeplab_tf.core.errors import DeepLabError

before_replacing: List[Callable[[str, str], None]] = []
"""Called by `put_in_place` with a complete temporary file and the real path that it gets next; see `core.guard`."""
_PART = re.compile(r"\.deeplab-tf\.[0-9a-f]{8}\.part(\.[^.]*)?")
"""The name of a file that `replacing` writes to."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL)
"""What a file system says that has no locks."""

_held: Dict[str, int] = {}
"""The folders that this process has locked, and their descriptors."""

_unfinished: Set[str] = set()
"""The temporary files of `replacing` that this process has not renamed or removed yet."""

_marks: List[str] = []
"""The beginning of the random part of temporary names while a part of a folder is `locked`."""


@contextlib.contextmanager
def locked(folder, part: Optional[str] = None) -> Iterator[None]:
    """Keep other processes of this machine from writing to a folder while the block runs.

    The folder is made if needed, and is gone again if the block leaves it empty. What killed processes left of
    unfinished files and folders is removed. The lock is on the folder itself: it needs no file, and the system releases
    it when the process ends, however it ends.

    Args:
        part: the path of a file in the folder. Processes with other files may write to the folder at the same time, and
            only what this part left is removed.

    Raises DeepLabError if another process has the folder, or the part, locked, or if it is a file.
    """
    path = os.path.realpath(os.fspath(folder))
    missing = _missing_folders(path)
    descriptor = _lock_folder(path, folder, shared=part is not None)
    if part is None:
        _held[path] = descriptor
    try:
        with contextlib.ExitStack() as stack:
            if part is not None:
                stack.enter_context(_locked_part(part))
            _remove_leftovers(path)
            for parent, name in _files_in(path):
                _remove_part(parent, name)
            yield
    finally:
        for made in missing if part is None or _lock(descriptor) is not False else ():  # other parts are at work
            with contextlib.suppress(OSError):  # it is not empty
                os.rmdir(made)
        os.close(descriptor if part is not None else _held.pop(path))


@contextlib.contextmanager
def _locked_part(path):
    """Lock the file of a part while the block runs, and mark the temporary files of this process with it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    _marks.append(hashlib.sha256(os.path.basename(path).encode()).hexdigest()[:4])
    try:
        if _lock(descriptor) is False:
            raise DeepLabError(f"Another process is working on the part of {path}; wait until it ends.")
        yield
    finally:
        _marks.pop()
        if not os.fstat(descriptor).st_size:
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.close(descriptor)


def _files_in(folder):
    """Yield the folder and the name of each file below a folder, one at a time; what cannot be listed is left out."""
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield parent, entry.name


def _missing_folders(path):
    """Return the folders that must be made for `path` to exist, the innermost first."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def _lock_folder(path, name, *, shared=False):
    """Make and lock a folder, and return its descriptor."""
    busy = f"Another process is writing to {name}; wait until it ends, or name another folder."
    while True:
        _put_back(path)
        if _is_being_replaced(path):
            raise DeepLabError(busy)
        descriptor = _open_folder(path)
        free = _lock(descriptor, shared=shared)
        if free is None:
            from deeplab_tf.core.progress import say  # click, which a machine that only measures may lack

            say(f"The file system of {name} has no locks: let no other command write there at the same time.")
        if free is not False and not _is_being_replaced(path) and _is_same(descriptor, path):
            return descriptor
        os.close(descriptor)
        if free is False:
            raise DeepLabError(busy)


def _open_folder(path):
    while True:
        try:
            os.makedirs(path, exist_ok=True)
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process has just removed it
            continue
        except (FileExistsError, NotADirectoryError) as error:
            raise DeepLabError(f"{error.filename} is a file; name a folder.") from error


def _lock(descriptor, *, shared=False):
    """Lock an open file or folder; return whether it was free, or None where there are no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_same(descriptor, path):
    """Return whether an open folder is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_parts(folder) -> None:
    """Remove what killed processes left of unfinished files in a folder, as far as that is possible."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            _remove_part(folder, name)


def _remove_part(folder, name):
    if is_part(name) and name.startswith(".deeplab-tf." + "".join(_marks)):
        with contextlib.suppress(OSError):  # it is gone, or its disk cannot be written
            _remove_unlocked(os.path.join(folder, name))


def _remove_unlocked(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor):
            os.unlink(path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path, *, sync: bool = False) -> Iterator[str]:
    """Yield a temporary file to write to; the block's end renames it to `path`, an error in the block removes it.

    The temporary file is in the same folder, which is made if needed, is hidden, and keeps the suffix of `path`. A
    killed process leaves it; `remove_parts` removes it. A link stays a link: its target is replaced. With `sync` the
    file is on the disk before it is renamed, and survives a power cut. An OSError that names the temporary file or
    none, such as that of a full disk, gets the name of `path`.
    """
    path = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    number = ("".join(_marks) + uuid.uuid4().hex)[:8]
    temporary = os.path.join(folder, f".deeplab-tf.{number}.part{os.path.splitext(name)[1]}")
    descriptor = None
    _unfinished.add(temporary)
    try:
        descriptor = _open_part(temporary)
        yield temporary
        if sync:
            os.fsync(descriptor)
        put_in_place(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, temporary):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    finally:
        _remove_unfinished(temporary)
        if descriptor is not None:
            os.close(descriptor)


def _remove_unfinished(*temporaries):
    for temporary in temporaries:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        _unfinished.discard(temporary)


atexit.register(lambda: _remove_unfinished(*_unfinished))  # an interrupt between two steps of Python skips `finally`


def _open_part(path):
    """Make and lock a temporary file, and return its descriptor."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # `remove_parts` of another process came between


def is_part(name: str) -> bool:
    """Return whether a name is that of a temporary file of `replacing`, which a killed process leaves."""
    return _PART.fullmatch(name) is not None


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
    between moving it away and moving the new one in. Whoever calls makes sure that what is replaced may be; a `locked`
    folder stays locked.
    """
    path = os.path.realpath(os.fspath(path))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _put_back(path)
    _remove_leftovers(path)
    part, descriptor = _locked_folder(lambda: _make_part(path))
    try:
        yield part
        _swap(part, path)
        if path in _held:
            _held[path], descriptor = descriptor, _held[path]
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder(kind: str) -> Iterator[str]:
    """Yield a folder among the system's temporary ones, which the block's end removes; those of the same kind that
    killed processes left are removed, too."""
    stem = f"deeplab-tf-{kind}-"
    for name in os.listdir(tempfile.gettempdir()):
        left = os.path.join(tempfile.gettempdir(), name)
        if re.fullmatch(stem + "[a-z0-9_]{8}", name):
            with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                if os.lstat(left).st_uid == os.getuid():
                    _remove_folder(left)
    folder, descriptor = _locked_folder(lambda: tempfile.mkdtemp(prefix=stem))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _make_part(path):
    part = _sibling(path, uuid.uuid4().hex[:8], "part")
    os.mkdir(part)
    return part


def _locked_folder(make):
    """Return a new folder and its descriptor, which is locked, so that nobody takes the folder for a leftover."""
    while True:
        folder = make()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            if _lock(descriptor) is not False and _is_same(descriptor, folder):
                return folder, descriptor
            os.close(descriptor)  # another process has just taken it for one


def _sibling(path, number, kind):
    """Return the hidden name beside a folder for its new contents ("part") or its old ones ("old")."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".deeplab-tf.{name}.{number}.{kind}")


def _siblings(path, kind):
    folder, name = os.path.split(path)
    return glob.glob(_sibling(os.path.join(glob.escape(folder), glob.escape(name)), "[0-9a-f]" * 8, kind))


def _swap(part, path):
    old = None
    if os.path.isdir(path):
        old = part[: -len("part")] + "old"
        os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        if old:
            os.rename(old, path)
        raise
    if old:
        os.rename(old, part)  # what is removed in part must never be put back
        shutil.rmtree(part, ignore_errors=True)


def _put_back(path):
    """Put back the old folder that a killed process had moved away."""
    for old in () if os.path.lexists(path) else _siblings(path, "old"):
        if not is_locked(old[: -len("old")] + "part"):
            with contextlib.suppress(FileNotFoundError):  # another process has done it
                os.rename(old, path)


def _remove_leftovers(path):
    """Remove what killed processes left of new and old contents of a folder."""
    for part in _siblings(path, "part"):
        _remove_folder(part)
    for old in _siblings(path, "old"):
        if not os.path.exists(old[: -len("old")] + "part"):  # else a process is swapping them
            shutil.rmtree(old, ignore_errors=True)


def _remove_folder(path):
    """Remove a folder unless a process has locked it, or there are no locks to tell."""
    with contextlib.suppress(OSError):  # another process has removed it, or it is a link
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if _lock(descriptor):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


def _is_being_replaced(path):
    return any(map(is_locked, _siblings(path, "part")))


def is_locked(folder):
    """Return whether a process has locked a folder, which need not exist."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return _lock(descriptor) is False
    finally:
        os.close(descriptor)


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
