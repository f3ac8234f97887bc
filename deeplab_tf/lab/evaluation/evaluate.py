"""Scoring a network on a split: over all pixels, and image by image."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.lanes import in_lanes
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.metrics.per_image import ImageCounts, counts_of, miou_interval
from deeplab_tf.core.metrics.reliability import Reliability
from deeplab_tf.core.panoptic.grouping import components
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.lab.data.split import Split


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image; NaN where every pixel of its label is ignored."""

    index: int  # in the split
    name: str
    miou: float
    pixel_accuracy: float

    def to_dict(self) -> dict:
        """Return the scores for JSON."""
        return {"name": self.name, "miou": self.miou, "pixel_accuracy": self.pixel_accuracy}


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`."""

    table: LabelTable
    confusion: ConfusionMatrix  # of all images together
    images: list[ImageScore]  # in the order of the split
    size: tuple[int, int]  # height and width of the network's input
    flip: bool
    scales: tuple[float, ...]
    mode: str  # of deeplab_tf.core.modes.MODES
    seconds: float  # in total, reading the files included
    panoptic: PanopticQuality | None = None  # where the split has instances
    pq_method: str | None = None  # of deeplab_tf.core.panoptic.METHODS
    counts: Sequence[ImageCounts] = ()  # in the order of the split
    reliability: Reliability | None = None  # where it was asked for
    components: PanopticQuality | None = None  # of connected components, where the network predicts instances

    def best(self, count: int) -> list[ImageScore]:
        """Return the images with the highest mIoU, best first."""
        return self._ranked()[::-1][:count]

    def worst(self, count: int) -> list[ImageScore]:
        """Return the images with the lowest mIoU, worst first."""
        return self._ranked()[:count]

    def report(self) -> dict:
        """Return the scores, as fractions, under the names that every command uses, and how they were measured."""
        report = self.confusion.report(self.table)
        report["miou_interval"] = miou_interval(self.counts)
        if self.reliability:
            report.update(self.reliability.report())
        if self.panoptic:
            report.update(self.panoptic.report(self.pq_method))
        if self.components:
            scores = self.components.report()
            report["pq_of_components"] = {key: scores[key] for key in ("pq", "pq_things", "pq_stuff")}
        return {
            **report,
            "size": list(self.size),
            "flip": self.flip,
            "scales": list(self.scales),
            "mode": self.mode,
            "images_per_second": len(self.images) / self.seconds if self.seconds else None,
            "best_images": [score.to_dict() for score in self.best(3)],
            "worst_images": [score.to_dict() for score in self.worst(3)],
        }

    def _ranked(self) -> list[ImageScore]:
        scored = [score for score in self.images if not np.isnan(score.miou)]
        return sorted(scored, key=lambda score: (score.miou, score.index))


def evaluate(
    network: Predictor,
    split: Split,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    calibration: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Evaluation:
    """Score a network on every frame of a split, at each label's own resolution: mIoU and, for instances, PQ.

    Args:
        network: a loaded network.
        split: frames with the classes of the network.
        flip, scales: as for `deeplab_tf.core.prediction.predict`.
        calibration: also count how often the network is right at each confidence, where it gives probabilities.
        progress: wraps the iterable of frame numbers.

    Raises:
        DeepLabError: an empty split, other classes than the network's, an unreadable file, or as `predict` raises.
    """
    check(network, split)
    start = time.perf_counter()
    scored = score_images(network, split, range(len(split)), flip=flip, scales=scales, calibration=calibration)
    found = (each for _, each in zip(progress(range(len(split))), scored))
    evaluation = collect(found, network, split, flip=flip, scales=scales, calibration=calibration)
    return replace(evaluation, seconds=time.perf_counter() - start)


@dataclass(frozen=True)
class Scored:
    """The counts of one image.

    Attributes:
        index: in the split.
        pixels: of classes.
        method: of `deeplab_tf.core.panoptic.METHODS`; None without instances.
        segments: of the panoptic map, if the split has instances.
        regions: of connected components, if the network predicts instances too.
        sure: by confidence, if asked for.
    """

    index: int
    pixels: ConfusionMatrix
    method: str | None
    segments: PanopticQuality | None
    regions: PanopticQuality | None
    sure: Reliability | None = None


def check(network: Predictor, split: Split) -> None:
    """Raise DeepLabError for a split that has no images, or other classes than the network."""
    check_classes(network.table, split.table)
    if not len(split):
        raise DeepLabError("The split has no images; there is nothing to score.")


def score_images(
    network: Predictor,
    split: Split,
    indices: Iterable[int],
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    calibration: bool = False,
) -> Iterator[Scored]:
    """Yield the counts of some images of a split, in the order of their indices; arguments are those of `evaluate`."""
    table, panoptic = split.table, _is_panoptic(network, split)

    def read(index):
        return index, split.scored_sample(index), split.panoptic_map(index) if panoptic else None

    def score(lane, item):
        index, (image, label_map), truth = item
        predicted = predict(lane, image, label_map.shape, flip=flip, scales=scales)
        pixels = ConfusionMatrix(len(table))
        pixels.update(label_map, predicted.label_map)
        segments, regions = _qualities(predicted, truth, table)
        sure = _reliability(predicted, label_map) if calibration else None
        return Scored(index, pixels, predicted.panoptic_method, segments, regions, sure)

    # a split of one's own may not be read by several threads: items are read in this one
    return in_lanes(network.lanes(), score, map(read, indices))


def collect(
    scored: Iterable[Scored],
    network: Predictor,
    split: Split,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    calibration: bool = False,
) -> Evaluation:
    """Return the evaluation of a split, but for its time, from the counts of all images in their order: sums of
    fractions depend on it. Arguments are those of `evaluate`."""
    table, images, counts = split.table, [], []
    total, of_components, method = ConfusionMatrix(len(table)), None, None
    quality = PanopticQuality(table) if _is_panoptic(network, split) else None
    reliability = Reliability() if calibration else None
    for each in scored:
        name = split.names[each.index]
        images.append(ImageScore(each.index, name, each.pixels.miou(), each.pixels.pixel_accuracy()))
        counts.append(counts_of(name, each.pixels))
        total.merge(each.pixels)
        if reliability is not None and each.sure is not None:
            reliability.merge(each.sure)
        if quality is not None and each.segments is not None:
            method = each.method
            quality.merge(each.segments)
        if each.regions is not None:
            of_components = of_components or PanopticQuality(table)
            of_components.merge(each.regions)
    how = network.size, flip, tuple(scales), network.mode
    return Evaluation(table, total, images, *how, 0.0, quality, method, counts, reliability, of_components)


def _is_panoptic(network, split):
    """Return whether panoptic maps are compared: not with windows, whose instances are not joined."""
    return not (network.gives_instances and network.mode == "slide") and split.has_instances()


def _reliability(predicted, truth):
    """Return the counts of one image; None for a network that gives labels only."""
    if not predicted.has_probabilities:
        return None
    found = Reliability()
    found.update(truth, predicted.label_map, predicted.confidence)
    return found


def _qualities(predicted, truth, table):
    """Return the counts of the panoptic map and, where the network predicts instances, of connected components."""
    if truth is None:
        return None, None
    maps = [predicted.panoptic]
    if predicted.panoptic_method == "centers":
        maps.append(components(predicted.label_map, table))
    counts = [PanopticQuality(table) for _ in maps]
    for one, panoptic in zip(counts, maps):
        one.update(truth, panoptic)
    return counts[0], counts[1] if len(counts) > 1 else None


def check_classes(trained: LabelTable, truth: LabelTable) -> None:
    """Raise DeepLabError unless both tables name the same classes in the same order; colors may differ."""
    for i, (ours, theirs) in enumerate(zip(trained.names, truth.names)):
        if ours != theirs:
            raise DeepLabError(
                f"Network and labels differ in class {i}: '{ours}' and '{theirs}'; score on labels of its own classes."
            )
    if len(trained) != len(truth):
        raise DeepLabError(
            f"The network has {len(trained)} classes, the labels {len(truth)}; score on labels of its own classes."
        )
