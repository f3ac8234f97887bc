"""One image through a runtime, to a label map at any resolution; averaged over its mirror image and over several scales
if asked."""

from typing import NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.panoptic.grouping import components, to_panoptic

_SIZE_STEP = 32
"""Scaled heights and widths are multiples of this, so that every stage of the network has a whole size."""


def predict(
    runtime,
    image: np.ndarray,
    size: Optional[Tuple[int, int]] = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> np.ndarray:
    """The label map of one image.

    The image is resized to the runtime's size as for training (`image_files.resize_image`); what comes back is resized
    to `size`: the probabilities, bilinearly and before the label is chosen, where the runtime gives them
    (`class_scores`), else the label map, by nearest neighbour. Where no resizing and no averaging is asked, the
    runtime's own label map is returned.

    Args:
        runtime: see `deeplab_tf.lab.runs.keras_runtime`.
        image: (H, W, 3) uint8 RGB.
        size: height and width of the result; the image's own where left out.
        flip: average the probabilities with those of the mirrored image.
        scales: factors of the runtime's size, rounded to multiples of 32 (1.0 is kept as it is); the probabilities are
            averaged.

    Returns:
        (H, W) uint8 class ids, at `size`.

    Raises:
        DeepLabError: averaging was asked of a runtime without `class_scores`, or `scales` is empty or holds a value
            that is not above 0.
    """
    height, width = size or image.shape[:2]
    if _labels_are_enough(runtime, (height, width), flip, scales):
        stride = getattr(runtime, "label_stride", 1)
        return resize_labels(runtime(resize_image(image, runtime.size)), (height, width), stride)
    if not _gives_scores(runtime):
        raise DeepLabError(
            f"Flip and scales average class scores, and the runtime {runtime.name} gives labels only; leave them out."
        )
    if not scales:
        raise DeepLabError("At least one scale is needed, such as 1.0; got none.")
    return best_class([_probabilities(runtime, image, scale, flip) for scale in scales], (height, width))


class Maps(NamedTuple):
    """What is predicted for one image, at one size."""

    label_map: np.ndarray  # (H, W) uint8 class ids
    panoptic: np.ndarray  # (H, W) int32 panoptic map
    method: str  # of deeplab_tf.core.panoptic.METHODS: how its things were told apart
    grouped: (
        np.ndarray
    )  # (H, W) uint8 class ids that the panoptic map was made from; not averaged where instances are predicted


def predict_maps(
    runtime,
    image: np.ndarray,
    size: Optional[Tuple[int, int]] = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Maps:
    """The label map of one image, as `predict` gives it, and the panoptic map.

    Where the network predicts instances, its own labels, centers and offsets for the image as it is are put together at
    its own size; otherwise things are the connected regions of the label map. The network runs once, unless the label
    map is to be averaged or resized.
    """
    size = tuple(size or image.shape[:2])
    if not getattr(runtime, "gives_instances", False):
        label_map = predict(runtime, image, size, flip=flip, scales=scales)
        return Maps(label_map, components(label_map, runtime.table), "components", label_map)
    prediction, stride = runtime.predict(resize_image(image, runtime.size)), runtime.label_stride
    panoptic, method = to_panoptic(prediction, runtime.table, stride=stride)
    label_map = grouped = resize_labels(prediction.label_map, size, stride)
    if not _labels_are_enough(runtime, size, flip, scales):
        label_map = predict(runtime, image, size, flip=flip, scales=scales)
    return Maps(label_map, resize_labels(panoptic, size, stride), method, grouped)


def best_class(probabilities: Sequence[np.ndarray], size: Tuple[int, int]) -> np.ndarray:
    """The class of the highest sum of probabilities at each pixel, after bilinear resizing to `size`.

    Class by class, because all classes at 1024x2048 at once take 160 MB, and NumPy's argmax over them a second.

    Args:
        probabilities: one or several (h, w, C) float32, of any sizes.

    Returns:
        (H, W) uint8 class ids; of equal classes the first.
    """
    labels = np.zeros(size, np.uint8)
    best = _class_sum(probabilities, 0, size)
    for class_id in range(1, probabilities[0].shape[-1]):
        scores = _class_sum(probabilities, class_id, size)
        labels[scores > best] = class_id
        np.maximum(best, scores, out=best)
    return labels


def _labels_are_enough(runtime, size, flip, scales):
    """Whether the runtime's own label map is the result, because nothing is averaged, and nothing resized that could be
    scores."""
    return not flip and tuple(scales) == (1.0,) and (tuple(runtime.size) == tuple(size) or not _gives_scores(runtime))


def _gives_scores(runtime):
    """Whether `class_scores` can be asked: of Keras always, of a bundle where it was converted so."""
    return getattr(runtime, "gives_scores", hasattr(runtime, "class_scores"))


def scaled_size(size: Tuple[int, int], scale: float) -> Tuple[int, int]:
    """Height and width times `scale`, rounded to multiples of 32, at least 32; a scale of 1 changes nothing."""
    if not scale > 0:
        raise DeepLabError(f"A scale must be above 0; got {scale}.")
    if scale == 1.0:
        return tuple(size)
    return tuple(max(_SIZE_STEP, round(side * scale / _SIZE_STEP) * _SIZE_STEP) for side in size)


def _class_sum(probabilities, class_id, size):
    total = _resize_linear(np.ascontiguousarray(probabilities[0][..., class_id]), size).copy()
    for more in probabilities[1:]:
        total += _resize_linear(np.ascontiguousarray(more[..., class_id]), size)
    return total


def _probabilities(runtime, image, scale, flip):
    frame = resize_image(image, scaled_size(runtime.size, scale))
    scores = runtime.class_scores(frame)  # (h, w, C)
    if flip:
        scores = (scores + runtime.class_scores(np.ascontiguousarray(frame[:, ::-1]))[:, ::-1]) * np.float32(0.5)
    return scores


def _resize_linear(array, size):
    if array.shape[:2] == tuple(size):
        return array
    return cv2.resize(array, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
