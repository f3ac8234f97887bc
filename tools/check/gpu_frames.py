"""Pack the frames of tools/check/gpu.py with their labels and ONNX Runtime's predictions; compare a GPU's with them.

Packing needs OpenCV and ONNX Runtime, comparing NumPy only.
"""

import os
import re

import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.deploy.runtimes import open_runtime


def pack(bundles, frames, labels=None, *, count=50) -> dict:
    """Return arrays by name: frames_HxW (N, H, W, 3), with labels truth_HxW_DIGEST (N, H, W), and reference_DIGEST (N,
    H/s, W/s); uint8.

    Args:
        bundles: opened ones; DIGEST is `key` of one.
        frames: a folder of images.
        labels: a folder of label files named like them: 8-bit class ids, or *_labelIds.png of Cityscapes.
        count: number of frames at most, evenly spread over the folder.
    """
    from deeplab_tf.core.image_files import list_images, read_image, resize_image

    paths = list_images(frames, recursive=True)
    if not paths:
        raise DeepLabError(f"There are no images in {frames}.")
    paths = [paths[i] for i in sorted({int(i) for i in np.linspace(0, len(paths) - 1, count)})]
    arrays = {}
    for bundle in bundles:
        size = "{}x{}".format(*bundle.size)
        arrays["frames_" + size] = np.stack([resize_image(read_image(path), bundle.size) for path in paths])
        if labels:
            arrays[f"truth_{size}_{key(bundle)}"] = read_truth(paths, labels, bundle)
        with open_runtime(bundle, "onnx", "float32", providers=["CPUExecutionProvider"]) as runtime:
            arrays["reference_" + key(bundle)] = np.stack([runtime(frame) for frame in arrays["frames_" + size]])
    return arrays


def key(bundle) -> str:
    """Return the key of ONNX Runtime's predictions: the digest of the float model."""
    return bundle.digests["model.onnx"][:16]


def read_truth(paths, folder, bundle):
    """Return (N, H, W) uint8 class ids at the network's size, by nearest neighbor; ids of no class are ignored."""
    from deeplab_tf.core.image_files import list_images, read_ids

    found = {
        stem(path): path
        for path in list_images(folder, recursive=True)
        if not path.endswith(("_color.png", "_instanceIds.png"))
    }
    height, width = bundle.size
    truth = []
    for path in paths:
        if stem(path) not in found:
            raise DeepLabError(f"{folder} has no label file for {path}.")
        ids = read_ids(found[stem(path)])
        if bundle.table == CITYSCAPES and found[stem(path)].endswith("_labelIds.png"):
            ids = CITYSCAPES_TO_CLASS[ids]
        ids = np.where(ids < len(bundle.table), ids, IGNORE_LABEL).astype(np.uint8)
        rows, columns = (np.arange(height) * ids.shape[0] // height, np.arange(width) * ids.shape[1] // width)
        truth.append(ids[rows[:, None], columns])
    return np.stack(truth)


def stem(path):
    """Return what an image and its label file have in common."""
    name = os.path.splitext(os.path.basename(path))[0]
    return re.sub(r"_(leftImg8bit|gtFine_label(Train)?Ids)$", "", name)


def frames_of(bundle, arrays):
    """Return the (N, H, W, 3) uint8 frames of `pack`. Raises DeepLabError if there are none for this bundle."""
    name = "frames_{}x{}".format(*bundle.size)
    if name not in arrays:
        raise DeepLabError("The frames were not packed for {}: it takes {}x{}.".format(bundle.path, *bundle.size))
    return arrays[name]


def compare(labels, bundle, arrays) -> dict:
    """Return the agreement with the reference, and the mIoU of both."""
    found = {"agreement": None, "miou": None, "reference_miou": None}
    reference = arrays.get("reference_" + key(bundle))
    if reference is not None:
        found["agreement"] = float((labels == reference).mean())
    truth = arrays.get("truth_{}x{}_{}".format(*(tuple(bundle.size) + (key(bundle),))))
    if truth is not None:
        found["miou"] = miou(truth, labels, bundle)
        found["reference_miou"] = None if reference is None else miou(truth, reference, bundle)
    return found


def miou(truth, labels, bundle):
    confusion = ConfusionMatrix(len(bundle.table))
    height, width = bundle.size
    for true, label_map in zip(truth, labels):
        large = label_map.repeat(bundle.label_stride, 0).repeat(bundle.label_stride, 1)
        confusion.update(true, large[:height, :width])
    return confusion.miou()
