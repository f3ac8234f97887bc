"""The one prediction path: from a network's outputs to label map, class probabilities and instances at any size.

`predict`, `evaluate`, `report`, `compare`, `stream` and the Python API all go through here and give the same pixels.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.predictor import Predictor, softmax

_SIZE_STEP = 32
"""Scaled heights and widths are multiples of this, so that every stage of the network has a whole size."""


class View(NamedTuple):
    """Class probabilities of an image, perhaps mirrored or at another scale; views are averaged."""

    planes: np.ndarray  # (C, h, w) float32
    mirrored: bool = False


class _Instances(NamedTuple):
    """Centers and offsets of a view at a network's stride s: see `deeplab_tf.core.panoptic.Prediction`."""

    center: np.ndarray  # (h, w) float32
    offset: np.ndarray  # (h, w, 2) float32, in pixels of the view
    mirrored: bool


class ImagePrediction:
    """The prediction for one image at one size. Each part is computed when it is asked for, once."""

    def __init__(
        self,
        prediction: Prediction,
        table: LabelTable,
        size: Tuple[int, int],
        *,
        label_stride: int = 1,
        views: Sequence[View] = (),
    ):
        """
        Args:
            prediction: what the network gave; of several views its centers and offsets are averaged ones.
            table: the classes.
            size: height, width of the maps.
            label_stride: of the network.
            views: probabilities to average and to choose the classes by, in place of those of `prediction`.
        """
        self.table, self.size = table, size
        self._prediction, self._stride, self._views = prediction, label_stride, list(views)
        self._averaged = bool(views)
        self._label_map: Optional[np.ndarray] = None
        self._panoptic: Optional[np.ndarray] = None

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) uint8 class ids.

        Where nothing is resized or averaged these are the network's own. Otherwise probabilities are resized bilinearly
        before the class is chosen; labels without probabilities are resized by nearest neighbor.
        """
        if self._label_map is None:
            own, logits = self._prediction.label_map, self._prediction.logits
            resized = self._stride != 1 or own.shape != self.size
            if not self._averaged and (logits is None or not resized):
                self._label_map = resize_labels(own, self.size, self._stride)
            else:
                self._label_map = best_class(self._probability_views(), self.size, self._stride)
        return self._label_map

    @property
    def probabilities(self) -> np.ndarray:
        """(H, W, C) float32 class probabilities. Raises DeepLabError for a network that gives labels only."""
        views = self._probability_views()
        classes = range(len(views[0].planes))
        return np.stack([_class_sum(views, i, self.size, self._stride) for i in classes], -1) / np.float32(len(views))

    @property
    def panoptic(self) -> np.ndarray:
        """(H, W) int32 panoptic map: class id * 1000 + instance; see `deeplab_tf.core.panoptic`.

        Its classes are those of `label_map`, but that an instance has one class: the one of most of its pixels.
        Instances come from predicted centers and offsets; without them each connected region is one.
        """
        if self._panoptic is None:
            made = to_panoptic(self._prediction, self.table, stride=self._stride, label_map=self.label_map)
            self._panoptic = made[0]
        return self._panoptic

    @property
    def panoptic_method(self) -> str:
        """How `panoptic` is made: one of `deeplab_tf.core.panoptic.METHODS`."""
        return "components" if self._prediction.center is None else "centers"

    def _probability_views(self) -> List[View]:
        if not self._views:
            self._views = [View(softmax(self._prediction.logits))]
        return self._views


def predict(
    network: Predictor,
    image: np.ndarray,
    size: Optional[Tuple[int, ...]] = None,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> ImagePrediction:
    """Return the prediction for one image of any size.

    Args:
        network: a loaded network.
        image: (H, W, 3) uint8 RGB; resized to the network's size as in training (`image_files.resize_image`).
        size: height, width of the maps; the image's own if left out.
        flip: average probabilities, centers and offsets with those of the mirrored image.
        scales: factors of the network's size, rounded to multiples of 32 (1.0 changes nothing), to average over.

    Raises:
        DeepLabError: averaging with a network that gives labels only, or a scale that is not above 0, or none.
    """
    averaged = flip or tuple(scales) != (1.0,)
    if not scales:
        raise DeepLabError("At least one scale is needed, such as 1.0; got none.")
    views: List[View] = []
    instances: List[_Instances] = []
    for scale in scales:
        frame = resize_image(image, scaled_size(network.size, scale))
        for mirrored in (False, True)[: 1 + flip]:
            prediction = network.predict(np.ascontiguousarray(frame[:, ::-1]) if mirrored else frame)
            if averaged:
                views.append(View(softmax(prediction.logits), mirrored))
            if averaged and prediction.center is not None and prediction.offset is not None:
                instances.append(_Instances(prediction.center, prediction.offset, mirrored))
    if instances:
        center, offset = _mean_instances(instances, network.size, network.label_stride)
        prediction = prediction._replace(center=center, offset=offset)
    height, width = size or image.shape[:2]
    return ImagePrediction(prediction, network.table, (height, width), label_stride=network.label_stride, views=views)


def _mean_instances(views, size, stride):
    """Return (h, w) centers and (h, w, 2) offsets for an image of `size`, averaged over views of it.

    Columns of a mirrored view count the other way. Offsets are in pixels of their view, which may be another size's.
    """

    def at_own_positions(plane, mirrored):
        plane = _resize_linear(plane, size, stride)
        return (plane[:, ::-1] if mirrored else plane)[::stride, ::stride]

    centers, offsets = [], []
    for view in views:
        centers.append(at_own_positions(view.center, view.mirrored))
        factors = [length / (own * stride) for length, own in zip(size, view.center.shape)]
        factors[1] *= -1 if view.mirrored else 1
        parts = [at_own_positions(view.offset[..., i], view.mirrored) * np.float32(factors[i]) for i in (0, 1)]
        offsets.append(np.stack(parts, axis=-1))
    return np.mean(centers, axis=0), np.mean(offsets, axis=0)


def best_class(views: Sequence[View], size: Tuple[int, int], label_stride: int = 1) -> np.ndarray:
    """Return the (H, W) uint8 class of the highest mean probability at each pixel; of equal ones the first.

    Class by class, because all classes at 1024x2048 at once take 160 MB.

    Args:
        views: (C, h, w) float32 probabilities, of any sizes; each is resized bilinearly to `size`.
    """
    labels = np.zeros(size, np.uint8)
    best = _class_sum(views, 0, size, label_stride)
    for class_id in range(1, len(views[0].planes)):
        total = _class_sum(views, class_id, size, label_stride)
        labels[total > best] = class_id
        np.maximum(best, total, out=best)
    return labels


def scaled_size(size: Tuple[int, int], scale: float) -> Tuple[int, int]:
    """Return height and width times `scale`, rounded to multiples of 32, at least 32; a scale of 1 changes nothing."""
    if not scale > 0:
        raise DeepLabError(f"A scale must be above 0; got {scale}.")
    if scale == 1.0:
        return size
    height, width = (max(_SIZE_STEP, round(side * scale / _SIZE_STEP) * _SIZE_STEP) for side in size)
    return height, width


def _class_sum(views, class_id, size, stride):
    total = np.zeros(size, np.float32)
    for planes, mirrored in views:
        plane = _resize_linear(planes[class_id], size, stride)
        total += plane[:, ::-1] if mirrored else plane
    return total


def _resize_linear(plane, size, stride):
    """Resize bilinearly. With a stride s, position i is that of pixel s * i of the network's image, as in
    `draw.resize_labels`; OpenCV knows a stride of 1 only."""
    if stride == 1:
        if plane.shape == size:
            return plane
        return cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    low, high, share = _neighbors(size[1], plane.shape[1], stride)
    plane = plane[:, low] * (1 - share) + plane[:, high] * share
    low, high, share = _neighbors(size[0], plane.shape[0], stride)
    return plane[low] * (1 - share[:, None]) + plane[high] * share[:, None]


def _neighbors(length, source, stride):
    """Return for each of `length` pixels the two of `source` positions around its center, and the share of the second.

    Pixel i's center lies at x = (i + 0.5) * stride * source / length - 0.5 of the network's pixels: at position
    x / stride.
    """
    position = np.clip((np.arange(length) + 0.5) * source / length - 0.5 / stride, 0, source - 1)
    low = position.astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)
