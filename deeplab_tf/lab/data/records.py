"""Records that `deeplab-tf prepare` wrote: a dataset at the training size, as sharded TFDS records with random access.
It is opened by itself here; usually a recipe keeps the dataset's own name and sets `data.records`.

    ROOT/records/1.2.0/records-SPLIT.array_record-00000-of-00008 ...   and TFDS's own dataset_info.json, features.json,
                                                                       metadata.json
"""

# A record holds image, label map and, if there are any, instances at the training size as plain bytes, which the file
# format compresses with Zstandard: 40 % more bytes than PNG, read four times as fast. Beside them are the label and the
# instances at their own resolution, as PNG, so that scores are those of the files. metadata.json holds the classes, the
# names of the images, the `data` section that the records were made from, its files, and what a check of them found.

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.guard import expand
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic.coco import from_colors
from deeplab_tf.lab.data.file_split import open_root
from deeplab_tf.lab.data.source_files import require_unchanged
from deeplab_tf.lab.data.split import Sample, Split, UnknownSplit
from deeplab_tf.lab.schema import difference

VERSION = "1.2.0"
"""Of the layout of a record, as TFDS counts versions."""


def open_split(split: str, *, root: Annotated[str, "the folder of the records"]) -> "RecordSplit":
    """Open a split of a folder that `deeplab-tf prepare` wrote."""
    folder = version_folder(open_root(root))
    others = [
        path for path in folder.parent.glob("*") if not path.name.startswith("incomplete.")
    ]  # of a killed prepare
    if others and not folder.is_dir():
        raise DeepLabError(
            f"The records in {root} were prepared by another version; remove {folder.parent} and prepare them again."
        )
    if not folder.is_dir():
        raise DeepLabError(
            f"There are no prepared records in {root}; write them with: deeplab-tf prepare CONFIG --out {root}."
        )
    with damage_named(folder):
        builder = tfds.builder_from_directory(folder)
        names = builder.info.metadata["names"]
        if split not in names:
            raise UnknownSplit(f"There is no split '{split}' in the records of {root}. {did_you_mean(split, names)}")
        return RecordSplit(builder, split)


@contextlib.contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Raise DeepLabError for whatever the block raises while it reads TFDS's files in a folder."""
    try:
        yield
    except DeepLabError:
        raise
    except Exception as error:  # TFDS and what it is made of raise many types for a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DeepLabError(
            f"The records in {folder} are damaged ({reason}); remove that folder and prepare them again."
        ) from error


def open_prepared(data: dict, split: str, open_files: Callable[[], Split]) -> "RecordSplit":
    """Open a split of the records that a recipe's `data` section names.

    Args:
        open_files: opens the split that they were made from.

    Raises:
        DeepLabError: they are not there, hold something else than the section describes, or are older than their files.
    """
    root, wanted = data["records"], json.loads(json.dumps(data, default=str))
    if not version_folder(Path(expand(root))).parent.is_dir():
        raise DeepLabError(
            f"data.records, {root}, holds no prepared records; write them with: deeplab-tf prepare CONFIG --out {root}."
        )
    opened = open_split(split, root=root)
    source = {**opened.source, "size": list(opened.size)}
    keys = sorted((source.keys() | wanted.keys()) - {"root", "manual_dir", "records"})  # where it is, not what
    different = [difference(f"data.{key}", source.get(key), wanted.get(key)) for key in keys]
    if any(different):
        raise DeepLabError(
            f"The records in {root} were prepared from something else than the recipe's dataset: "
            f"{', '.join(filter(None, different))}. Change the recipe, or prepare again with another --out."
        )
    return compared(opened, root, open_files)


def compared(opened: "RecordSplit", root: str, open_files: Callable[[], Split]) -> "RecordSplit":
    """Return a split of the records in `root`. Raise DeepLabError where their files, which `open_files` opens, have
    changed; remark it where these are not there."""
    if any(opened.source_files.values()):  # else the dataset is read from no files
        try:
            files = open_files()
        except DeepLabError as error:
            unknown = f"Whether the records in {root} are those of their files was not checked: {error}"
            opened.remarks = [*opened.remarks, unknown]
        else:
            require_unchanged(files, opened.source_files, root)
    return opened


class RecordSplit(Split):
    """A split of prepared records. Samples are at the training size, `label_map` and `panoptic_map` at the source's
    resolution.

    Attributes:
        source_files: see `source_files.describe_files`.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        metadata = builder.info.metadata
        self.table = LabelTable.from_dicts(metadata["classes"], f"{builder.data_dir}/metadata.json")
        self.names = metadata["names"][split]
        self.size = tuple(metadata["size"])
        label_ids = metadata["label_ids"]
        self.label_ids = label_ids and {int(file_id): class_id for file_id, class_id in label_ids.items()}
        self.source = dict(metadata["source"])  # the recipe's `data` section that they were prepared from
        self.source_files = metadata["files"][split]
        self.counts, self.remarks = metadata["counts"][split], list(metadata["remarks"])
        self._records = ExampleReader(builder, split)
        if len(self.names) != len(self._records):
            raise ValueError(f"{len(self.names)} names for {len(self._records)} records")

    def sample(self, index: int) -> Sample:
        values = self._records[index]
        image = self._array(values, "image", index, np.uint8, (*self.size, 3))
        return Sample(image, self._array(values, "label_map", index, np.uint8, self.size))

    def _array(self, values, key, index, kind, shape):
        data = values.get(key, b"")
        if len(data) != math.prod(shape) * np.dtype(kind).itemsize:
            raise self._records.damaged(index, f"its {key} has {len(data)} bytes")
        return np.frombuffer(data, kind).reshape(shape).copy()

    def scored_sample(self, index: int) -> Sample:
        return Sample(self.sample(index).image, self.label_map(index))

    def label_map(self, index: int) -> np.ndarray:
        return image_files.decode_ids(self._records[index].get("source_label", b""), self.names[index])

    def panoptic_map(self, index: int) -> np.ndarray | None:
        data = self._records[index].get("source_panoptic")
        return from_colors(image_files.decode_image(data, self.names[index])) if data else None

    def panoptic_sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        values = self._records[index]
        panoptic = self._array(values, "panoptic_map", index, "<i4", self.size) if values.get("panoptic_map") else None
        return self.sample(index).image, self.required(panoptic, index)

    def without_instances(self) -> list[str]:
        return [] if self._records[0].get("source_panoptic") else self.names  # all or none: `prepare` sees to it


class ExampleReader:
    """Random access to the bytes features of a TFDS dataset in array_record format. Any thread may read.

    TFDS's own way to NumPy converts every feature through TensorFlow types; here only the protocol buffer is parsed.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._folder, self._split = builder.data_dir, split
        self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        """Return the first value of every bytes feature. Raise DeepLabError for a damaged file."""
        try:
            features = tf.train.Example.FromString(self._source[index]).features.feature
        except IndexError:
            raise
        except Exception as error:  # the reader's own types differ by version: whatever it is, the file cannot be read
            raise self.damaged(index, error) from error
        return {key: each.bytes_list.value[0] for key, each in features.items() if each.bytes_list.value}

    def damaged(self, index: int, reason) -> DeepLabError:
        """Return the error for a record that cannot be used."""
        return DeepLabError(
            f"Record {index} of {self._split} in {self._folder} is damaged: {reason}; prepare it again."
        )


def version_folder(root: Path) -> Path:
    """Return where TFDS puts what the builder `record_writer.Records` writes."""
    return root / "records" / VERSION
