"""Data sets, one file each, and the pipeline from a data set to training batches."""

import importlib
import inspect
import json
import typing
from collections.abc import Sequence
from pathlib import Path

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.values import coerce, show

COMMON_OPTIONS = ("name", "size", "records")
"""Keys of a recipe's `data` section that are not the data set's own."""


def open_split(data: dict, split: str) -> Split:
    """Opens a split of the data set that a recipe's `data` section describes.

    Args:
        data: `name`, a file in this folder; the options that its `open_split` names; `size` (height, width); and, where
            `prepare` has written the data set, `records`, the folder to read instead.
        split: `train`, `val`, or what else the data set has.

    Raises:
        DeepLabError: an unknown data set or option (with what was meant), a missing option, or what the data set has to
            say.
    """
    data = check_options(data)
    if data.get("records"):
        return _open_records(data, split)
    open_one = load_data_set(data["name"]).open_split
    for p in inspect.signature(open_one).parameters.values():
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and data.get(p.name) is None:
            raise DeepLabError(
                f"The data set {data['name']} needs data.{p.name}; set it in the recipe or with --set "
                f"data.{p.name}=VALUE."
            )
    return open_one(split, **{key: value for key, value in data.items() if key not in COMMON_OPTIONS})


def check_options(data: dict) -> dict:
    """The `data` section with every option in the type that the data set's `open_split` names for it.

    Raises DeepLabError for an unknown data set or option (with what was meant), and for a value of another type.
    """
    open_one = load_data_set(data.get("name")).open_split
    hints = typing.get_type_hints(open_one)
    known = [p.name for p in inspect.signature(open_one).parameters.values() if p.kind is p.KEYWORD_ONLY]
    checked = {key: data[key] for key in COMMON_OPTIONS if key in data}
    if "records" in data:
        checked["records"] = coerce(data["records"], str | None, "data.records")
    for key in data.keys() - checked.keys():
        if key not in known:
            raise DeepLabError(
                f"The data set {data['name']} has no option data.{key}. "
                f"{did_you_mean(str(key), [*known, *COMMON_OPTIONS])}"
            )
        checked[key] = _typed(data[key], hints[key], f"data.{key}")
    return checked


def _typed(value, hint, key):
    if typing.get_origin(hint) is not Sequence:
        return value if value is None else coerce(value, hint, key)
    if not isinstance(value, (list, tuple)):
        raise DeepLabError(f"{key} must be a list. Got {show(value)} instead.")
    return value  # what a list holds is the data set's to check


_PLACES = {"root", "manual_dir", "records", "size"}
"""Options that say where a data set lies or how large its frames become, not what it is."""


def _open_records(data, split):
    from deeplab_tf.lab.data import records

    root, wanted = data["records"], json.loads(json.dumps(data, default=str))
    if not records.version_folder(Path(root).expanduser()).is_dir():
        raise DeepLabError(
            f"data.records, {root}, holds no prepared records; write them with: deeplab-tf prepare CONFIG --out {root}."
        )
    opened = records.open_split(split, root=root)
    if opened.source["name"] != wanted["name"]:
        there, here = opened.source["name"], wanted["name"]
        raise DeepLabError(
            f"The records in {root} were prepared from the data set {there}, the recipe's data.name is {here}; "
            "change one."
        )
    different = [
        key
        for key in sorted((opened.source.keys() | wanted.keys()) - _PLACES)
        if opened.source.get(key) != wanted.get(key)
    ]
    if different:
        keys = " and ".join(f"data.{key}" for key in different)
        raise DeepLabError(
            f"The records in {root} were prepared with another {keys} than the recipe's; prepare them again elsewhere."
        )
    if tuple(opened.size) != tuple(data["size"]):
        there, here = ("x".join(map(str, size)) for size in (opened.size, data["size"]))
        raise DeepLabError(
            f"The records in {root} hold frames of {there}, the recipe wants {here}; prepare them again, or set "
            "data.size."
        )
    return opened


def load_data_set(name: str):
    """The module of a data set by its file's name. Raises DeepLabError, naming the choices, where there is none."""
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if _is_data_set(path)]
    if name not in names:
        raise DeepLabError(f"There is no data set '{name}' for data.name. {did_you_mean(str(name), names)}")
    return importlib.import_module(f"deeplab_tf.lab.data.{name}")


def _is_data_set(path: Path) -> bool:
    return "\ndef open_split(" in path.read_text(encoding="utf-8") and path.stem != "__init__"
