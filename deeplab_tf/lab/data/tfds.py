"""Cityscapes through tensorflow-datasets' own builder, `cityscapes/semantic_segmentation`, from the official archives.

    MANUAL_DIR/leftImg8bit_trainvaltest.zip
    MANUAL_DIR/gtFine_trainvaltest.zip
    ROOT/cityscapes/semantic_segmentation/1.0.0/...   written by the builder when a split is first opened

The builder shuffles the frames by a hash of their names, the same on every machine. It has no instance maps.
"""

import json
import os
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from deeplab_tf.core import image_files
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.lab.data.cityscapes import LABEL_READER
from deeplab_tf.lab.data.record_writer import run_builder
from deeplab_tf.lab.data.records import ExampleReader
from deeplab_tf.lab.data.split import Frame, Split, UnknownSplit, check_same_size

ARCHIVES = ("leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip")

_SPLITS = {"train": "train", "val": "validation"}


def open_split(split: str, *, root: str, manual_dir: str | None = None) -> "TfdsCityscapes":
    """Opens `train` or `val`. The first call extracts the archives and writes the records: minutes, and some 25 GB for
    all of Cityscapes.

    Args:
        root: TFDS's data_dir.
        manual_dir: where the two archives lie; ROOT/downloads/manual, as TFDS has it, if left out. Not needed once the
            records are written.
    """
    if split not in _SPLITS:
        raise UnknownSplit(
            f"There is no split '{split}' with labels in TFDS's Cityscapes. {did_you_mean(split, _SPLITS)}"
        )
    folder = Path(root).expanduser()
    builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=folder, file_format="array_record")
    if not builder.is_prepared():
        _prepare(builder, folder, Path(manual_dir).expanduser() if manual_dir else folder / "downloads" / "manual")
    return TfdsCityscapes(builder, _SPLITS[split])


class TfdsCityscapes(Split):
    """A split of Cityscapes as TFDS stores it: the bytes of the original PNG files."""

    table = CITYSCAPES

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._records = ExampleReader(builder, split)
        self.names = [
            f"{image_id.split('_')[0]}/{image_id}"
            for image_id in _image_ids(self._records, Path(builder.data_dir), split)
        ]

    def frame(self, index: int) -> Frame:
        values = self._records[index]
        name = self.names[index]
        frame = Frame(image_files.decode_image(values["image_left"], name), self._label_map(values, name))
        check_same_size(frame, name, "its label")
        return frame

    def label_map(self, index: int) -> np.ndarray:
        return self._label_map(self._records[index], self.names[index])

    def _label_map(self, values: dict[str, bytes], name: str) -> np.ndarray:
        return LABEL_READER.convert(image_files.decode_ids(values["segmentation_label"], name), name)


def _prepare(builder: tfds.core.DatasetBuilder, folder: Path, manual_dir: Path) -> None:
    missing = [str(manual_dir / name) for name in ARCHIVES if not (manual_dir / name).is_file()]
    if missing:
        raise DeepLabError(
            f"Cityscapes must be downloaded by hand from cityscapes-dataset.com; not there: {', '.join(missing)} "
            "(see data.manual_dir)."
        )
    run_builder(builder, download_dir=folder / "downloads", manual_dir=manual_dir)


def _image_ids(records: ExampleReader, folder: Path, split: str) -> list[str]:
    """The frames' names in the order of the records. They stand in the records alone, so they are read once and kept
    beside them."""
    kept = folder / f"image_ids_{split}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    image_ids = [records[index]["image_id"].decode() for index in range(len(records))]
    temporary = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(image_ids))
    os.replace(temporary, kept)
    return image_ids
