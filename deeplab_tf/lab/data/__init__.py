"""Datasets, one file each, and the pipeline from a dataset to training batches.

A dataset is a file in this folder with `open_split(split, *, root, ...) -> Split`; the file's name is its name in
recipes, and the keyword-only arguments are its keys there. `TABLE` is its classes, if all its roots have the same.
"""

import functools
import importlib
import os
from pathlib import Path
from typing import Annotated

from deeplab_tf.core.errors import did_you_mean
from deeplab_tf.core.files import import_file
from deeplab_tf.core.guard import expand
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.schema import Section, Side, WrongOption, partial, schema_of, validate


class DataOptions(Section):
    """Images and labels. Each dataset has keys of its own. Scores are counted at each label's own resolution."""

    name: Annotated[str, "the dataset"]
    size: Annotated[tuple[Side, Side], "[height, width] to which images are resized, such as [512, 1024]"]
    records: Annotated[str | None, "the folder of `deeplab-tf prepare`; read instead of the files"] = None


def data_sets() -> list[str]:
    """Return the names of the datasets."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return [path.stem for path in files if "\ndef open_split(" in path.read_text(encoding="utf-8")]


def load_data_set(name: str):
    """Return the module of a dataset, by its name or the path of a file of your own (NAME.py).

    Raise WrongOption, with the choices, where there is none.
    """
    if str(name).endswith(".py") and Path(name).is_file():
        return import_file(name)
    if name not in data_sets():
        meant = did_you_mean(str(name), data_sets())
        raise WrongOption(f"There is no dataset '{name}' for data.name. {meant}", ("data", "name"))
    return importlib.import_module(f"deeplab_tf.lab.data.{name}")


def read_options(data: dict) -> dict:
    """Check a recipe's `data` section, in which keys of the dataset may be missing until it is opened.

    Raise DeepLabError for an unknown dataset or key (with what was meant), a missing name or size, a wrong value.
    """
    validate(DataOptions, {key: data[key] for key in DataOptions.model_fields if key in data}, "data")
    return _read(data)


def _read(data):
    given = {key: value for key, value in data.items() if value is not None}
    schema = _partial_schema(load_data_set(data.get("name")).open_split)
    return validate(schema, given, "data").model_dump(exclude_unset=True)


@functools.cache
def _partial_schema(open_one) -> type[DataOptions]:
    return partial(schema_of(open_one, DataOptions))


def places(data: dict) -> list[str]:
    """Return the files and folders that a `data` section names and that are there; for `images/{split}`, the part
    before the split."""
    named = [data.get(key) for key in ("root", "records", "manual_dir")]
    named.append(data["name"] if data["name"].endswith(".py") else None)
    below = [value.partition("{split}")[0] for value in data.values() if isinstance(value, str)]
    found = [expand(name) for name in named if name]
    found += [os.path.join(found[0], name) for name in below if data.get("root")]
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]


def count_classes(data: dict) -> int | None:
    """Return the number of classes of a `data` section, if the section or the dataset gives it without any files."""
    if data.get("classes") is not None:
        return len(data["classes"])
    table = getattr(load_data_set(data["name"]), "TABLE", None)
    return None if table is None else len(table)


def open_split(data: dict, split: str) -> Split:
    """Open a split of the dataset that a recipe's `data` section describes.

    Args:
        data: `name`, the dataset's own options and, where `prepare` has written it, `records`, which is read instead.
        split: `train`, `val`, or what else the dataset has.

    Raises:
        DeepLabError: an unknown dataset or option (with what was meant), a missing option, a wrong value, and what the
            dataset raises.
    """
    data = _read(data)
    if data.get("records"):
        from deeplab_tf.lab.data.records import open_prepared  # TFDS

        return open_prepared(data, split, lambda: _open_files(data, split))
    return _open_files(data, split)


def _open_files(data, split):
    open_one = load_data_set(data["name"]).open_split
    own = {key: value for key, value in data.items() if key not in DataOptions.model_fields}
    opened = open_one(split, **dict(validate(schema_of(open_one, Section), own, "data")))
    if data["name"] == "records":
        from deeplab_tf.lab.data.records import compared  # TFDS

        return compared(opened, own["root"], lambda: _open_files(opened.source, split))
    return opened
