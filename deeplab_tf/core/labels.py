"""The class table: ids, names and colors of the classes.

A label map is (H, W) uint8: a class id 0 .. C-1 for every pixel, or IGNORE_LABEL. Files may hold other ids (Cityscapes
has 34); an id map, a look-up table of 256 entries, takes those to class ids.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import Value, shown

IGNORE_LABEL = 255
"""The id of a pixel that no loss and no score counts."""

IGNORE_COLORS = {"black": (0, 0, 0), "white": (255, 255, 255), "magenta": (255, 0, 255), "yellow": (255, 255, 0)}
"""Colors for what is no class: a table takes the first that no class looks like."""


class Label(NamedTuple):
    """One class."""

    id: int  # in label maps: 0 .. C-1, in the order of the table
    name: str
    color: Tuple[int, int, int]  # RGB, 0..255
    thing: bool  # True: countable, with instances (car); False: stuff (road)


class LabelTable:
    """The classes of a dataset, in the order of their ids."""

    def __init__(self, labels: Iterable[Label]):
        """Raise DeepLabError for ids that are not 0 .. C-1 in order, a name used twice, or more than 255 classes."""
        self.labels = tuple(labels)
        ids = [label.id for label in self.labels]
        if ids != list(range(len(ids))) or not 1 <= len(ids) <= IGNORE_LABEL:
            raise DeepLabError(f"Class ids must be 0, 1, 2, ... in order, 1 to 255 of them; got {shown(ids)}.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise DeepLabError(f"Class names must differ; these appear twice: {', '.join(repeated)}.")

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self):
        return iter(self.labels)

    def __eq__(self, other) -> bool:
        return isinstance(other, LabelTable) and self.labels == other.labels

    def __hash__(self) -> int:
        return hash(self.labels)

    @property
    def names(self) -> List[str]:
        """Class names, by id."""
        return [label.name for label in self.labels]

    @property
    def ignore_color(self) -> str:
        """The name, in IGNORE_COLORS, of the color for ids outside the table: black, unless a class looks like it."""

        def distance(name):
            return min(max(abs(a - b) for a, b in zip(IGNORE_COLORS[name], label.color)) for label in self)

        return next((name for name in IGNORE_COLORS if distance(name) >= 24), max(IGNORE_COLORS, key=distance))

    def palette(self) -> np.ndarray:
        """Return (256, 3) uint8 RGB: the color of every value of a label map; others than classes have
        `ignore_color`."""
        palette = np.full((256, 3), IGNORE_COLORS[self.ignore_color], np.uint8)
        for label in self.labels:
            palette[label.id] = label.color
        return palette

    def to_dicts(self) -> List[dict]:
        """Return rows for YAML and JSON, which `from_dicts` takes back."""
        return [{"name": label.name, "color": list(label.color), "thing": label.thing} for label in self.labels]

    @classmethod
    def from_dicts(cls, rows: Sequence[dict], file: str = "The class table", key: str = "classes") -> "LabelTable":
        """Return the table whose row i describes class i.

        Args:
            rows: dictionaries with `name`, `color` [R, G, B], and optionally `thing` (default False).
            file, key: where they come from, for errors.

        Raises:
            DeepLabError: a row, or the table, is none; the file and the key are named.
        """
        values = Value(rows, file, key).rows(1, IGNORE_LABEL)
        labels = [_label(i, row) for i, row in enumerate(values)]
        try:
            return cls(labels)
        except DeepLabError as error:
            raise DeepLabError(f"{file}: {key}: {error}") from None


def _label(i: int, row: Value) -> Label:
    red, green, blue = (each.integer(0, 255) for each in row["color"].rows(3, 3))
    thing = row.get("thing")
    return Label(i, row["name"].text(200), (red, green, blue), thing is not None and thing.flag())


def id_map(pairs: Dict[int, int]) -> np.ndarray:
    """Return a (256,) uint8 look-up table, id in files -> class id; every id not in `pairs` becomes IGNORE_LABEL."""
    table = np.full(256, IGNORE_LABEL, np.uint8)
    for file_id, class_id in pairs.items():
        table[file_id] = class_id
    return table
