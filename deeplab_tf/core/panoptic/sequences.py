"""Reads panoptic videos: maps of many frames, in which a thing keeps its number.

- COCO's format (see `coco`): a JSON file and its PNG files, in which a thing's segments have one `track_id` in all
  frames of its video, or, where the file has none, one id. Either one folder of a video, such as `stream --track
  --panoptic-out` writes, or a folder of those; or one JSON file of many videos, which the names of the images tell
  apart.
- Cityscapes-VPS (Kim et al., CVPR 2020): the truth is panoptic_video/ with panoptic_gt_SPLIT_*.json one or two folders
  higher, a prediction is pred.json with pan_pred/; images are called VIDEO_FRAME_...
- KITTI-STEP (Weber et al., 2021): VIDEO/FRAME.png, whose red is the class, 0 to 18 in Cityscapes' order or 255, and
  256 * green + blue the number of a person or car, or 0. Other classes have no numbers.
"""

import os
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import each_image, read_colors
from deeplab_tf.core.input_files import natural_key
from deeplab_tf.core.labels import IGNORE_LABEL, LabelTable
from deeplab_tf.core.panoptic import distinct, thing_classes
from deeplab_tf.core.panoptic.coco import category_ids
from deeplab_tf.core.panoptic.folders import CocoFolder, PanopticFolder, json_files, png_folder
from deeplab_tf.core.panoptic.segments import SegmentMap, joined

KITTI_STEP = LabelTable(label._replace(thing=label.name in ("person", "car")) for label in CITYSCAPES)
"""KITTI-STEP's classes: Cityscapes', of which persons and cars are things."""

_NAMES = (re.compile(r"(\d{4})_(\d{4,})(?:_.*)?"), re.compile(r"(.+_\d+)_(\d+)"))
"""VIDEO_FRAME..., as in Cityscapes-VPS and in drawn videos, and CITY_SEQUENCE_FRAME."""
_VPS_FILES = ("{}_final_mask.png", "{}_gtFine_color.png", "{}.png", "pan_pred/{}.png")


class Video(NamedTuple):
    """The frames of one video, in order.

    Attributes:
        files: key of a frame -> its PNG file. A frame that has a number is known by it alone.
        read: returns the segments of a frame, by its key; raises DeepLabError for anything wrong with its file.
    """

    files: Dict[str, str]
    read: Callable[[str], SegmentMap]


class VideoFolder:
    """The panoptic videos of a folder.

    Attributes:
        classes: with whose things a prediction is compared: `table`, and `categories` of COCO's format.
        names: of the videos.
        method: how the maps were made, one of `deeplab_tf.core.panoptic.METHODS`; None where the files do not say.
        json_files: that list the segments.
    """

    def __init__(
        self,
        classes: PanopticFolder,
        names: Sequence[str],
        open_video: Callable[[str], Video],
        files: Sequence[str] = (),
        method: Optional[str] = None,
    ):
        self.classes, self.names, self.open, self.json_files = classes, list(names), open_video, list(files)
        self.method = method


def open_videos(folder: str, *, truth: Optional[VideoFolder] = None) -> VideoFolder:
    """Open panoptic videos in any of the layouts.

    Args:
        folder: see this module.
        truth: for a prediction: it has the classes of the truth.

    Raises:
        DeepLabError: the folder holds none, or the JSON file is wrong. A video's own files are read when it is opened.
    """
    classes = None if truth is None else truth.classes
    paths = json_files(folder)
    if paths:
        return _coco_videos(png_folder(folder, paths[0]), paths, classes)
    paths = _vps_json(folder)
    if paths:
        return _coco_videos(folder, paths, classes)
    below = sorted((entry.path for entry in os.scandir(folder) if entry.is_dir()), key=natural_key)
    without = [path for path in below if not json_files(path)]
    if len(without) < len(below):
        if without:
            raise DeepLabError(f"{without[0]} has no JSON file, as the other videos in {folder} have; make it again.")
        return _coco_folders(below, classes)
    return _step_videos(folder, classes)


def place_of(name: str) -> Tuple[str, str]:
    """Return the video of an image and the key of its frame.

    Args:
        name: of the image, without suffix and with its folders: "lindenfurt_000003_000012" is frame 12 of
            "lindenfurt_000003", "0003/000012" is frame 12 of "0003".
    """
    parent, base = os.path.split(name)
    for pattern in _NAMES:
        found = pattern.fullmatch(base)
        if found:
            return found.group(1), _key(found.group(2))
    return parent, _key(base)


def _key(frame):
    return f"{int(frame):012d}" if frame.isdigit() and len(frame) <= 12 else frame


