"""Values as YAML gives them, in the types that the code wants, and back."""

import math
import types
import typing

import yaml

from deeplab_tf.core.errors import DeepLabError


def coerce(value, hint, key: str):
    """The value in the type that a hint names: YAML lists become tuples, whole numbers become floats where those are
    wanted.

    Args:
        value: as YAML gives it.
        hint: str, int, float, bool, a tuple of them, a dictionary with words as keys, or a union of such and None.
        key: for the DeepLabError that a value of another type raises.
    """
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for option in sorted(
        options, key=lambda option: option is not types.NoneType
    ):  # else `none` would be taken for a word
        try:
            return _coerce_one(value, option)
        except (TypeError, ValueError):
            continue
    raise DeepLabError(f"{key} must be {_describe(hint)}. Got {show(value)} instead.")


def _coerce_one(value, hint):
    if hint is types.NoneType and value in (None, "none"):
        return None
    if typing.get_origin(hint) is tuple:
        return _coerce_list(value, typing.get_args(hint))
    if typing.get_origin(hint) is dict and isinstance(value, dict):
        return {_coerce_one(key, str): _coerce_one(item, typing.get_args(hint)[1]) for key, item in value.items()}
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        number = float(value)  # a string, because YAML reads 1e-3 as one
        if not math.isfinite(number):
            raise ValueError
        return number
    if hint is str and value is None:
        return "none"
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise TypeError


def _coerce_list(value, kinds):
    if not isinstance(value, (list, tuple)):
        raise TypeError
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError
    return tuple(_coerce_one(item, kind) for item, kind in zip(value, kinds))


def _describe(hint):
    if isinstance(hint, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        first, *others = typing.get_args(hint)
        count = "" if Ellipsis in others else f"{1 + len(others)} "
        return f"a list of {count}{_describe(first).split(' ', 1)[1]}s"
    if typing.get_origin(hint) is dict:
        return f"a mapping from words to {_describe(typing.get_args(hint)[1]).split(' ', 1)[1]}s"
    return {int: "a whole number", float: "a number", str: "a word", bool: "true or false", types.NoneType: "none"}[
        hint
    ]


def show(value) -> str:
    """The value as YAML writes it, on one line."""
    text = yaml.safe_dump(plain(value), default_flow_style=True, width=10**6).strip()
    return text.removesuffix("...").strip()


def plain(value):
    """The value in YAML's own types: tuples become lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
