"""The frames that all runtimes get, at the network's size, and their labels."""

import collections
import os
from typing import List, NamedTuple, Optional

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.cityscapes import (
    CITYSCAPES,
    CITYSCAPES_FILE_IDS,
    CITYSCAPES_TO_CLASS,
    IMAGE_SUFFIX,
    INSTANCE_SUFFIX,
    LABEL_SUFFIX,
    from_instance_ids,
)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import list_images, read_ids, read_instance_ids, resize_image
from deeplab_tf.core.image_header import lies_upright, read_header
from deeplab_tf.core.labels import IGNORE_LABEL, id_map

SECONDS_BETWEEN = 2.0
"""Between two frames of a drawn street."""


class LabeledFrames(NamedTuple):
    """Frames to compare on.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        truth: (h, w) uint8 class ids of each frame, at the label's own size; None for a frame without labels.
        source: where they come from, without passwords.
        panoptic: (h, w) int32 panoptic map of each frame, where all have instances.
        whole: the frames at their own sizes, where the bundle's mode is not stretch.
    """

    images: np.ndarray
    truth: List[Optional[np.ndarray]]
    source: str
    panoptic: Optional[List[np.ndarray]] = None
    whole: Optional[List[np.ndarray]] = None


def load_frames(uri: str, bundle: Bundle, count: int, labels: Optional[str] = None) -> LabeledFrames:
    """Return the first `count` frames of a source.

    Args:
        uri: as `stream --source`. Drawn streets (sample://) bring labels, if the network has Cityscapes' classes.
        labels: a folder with a PNG for every image, of the same name, with ids as in the run's dataset; or Cityscapes'
            *_gtFine_labelIds.png files, whose *_gtFine_instanceIds.png beside them are read too.
    Raises:
        DeepLabError: no such source, no frame, or a frame without its label.
    """
    from deeplab_tf.deploy.video.address import parse
    from deeplab_tf.deploy.video.source import collect
    from deeplab_tf.deploy.video.sources import open_source

    address = parse(uri)
    if address.kind == "sample":
        return _drawn(address, bundle, count)
    frames = collect(open_source(uri), count)
    if not frames:
        raise DeepLabError(f"{address.safe} gave no frame.")
    truth: List[Optional[np.ndarray]] = [None] * len(frames)
    panoptic = None
    if labels is not None:
        files = _label_files([frame.name for frame in frames], labels)
        truth = [_read_labels(path, frame, bundle) for path, frame in zip(files, frames)]
        panoptic = _read_instances(files, bundle)
    images = np.stack([resize_image(frame.image, bundle.size) for frame in frames])
    whole = None if bundle.mode == "stretch" else [frame.image for frame in frames]
    return LabeledFrames(images, truth, address.safe, panoptic, whole)


def _drawn(address, bundle, count):
    from deeplab_tf.core.progress import progress
    from deeplab_tf.synth import draw_scene

    options, images, truth, panoptic, whole = address.options, [], [], [], []
    cityscapes = bundle.table.names == CITYSCAPES.names
    for i in progress(count, "sample", unit="frames drawn"):
        scene = draw_scene(options["seed"], options["scene"] + i // 4, options["size"], time=SECONDS_BETWEEN * i)
        images.append(resize_image(scene.image, bundle.size))
        whole.append(scene.image)
        truth.append(CITYSCAPES_TO_CLASS[scene.label_ids] if cityscapes else None)
        panoptic.append(from_instance_ids(scene.instance_ids.astype(np.int32), "a drawn scene"))
    kept = None if bundle.mode == "stretch" else whole
    return LabeledFrames(np.stack(images), truth, address.safe, panoptic if cityscapes else None, kept)


def _label_files(names, folder):
    """Return the paths of the label files of images."""
    if not all(names):
        raise DeepLabError("--labels needs a source of image files; a video's frames have no names to find labels by.")
    paths = [path for path in list_images(folder, recursive=True) if path.lower().endswith(".png")]
    found = {_stem(path) + ".png": path for path in paths}
    counts = collections.Counter(map(_stem, paths)), collections.Counter(map(_stem, names))
    files = []
    for path in names:
        wanted = f"{_stem(path)}.png".replace(IMAGE_SUFFIX, LABEL_SUFFIX)
        if wanted not in found:
            raise DeepLabError(f"{path} has no label file: expected {wanted} below {folder}.")
        if counts[0][wanted[: -len(".png")]] > 1 or counts[1][_stem(path)] > 1:
            raise DeepLabError(
                f"{path} and its label are known by name, which two folders have; compare on one of them."
            )
        files.append(found[wanted])
    return files


def _read_labels(path, frame, bundle):
    """Return the label map of a frame: with Cityscapes' ids if the file has such a name, else with the dataset's."""
    known = bundle.label_ids or {i: i for i in [*range(len(bundle.table)), IGNORE_LABEL]}
    if path.endswith(LABEL_SUFFIX):
        known = {i: int(CITYSCAPES_TO_CLASS[i]) for i in CITYSCAPES_FILE_IDS + (IGNORE_LABEL,)}
    ids, header = read_ids(path), read_header(frame.name)
    if header is not None:
        lies_upright(header, frame.name, ids.shape, path)
    if ids.shape != frame.image.shape[:2]:
        sizes = "{}x{} against {}x{}".format(*frame.image.shape[:2], *ids.shape)
        raise DeepLabError(f"Image {frame.name} and label {path} must have the same size, height x width: {sizes}.")
    unknown = [i for i in np.unique(ids) if i not in known]
    if unknown:
        expected = ", ".join(map(str, sorted(known)))
        raise DeepLabError(f"{path} holds the id {unknown[0]}; expected ids of the run's dataset: {expected}.")
    return id_map(known)[ids]


def _read_instances(files, bundle):
    """Return the panoptic maps beside Cityscapes' label files; None unless each has one."""
    found = [path[: -len(LABEL_SUFFIX)] + INSTANCE_SUFFIX for path in files if path.endswith(LABEL_SUFFIX)]
    if bundle.table.names != CITYSCAPES.names or len(found) < len(files) or not all(map(os.path.isfile, found)):
        return None
    return [from_instance_ids(read_instance_ids(path), path) for path in found]


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
