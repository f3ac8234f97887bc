"""Keeps a command from losing a person's files. A command states what it reads and writes before it does any work:

    guard = Guard("predict")
    guard.reads("runs/camvid", "street.jpg")
    guard.writes("result.json", "--json", own=guard.wrote_report)
    guard.fills("predicted", "--out", ["predicted/street_color.png"])
    guard.check()
    with guard:
        ...

`check` refuses, whatever links, `~` or spelling hide it: an output that is an input, two outputs of one name, and a
file that is there and was not written by this command, unless `overwrite` is given.

A command knows its own files again: a JSON report by its first key, `written_by`; files in a folder of a person's
choice by the folder's MANIFEST, which gets a line for each file when it is complete and before it gets its name. So
whenever a process is killed, the next run knows what it left; a file that was changed since has another SHA-256 than
every line, and is a person's.
"""

import itertools
import json
import os
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from deeplab_tf.core import files
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.manifest import MANIFEST, KeySet, Manifest, part_manifest, part_manifests
from deeplab_tf.core.parts import Part

STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Paths that mean standard output."""

_LONGEST = 4095, 255
"""Bytes that Linux takes for a path, and for each of its names."""


class Guard:
    """What one call of a command reads and writes.

    As a context it watches what is written: files in a folder that `fills` has announced are signed in its manifest,
    and a file that turned up after `check` is refused too.

    Attributes:
        done: a digest of what the files that come next are made from, for `finished`; "" for none.
    """

    def __init__(self, command: str, *, overwrite: bool = False):
        """
        Args:
            command: its name, by which it knows its files again.
            overwrite: replace files that it did not write; never an input, nor a file below a folder that is read.
        """
        self.command, self.overwrite = command, overwrite
        self._inputs: Dict[str, str] = {}  # real path -> as given
        self._whole: List[str] = []  # real paths of folders of which any file may be read
        self._identities: Dict[Tuple[int, int], str] = {}  # device and inode -> as given
        self._each: List[Iterable[str]] = []  # many inputs
        self._keys = KeySet()  # of their real paths and identities
        self._outputs: List[_Output] = []
        self._manifests: Dict[str, Manifest] = {}  # by path
        self._parts: Dict[str, List[str]] = {}  # those of a folder's parts
        self.done = ""

    def reads(self, *paths, whole: bool = True) -> None:
        """Announce files and folders that are read. No output may be one of them, or lie in a bundle among them.

        Args:
            paths: of them; None is skipped.
            whole: any file below these folders may be read, and is not replaced even by `overwrite`; without it, only
                the files that are announced too.
        """
        for path in filter(None, paths):
            path, real = os.fspath(path), resolve(path)
            self._inputs[real] = path
            if whole and os.path.isdir(real):
                self._whole.append(real)
            identity = _identity(real)
            if identity:
                self._identities[identity] = path

    def reads_each(self, paths: Iterable[str]) -> None:
        """Announce many files that are read, as `reads` does, in 16 bytes each.

        Args:
            paths: gives them whenever it is iterated over.
        """
        self._each.append(paths)
        for path in paths:
            real = resolve(path)
            self._keys.add(real)
            identity = _identity(real)
            if identity:
                self._keys.add(*identity)

    def writes(self, path, option: str, own: Optional[Callable[[str], bool]] = None) -> None:
        """Announce one file.

        Args:
            path: of the file; None for none, "-" for standard output. A pipe or a device is written to as it is.
            option: what names it on the command line, for sentences.
            own: path -> whether this command wrote the file that is there; None: this cannot be known.
        """
        if path is not None:
            real = "-" if path in STANDARD_OUTPUT else resolve(path)
            self._outputs.append(_Output("file", option, os.fspath(path), real, own))

    def fills(self, folder, option: str, paths: Iterable = (), *, part: Optional[Part] = None) -> None:
        """Announce a folder that gets files beside those that are there.

        Args:
            folder: may exist; None for none.
            option: as for `writes`.
            paths: the files, with the folder's path; those that do not exist yet may be left out. They are iterated
                over several times.
            part: which of the files are written by this process; it signs them in a manifest of its own.
        """
        if folder is None:
            return
        real = resolve(folder)

        def own(path):
            return self._wrote_file(path, real)

        self._outputs.append(_Output("folder", option, os.fspath(folder), real, own, paths, {}, part))

    def makes(self, path, option: str) -> None:
        """Announce a file or folder that the command makes or replaces as a whole, by rules of its own; nothing else
        that is read or written may lie in it."""
        self._outputs.append(_Output("whole", option, os.fspath(path), resolve(path), None))

    def check(self) -> None:
        """Raise WrongCall, one sentence that names option and file, for anything that must not be written; DeepLabError
        for a file where a folder is needed, and the reverse."""
        for output in self._outputs:
            _check_kind(output)
            self._check_folders(output)
            self._check_input(output, output.real, output.path)
            for real, path in self._below(output):
                self._check_input(output, real, path)
        for first, second in itertools.combinations(self._outputs, 2):
            _check_two(first, second)
        for output in self._outputs:
            for real, path in output.files():
                self._check_there(output, real, path)

    def _below(self, output):
        """Yield the real path and the path of each file of a folder; remember those that are elsewhere."""
        others = {other.real.lower(): other for other in self._outputs if other is not output}
        for path in output.paths:
            real = resolve(path)
            if real.lower() in others:
                raise _over_each_other(output, others[real.lower()])
            if not _inside(real, output.real):
                output.links[real] = path
            yield real, path

    def __enter__(self) -> "Guard":
        files.before_replacing.append(self._before_replacing)
        return self

    def __exit__(self, *error) -> None:
        files.before_replacing.remove(self._before_replacing)

    def wrote_report(self, path: str) -> bool:
        """Return whether a file is a JSON report of this command: its first key is `written_by`."""
        head = '{\n  "written_by": ' + json.dumps(written_by(self.command))
        with open(path, "rb") as file:
            return file.read(len(head)) == head.encode()

    def _wrote_file(self, path: str, folder: str) -> bool:
        """Return whether this command wrote a file into a folder that it filled, or one below it, and nobody changed it
        since."""
        manifests = [os.path.join(os.path.dirname(path), MANIFEST)]
        manifests += self._of_parts(folder) if _inside(path, folder) else []
        return any(self._manifest(each).signed(path, self.command) for each in manifests)

    def finished(self, paths: Iterable[str], done: str) -> bool:
        """Return whether files of a folder that is filled are there, as this command made them when `done` was what it
        is now, and nobody changed them since."""
        (output,) = (each for each in self._outputs if each.kind == "folder")
        manifests = self._of_parts(output.real)
        return all(
            os.path.isfile(path)
            and any(self._manifest(each).signed(resolve(path), self.command, done) for each in manifests)
            for path in paths
        )

    def _of_parts(self, folder) -> List[str]:
        """Return the manifests of parts in a folder; this process's own need not be there yet."""
        if folder not in self._parts:
            own = [part_manifest(folder, each.part) for each in self._outputs if each.real == folder and each.part]
            self._parts[folder] = own + [path for path in part_manifests(folder) if path not in own]
        return self._parts[folder]

    def _manifest(self, path) -> Manifest:
        if path not in self._manifests:
            self._manifests[path] = Manifest(path)
        return self._manifests[path]

    def _before_replacing(self, temporary, path):
        """Refuse to replace what turned up since `check`; sign a complete file, which gets its name next."""
        for output in sorted(self._outputs, key=lambda output: output.kind != "file"):
            if output.gets(path):
                self._check_input(output, path, path)
                self._check_there(output, path, path)
                break
        for output in self._outputs:
            if output.kind == "folder" and _inside(path, output.real):
                place = os.path.join(os.path.dirname(path), MANIFEST)
                place = part_manifest(output.real, output.part) if output.part else place
                self._manifest(place).sign(path, temporary, self.command, self.done)
                return

    def _check_input(self, output, real, path):
        identity = _identity(real) or (0, 0)
        read = self._inputs.get(real) or self._identities.get(identity)
        if read is None and (self._keys.has(real) or self._keys.has(*identity)):
            each = itertools.chain.from_iterable(self._each)
            read = next((path for path in each if resolve(path) == real or _identity(path) == identity), None)
        if read is not None:
            also = "" if read == path else f", as {read}"
            raise WrongCall(f"{output.option} {path} is what is read{also}; name another.")

    def _check_folders(self, output):
        for real, path in self._inputs.items():
            if output.kind == "whole" and _inside(real, output.real):
                raise WrongCall(f"{output} holds {path}, which is read; name another folder.")
            if _inside(output.real, real) and os.path.isfile(os.path.join(real, "bundle.json")):
                raise WrongCall(f"{output} lies in the bundle {path}, which must stay as it is; name another.")

    def _check_there(self, output, real, path):
        """Raise WrongCall for a file that is there and may not be replaced."""
        if not os.path.lexists(real):
            return
        if os.path.isdir(real):
            raise WrongCall(f"{output.option} {path} is a folder, where a file is to be written; name another.")
        found = os.stat(real)
        if not found.st_size or output.own is not None and output.own(real):
            return
        read = self._read_folder_of(real, found)
        if read is None and self.overwrite:
            return
        lies = "" if read is None else f"lies in {read}, which is read, "
        advice = "" if read else ", or add --overwrite to replace it"
        if output.own is None:  # such as a video
            raise WrongCall(f"{output.option} {path} {lies}exists already; name another{advice}.")
        changed = ", or was changed since" if output.kind == "folder" else ""
        raise WrongCall(
            f"{output.option} {path} {lies}exists and was not written by '{written_by(self.command)}'{changed}; name "
            f"another{advice}."
        )

    def _read_folder_of(self, real, found):
        """Return the folder that is read and has this file, or another name of it, below it; None if none has."""
        for folder in self._whole:
            names = files.files_below(folder) if found.st_nlink > 1 else []
            linked = (_identity(os.path.join(folder, name)) == (found.st_dev, found.st_ino) for name in names)
            if _inside(real, folder) or any(linked):
                return self._inputs[folder]
        return None


