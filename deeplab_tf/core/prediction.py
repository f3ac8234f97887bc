"""The one prediction path: from a network's outputs to label map, class probabilities and instances at any size.

`predict`, `evaluate`, `report`, `compare`, `stream` and the Python API all go through here and give the same pixels.
"""

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.fitting import Fit, fit, to_frame
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.predictor import Predictor, softmax
from deeplab_tf.core.resizing import resize_linear
from deeplab_tf.core.sliding import ArrayRows, blocks, window_count

KEPT_PROBABILITIES = 1 << 29
"""Bytes: class probabilities of a larger image are blended and dropped, window by window."""


NO_INSTANCES = (
    "Instances are predicted within a window, and those of two windows cannot be joined: use another mode than slide."
)


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
        averaged: Optional[bool] = None,
        refusals: Mapping[str, str] = {},
    ):
        """
        Args:
            prediction: what the network gave; of several views its centers and offsets are averaged ones.
            table: the classes.
            size: height, width of the maps.
            label_stride: of the network.
            views: probabilities to average, in place of those of `prediction`.
            averaged: whether to choose the classes by them; if left out, where there are any.
            refusals: why there is no "panoptic" map, or are no "probabilities"; empty where there are.
        """
        self.table, self.size = table, size
        self._prediction, self._stride, self._views = prediction, label_stride, list(views)
        self._averaged, self._refusals = bool(views) if averaged is None else averaged, refusals
        self._label_map: Optional[np.ndarray] = None
        self._panoptic: Optional[np.ndarray] = None
        self._best: Optional[np.ndarray] = None  # the highest sum of the views' probabilities

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) uint8 class ids.

        Where nothing is resized or averaged these are the network's own. Otherwise probabilities are resized bilinearly
        before the class is chosen; labels without probabilities are resized by nearest neighbor.
        """
        if self._label_map is None:
            own, logits = self._prediction.label_map, self._prediction.logits
            resized = self._stride != 1 or own.shape != self.size
            unknown = logits is None and not self._views
            if not self._averaged and (unknown or not resized):
                self._label_map = resize_labels(own, self.size, self._stride)
            else:
                self._label_map, self._best = _best(self._probability_views(), self.size, self._stride)
        return self._label_map

    @property
    def probabilities(self) -> np.ndarray:
        """(H, W, C) float32 class probabilities. Raises DeepLabError for a network that gives labels only."""
        views = self._probability_views()
        classes = range(len(views[0].planes))
        return np.stack([_class_sum(views, i, self.size, self._stride) for i in classes], -1) / np.float32(len(views))

    @property
    def confidence(self) -> np.ndarray:
        """(H, W) float32: the highest class probability of each pixel. Raises as `probabilities` does."""
        views = self._probability_views()
        if self._best is None:
            self._best = _best(views, self.size, self._stride)[1]
        return self._best / np.float32(len(views))

    @property
    def has_probabilities(self) -> bool:
        """Whether there are `probabilities`."""
        return "probabilities" not in self._refusals and bool(self._views or self._prediction.logits is not None)

    @property
    def panoptic(self) -> np.ndarray:
        """(H, W) int32 panoptic map: class id * 1000 + instance; see `deeplab_tf.core.panoptic`.

        Its classes are those of `label_map`, but that an instance has one class: the one of most of its pixels.
        Instances come from predicted centers and offsets; without them each connected region is one.
        """
        self._check("panoptic")
        if self._panoptic is None:
            made = to_panoptic(self._prediction, self.table, stride=self._stride, label_map=self.label_map)
            self._panoptic = made[0]
        return self._panoptic

    @property
    def panoptic_method(self) -> str:
        """How `panoptic` is made: one of `deeplab_tf.core.panoptic.METHODS`."""
        return "components" if self._prediction.center is None else "centers"

    def _check(self, part):
        if part in self._refusals:
            raise DeepLabError(self._refusals[part])

    def _probability_views(self) -> List[View]:
        self._check("probabilities")
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
        image: (H, W, 3) uint8 RGB; put before the network as its `mode` says (`fitting`), resized as in training.
        size: height, width of the maps; the image's own if left out.
        flip: average probabilities, centers and offsets with those of the mirrored image.
        scales: factors of the network's size, rounded to multiples of 32 (1.0 changes nothing), to average over.

    Raises:
        DeepLabError: averaging with a network that gives labels only, or a scale that is not above 0, or none.
    """
    if not scales:
        raise DeepLabError("At least one scale is needed, such as 1.0; got none.")
    size = (size or image.shape)[0], (size or image.shape)[1]
    if network.mode == "slide":
        return _slide(network, image, size, flip=flip, scales=scales)
    averaged = flip or tuple(scales) != (1.0,)
    views: List[View] = []
    instances: List[_Instances] = []
    for scale in scales:
        place = fit(network, size_of(image), scale)
        for mirrored in (False, True)[: 1 + flip]:
            prediction, stride = run_frame(network, to_frame(image, place, mirrored=mirrored), place)
            if averaged:
                views.append(View(softmax(prediction.logits), mirrored))
            if averaged and prediction.center is not None and prediction.offset is not None:
                instances.append(_Instances(prediction.center, prediction.offset, mirrored))
    if instances:
        center, offset = _mean_instances(instances, fit(network, size_of(image)).image, stride)
        prediction = prediction._replace(center=center, offset=offset)
    return ImagePrediction(prediction, network.table, size, label_stride=stride, views=views)


