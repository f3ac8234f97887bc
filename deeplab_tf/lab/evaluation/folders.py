"""A folder of images and a folder of their labels as a split to score a network on."""

from pathlib import Path

from deeplab_tf.core.cityscapes import IMAGE_SUFFIX, LABEL_SUFFIX
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import IMAGE_SUFFIXES
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable, id_map
from deeplab_tf.lab.data import load_data_set, open_split
from deeplab_tf.lab.data.file_split import FileSplit, list_files, pair_files
from deeplab_tf.lab.data.label_reader import IdReader


def open_folders(images: str, labels: str, table: LabelTable, data: dict | None = None) -> FileSplit:
    """Pair images with label files of the same name (Cityscapes' two suffixes count as the same), in subfolders too.

    Args:
        images: folder of image files.
        labels: folder of label files.
        table: the classes of the network.
        data: the `data` section of a recipe: label files are as in its dataset (Cityscapes' 34 ids, ignored ids,
            colors). If left out or empty, they hold class ids 0 .. C-1 and IGNORE_LABEL.

    Raises:
        DeepLabError: a folder that is not there, no images, an image without a label or the reverse.
    """
    described = data if data and data["name"] == "folder" else None
    for folder, option in ((images, "--images (images=)"), (labels, "--labels (labels=)")):
        one_file = described is not None and folder == labels and Path(folder).is_file()  # of COCO
        if not Path(folder).is_dir() and not one_file:
            raise DeepLabError(f"There is no folder {folder} for {option}.")
    if described is not None:
        return _open_described(images, labels, described)
    image_files = list_files(Path(images), IMAGE_SUFFIX) or list_files(Path(images), *IMAGE_SUFFIXES)
    label_files = list_files(Path(labels), LABEL_SUFFIX) or list_files(Path(labels), ".png")
    rows = pair_files(image_files, label_files, Path(images))
    reader = getattr(load_data_set(data["name"]), "LABEL_READER", None) if data else None
    return FileSplit(table, rows, reader or _class_ids(table))


def _class_ids(table):
    ids = range(len(table))
    return IdReader(id_map({i: i for i in ids}), [*ids, IGNORE_LABEL])


def _open_described(images, labels, data):
    """Open the dataset that a recipe describes, with these two folders in place of its own."""
    split = {"images": "{split}" + str(Path(images).absolute()), "labels": "{split}" + str(Path(labels).absolute())}
    none = dict.fromkeys(("instances", "records", "splits", "split_lists", "val_fraction"))
    places = {"root": "/", **split, **none}
    return open_split({**data, **places}, ".")  # its folders must hold {split}; "." leaves the path as it is