class _Output(NamedTuple):
    kind: str  # "file"; "folder" that is filled; "whole", what is made by other rules
    option: str
    path: str  # as given
    real: str
    own: Optional[Callable[[str], bool]]
    paths: Iterable[str] = ()  # of files in a folder
    links: Dict[str, str] = {}  # of those that lie elsewhere: real path -> path
    part: Optional[Part] = None

    def __str__(self) -> str:
        return f"{self.option} {self.path}"

    def is_device(self) -> bool:
        return self.real == "-" or self.kind == "file" and files.is_device(self.real) and not os.path.isdir(self.real)

    def files(self):
        if self.kind == "file":
            return [] if self.is_device() else [(self.real, self.path)]
        return ((resolve(path), os.fspath(path)) for path in self.paths)

    def gets(self, path):
        """Return whether a real path is that of a file, or of one in a folder."""
        if self.kind == "file":
            return path == self.real and not self.is_device()
        return self.kind == "folder" and (_inside(path, self.real) or path in self.links)


def _check_kind(output):
    if output.is_device():
        return
    if output.kind == "file" and os.path.isdir(output.real):
        raise DeepLabError(f"{output} is a folder; name a file.")
    place = output.real
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if place != output.real and not os.path.isdir(place):
        raise DeepLabError(f"{output} cannot be written: {place} is a file; name another.")
    if output.kind == "folder" and not os.path.isdir(place):
        raise DeepLabError(f"{output} is a file; name a folder.")