def size_of(image: np.ndarray) -> Tuple[int, int]:
    """Return height and width."""
    return image.shape[0], image.shape[1]


def run_frame(network: Predictor, frame: np.ndarray, place: Fit) -> Tuple[Prediction, int]:
    """Run the network on a frame of `fitting.to_frame`.

    Returns:
        The prediction for the image in it, without the padding; and its stride in pixels of the resized image.
    """
    prediction = network.predict(frame)
    if not place.padded:
        return prediction, network.label_stride
    return _without_padding(prediction, place, network.label_stride), 1


def _without_padding(prediction, place, stride):
    """Return the part of a prediction that the image covers, at a stride of 1."""
    here = np.s_[: place.image[0], : place.image[1]]

    def resized(planes):
        return np.stack([resize_linear(planes[..., i], place.frame, stride) for i in range(planes.shape[-1])], -1)[here]

    label_map = resize_labels(prediction.label_map, place.frame, stride)[here]
    center, offset, logits = prediction.center, prediction.offset, prediction.logits
    if logits is not None and stride == 1:
        logits = np.asarray(logits)[here]
    elif logits is not None:  # probabilities are resized, as everywhere; these are logits of theirs
        logits = np.log(np.maximum(resized(np.moveaxis(softmax(logits), 0, -1)), np.float32(1e-30)))
        label_map = logits.argmax(axis=-1).astype(np.uint8)
    center = None if center is None else resize_linear(center, place.frame, stride)[here]
    return Prediction(label_map, center, None if offset is None else resized(offset), logits)


def _slide(network, image, size, *, flip, scales):
    """Return the prediction of windows over the image."""
    if tuple(scales) != (1.0,):
        raise DeepLabError("The mode slide runs the network at the image's own scale; leave the scales out.")
    if flip and not network.gives_probabilities:
        softmax(None)  # says what it needs
    refusals: Dict[str, str] = {"panoptic": NO_INSTANCES} if network.gives_instances else {}
    if window_count(network, size_of(image)) == 1 and not flip:  # its logits tell classes apart better than the blend
        place = Fit(size_of(image), network.size)
        prediction, stride = run_frame(network, to_frame(image, place), place)
        prediction = prediction._replace(center=None, offset=None)
        return ImagePrediction(prediction, network.table, size, label_stride=stride, refusals=refusals)
    prediction, views = slide(network, image, flip=flip)
    if network.gives_probabilities and not views:
        height, width = image.shape[:2]
        refusals["probabilities"] = (
            f"The probabilities of {height}x{width} pixels and {len(network.table)} classes take "
            f"{4e-9 * height * width * len(network.table):.0f} GB; `deeplab-tf predict --mode slide` writes them."
        )
    return ImagePrediction(prediction, network.table, size, views=views, averaged=False, refusals=refusals)


def prepare(network: Predictor, image: np.ndarray) -> np.ndarray:
    """Return what `run_prepared` takes: the network's frame or, in the mode slide, the image itself."""
    return image if network.mode == "slide" else to_frame(image, fit(network, size_of(image)))


def run_prepared(network: Predictor, prepared: np.ndarray, size: Tuple[int, int]) -> Tuple[Prediction, int]:
    """Return the prediction for an image of `size` and its stride, as `predict` makes it, for stages in several
    threads."""
    if network.mode != "slide":
        return run_frame(network, prepared, fit(network, size))
    return Prediction(predict(network, prepared).label_map), 1


def slide(network: Predictor, image: np.ndarray, *, flip: bool = False) -> Tuple[Prediction, List[View]]:
    """Return the label map of an image, of its own size, from windows over it; and its probabilities, if the network
    gives any and they take no more than KEPT_PROBABILITIES."""
    height, width = image.shape[:2]
    label_map = np.zeros((height, width), np.uint8)
    classes = len(network.table)
    kept = network.gives_probabilities and 4 * height * width * classes <= KEPT_PROBABILITIES
    planes = np.zeros((classes, height, width), np.float32) if kept else None
    for block in blocks(network, ArrayRows(image), flip=flip):
        bottom, right = (start + side for start, side in zip(block[:2], block.label_map.shape))
        here = np.s_[block.top : bottom, block.left : right]
        label_map[here] = block.label_map
        if planes is not None:
            planes[(slice(None), *here)] = block.planes
    return Prediction(label_map), [] if planes is None else [View(planes)]


def _mean_instances(views, size, stride):
    """Return (h, w) centers and (h, w, 2) offsets for an image of `size`, averaged over views of it.

    Columns of a mirrored view count the other way. Offsets are in pixels of their view, which may be another size's.
    """

    def at_own_positions(plane, mirrored):
        plane = resize_linear(plane, size, stride)
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
    return _best(views, size, label_stride)[0]


def _best(views, size, label_stride):
    """Return the labels of `best_class`, and the highest sum of probabilities."""
    labels = np.zeros(size, np.uint8)
    best = _class_sum(views, 0, size, label_stride)
    for class_id in range(1, len(views[0].planes)):
        total = _class_sum(views, class_id, size, label_stride)
        labels[total > best] = class_id
        np.maximum(best, total, out=best)
    return labels, best


def _class_sum(views, class_id, size, stride):
    total = np.zeros(size, np.float32)
    for planes, mirrored in views:
        plane = resize_linear(planes[class_id], size, stride)
        total += plane[:, ::-1] if mirrored else plane
    return total
