"""A data set written once at the training size, as sharded TFDS records in random-access files: what `deeplab-tf
prepare` makes.

    ROOT/records/1.1.0/records-SPLIT.array_record-00000-of-00008 ...   and TFDS's own dataset_info.json, features.json,
    metadata.json

Each record holds the image and the label map at the training size as plain bytes, which the file format compresses with
Zstandard: 40 % more bytes than PNG, read four times as fast. Beside them lie the label and, where there are any, the
instances at their own resolution, as PNG, so that scores are the same as on the files. metadata.json holds the classes,
the frames' names and what the records were made from.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.coco import from_colors
from deeplab_tf.lab.data.split import Frame, Split, UnknownSplit, open_root

VERSION = "1.1.0"
"""Of the layout of a record, as TFDS counts versions."""


def open_split(split: str, *, root: str) -> "RecordSplit":
    """Opens one split of a folder that `deeplab-tf prepare` wrote."""
    folder = version_folder(open_root(root))
    if not folder.is_dir() and folder.parent.is_dir() and any(folder.parent.iterdir()):
        raise DeepLabError(
            f"The records in {root} were prepared by another version; remove {folder.parent} and prepare them again."
        )
    if not folder.is_dir():
        raise DeepLabError(
            f"There are no prepared records in {root}; write them with: deeplab-tf prepare CONFIG --out {root}."
        )
    builder = tfds.builder_from_directory(folder)
    names = builder.info.metadata["names"]
    if split not in names:
        raise UnknownSplit(f"There is no split '{split}' in the records of {root}. {did_you_mean(split, names)}")
    return RecordSplit(builder, split)


class RecordSplit(Split):
    """A split of prepared records. Frames come at the training size, `label_map` and `panoptic_map` at the resolution
    of the source."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        metadata = builder.info.metadata
        self.table = LabelTable.from_dicts(metadata["classes"])
        self.names = metadata["names"][split]
        self.size = tuple(metadata["size"])
        label_ids = metadata["label_ids"]
        self.label_ids = label_ids and {int(file_id): class_id for file_id, class_id in label_ids.items()}
        self.source = dict(metadata["source"])  # the recipe's `data` section that they were prepared from
        self._records = ExampleReader(builder, split)

    def frame(self, index: int) -> Frame:
        values = self._records[index]
        image = np.frombuffer(values["image"], np.uint8).reshape(*self.size, 3).copy()
        return Frame(image, np.frombuffer(values["label_map"], np.uint8).reshape(self.size).copy())

    def scored_frame(self, index: int) -> Frame:
        return Frame(self.frame(index).image, self.label_map(index))

    def label_map(self, index: int) -> np.ndarray:
        return image_files.decode_ids(self._records[index]["source_label"], self.names[index])

    def panoptic_map(self, index: int) -> np.ndarray | None:
        data = self._records[index].get("source_panoptic")
        return from_colors(image_files.decode_image(data, self.names[index])) if data else None

    def without_instances(self) -> list[str]:
        return [] if self._records[0].get("source_panoptic") else self.names  # all or none: `prepare` sees to it


class ExampleReader:
    """Random access to the bytes features of a TFDS data set in array_record format. Any thread may read.

    TFDS's own way to NumPy converts every feature through TensorFlow types; here the protocol buffer is parsed and
    nothing else.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._folder = builder.data_dir
        self._split = split
        self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        """The first value of every bytes feature. Raises DeepLabError for a damaged file."""
        try:
            example = tf.train.Example.FromString(self._source[index])
            return {
                key: value.bytes_list.value[0]
                for key, value in example.features.feature.items()
                if value.bytes_list.value
            }
        except IndexError:
            raise
        except Exception as error:  # the reader's own types differ by version: whatever it is, the file cannot be read
            raise DeepLabError(
                f"Record {index} of {self._split} in {self._folder} is damaged: {error}; prepare it again."
            ) from error


def version_folder(root: Path) -> Path:
    """Where TFDS puts what the builder `record_writer.Records` writes."""
    return root / "records" / VERSION
