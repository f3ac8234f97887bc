"""The class table: which ids a label map holds, what they are called, and how they are drawn.

A label map is (H, W) uint8: a class id 0 .. C-1 for every pixel, or IGNORE_LABEL. Files on disk may hold other ids
(Cityscapes has 34); an id map, a look-up table of 256 entries, takes those to class ids.
"""

from typing import Dict, Iterable, List, NamedTuple, Sequence, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError

IGNORE_LABEL = 255
"""The id of a pixel that counts in no loss and in no score."""


class Label(NamedTuple):
    """One class."""

    id: int  # in label maps: 0 .. C-1, in the order of the table
    name: str
    color: Tuple[int, int, int]  # RGB, 0..255
    thing: bool  # True: countable, with instances (car); False: stuff (road)


class LabelTable:
    """The classes of a data set, in the order of their ids."""

    def __init__(self, labels: Iterable[Label]):
        """Raises DeepLabError for ids that are not 0 .. C-1 in order, a name used twice, or more than 255 classes."""
        self.labels = tuple(labels)
        ids = [label.id for label in self.labels]
        if ids != list(range(len(ids))) or not 1 <= len(ids) <= IGNORE_LABEL:
            raise DeepLabError(f"Class ids must be 0, 1, 2, ... in order, 1 to 255 of them; got {ids}.")
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise DeepLabError("Class names must differ; these stand twice: {}.".format(", ".join(repeated)))

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

    def palette(self) -> np.ndarray:
        """(256, 3) uint8 RGB: the colour of every value a label map can hold; ids outside the table are black."""
        palette = np.zeros((256, 3), np.uint8)
        for label in self.labels:
            palette[label.id] = label.color
        return palette

    def to_dicts(self) -> List[dict]:
        """Rows for YAML and JSON; `from_dicts` reads them back."""
        return [{"name": label.name, "color": list(label.color), "thing": label.thing} for label in self.labels]

    @classmethod
    def from_dicts(cls, rows: Sequence[dict]) -> "LabelTable":
        """The table whose row i describes class i.

        Args:
            rows: dictionaries with `name`, `color` [R, G, B], and `thing` (False where it is left out).
        """
        return cls(
            Label(i, str(row["name"]), tuple(row["color"]), bool(row.get("thing", False))) for i, row in enumerate(rows)
        )


def id_map(pairs: Dict[int, int]) -> np.ndarray:
    """(256,) uint8 look-up table from ids in files to class ids; every id not in `pairs` becomes IGNORE_LABEL."""
    table = np.full(256, IGNORE_LABEL, np.uint8)
    for file_id, class_id in pairs.items():
        table[file_id] = class_id
    return table


# Cityscapes (Cordts et al., CVPR 2016): the 19 scored classes in the order of their train ids, with the id that each
# has in
# *_labelIds.png files. Colours and ids are the benchmark's own.
#   labelId  name             colour (RGB)      thing
_CITYSCAPES = (
    (7, "road", (128, 64, 128), False),
    (8, "sidewalk", (244, 35, 232), False),
    (11, "building", (70, 70, 70), False),
    (12, "wall", (102, 102, 156), False),
    (13, "fence", (190, 153, 153), False),
    (17, "pole", (153, 153, 153), False),
    (19, "traffic light", (250, 170, 30), False),
    (20, "traffic sign", (220, 220, 0), False),
    (21, "vegetation", (107, 142, 35), False),
    (22, "terrain", (152, 251, 152), False),
    (23, "sky", (70, 130, 180), False),
    (24, "person", (220, 20, 60), True),
    (25, "rider", (255, 0, 0), True),
    (26, "car", (0, 0, 142), True),
    (27, "truck", (0, 0, 70), True),
    (28, "bus", (0, 60, 100), True),
    (31, "train", (0, 80, 100), True),
    (32, "motorcycle", (0, 0, 230), True),
    (33, "bicycle", (119, 11, 32), True),
)

CITYSCAPES = LabelTable(Label(i, name, color, thing) for i, (_, name, color, thing) in enumerate(_CITYSCAPES))

CITYSCAPES_FILE_IDS = tuple(range(34))
"""Every id that a *_labelIds.png file may hold; the 15 that are not in CITYSCAPES are ignored in training and in
scores."""

CITYSCAPES_TO_CLASS = id_map({file_id: i for i, (file_id, *_) in enumerate(_CITYSCAPES)})
"""(256,) uint8: id in a *_labelIds.png file -> class id, or IGNORE_LABEL."""

CITYSCAPES_FROM_CLASS = np.array([file_id for file_id, *_ in _CITYSCAPES] + [0] * (256 - len(_CITYSCAPES)), np.uint8)
"""(256,) uint8: class id -> id in a *_labelIds.png file; IGNORE_LABEL becomes 0, unlabelled."""

# CamVid (Brostow et al., 2008) as released with SegNet: 11 classes, id 11 is unlabelled. Colours are CamVid's own.
_CAMVID = (
    ("sky", (128, 128, 128), False),
    ("building", (128, 0, 0), False),
    ("pole", (192, 192, 128), False),
    ("road", (128, 64, 128), False),
    ("pavement", (0, 0, 192), False),
    ("tree", (128, 128, 0), False),
    ("sign", (192, 128, 128), False),
    ("fence", (64, 64, 128), False),
    ("car", (64, 0, 128), True),
    ("pedestrian", (64, 64, 0), True),
    ("bicyclist", (0, 128, 192), True),
)

CAMVID = LabelTable(Label(i, name, color, thing) for i, (name, color, thing) in enumerate(_CAMVID))
