"""Cityscapes through tensorflow-datasets' own builder, `cityscapes/semantic_segmentation`, from the official archives.
The first use extracts them and writes the records: minutes, and some 25 GB. The builder shuffles the images by a hash
of their names, the same on every machine. It has no instance maps.

    MANUAL_DIR/leftImg8bit_trainvaltest.zip
    MANUAL_DIR/gtFine_trainvaltest.zip
    ROOT/cityscapes/semantic_segmentation/1.0.0/...   written by the builder
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow_datasets as tfds

from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import write_json
from deeplab_tf.core.guard import expand
from deeplab_tf.lab.data.cityscapes import LABEL_READER
from deeplab_tf.lab.data.record_writer import run_builder
from deeplab_tf.lab.data.records import ExampleReader
from deeplab_tf.lab.data.split import Sample, Split, UnknownSplit, check_same_size

TABLE = CITYSCAPES
ARCHIVES = ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip")

_SPLITS = {"train": "train", "val": "validation"}


def open_split(
    split: str,
    *,
    root: Annotated[str, "the data folder of tensorflow-datasets"],
    manual_dir: Annotated[
        str | None, "the folder of the archives, for the first use; none: `ROOT/downloads/manual`, as TFDS has it"
    ] = None,
) -> "TfdsCityscapes":
    """Open `train` or `val`. Raise DeepLabError where neither records nor archives are there."""
    if split not in _SPLITS:
        raise UnknownSplit(
            f"There is no split '{split}' with labels in TFDS's Cityscapes. {did_you_mean(split, _SPLITS)}"
        )
    folder = Path(expand(root))
    builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=folder, file_format="array_record")
    if not builder.is_prepared():
        _prepare(builder, folder, Path(expand(manual_dir)) if manual_dir else folder / "downloads" / "manual")
    return TfdsCityscapes(builder, _SPLITS[split])


class TfdsCityscapes(Split):
    """A split of Cityscapes as TFDS stores it: the bytes of the original PNG files."""

    table = CITYSCAPES

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._records = ExampleReader(builder, split)
        image_ids = _image_ids(self._records, Path(builder.data_dir), split)
        self.names = [f"{image_id.split('_')[0]}/{image_id}" for image_id in image_ids]

    def sample(self, index: int) -> Sample:
        values, name = self._records[index], self.names[index]
        sample = Sample(image_files.decode_image(values["image_left"], name), self._label_map(values, name))
        check_same_size(*sample, f"Image {name} and its label")
        return sample

    def label_map(self, index: int) -> np.ndarray:
        return self._label_map(self._records[index], self.names[index])

    def _label_map(self, values: dict[str, bytes], name: str) -> np.ndarray:
        return LABEL_READER.convert(image_files.decode_ids(values["segmentation_label"], name), name)


def _prepare(builder, folder: Path, manual_dir: Path) -> None:
    missing = [str(manual_dir / name) for name in ARCHIVES if not (manual_dir / name).is_file()]
    if missing:
        raise DeepLabError(
            f"Cityscapes must be downloaded by hand from cityscapes-dataset.com; not there: {', '.join(missing)} "
            "(see data.manual_dir)."
        )
    run_builder(builder, download_dir=folder / "downloads", manual_dir=manual_dir)


def _image_ids(records: ExampleReader, folder: Path, split: str) -> list[str]:
    """Return the names of the images in the order of the records, which are read for them once; a file keeps them."""
    kept = folder / f"image_ids_{split}.json"
    if not kept.is_file():
        write_json(kept, [records[index]["image_id"].decode() for index in range(len(records))])
    return json.loads(kept.read_text())
