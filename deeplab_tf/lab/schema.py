"""Schemas of a recipe's sections, by pydantic; an error is one sentence that names the key.

An option is declared once, with its type, range, meaning and default, as a field of a Section or as an argument:

    learning_rate: Annotated[float, Gt(0), Le(1000), "peak learning rate"] = 0.001

Every number has a lowest and a highest value, beyond which there is no use for it.
"""

import copy
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.yaml_text import show_path
from deeplab_tf.lab.yaml_text import dump

Fraction = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Byte = Annotated[int, Ge(0), Le(255)]
Side = Annotated[int, Ge(32), Le(16_384)]
"""Pixels; below, the deepest features have no position left."""
Count = Annotated[int, Ge(1), Le(10_000_000)]
"""Of steps or images."""
Channels = Annotated[int, Ge(1), Le(4096)]
Weight = Annotated[float, Ge(0), Le(1_000_000)]
"""Of a term of the loss."""
SHOWN = 200
"""Characters of a wrong value that its error shows."""


class WrongOption(DeepLabError):
    """A wrong value or key of a recipe.

    Attributes:
        path: where it stands, such as ("data", "classes", 0, "name").
    """

    def __init__(self, sentence: str, path: tuple):
        super().__init__(sentence)
        self.path = path


class Section(BaseModel):
    """Options of a recipe that stand together. Types are strict, but lists become tuples, `none` becomes None, and yes
    and no, which were booleans up to YAML 1.1, are booleans where one is expected."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _read_yaml(cls, options):
        if not isinstance(options, dict):
            return options
        return {str(key): _from_yaml(value, cls.model_fields.get(key)) for key, value in options.items()}


_BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}


def _from_yaml(value, field: FieldInfo | None):
    if isinstance(value, (list, tuple)):
        return tuple(_from_yaml(item, None) for item in value)
    if field is not None and field.annotation is bool and isinstance(value, str):
        return _BOOLEANS.get(value.lower(), value)
    if field is not None and value in (None, "none"):
        if types.NoneType in typing.get_args(field.annotation):
            return None
        return "none" if field.default == "none" else value
    return value


S = TypeVar("S", bound=Section)


@functools.cache  # pydantic takes milliseconds for each
def schema_of(function: Callable, base: type[S], *, without: Iterable[str] = ()) -> type[S]:
    """Return the schema of a function's keyword-only arguments, added to the fields of `base`."""
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is each.empty else each.default)
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.KEYWORD_ONLY and each.name not in without
    }
    return create_model(function.__name__, __base__=base, **fields)


def partial(schema: type[S]) -> type[S]:
    """Return the schema with every option optional."""
    required = {name: copy.copy(field) for name, field in schema.model_fields.items() if field.is_required()}
    for field in required.values():
        field.default = None
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in required.items()}
    return create_model(schema.__name__, __base__=schema, **fields)


def validate(schema: type[S], options: dict, section: str) -> S:
    """Return the options, checked and with every default. Raise WrongOption for the first that is wrong.

    Args:
        section: the key under which they stand in a recipe, for the error; "" for the recipe itself.
    """
    try:
        return schema.model_validate(options)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # the cause of a missing key
        raise _wrong(first, FieldInfo(annotation=schema), options, (section,) if section else ()) from None


def _wrong(error, field: FieldInfo, value, path: tuple) -> WrongOption:
    """Return the error for one of pydantic's: of a value of this field, which stands at `path`."""
    for part in error["loc"]:
        schema = next(_sections(field.annotation), None)
        if schema is None:
            break
        if isinstance(part, int):
            path, value = (*path, part), value[part]
            continue
        if not isinstance(value, dict):
            break
        inside, path = path, (*path, part)
        if part not in schema.model_fields:
            meant = did_you_mean(part, schema.model_fields)
            return WrongOption(f"The recipe has an unknown key {show_path(path)}. {meant}", path)
        field = schema.model_fields[part]
        if part not in value:
            hint = "" if len(path) > 2 else f" Set it in the recipe or with --set {show_path(path)}=VALUE."
            return WrongOption(f"{show_path(path)} is missing: {meaning(field) or describe(field)}.{hint}", inside)
        value = value[part]
    words = str(error["ctx"]["error"]) if error["type"] == "value_error" else f"must be {describe(field)}"
    sentence = f"{show_path(path)} {words}. Got {_shortened(value)} instead. {_hint(field, value)}"
    return WrongOption(sentence.rstrip(), path)


