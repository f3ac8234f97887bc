"""The frames that all runtimes get, at the network's size, and their labels."""

import os
from typing import List, NamedTuple, Optional

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FILE_IDS, CITYSCAPES_TO_CLASS, IMAGE_SUFFIX, LABEL_SUFFIX
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import list_images, read_ids, resize_image
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
    """

    images: np.ndarray
    truth: List[Optional[np.ndarray]]
    source: str


def load_frames(uri: str, bundle: Bundle, count: int, labels: Optional[str] = None) -> LabeledFrames:
    """Return the first `count` frames of a source.

    Args:
        uri: as `stream --source`. Drawn streets (sample://) bring labels, if the network has Cityscapes' classes.
        labels: a folder with a PNG for every image, of the same name, with ids as in the run's dataset; or Cityscapes'
            *_gtFine_labelIds.png files.
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
    if labels is not None:
        truth = _read_truth(frames, labels, bundle)
    return LabeledFrames(np.stack([resize_image(frame.image, bundle.size) for frame in frames]), truth, address.safe)


def _drawn(address, bundle, count):
    from deeplab_tf.core.progress import progress
    from deeplab_tf.synth import draw_scene

    options, images, truth = address.options, [], []
    for i in progress(count, "sample", unit="frames drawn"):
        scene = draw_scene(options["seed"], options["scene"] + i // 4, options["size"], time=SECONDS_BETWEEN * i)
        images.append(resize_image(scene.image, bundle.size))
        truth.append(CITYSCAPES_TO_CLASS[scene.label_ids] if bundle.table.names == CITYSCAPES.names else None)
    return LabeledFrames(np.stack(images), truth, address.safe)


def _read_truth(frames, folder, bundle):
    """Return the label maps of images."""
    if not all(frame.name for frame in frames):
        raise DeepLabError("--labels needs a source of image files; a video's frames have no names to find labels by.")
    paths = [path for path in list_images(folder, recursive=True) if path.lower().endswith(".png")]
    found = {_stem(path) + ".png": path for path in paths}
    own = bundle.label_ids or {i: i for i in [*range(len(bundle.table)), IGNORE_LABEL]}
    cityscapes = {i: int(CITYSCAPES_TO_CLASS[i]) for i in CITYSCAPES_FILE_IDS + (IGNORE_LABEL,)}
    truth = []
    for path, image in ((frame.name, frame.image) for frame in frames):
        wanted = f"{_stem(path)}.png".replace(IMAGE_SUFFIX, LABEL_SUFFIX)
        if wanted not in found:
            raise DeepLabError(f"{path} has no label file: expected {wanted} below {folder}.")
        ids, header = read_ids(found[wanted]), read_header(path)
        if header is not None:
            lies_upright(header, path, ids.shape, found[wanted])
        if ids.shape != image.shape[:2]:
            sizes = "{}x{} against {}x{}".format(*image.shape[:2], *ids.shape)
            raise DeepLabError(
                f"Image {path} and label {found[wanted]} must have the same size, height x width: {sizes}."
            )
        known = cityscapes if wanted.endswith(LABEL_SUFFIX) else own
        unknown = [i for i in np.unique(ids) if i not in known]
        if unknown:
            raise DeepLabError(
                f"{found[wanted]} holds the id {unknown[0]}; expected ids of the run's dataset: "
                f"{', '.join(map(str, sorted(known)))}."
            )
        truth.append(id_map(known)[ids])
    return truth


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]
