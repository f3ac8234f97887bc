"""The maps that `predict` writes beside the label map, some rows at a time: probabilities, confidence, entropy.

Values of 0 to 1 are 16-bit gray values of 0 to 65535 in a PNG, or float32 in a NumPy file.
"""

import contextlib
import struct
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES_FROM_CLASS
from deeplab_tf.core.draw import colorize
from deeplab_tf.core.files import replacing
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.png_rows import PngWriter
from deeplab_tf.core.sliding import Block

LABEL_FILES = {"color": "_color.png", "ids": ".png", "cityscapes": "_pred_labelIds.png"}
"""The end of the file name of each form of a label map."""
PROBABILITY_FORMATS = ("npy", "png")
CONFIDENCE = "_confidence.png"
ENTROPY = "_entropy.png"
WHITE = 65535

Rows = Callable[[np.ndarray, Any], np.ndarray]
"""From (n, W) uint8 class ids and (C, n, W) float32 probabilities to the rows of a file."""


class MapFile(NamedTuple):
    """A file of `write_maps`.

    Attributes:
        suffix: the end of its name.
        rows: makes its rows.
        channels, bits: of a PNG; 0 channels for a NumPy file.
    """

    suffix: str
    rows: Rows
    channels: int = 1
    bits: int = 8


def label_file(layout: str, table: LabelTable) -> MapFile:
    """Return the file of a label map in one of the forms of LABEL_FILES."""
    made: Dict[str, Rows] = {
        "color": lambda label_map, planes: colorize(label_map, table),
        "ids": lambda label_map, planes: label_map,
        "cityscapes": lambda label_map, planes: CITYSCAPES_FROM_CLASS[label_map],
    }
    return MapFile(LABEL_FILES[layout], made[layout], 3 if layout == "color" else 1)


def probability_files(form: Optional[str], confidence: bool, entropy: bool, classes: int) -> List[MapFile]:
    """Return the files that are made of class probabilities; `form` is one of PROBABILITY_FORMATS, or None."""
    files = []
    if form == "npy":
        files.append(MapFile("_probabilities.npy", lambda label_map, planes: np.moveaxis(planes, 0, -1), 0, 32))
    if form == "png":
        files += [_of_class(class_id) for class_id in range(classes)]
    if confidence:
        files.append(MapFile(CONFIDENCE, lambda label_map, planes: gray(planes.max(axis=0)), 1, 16))
    if entropy:
        files.append(MapFile(ENTROPY, lambda label_map, planes: gray(entropy_of(planes)), 1, 16))
    return files


def _of_class(class_id):
    return MapFile(f"_probability_{class_id}.png", lambda label_map, planes: gray(planes[class_id]), 1, 16)


def gray(values: np.ndarray) -> np.ndarray:
    """Return values of 0 to 1 as uint16 of 0 to 65535."""
    return np.rint(np.clip(values, 0, 1) * WHITE).astype(np.uint16)


def entropy_of(planes: np.ndarray) -> np.ndarray:
    """Return (H, W) float32: the entropy of the class distribution at each pixel, as a share of the largest, log C.

    0 where one class is certain, 1 where all are equally likely. 0 for a single class.
    """
    total = np.zeros(planes.shape[1:], np.float32)
    for plane in planes:
        total -= plane * np.log(np.maximum(plane, np.float32(1e-30)))
    return total / np.float32(np.log(max(2, len(planes))))


class _Npy:
    """Appends rows to a .npy file of (H, W, C) float32."""

    def __init__(self, path: str, size: Tuple[int, int], classes: int):
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        shape = (size[0], size[1], classes)
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(10 + len(text) + 1) % 64) + "\n"
        self._file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii"))

    def write(self, rows):
        self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())

    def close(self):
        self._file.close()


@contextlib.contextmanager
def write_maps(stem: str, size: Tuple[int, int], classes: int, files: Sequence[MapFile]) -> Iterator["MapWriters"]:
    """Yield the writers of files, which are there, whole, when the block ends without an error.

    Args:
        stem: path of the files without their suffixes.
        size: height, width of the maps.
        classes: number of classes C.
        files: what to write.
    """
    with contextlib.ExitStack() as stack:
        writers: List[Any] = []
        for file in files:
            part = stack.enter_context(replacing(stem + file.suffix))
            if file.channels:
                writers.append(PngWriter(part, size, channels=file.channels, bits=file.bits))
            else:
                writers.append(_Npy(part, size, classes))
            stack.callback(writers[-1].close)
        yield MapWriters(files, writers, size[1])


class MapWriters:
    """Take the blocks of an image, see `sliding.blocks`; keep those of one row of blocks, as the files hold them."""

    def __init__(self, files: Sequence[MapFile], writers: Sequence[Any], width: int):
        self._files, self._writers, self._width = files, writers, width
        self._row: List[List[np.ndarray]] = [[] for _ in files]

    def add(self, block: Block) -> None:
        """Append a block to the row, and write the row where it is the last."""
        for file, parts in zip(self._files, self._row):
            parts.append(np.array(file.rows(block.label_map, block.planes)))
        if block.left + block.label_map.shape[1] == self._width:
            for writer, parts in zip(self._writers, self._row):
                writer.write(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])
                parts.clear()
