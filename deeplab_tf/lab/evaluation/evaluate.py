"""A runtime's scores on a split: over all pixels, and image by image."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic.grouping import components
from deeplab_tf.core.prediction import predict, predict_maps


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image alone; NaN where every pixel of its label is ignored."""

    index: int  # in the split
    name: str
    miou: float
    pixel_accuracy: float

    def to_dict(self) -> dict:
        """For the JSON report."""
        return {"name": self.name, "miou": self.miou, "pixel_accuracy": self.pixel_accuracy}


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    table: LabelTable
    confusion: ConfusionMatrix  # of all images together
    images: list[ImageScore]  # in the order of the split
    size: tuple[int, int]  # height and width of the network's input
    flip: bool
    scales: tuple[float, ...]
    seconds: float  # for the whole, reading the files included
    panoptic: PanopticQuality | None = None  # where the split has instances
    pq_method: str | None = None  # of deeplab_tf.core.panoptic.METHODS
    of_components: PanopticQuality | None = (
        None  # where the network predicts instances: of connected components of its labels
    )

    def best(self, count: int) -> list[ImageScore]:
        """The images with the highest mIoU, best first."""
        return self._ranked()[::-1][:count]

    def worst(self, count: int) -> list[ImageScore]:
        """The images with the lowest mIoU, worst first."""
        return self._ranked()[:count]

    def report(self) -> dict:
        """Scores as fractions under the names that every command uses, and what they were measured with."""
        return {
            **self.confusion.report(self.table),
            **(self.panoptic.report(self.pq_method) if self.panoptic else {}),
            **({"pq_of_components": _means(self.of_components.report())} if self.of_components else {}),
            "size": list(self.size),
            "flip": self.flip,
            "scales": list(self.scales),
            "images_per_second": len(self.images) / self.seconds if self.seconds else math.nan,
            "best_images": [score.to_dict() for score in self.best(3)],
            "worst_images": [score.to_dict() for score in self.worst(3)],
        }

    def _ranked(self) -> list[ImageScore]:
        scored = [score for score in self.images if not math.isnan(score.miou)]
        return sorted(scored, key=lambda score: (score.miou, score.index))


def _means(report):
    return {key: report[key] for key in ("pq", "pq_things", "pq_stuff")}


def evaluate(
    runtime,
    split,
    *,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Evaluation:
    """Scores a runtime on every frame of a split, at each label's own resolution: mIoU and, where the split has
    instances, PQ.

    Args:
        runtime: see `deeplab_tf.lab.runs.keras_runtime`.
        split: a `deeplab_tf.lab.data.split.Split` with the classes of the runtime.
        flip, scales: see `predict`.
        progress: wraps the iterable of frame numbers, to show how far it is.

    Raises:
        DeepLabError: an empty split, other classes than the runtime's, an unreadable file, or `flip` and `scales` as in
            `predict`.
    """
    check_classes(runtime.table, split.table)
    if not len(split):
        raise DeepLabError("The split has no images; there is nothing to score.")
    total, images, start = ConfusionMatrix(len(split.table)), [], time.perf_counter()
    panoptic, of_components, method = PanopticQuality(split.table) if split.has_instances() else None, None, None
    options = {"flip": flip, "scales": scales}
    for index in progress(range(len(split))) if progress else range(len(split)):
        frame = split.scored_sample(index)
        size = frame.label_map.shape
        if panoptic is None:
            label_map = predict(runtime, frame.image, size, **options)
        else:
            label_map, predicted, method, grouped = predict_maps(runtime, frame.image, size, **options)
            truth = split.panoptic_map(index)
            panoptic.update(truth, predicted)
            if method == "centers":
                of_components = of_components or PanopticQuality(split.table)
                of_components.update(truth, components(grouped, split.table))
        one = ConfusionMatrix(len(split.table))
        one.update(frame.label_map, label_map)
        images.append(ImageScore(index, split.names[index], one.miou(), one.pixel_accuracy()))
        total.merge(one)
    seconds = time.perf_counter() - start
    return Evaluation(
        split.table, total, images, tuple(runtime.size), flip, tuple(scales), seconds, panoptic, method, of_components
    )


def check_classes(trained: LabelTable, truth: LabelTable) -> None:
    """Raises DeepLabError unless both tables name the same classes in the same order; colours may differ."""
    if trained.names == truth.names:
        return
    for i, (ours, theirs) in enumerate(zip(trained.names, truth.names)):
        if ours != theirs:
            raise DeepLabError(
                f"Network and labels differ in class {i}: '{ours}' and '{theirs}'; score it on labels of its own "
                "classes."
            )
    raise DeepLabError(
        f"The network has {len(trained)} classes, the labels {len(truth)}; score it on labels of its own classes."
    )
