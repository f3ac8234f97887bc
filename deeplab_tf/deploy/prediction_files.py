"""The files that `predict` writes for an image, whole images at once and large ones some rows at a time."""

import json
import os
from typing import Any, Generator, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_text
from deeplab_tf.core.image_files import read_image
from deeplab_tf.core.image_header import read_header
from deeplab_tf.core.lanes import in_lanes
from deeplab_tf.core.map_files import LABEL_FILES, label_file, probability_files, write_maps
from deeplab_tf.core.png_rows import PngRows, is_readable
from deeplab_tf.core.polygons import MAX_PIXELS, coco_annotations, geojson
from deeplab_tf.core.prediction import KEPT_PROBABILITIES
from deeplab_tf.core.predictor import softmax
from deeplab_tf.core.sliding import ArrayRows, Block, blocks
from deeplab_tf.deploy.model import Model, Result, check_cityscapes, class_ids

OVERLAY = "_overlay.jpg"
POLYGONS = "_polygons.geojson"
RUN_LENGTHS = "_rle.json"

LARGE = 1 << 25
"""Pixels: in the mode slide a larger image is predicted some rows at a time."""


FEW = 4
"""Images; fewer are not worth the time in which a network opens its lanes."""


class Wanted(NamedTuple):
    """What to write for an image.

    Attributes:
        layout: of `LABEL_FILES`; None for no label map.
        overlay: the image under its classes' colors; `opacity`, `legend` and `plain` as for `Result.overlay`.
        probabilities: one of `map_files.PROBABILITY_FORMATS`; None for none.
        confidence, entropy: maps of the highest probability, and of the entropy of all.
        polygons: the regions as GeoJSON.
        run_lengths: the classes as COCO's RLE.
    """

    layout: Optional[str]
    overlay: bool = False
    opacity: float = 0.5
    legend: bool = False
    plain: Sequence[str] = ()
    probabilities: Optional[str] = None
    confidence: bool = False
    entropy: bool = False
    polygons: bool = False
    run_lengths: bool = False

    def of_probabilities(self) -> bool:
        """Return whether any of it is made of class probabilities."""
        return bool(self.probabilities or self.confidence or self.entropy)

    def suffixes(self, classes: int) -> List[str]:
        """Return the ends of the names of all files, for a number of classes; the overlay's is the last."""
        found = [LABEL_FILES[self.layout]] if self.layout else []
        found += [file.suffix for file in probability_files(self.probabilities, self.confidence, self.entropy, classes)]
        return found + [POLYGONS] * self.polygons + [RUN_LENGTHS] * self.run_lengths + [OVERLAY] * self.overlay


def check(model: Model, wanted: Wanted) -> None:
    """Raise DeepLabError for what the network cannot give."""
    if wanted.layout == "cityscapes":
        check_cityscapes(model.table)
    if wanted.of_probabilities() and not model.predictor.gives_probabilities:
        softmax(None)
    class_ids(wanted.plain, model.table)


def predict_images(
    model: Model, images: Iterable[Optional[str]], wanted: Wanted, *, count: int
) -> Generator[Optional[Result], None, None]:
    """Yield the result of each image, in order; None for a large one, which is predicted while it is written.

    The next images are read and predicted while the caller writes: as many at a time as the network has lanes. In the
    mode slide, in which an image may fill the memory, each begins when it is asked for.

    Args:
        images: paths; None for an image that is not predicted, whose result is None.
        count: how many there are.
    """
    if model.mode == "slide":
        return (None if image is None or _is_large(model, image, wanted) else model.predict(image) for image in images)
    lanes = model.predictor.lanes() if count >= FEW else [model.predictor]

    def predicted(lane, image):
        if image is None:
            return None
        result = Model(lane).predict(image)
        getattr(result, "label_map" if wanted.layout else "panoptic")  # is computed here, not where files are written
        return result

    return in_lanes(lanes, predicted, images)


def write(model: Model, image: str, stem: str, wanted: Wanted, result: Optional[Result]) -> None:
    """Write the files of an image.

    Args:
        image: its path.
        stem: the path of its files without their suffixes.
        result: of `predict_images`.
    """
    if result is None:
        _write_large(model, image, stem, wanted)
        return
    planes = np.moveaxis(result.probabilities, -1, 0) if wanted.of_probabilities() else None
    _write_maps(model, stem, result.label_map.shape, wanted, [Block(0, 0, result.label_map, planes)])
    _write_regions(model, image, stem, wanted, result.label_map)
    if wanted.overlay:
        result.save(stem + OVERLAY, opacity=wanted.opacity, legend=wanted.legend, plain=wanted.plain)


def _is_large(model, image, wanted):
    header = read_header(image) if model.mode == "slide" else None
    if header is None or wanted.layout is None:
        return False
    pixels = header.size[0] * header.size[1]
    kept = 4 * pixels * len(model.table) <= KEPT_PROBABILITIES
    return pixels > LARGE or wanted.of_probabilities() and not kept


def _write_large(model, image, stem, wanted):
    if wanted.overlay:
        raise DeepLabError(f"{image} is predicted some rows at a time, and an overlay is not; leave --overlay out.")
    rows: Any = PngRows(image) if is_readable(image) else ArrayRows(read_image(image))
    regions = wanted.polygons or wanted.run_lengths
    if regions and rows.size[0] * rows.size[1] > MAX_PIXELS:
        raise DeepLabError(f"{image} has more than {MAX_PIXELS} pixels, which is too large for polygons.")
    label_map = np.zeros(rows.size if regions else (0, 0), np.uint8)
    _write_maps(model, stem, rows.size, wanted, _kept(blocks(model.predictor, rows), label_map))
    _write_regions(model, image, stem, wanted, label_map)


def _kept(found, label_map) -> Iterator[Block]:
    for block in found:
        if label_map.size:
            height, width = block.label_map.shape
            label_map[block.top : block.top + height, block.left : block.left + width] = block.label_map
        yield block


def _write_maps(model, stem, size, wanted, found):
    classes = len(model.table)
    files = [label_file(wanted.layout, model.table)] if wanted.layout else []
    files += probability_files(wanted.probabilities, wanted.confidence, wanted.entropy, classes)
    with write_maps(stem, size, classes, files) as writers:
        for block in found:
            writers.add(block)


def _write_regions(model, image, stem, wanted, label_map):
    if wanted.polygons:
        write_text(stem + POLYGONS, json.dumps(geojson(label_map, model.table)))
    if wanted.run_lengths:
        name = os.path.splitext(os.path.basename(image))[0]
        write_text(stem + RUN_LENGTHS, json.dumps(coco_annotations(label_map, model.table, name)))
