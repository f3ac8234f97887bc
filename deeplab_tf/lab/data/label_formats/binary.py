"""Masks of 0 and 255: two classes, of which the first is 0."""

import functools

import cv2
import numpy as np

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_formats.ids import id_reader
from deeplab_tf.lab.data.label_reader import IdReader
from deeplab_tf.lab.schema import WrongOption

VALUES = (0, 255)


def open_labels(options: LabelOptions) -> IdReader:
    """Return the reader. Raise WrongOption unless there are two classes, DeepLabError for an id with two meanings."""
    if len(options.classes) != len(VALUES):
        raise WrongOption(
            "label_format: binary has two classes: the first is 0 in masks (the background), the second 255. "
            f"Got {len(options.classes)} in data.classes instead.",
            ("data", "classes"),
        )
    return id_reader(options, VALUES, functools.partial(read_mask, threshold=options.threshold), "binary", ())


def read_mask(path: str, *, threshold: int | None = None) -> np.ndarray:
    """Return the (H, W) uint8 values of a mask file, in gray or with three equal channels.

    Args:
        threshold: values from this on become 255, smaller ones 0.

    Raises:
        DeepLabError: the channels differ, or the file cannot be read.
    """
    pixels = image_files.read_mask(path, lossy=threshold is not None)
    if threshold is None:
        return pixels
    if threshold == 0:
        raise DeepLabError("data.threshold must be from 1 to 255: all values are 0 or more.")
    return cv2.threshold(pixels, threshold - 1, 255, cv2.THRESH_BINARY)[1]
