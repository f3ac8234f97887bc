"""CamVid as released with SegNet (Brostow et al., 2008; Badrinarayanan et al., 2017): 11 classes, 480 x 360 street
scenes.

    ROOT/images/{train,val,test}/NAME.png   8-bit RGB
    ROOT/labels/{train,val,test}/NAME.png   8-bit ids: 0 .. 10 are the classes, 11 is unlabeled
"""

from typing import Annotated

from deeplab_tf.core.labels import Label, LabelTable, id_map
from deeplab_tf.lab.data.file_split import FileSplit, list_files, open_root, pair_files
from deeplab_tf.lab.data.label_reader import IdReader
from deeplab_tf.lab.data.split_choice import split_place

# Colors are CamVid's own.
_CLASSES = (
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

TABLE = CAMVID = LabelTable(Label(i, name, color, thing) for i, (name, color, thing) in enumerate(_CLASSES))

UNLABELED = 11

LABEL_READER = IdReader(id_map({label.id: label.id for label in CAMVID}), range(UNLABELED + 1))


def open_split(split: str, *, root: Annotated[str, "the folder that holds `images` and `labels`"]) -> FileSplit:
    """Open `train`, `val`, or `test` where its files are there."""
    folder = open_root(root)
    images = split_place(folder, "images/{split}", split)
    labels = split_place(folder, "labels/{split}", split)
    rows = pair_files(list_files(images, ".png"), list_files(labels, ".png"), images)
    return FileSplit(CAMVID, rows, LABEL_READER)