def _check_two(first, second):
    if first.real == second.real == "-":
        raise WrongCall(f"{first.option} and {second.option} cannot both be standard output; name a file for one.")
    if first.is_device() or second.is_device():
        return
    for one, other in ((first, second), (second, first)):
        here, there = one.real.lower(), other.real.lower()  # a file system may ignore case
        over = one.kind != "folder" and (here == there or _inside(there, here))
        if over:
            raise _over_each_other(one, other)


def _over_each_other(one, other):
    return WrongCall(f"{one} and {other} would be written over each other; name two.")


def written_by(command: str) -> str:
    """Return the first value, `written_by`, of a command's JSON report."""
    return f"deeplab-tf {command}"


def expand(path) -> str:
    """Return a path with its `~` replaced. Raise WrongCall for a home of nobody, and a path that no file can have."""
    text = os.fspath(path)
    shown = ascii(text if len(text) <= 80 else text[:40] + "..." + text[-20:])
    try:
        name_bytes = text.encode("utf-8")
    except UnicodeEncodeError:
        raise WrongCall(f"The path {shown} has bytes that are not UTF-8; rename the file.") from None
    if "\0" in text:
        raise WrongCall(f"The path {shown} has a NUL character in it, which no file name can have.")
    if len(name_bytes) > _LONGEST[0] or max(map(len, name_bytes.split(b"/"))) > _LONGEST[1]:
        raise WrongCall(
            f"The path {shown} is too long: {len(name_bytes)} bytes; {_LONGEST[0]} are possible, {_LONGEST[1]} between "
            "two slashes."
        )
    try:
        expanded = os.path.expanduser(text)
    except KeyError:  # Python 3.6, for a process whose user has no name
        expanded = text
    if expanded == text and text.startswith("~") and not os.path.lexists(text):
        raise WrongCall(f"The path {shown} names a home folder that does not exist; write the whole path.")
    return expanded


def resolve(path) -> str:
    """Return the one name that all links to a file and spellings of it share. Raise WrongCall as `expand` does."""
    return os.path.realpath(expand(path))


def _identity(path) -> Optional[Tuple[int, int]]:
    """Return device and inode of a file, which its hard links share; None for a path where nothing is."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _inside(path, folder):
    return path.startswith(os.path.join(folder, ""))
