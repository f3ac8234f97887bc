"""PNG with a palette, whose indices are the classes, as Pascal VOC has it."""

from deeplab_tf.core import image_files
from deeplab_tf.lab.data.label_formats import LabelOptions
from deeplab_tf.lab.data.label_formats.ids import id_reader
from deeplab_tf.lab.data.label_reader import IdReader


def open_labels(options: LabelOptions) -> IdReader:
    """Return the reader. Raise DeepLabError for an id with two meanings."""
    return id_reader(options, range(len(options.classes)), image_files.read_palette_ids, "palette")
