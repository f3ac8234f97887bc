"""Reads files that come from elsewhere: regular files of bounded size, and JSON that is whole and unambiguous.

Whatever is wrong with a file is one DeepLabError that names it and, in JSON, the key.
"""

import contextlib
import gc
import json
import math
import os
import re
import stat
import sys
from collections import Counter
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Sequence, Tuple

from deeplab_tf.core.errors import DeepLabError

MAX_BYTES = 1 << 31
"""Larger files are refused unread."""
MAX_JSON_BYTES = 1 << 24
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_MANY_DIGITS = re.compile(rb"[0-9]{4300}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN = 60
"""Characters of a wrong value that an error shows."""


@contextlib.contextmanager
def open_file(path) -> Iterator[BinaryIO]:
    """Yield a regular file, open for reading.

    Never waits: a pipe or a device is refused. Raises DeepLabError for that, for a missing file and one that cannot be
    read.
    """
    path = os.fspath(path)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            kind = _KINDS.get(stat.S_IFMT(os.fstat(file.fileno()).st_mode))
            if kind is not None:
                raise DeepLabError(f"{path} cannot be read: expected a file, got {kind}.")
            yield file
    except FileNotFoundError:
        raise DeepLabError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise DeepLabError(f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from error


def read_bytes(path, limit: int = MAX_BYTES) -> bytes:
    """Return the contents of a regular file.

    Raises DeepLabError as `open_file` does, and for a file that is empty or larger than `limit` bytes.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > limit else file.read()
    if max(size, len(data)) > limit:
        raise DeepLabError(f"{path} has more than {limit >> 20} MB, which is the most that is read of such a file.")
    if not data:
        raise DeepLabError(f"{path} is empty (0 bytes); copy it again.")
    return data


def natural_key(name: str) -> Tuple:
    """Return the key of a file's name in natural order: frame_2 is before frame_10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)), name


def read_json(path, limit: int = MAX_JSON_BYTES) -> Any:
    """Return the value in a JSON file.

    Raises DeepLabError as `read_bytes` does, and for text that is no UTF-8 or no JSON, a key given twice in one object,
    NaN and infinity, a number of thousands of digits, text with a NUL or half a surrogate pair, and deep nesting.
    """
    data = read_bytes(path, limit)
    collecting = gc.isenabled()
    gc.disable()  # it looks at each of a million new objects again and again, and finds nothing
    try:
        if not hasattr(sys, "get_int_max_str_digits") and _MANY_DIGITS.search(data):  # Python before 3.11
            raise ValueError("it holds a number of more than 4300 digits")
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_constant, parse_float=_finite
        )
        if b"\\u" in data:
            _check_text(value)
    except RecursionError:
        raise DeepLabError(f"Cannot read {path}: it is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise DeepLabError(f"Cannot read {path}: byte {error.start} is no UTF-8 text.") from None
    except ValueError as error:
        raise DeepLabError(f"Cannot read {path}: {str(error).split('; use sys.')[0]}.") from None
    finally:
        if collecting:
            gc.enable()
    return value


def _without_repeats(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (repeated, _), *_ = Counter(key for key, _ in pairs).most_common()
        raise ValueError(f"the key {shown(repeated)} is given twice")
    return found


def _no_constant(text):
    raise ValueError(f"{text} is no number in JSON")


def _finite(text):
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:_SHOWN]} is too large")
    return value


def _check_text(value):
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            if "\0" in each or any("\ud800" <= char <= "\udfff" for char in each):
                raise ValueError(f"the text {shown(each)} holds a NUL or half a surrogate pair")
        elif isinstance(each, dict):
            waiting += each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def shown(value) -> str:
    """Return a value for an error message: its JSON in plain ASCII, shortened."""
    text = f"an integer of {value.bit_length()} bits" if _is_integer(value) and value.bit_length() > 64 else ""
    text = text or json.dumps(value, default=repr)[: _SHOWN + 1]
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


class Value:
    """A value in a JSON file that knows where it stands.

    Each method returns it, or a part of it, checked, and raises DeepLabError with the file and the key otherwise.

    Attributes:
        value: the plain value.
        file: the file's name.
        key: such as "classes[3].color"; "" for the whole file.
    """

    def __init__(self, value: Any, file: str, key: str = ""):
        self.value, self.file, self.key = value, file, key

    def wrong(self, expected: str) -> DeepLabError:
        """Return the error that the value is not as expected."""
        return DeepLabError(f"{self.file}: {self.key or 'the file'} must be {expected}; got {shown(self.value)}.")

    def _at(self, key: str, value: Any) -> "Value":
        key = key if re.match(r"[\w.-]{1,60}$", key) else shown(key)
        return Value(value, self.file, f"{self.key}.{key}" if self.key else key)

    def __getitem__(self, key: str) -> "Value":
        """Return what an object holds for a key that it must have."""
        if key not in self.mapping():
            place = f"{self.key}." if self.key else ""
            raise DeepLabError(f"{self.file}: {place}{key} is missing.")
        return self._at(key, self.value[key])

    def get(self, key: str) -> Optional["Value"]:
        """Return what an object holds for a key; None where it has none, or null."""
        return self._at(key, self.value[key]) if self.mapping().get(key) is not None else None

    def mapping(self) -> Dict[str, Any]:
        """Return a plain object."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object {...}")
        return self.value

    def only(self, *keys: str) -> None:
        """Check that an object has no other keys."""
        other = sorted(set(self.mapping()) - set(keys))
        if other:
            raise DeepLabError(f"{self.file}: {self.key} has the key {shown(other[0])}; expected {', '.join(keys)}.")

    def items(self) -> Iterator[Tuple[str, "Value"]]:
        """Yield the keys and values of an object."""
        return ((key, self._at(key, value)) for key, value in self.mapping().items())

    def rows(self, least: int = 0, most: Optional[int] = None) -> List["Value"]:
        """Return the values of a list of `least` to `most`."""
        if not isinstance(self.value, (list, tuple)):
            raise self.wrong("a list [...]")
        if len(self.value) < least or (most is not None and len(self.value) > most):
            count = str(least) if least == most else f"{least} to {most}" if most else f"{least} or more"
            raise DeepLabError(f"{self.file}: {self.key} must have {count} values; got {len(self.value)}.")
        return [Value(value, self.file, f"{self.key}[{i}]") for i, value in enumerate(self.value)]

    def integer(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`."""
        if not _is_integer(self.value) or not low <= self.value <= high:
            raise self.wrong(f"an integer from {low} to {high}")
        return self.value

    def number(self, low: float, high: float) -> float:
        """Return an integer or a float from `low` to `high`."""
        if not (_is_integer(self.value) or isinstance(self.value, float)) or not low <= self.value <= high:
            raise self.wrong(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def text(self, most: int = 1000, *, control: bool = False) -> str:
        """Return text of 1 to `most` characters, without control characters unless `control`."""
        if not isinstance(self.value, str) or not self.value.strip() or len(self.value) > most:
            raise self.wrong(f"text of 1 to {most} characters")
        if not control and _CONTROL.search(self.value):
            raise self.wrong("text without control characters")
        return self.value

    def one_of(self, choices: Sequence[Any]) -> Any:
        """Return one of some values."""
        if type(self.value) not in map(type, choices) or self.value not in choices:
            raise self.wrong(" or ".join(str(choice) for choice in choices))
        return self.value
