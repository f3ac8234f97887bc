"""Reads the panoptic maps of a folder: COCO's format (see `coco`), or Cityscapes' *_gtFine_instanceIds.png files."""

import os
from bisect import bisect_left
from typing import Dict, List, Optional, Sequence

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, INSTANCE_SUFFIX, from_instance_ids
from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.image_files import list_images, read_colors, read_instance_ids
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import DIVISOR, METHODS, VOID, distinct
from deeplab_tf.core.panoptic.coco import category_ids, from_colors, part_of
from deeplab_tf.core.panoptic.coco_reader import MAX_TRACKS, read_coco
from deeplab_tf.core.panoptic.segments import SegmentMap, joined
from deeplab_tf.core.parts import Part


class PanopticFolder:
    """The panoptic maps of a folder.

    Attributes:
        table: the classes.
        names: of the images: `image_id` in COCO's format, city_sequence_frame in Cityscapes'.
        categories: category id -> class id.
        method: how the maps were made, one of `deeplab_tf.core.panoptic.METHODS`; None where the files do not say.
        json_files: that list the segments; none in Cityscapes' format.
    """

    method: Optional[str] = None
    json_files: Sequence[str] = ()

    def __init__(self, table: LabelTable, names: Sequence[str], categories: Dict[int, int]):
        self.table, self.names, self.categories = table, list(names), categories

    def panoptic_map(self, name: str) -> np.ndarray:
        """Return the (H, W) int32 panoptic map of an image. Raises DeepLabError for anything wrong with its files."""
        raise NotImplementedError

    def file(self, name: str) -> str:
        """Return the PNG file of an image."""
        raise NotImplementedError


def open_panoptic_folder(folder: str, *, truth: Optional[PanopticFolder] = None) -> PanopticFolder:
    """Open panoptic maps in either format.

    Args:
        folder: holds PNG files and their JSON file (which may also lie beside it, with its name), or
            *_gtFine_instanceIds.png files.
        truth: for a prediction: it has the categories of the truth, and may leave its own out.

    Raises:
        DeepLabError: the folder has neither, or the JSON file is wrong.
    """
    paths = json_files(folder)
    if paths:
        return CocoFolder(paths, png_folder(folder, paths[0]), truth)
    files: Dict[str, str] = {}
    for file in list_images(folder, recursive=True):
        if file.endswith(INSTANCE_SUFFIX):
            name = os.path.basename(file)[: -len(INSTANCE_SUFFIX)]
            if name in files:
                raise DeepLabError(f"Two instance files for one frame: {files[name]} and {file}; leave one.")
            files[name] = file
    if not files:
        problem = f"neither a JSON file in COCO's format nor *{INSTANCE_SUFFIX}"
        raise DeepLabError(f"{folder} holds no panoptic maps: {problem}.")
    if truth is not None and truth.table.names != CITYSCAPES.names:
        raise DeepLabError(f"{folder} has Cityscapes' classes, its truth has others: {', '.join(truth.table.names)}.")
    return CityscapesFolder(files)


def json_files(folder: str) -> List[str]:
    """Return the JSON file of a folder; or those of all parts, as `predict --part` writes them; or none."""
    folder = os.path.abspath(folder)
    inside = sorted(name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith("."))
    found = [name for name in inside if "panoptic" in name] or inside
    parts = {part: name for part, name in ((part_of(name), name) for name in found) if part is not None}
    if parts and len(parts) == len(found):
        return [os.path.join(folder, parts[part]) for part in _all_of(parts, folder)]
    if len(found) > 1:
        raise DeepLabError(f"{folder} holds several JSON files ({found[0]}, ...); leave one.")
    beside = [folder + ".json"] if os.path.isfile(folder + ".json") else []
    return [os.path.join(folder, name) for name in found] or beside


def _all_of(parts, folder):
    """Return parts in order. Raise DeepLabError where one is missing, or they are of different divisions."""
    totals = sorted({part.total for part in parts})
    if len(totals) > 1:
        raise DeepLabError(f"{folder} holds JSON files of {totals[0]} and of {totals[1]} parts; leave those of one.")
    missing = [f"{i}/{totals[0]}" for i in range(1, totals[0] + 1) if Part(i, totals[0]) not in parts]
    if missing:
        raise DeepLabError(
            f"{folder} has no JSON file of part {some_of(missing)}; run predict with --part {missing[0]}."
        )
    return sorted(parts)


def png_folder(folder: str, path: str) -> str:
    """Return where the PNG files are: for gtFine/cityscapes_panoptic_val.json in gtFine/cityscapes_panoptic_val."""
    below = os.path.splitext(path)[0]
    return below if os.path.isdir(below) else os.path.dirname(path)


class CityscapesFolder(PanopticFolder):
    """The *_gtFine_instanceIds.png files below a folder."""

    def __init__(self, files: Dict[str, str]):
        """Args: files: city_sequence_frame -> path."""
        file_ids = category_ids(CITYSCAPES)[: len(CITYSCAPES)].tolist()
        super().__init__(CITYSCAPES, sorted(files), {file_id: i for i, file_id in enumerate(file_ids)})
        self._files = files

    def panoptic_map(self, name):
        return from_instance_ids(read_instance_ids(self._files[name]), self._files[name])

    def file(self, name):
        return self._files[name]


