"""Formats of labels, one file each: `data.label_format` of a recipe whose dataset is `folder`.

A format is a file in this folder with `open_labels(options) -> LabelReader`; the file's name is its name in recipes.
"""

import importlib
from pathlib import Path
from typing import Annotated, NamedTuple

from annotated_types import Ge, Le

from deeplab_tf.core.errors import did_you_mean
from deeplab_tf.core.labels import IGNORE_LABEL, Label, LabelTable
from deeplab_tf.lab.data.label_reader import LabelReader
from deeplab_tf.lab.schema import Byte, Section, WrongOption

Color = tuple[Byte, Byte, Byte]


class ClassRow(Section):
    """A row of `classes`."""

    name: str | Annotated[int, Ge(0), Le(999_999)]
    color: Color
    thing: bool = False
    id: Byte | tuple[Byte, ...] | None = None

    def ids(self, default: int) -> tuple[int, ...]:
        """Return the ids in label files: several are merged to one class. `default` is that of a row without."""
        if self.id is None:
            return (default,)
        return self.id if isinstance(self.id, tuple) else (self.id,)


class LabelOptions(NamedTuple):
    """What a recipe says about its labels; each format uses what concerns it."""

    classes: tuple[ClassRow, ...]
    ignore_ids: tuple[int, ...] | None = None
    ignore_colors: tuple[Color, ...] = ()
    ignore_names: tuple[str, ...] = ()
    background: str | None = "background"
    threshold: int | None = None

    @property
    def table(self) -> LabelTable:
        """The classes."""
        return LabelTable(Label(i, str(row.name), row.color, row.thing) for i, row in enumerate(self.classes))

    def background_class(self) -> int:
        """Return the class id of pixels in no polygon: IGNORE_LABEL without such a class. Raise WrongOption for a
        name, other than the default, that no class has."""
        names = self.table.names
        if self.background in names:
            return names.index(self.background)
        if self.background not in (None, "background"):
            meant = did_you_mean(str(self.background), names)
            raise WrongOption(
                f"data.background must be the name of a class, or none. Got {self.background} instead. {meant}",
                ("data", "background"),
            )
        return IGNORE_LABEL


def names() -> list[str]:
    """Return the names of the formats."""
    return [path.stem for path in sorted(Path(__file__).parent.glob("[!_]*.py"))]


def open_labels(label_format: str, options: LabelOptions) -> LabelReader:
    """Return the reader of a format. Raise DeepLabError for options that contradict each other."""
    return importlib.import_module(f"{__name__}.{label_format}").open_labels(options)
