"""YAML of recipes and zone files: true, false, null and numbers are what YAML 1.2 says, all else is text; no key is
given twice.

A class called no, 010, 12:30 or 2024-01-01 is text, which PyYAML's own loaders read as YAML 1.1's false, 8, 750 and a
date. Tags, merge keys, several documents and whatever grows without bound are errors that name the line. Needs PyYAML.
"""

import os
import re
import stat
from typing import Any, Dict, List, NamedTuple, Tuple

from deeplab_tf.core.errors import DeepLabError

MAX_BYTES = 200_000
"""Of a recipe; one with 255 classes has 20,000."""
MAX_VALUES = 20_000
MAX_DEPTH = 20
MAX_DIGITS = 40
MAX_TEXT = 4096
"""Characters, as many as a path may have."""

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_SPECIAL = {f"{sign}.{word}": f"{sign}{word}" for sign in ("", "-", "+") for word in ("inf", "Inf", "INF")}
_SPECIAL.update({f".{word}": word for word in ("nan", "NaN", "NAN")})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Text(NamedTuple):
    """What a YAML text says.

    Attributes:
        value: dictionaries with text for keys, lists, text, numbers, booleans and None.
        lines: the line of each value, from 1, by its path, such as ("data", "classes", 0, "name").
    """

    value: Any
    lines: Dict[tuple, int]


def read_file(path: str, kind: str = "recipe") -> Text:
    """Read a YAML file of this kind. Raise DeepLabError with its name where it cannot be read, and as `read` does."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DeepLabError(f"Cannot read the {kind} {path}: it is not a file.")
        data = None
        if os.path.getsize(path) <= MAX_BYTES:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise DeepLabError(f"Cannot read the {kind} {path}: {error.strerror}.") from error
    if data is None:
        raise DeepLabError(f"{path} is no {kind}: it has more than {MAX_BYTES} bytes.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DeepLabError(f"{path}, line {line}: not valid YAML, which is UTF-8 text.") from error
    return read(text, str(path), kind)


def read(text: str, source: str, kind: str = "recipe") -> Text:
    """Read a YAML text.

    Args:
        source: where it is from, for errors.
        kind: what it is, for errors.

    Raises:
        DeepLabError: it is not valid YAML or holds what this module's head excludes; PyYAML is not installed.
    """
    try:
        import yaml
        from yaml.reader import ReaderError
    except ImportError as error:
        raise DeepLabError(
            f"The {kind} {source} is YAML, which needs PyYAML, which is not installed here: pip install PyYAML"
        ) from error

    composer = _Composer(text, source, kind)
    try:
        return Text(composer.document(), composer.lines)
    except ReaderError as error:
        line, problem = text.count("\n", 0, error.position) + 1, error.character
        raise composer.error(f"it holds the character U+{problem:04X}, which no YAML file may hold", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        raise composer.error(f"not valid YAML, {words}", mark.line + 1 if mark else None) from None
    except (ValueError, OverflowError) as error:  # of a number in a directive or an escape
        raise composer.error(f"not valid YAML, {error}") from None


class _Composer:
    """Builds the values from PyYAML's events, which neither recurse nor grow."""

    def __init__(self, text, source, kind):
        import yaml

        self.source, self.line, self._kind = source, 1, kind
        self.lines: Dict[tuple, int] = {}
        self._events, self._is = yaml.parse(text, yaml.SafeLoader), yaml.events
        self._anchors: Dict[str, tuple] = {}  # name -> value, how many values it holds, how deep it goes
        self._values = 0

    def error(self, problem, line=None):
        return DeepLabError(f"{self.source}, line {line or self.line}: {problem}.")

    def document(self):
        self._next()  # the start of the stream
        if isinstance(self._next(), self._is.StreamEndEvent):
            return None
        value, _ = self._node(self._next(), ())
        self._next()  # the end of the document
        if not isinstance(self._next(), self._is.StreamEndEvent):
            raise self.error(f"a second document begins (---); a {self._kind} is one")
        return value

    def _next(self):
        event = next(self._events)
        if event.start_mark:
            self.line = event.start_mark.line + 1
        return event

    def _until(self, end):
        event = self._next()
        while not isinstance(event, end):
            yield event
            event = self._next()

    def _node(self, event, path) -> Tuple[Any, int]:
        """Return a value, and how deep it goes."""
        self.lines[path] = self.line
        before = self._values
        self._values += 1
        if isinstance(event, self._is.AliasEvent):
            if event.anchor not in self._anchors:
                raise self.error(f"*{event.anchor} names no value before it")
            value, values, depth = self._anchors[event.anchor]
            self._values += values - 1
        elif event.tag is not None:
            raise self.error(f"the tag {event.tag} is not read; quotation marks make a value text")
        elif isinstance(event, self._is.ScalarEvent):
            value, depth = self._scalar(event), 0
        else:
            self._check_limits(len(path) + 1)
            value, depth = self._mapping(path) if isinstance(event, self._is.MappingStartEvent) else self._list(path)
        self._check_limits(len(path) + depth)
        if event.anchor is not None and not isinstance(event, self._is.AliasEvent):
            self._anchors[event.anchor] = value, self._values - before, depth
        return value, depth

    def _check_limits(self, depth):
        if self._values > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES} values are too many for a {self._kind}")
        if depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} lists or mappings stand in one another")

    def _list(self, path):
        nodes: List[tuple] = []
        for event in self._until(self._is.SequenceEndEvent):
            nodes.append(self._node(event, path + (len(nodes),)))
        return [value for value, _ in nodes], 1 + max((depth for _, depth in nodes), default=0)

    def _mapping(self, path):
        nodes: Dict[str, tuple] = {}
        for event in self._until(self._is.MappingEndEvent):
            key, line = self._key(event), self.line
            place = (*path, key)
            if key in nodes:
                raise self.error(
                    f"{show_path(place)} is given twice, in line {self.lines[place]} too; remove one of them"
                )
            nodes[key] = self._node(self._next(), place)
            self.lines[place] = line
        return {key: value for key, (value, _) in nodes.items()}, 1 + max((d for _, d in nodes.values()), default=0)

    def _key(self, event):
        if not isinstance(event, self._is.ScalarEvent) or event.tag is not None:
            raise self.error("a key must be a word, not a list, a mapping, an alias or a tag")
        if event.value == "<<" and event.style is None:
            raise self.error("merge keys (<<) are not read; write the keys out")
        if not event.value:
            raise self.error("a key is empty")
        return self._text(event.value)

    def _scalar(self, event):
        return self._text(event.value) if event.style is not None else self._plain(event.value)

    def _text(self, text):
        found = _CONTROL.search(text)
        if found:
            raise self.error(f"a text holds the character U+{ord(found[0]):04X}")
        if len(text) > MAX_TEXT:
            raise self.error(f"a text of {len(text)} characters is too long")
        return text

    def _plain(self, text):
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if text in _SPECIAL:
            return float(_SPECIAL[text])
        is_integer = _INTEGER.fullmatch(text)
        if not is_integer and (not FLOAT.fullmatch(text) or _LEADING_ZERO.fullmatch(text)):
            return self._text(text)
        if len(text) > MAX_DIGITS:
            raise self.error(f"a number has {len(text)} digits")
        return int(text) if is_integer else float(text)


def show_path(path: tuple) -> str:
    """Return a path as recipes write it: data.classes[0].name."""
    return "".join(f"[{part}]" if isinstance(part, int) else "." * bool(i) + str(part) for i, part in enumerate(path))