def _coco_videos(pngs, paths, classes) -> VideoFolder:
    """Return the videos of one JSON file, or of those of all parts."""
    coco = _VideoCoco(paths, pngs, classes)
    videos: Dict[str, Dict[str, str]] = {}
    for name in coco.names:
        video, frame = place_of(coco.place(name))
        _add(videos.setdefault(video, {}), frame, name, coco.file)
    own = classes or coco

    def open_video(video):
        names, things = videos[video], thing_classes(own.table)
        return Video(
            {frame: coco.file(names[frame]) for frame in sorted(names, key=natural_key)},
            lambda frame: coco.segments(names[frame], things),
        )

    return VideoFolder(own, sorted(videos, key=natural_key), open_video, paths, coco.method)


def _coco_folders(folders, classes) -> VideoFolder:
    """Return one video of each folder, whose JSON file is read when it is opened."""
    places = {os.path.basename(path): path for path in folders}
    first = _VideoCoco(json_files(folders[0]), png_folder(folders[0], json_files(folders[0])[0]), classes)
    own = classes or first

    def open_video(video):
        path = places[video]
        names: Dict[str, str] = {}
        coco = _VideoCoco(json_files(path), png_folder(path, json_files(path)[0]), classes)
        if coco.table != first.table or coco.categories != first.categories:
            raise DeepLabError(f"{path} and {folders[0]} have different categories; they must be alike.")
        for name in coco.names:
            _add(names, place_of(coco.place(name))[1], name, coco.file)
        things = thing_classes(own.table)
        return Video(
            {frame: coco.file(names[frame]) for frame in sorted(names, key=natural_key)},
            lambda frame: coco.segments(names[frame], things),
        )

    files = [file for path in folders for file in json_files(path)]
    return VideoFolder(own, list(places), open_video, files, first.method)


def _step_videos(folder, classes) -> VideoFolder:
    """Return the videos of KITTI-STEP's layout."""
    videos: Dict[str, Dict[str, str]] = {}
    for path in each_image(folder, recursive=True):
        if path.lower().endswith(".png"):
            video, frame = os.path.split(os.path.splitext(os.path.relpath(path, folder))[0])
            _add(videos.setdefault(video, {}), _key(frame), path, str)
    if not videos:
        raise DeepLabError(
            f"{folder} holds no panoptic videos: neither a JSON file in COCO's format nor VIDEO/FRAME.png files of "
            "KITTI-STEP."
        )
    categories = {int(each): i for i, each in enumerate(category_ids(CITYSCAPES)[: len(CITYSCAPES)])}
    own = classes or PanopticFolder(KITTI_STEP, (), categories)
    if own.table.names != KITTI_STEP.names:
        raise DeepLabError(f"{folder} has KITTI-STEP's classes, its truth has others: {', '.join(own.table.names)}.")
    things = thing_classes(own.table)

    def open_video(video):
        files = {frame: videos[video][frame] for frame in sorted(videos[video], key=natural_key)}
        return Video(files, lambda frame: read_step(files[frame], things))

    return VideoFolder(own, sorted(videos, key=natural_key), open_video)


def read_step(path: str, things: np.ndarray) -> SegmentMap:
    """Return the segments of a PNG file of KITTI-STEP.

    Args:
        path: of the file.
        things: (256,) bool, which classes are things.

    Raises:
        DeepLabError: a class that does not exist, or as `read_colors` does.
    """
    colors = read_colors(path).astype(np.int32)
    values, _, index = distinct((colors[..., 0] * 65536 + colors[..., 1] * 256 + colors[..., 2]).reshape(-1))
    classes = values >> 16
    unknown = classes[(classes >= len(KITTI_STEP)) & (classes != IGNORE_LABEL)]
    if unknown.size:
        raise DeepLabError(
            f"{path} holds the class {unknown[0]} as red; KITTI-STEP's are 0 to {len(KITTI_STEP) - 1}, and 255."
        )
    return joined(classes, values & 65535, things, index.reshape(colors.shape[:2]))


def _add(frames, frame, name, file):
    if frame in frames:
        raise DeepLabError(f"Two files for one frame of a video: {file(frames[frame])} and {file(name)}; leave one.")
    frames[frame] = name


def _vps_json(folder) -> List[str]:
    """Return the JSON file of Cityscapes-VPS' true maps, val/panoptic_video; or none."""
    split_folder = os.path.dirname(os.path.abspath(folder))
    split = os.path.basename(split_folder)
    for parent in (split_folder, os.path.dirname(split_folder)):
        found = [name for name in sorted(os.listdir(parent)) if name.startswith(f"panoptic_gt_{split}_")]
        if found:
            return [os.path.join(parent, name) for name in found if name.endswith(".json")][:1]
    return []


class _VideoCoco(CocoFolder):
    """COCO's format; PNG files may also have the names that Cityscapes-VPS gives them."""

    def place(self, name: str) -> str:
        """Return an image's name with the folder of its PNG file."""
        return os.path.join(os.path.dirname(self._annotations[name][0]), name)

    def file(self, name):
        listed = super().file(name)
        others = [os.path.join(self._png_folder, each.format(name)) for each in _VPS_FILES]
        return next((path for path in [listed, *others] if os.path.isfile(path)), listed)
