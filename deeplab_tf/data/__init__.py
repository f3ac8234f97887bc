"""Data sets, one file each, and the pipeline from a data set to training batches."""

import importlib
import inspect
from pathlib import Path

from deeplab_tf.data.split import Split
from deeplab_tf.errors import DeepLabError, did_you_mean

COMMON_OPTIONS = ("name", "size", "records")
"""Keys of a recipe's `data` section that are not the data set's own."""


def open_split(data: dict, split: str) -> Split:
    """Opens a split of the data set that a recipe's `data` section describes.

    Args:
        data: `name`, a file in this folder; the options that its `open_split` names; `size` (height, width); and, where `prepare`
            has written the data set, `records`, the folder to read instead.
        split: `train`, `val`, or what else the data set has.

    Raises:
        DeepLabError: an unknown data set or option (with what was meant), a missing option, or what the data set has to say.
    """
    open_one = load_data_set(data.get("name")).open_split
    if data.get("records"):
        return _open_records(data, split)
    options = {key: value for key, value in data.items() if key not in COMMON_OPTIONS}
    parameters = {p.name: p for p in inspect.signature(open_one).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for key in options:
        if key not in parameters:
            hint = did_you_mean(key, [*parameters, *COMMON_OPTIONS])
            raise DeepLabError(f"The data set {data['name']} has no option data.{key}. {hint}")
    missing = [p.name for p in parameters.values() if p.default is p.empty and options.get(p.name) is None]
    if missing:
        raise DeepLabError(
            f"The data set {data['name']} needs data.{missing[0]}; set it in the recipe or with --set data.{missing[0]}=VALUE."
        )
    return open_one(split, **options)


def _open_records(data, split):
    from deeplab_tf.data import records

    opened = records.open_split(split, root=data["records"])
    if tuple(opened.size) != tuple(data["size"]):
        there, wanted = ("x".join(map(str, size)) for size in (opened.size, data["size"]))
        raise DeepLabError(f"The records in {data['records']} hold frames of {there}, the recipe wants {wanted}; prepare them again.")
    return opened


def load_data_set(name: str):
    """The module of a data set by its file's name. Raises DeepLabError, naming the choices, where there is none."""
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if _is_data_set(path)]
    if name not in names:
        raise DeepLabError(f"There is no data set '{name}' for data.name. {did_you_mean(str(name), names)}")
    return importlib.import_module(f"deeplab_tf.data.{name}")


def _is_data_set(path: Path) -> bool:
    return "\ndef open_split(" in path.read_text(encoding="utf-8") and path.stem != "__init__"