class CocoFolder(PanopticFolder):
    """A JSON file, or those of all parts, and their PNG files."""

    def __init__(self, paths: Sequence[str], png_folder: str, truth: Optional[PanopticFolder]):
        path = paths[0]
        self.json_files = paths
        self._path, self._png_folder, self._is_truth = path, png_folder, truth is None
        self._annotations, classes, method = read_coco(path)
        for other in paths[1:]:
            more, *same = read_coco(other)
            twice = sorted(set(more) & set(self._annotations))
            if twice or same != [classes, method]:
                problem = f"both have the image {twice[0]}" if twice else "differ in categories or pq_method"
                raise DeepLabError(f"{path} and {other} {problem}; run predict again for all parts.")
            self._annotations.update(more)
        if truth is not None:
            if classes is not None:
                _check_same_categories(path, *classes, truth)
            classes = truth.table, truth.categories
        if classes is None:
            raise DeepLabError(f"{path} names no categories; expected `categories` with id, name and isthing.")
        table, categories = classes
        super().__init__(table, sorted(self._annotations), categories)
        self._tracked = any(each.track is not None for _, rows in self._annotations.values() for each in rows)
        self.method = method if isinstance(method, str) and method in METHODS else None

    def panoptic_map(self, name):
        value_of = self._values(name)
        ids, index = self._read(name)
        return np.array([value_of.get(i, VOID) for i in ids.tolist()], np.int32)[index]

    def segments(self, name: str, things: np.ndarray) -> SegmentMap:
        """Return the segments of an image of a video. A thing's number is one more than its `track_id`; where no
        segment of any image has one, the id of its segment. A thing without its `track_id` has a number of its own.

        Args:
            name: one of `names`.
            things: (256,) bool, which classes are things.
        """
        listed = {
            segment.id: (label.id, 0 if segment.crowd else self._number(name, segment))
            for segment, label in self._listed(name)
        }
        ids, index = self._read(name)
        both = np.array([listed.get(i, (IGNORE_LABEL, 0)) for i in ids.tolist()], np.int64)
        return joined(both[:, 0], both[:, 1], things, index)

    def _number(self, name, segment):
        if not self._tracked:
            return segment.id
        own = MAX_TRACKS + (bisect_left(self.names, name) << 24) + segment.id
        return own if segment.track is None else segment.track + 1

    def _read(self, name):
        """Return the (N,) segment ids of an image and which of them each pixel is in, (H, W)."""
        segments, path = self._annotations[name][1], self.file(name)
        pixels = from_colors(read_colors(path))
        values, areas, index = distinct(pixels.reshape(-1))
        counted = dict(zip(values.tolist(), areas.tolist()))
        listed = {segment.id for segment in segments}
        missing, absent = sorted(set(counted) - listed - {0}), sorted(listed - set(counted))
        if missing:
            raise DeepLabError(
                f"{path} holds segment {missing[0]}, which {self._path} does not list for the image {name}."
            )
        if absent:
            raise DeepLabError(
                f"{self._path} lists segment {absent[0]} for the image {name}, of which {path} has no pixel."
            )
        for segment in segments if self._is_truth else ():  # the areas in a prediction's JSON file are never used
            if segment.area not in (None, counted[segment.id]):
                raise DeepLabError(
                    f"{self._path} says that segment {segment.id} of the image {name} has {segment.area} pixels, and "
                    f"{path} has {counted[segment.id]}."
                )
        return values, index.reshape(pixels.shape)

    def file(self, name):
        return os.path.join(self._png_folder, self._annotations[name][0])

    def _values(self, name):
        """Return segment id -> value in the panoptic map."""
        found: Dict[int, int] = {}
        counts: Dict[int, int] = {}
        for segment, label in self._listed(name):
            first_stuff = not label.thing and label.id not in counts
            instance = 0 if segment.crowd or first_stuff else counts.get(label.id, 0) + 1
            counts[label.id] = max(counts.get(label.id, 0), instance)
            if instance >= DIVISOR:
                raise DeepLabError(f"{self._path}: the image {name} has more than {DIVISOR - 1} segments of one class.")
            found[segment.id] = label.id * DIVISOR + instance
        return found

    def _listed(self, name):
        """Yield the segments of an image and their classes. Raise DeepLabError for what cannot be."""
        seen = set()
        for segment in self._annotations[name][1]:
            where = f"segment {segment.id} of the image {name}"
            if segment.id in seen:
                raise DeepLabError(f"{self._path} lists segment {segment.id} twice for the image {name}.")
            seen.add(segment.id)
            if segment.category not in self.categories:
                known = ", ".join(str(each) for each in sorted(self.categories))
                raise DeepLabError(
                    f"{self._path}: {where} has the category {segment.category}, which does not exist; there are "
                    f"{known}."
                )
            label = self.table.labels[self.categories[segment.category]]
            if segment.crowd and not label.thing:
                raise DeepLabError(
                    f"{self._path}: {where} is a crowd of '{label.name}', which is stuff; only things have crowds."
                )
            yield segment, label


def _check_same_categories(path, table, categories, truth):
    """Raise DeepLabError unless the categories that a prediction names are those of the truth."""
    for category, class_id in categories.items():
        name, wanted = table.names[class_id], truth.categories.get(category)
        if wanted is None or truth.table.names[wanted] != name:
            there = "has none" if wanted is None else f"has '{truth.table.names[wanted]}' there"
            raise DeepLabError(f"{path}: the category {category} is '{name}', and the truth {there}.")
