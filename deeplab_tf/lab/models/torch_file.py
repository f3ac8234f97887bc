"""Read the tensors of a file that `torch.save` wrote of a state dict, without PyTorch and without running code from it.

Both forms of such files hold pickles: programs, of which a state dict needs few opcodes and five kinds of names. Each
program is checked before it runs, and a file with any other opcode or name is refused.
"""

import collections
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError

# fmt: off
_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID", "MEMOIZE", "BINPUT",
    "LONG_BINPUT", "BINGET", "LONG_BINGET", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE",
}
# fmt: on
_DTYPES = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The first two pickles of a file of the older form, which is no ZIP archive."""
_DAMAGE = (pickle.UnpicklingError, zipfile.BadZipFile, ValueError, EOFError, TypeError, KeyError, AttributeError)
_LONGEST = 1 << 31
"""Bytes of the largest file that is read."""


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A tensor before its numbers are at hand."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict by name.

    Raises:
        DeepLabError: for any other file, and one with an opcode or name that a state dict does not need.
    """
    try:
        if Path(path).stat().st_size > _LONGEST:
            raise _Unexpected("it is larger than 2 GiB")
        tensors, numbers = _read_archive(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        return {name: _array(tensor, numbers) for name, tensor in tensors.items()}
    except OSError as error:
        raise DeepLabError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (
        _Unexpected,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        TypeError,
        KeyError,
    ) as error:
        raise DeepLabError(
            f"{path} is not a PyTorch state dict of plain tensors, or is damaged: {error or type(error).__name__}."
        ) from error


class _Unexpected(Exception):
    """Something in the file that a state dict does not hold."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *rest: _Tensor(storage, offset, size, stride)
        if module == "torch" and name.endswith("Storage") and name[: -len("Storage")] in _DTYPES:
            return np.dtype(_DTYPES[name[: -len("Storage")]])
        raise _Unexpected(f"it names {module}.{name}")

    def persistent_load(self, pid):
        kind, dtype, key, _, count, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(count, int):
            raise _Unexpected("it refers to something other than a tensor's storage")
        return _Storage(str(key), dtype, count)


def _load(file: BinaryIO) -> Any:
    """Run the next pickle of a file, once all of its opcodes have been checked."""
    start = file.tell()
    for opcode, _, _ in pickletools.genops(file):
        if opcode.name not in _OPCODES:
            raise _Unexpected(f"its pickle has the opcode {opcode.name}")
    file.seek(start)
    return _Unpickler(file).load()


def _state_dict(loaded) -> dict[str, _Tensor]:
    if isinstance(loaded, dict) and list(loaded) in (["state_dict"], ["model"]):  # as many trainings save it
        (loaded,) = loaded.values()
    if not isinstance(loaded, dict):
        raise _Unexpected(f"it holds a {type(loaded).__name__}")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise _Unexpected(f"{name!r} is not a tensor")
    return loaded


def _read_archive(path):
    with zipfile.ZipFile(path) as archive:
        indexes = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(indexes) != 1:
            raise _Unexpected("the archive has no single data.pkl")
        if sum(entry.file_size for entry in archive.infolist()) > _LONGEST:
            raise _Unexpected("it unpacks to more than 2 GiB")
        tensors = _state_dict(_load(io.BytesIO(archive.read(indexes[0]))))
        folder = indexes[0][: -len("data.pkl")] + "data/"
        storages = {tensor.storage for tensor in tensors.values()}
        return tensors, {s.key: np.frombuffer(archive.read(folder + s.key), s.dtype) for s in storages}


def _read_legacy(path):
    with open(path, "rb") as file:
        if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
            raise _Unexpected("it does not begin as one")
        if not _load(file)["little_endian"]:
            raise _Unexpected("its numbers are big-endian")
        tensors, numbers = _state_dict(_load(file)), {}
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        for key in _load(file):
            count, dtype = int.from_bytes(file.read(8), "little"), storages[key].dtype
            numbers[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
        return tensors, numbers


def _array(tensor: _Tensor, numbers: dict[str, np.ndarray]) -> np.ndarray:
    """Return a copy of a tensor, whose numbers must all lie within its storage."""
    stored, size, stride = numbers[tensor.storage.key], tuple(tensor.size), tuple(tensor.stride)
    counts = (tensor.offset, *size, *stride)
    if len(size) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in counts):
        raise _Unexpected("a tensor has an impossible shape")
    elements = int(np.prod(size, dtype=np.int64))
    last = tensor.offset + sum((side - 1) * step for side, step in zip(size, stride))
    if elements and last >= len(stored):
        raise _Unexpected("a tensor is larger than its storage")
    strides = [step * stored.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(stored[tensor.offset :], size, strides).copy()