def _hint(field, value):
    """Return what was probably meant by a wrong value, or nothing."""
    if isinstance(value, str):
        meant = did_you_mean(value, _choices(field.annotation))
        return meant if meant.startswith("Did") else ""
    if isinstance(value, (list, tuple, dict)) or str not in (field.annotation, *typing.get_args(field.annotation)):
        return ""
    return "Put text that looks like this in quotation marks."


def _shortened(value):
    text = show(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _sections(hint) -> Iterator[type[Section]]:
    """Yield the sections that a value of this type holds."""
    if isinstance(hint, type) and issubclass(hint, Section):
        yield hint
    for part in typing.get_args(hint):
        yield from _sections(part)


def _choices(hint) -> Iterator[str]:
    """Yield the words that a type lists."""
    for part in typing.get_args(hint):
        if typing.get_origin(hint) is not Literal:
            yield from _choices(part)
        elif isinstance(part, str):
            yield part


def meaning(field: FieldInfo) -> str:
    """Return the meaning that an option is declared with."""
    return next((each for each in field.metadata if isinstance(each, str)), "")


def describe(field: FieldInfo) -> str:
    """Return what an option takes in words, such as "an integer > 0 or none"."""
    return _words(field.annotation, field.metadata)


WORDS = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false",) * 2,
    types.NoneType: ("none",) * 2,
}
LIMITS = {Gt: "> {0.gt:,}", Ge: ">= {0.ge:,}", Lt: "< {0.lt:,}", Le: "<= {0.le:,}"}


def _words(hint, limits=(), *, plural: bool = False) -> str:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if limits:
        words, known = _words(hint, plural=plural), {type(limit): limit for limit in limits}
        if set(known) >= {Ge, Le}:
            return f"{words} from {known[Ge].ge:,} to {known[Le].le:,}"
        if set(known) >= {MinLen, MaxLen}:
            return f"{words}, {known[MinLen].min_length} to {known[MaxLen].max_length} of them"
        texts = [LIMITS[kind].format(known[kind]) for kind in LIMITS if kind in known]
        return f"{words} {' and '.join(texts)}".rstrip()
    if origin is Annotated:
        return _words(parts[0], parts[1:], plural=plural)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(part, plural=plural) for part in parts)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple:
        count = "" if Ellipsis in parts else f"{len(parts)} "
        return f"{'lists' if plural else 'a list'} of {count}{_words(parts[0], plural=True)}"
    if origin is dict:
        return f"a mapping from strings to {_words(parts[1], plural=True)}"
    if issubclass(hint, Section):
        return f"{'mappings' if plural else 'a mapping'} of {', '.join(hint.model_fields)}"
    return WORDS[hint][plural]


def difference(key: str, there, here) -> str | None:
    """Return how two values of a key differ, such as "data.size: [48, 64] there, [96, 128] here"; None: not at all."""
    if there == here:
        return None
    texts = show(there), show(here)
    return f"{key} differs" if max(map(len, texts)) > 80 else f"{key}: {texts[0]} there, {texts[1]} here"


def show(value) -> str:
    """Return a value as YAML writes it, on one line."""
    if value is None:
        return "none"
    text = dump(to_jsonable_python(value, fallback=repr), default_flow_style=True, width=10**6).strip()
    return text.removesuffix("...").strip()
