"""Ids: PNG with one channel, whose values are the classes. RGB files with three equal channels are read too."""

from collections.abc import Callable, Sequence

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL, id_map
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_reader import IdReader, read_gray_ids


def open_labels(options: LabelOptions) -> IdReader:
    """Return the reader. Raise DeepLabError for an id with two meanings."""
    return id_reader(options, range(len(options.classes)), read_gray_ids, "ids")


def id_reader(
    options: LabelOptions,
    ids: Sequence[int],
    read: Callable[[str], np.ndarray],
    label_format: str,
    ignored: tuple[int, ...] = (IGNORE_LABEL,),
) -> IdReader:
    """Return a reader of files of ids.

    Args:
        options: of the recipe.
        ids: of the classes in files, where the recipe gives none.
        read: path of a label file -> (H, W) uint8 ids.
        label_format: the name of the format.
        ignored: ids that are ignored where the recipe does not say.

    Raises:
        DeepLabError: an id has two meanings.
    """
    classes = {row_id: i for i, row in enumerate(options.classes) for row_id in row.ids(ids[i])}
    class_ids = [row_id for i, row in enumerate(options.classes) for row_id in row.ids(ids[i])]
    ignore_ids = ignored if options.ignore_ids is None else options.ignore_ids
    twice = sorted({*class_ids} & {*ignore_ids})
    if twice:
        rest = [i for i in ignore_ids if i not in twice]
        raise DeepLabError(
            f"An id in label files must have one meaning; data.classes have {class_ids}, data.ignore_ids "
            f"{list(ignore_ids)}: id: {twice[0]} needs ignore_ids: {rest}."
        )
    if len(classes) < len(class_ids):
        raise DeepLabError(f"An id in label files must have one meaning; data.classes have {class_ids}.")
    return IdReader(id_map(classes), [*class_ids, *ignore_ids], read, label_format)
