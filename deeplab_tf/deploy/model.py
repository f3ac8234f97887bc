"""The Python API's loaded network and its results; `deeplab_tf.load` makes a model."""

import os
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union, overload

import numpy as np

from deeplab_tf.core import draw
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.image_files import read_image, write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import instance_counts
from deeplab_tf.core.polygons import geojson
from deeplab_tf.core.prediction import ImagePrediction, predict
from deeplab_tf.core.predictor import Predictor

Path = Union[str, os.PathLike]

FORMATS = ("overlay", "color", "ids", "cityscapes")
"""What `Result.save` writes."""


class Model:
    """A loaded network: predicts label maps, class probabilities and instances for images of any size.

    Example:
        with deeplab_tf.load("demo/bundle") as model:
            print(model.classes, model.size, model.runtime, model.precision)
            result = model.predict("street.jpg")

    Attributes:
        predictor: the runtime itself. `predictor.model` is the Keras model of a run.
    """

    def __init__(self, predictor: Predictor):
        self.predictor = predictor

    @property
    def table(self) -> LabelTable:
        """The classes with their colors."""
        return self.predictor.table

    @property
    def classes(self) -> List[str]:
        """The names of the classes, by id."""
        return self.predictor.table.names

    @property
    def size(self) -> Tuple[int, int]:
        """Height, width that images are resized to for the network."""
        return self.predictor.size

    @property
    def mode(self) -> str:
        """How images of another size are put before the network; see `deeplab_tf.load`."""
        return self.predictor.mode

    @property
    def runtime(self) -> str:
        """What runs the network, such as "onnx", "tensorrt" or, for a run, "keras"."""
        return self.predictor.name

    @property
    def precision(self) -> str:
        """ "int8", "float16" or "float32"."""
        return self.predictor.precision

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a path, although it iterates over strings
        self, images: Path, *, flip: bool = ..., scales: Sequence[float] = ...
    ) -> "Result": ...

    @overload
    def predict(self, images: np.ndarray, *, flip: bool = ..., scales: Sequence[float] = ...) -> Any: ...

    @overload
    def predict(
        self, images: Iterable[Union[Path, np.ndarray]], *, flip: bool = ..., scales: Sequence[float] = ...
    ) -> Iterator["Result"]: ...

    def predict(self, images, *, flip=False, scales=(1.0,)):
        """Predict one image or many.

        Args:
            images: a path, or a (H, W, 3) uint8 RGB array of any size, gives a result. A (N, H, W, 3) array, a list or
                an iterator of paths and arrays gives an iterator of results, computed one at a time.
            flip: average the class probabilities with those of the mirrored image.
            scales: average them over these factors of the network's size; other than 1.0 for runs only.

        Returns:
            A `Result`, or an iterator of them. The result of a network that gives class probabilities keeps its
            logits: 40 MB at 512x1024 with 19 classes, until the result is dropped.

        Raises:
            DeepLabError: a file or array that is no RGB image, or averaging with a network that gives labels only.

        Example:
            result = model.predict("street.jpg")
            for result in model.predict(sorted(glob.glob("drive/*.png"))):
                print(result.path, result.class_shares())
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = iter(images)
        if isinstance(images, (str, os.PathLike)) or hasattr(images, "__array__") or not isinstance(images, Iterable):
            return self._predict(images, flip, scales)
        return (self._predict(image, flip, scales) for image in images)

    def _predict(self, image, flip, scales):
        path = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
        image = read_image(path) if path is not None else _check(image)
        return Result(image, predict(self.predictor, image, flip=flip, scales=scales), path)

    def close(self) -> None:
        """Free memory and devices; leaving a `with` block does it."""
        self.predictor.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __repr__(self) -> str:
        height, width = self.size
        return f"<Model: {len(self.classes)} classes, {height}x{width}, {self.runtime} {self.precision}>"


class Result:
    """The prediction for one image, at the image's size. Each part is computed when it is asked for, once.

    Example:
        result = model.predict("street.jpg")
        road = result.label_map == model.classes.index("road")    # (H, W) bool
        print(result.class_shares(), result.instance_counts())
        result.save("overlay.jpg")

    Attributes:
        image: (H, W, 3) uint8 RGB.
        path: the image's file; None for an array.
    """

    def __init__(self, image: np.ndarray, prediction: ImagePrediction, path: Optional[str] = None):
        self.image, self.path, self._prediction = image, path, prediction

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"<Result: {height}x{width}, {self.path or 'an array'}>"

    @property
    def table(self) -> LabelTable:
        """The classes with their colors."""
        return self._prediction.table

    @property
    def label_map(self) -> np.ndarray:
        """(H, W) uint8 class ids, which count the classes of `table` from 0."""
        return self._prediction.label_map

    @property
    def probabilities(self) -> np.ndarray:
        """(H, W, C) float32 class probabilities.

        Raises DeepLabError for a bundle that gives labels only; convert the run with output="logits".
        """
        return self._prediction.probabilities

    @property
    def confidence(self) -> np.ndarray:
        """(H, W) float32: the highest class probability of each pixel. Raises as `probabilities` does."""
        return self._prediction.confidence

    @property
    def panoptic(self) -> np.ndarray:
        """(H, W) int32 panoptic map: class id * 1000 + instance.

        Instances of a class count from 1; 0 is a class without instances, 255000 no class. They come from predicted
        centers and offsets or, for a network without, from the connected regions of each class of things.
        """
        return self._prediction.panoptic

    @property
    def panoptic_method(self) -> str:
        """Where the instances come from: "centers", which the network predicts, or "components", connected regions."""
        return self._prediction.panoptic_method

    def class_shares(self) -> Dict[str, float]:
        """Return the share of the image's pixels by class name, largest first; classes without pixels are left out."""
        counts = np.bincount(self.label_map.reshape(-1), minlength=256)[: len(self.table)]
        shares = {self.table.names[i]: float(counts[i]) / self.label_map.size for i in np.flatnonzero(counts)}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def instance_counts(self) -> Dict[str, int]:
        """Return the number of instances by class name; classes without instances are left out.

        A network that predicts no instances has its connected regions counted: see `panoptic_method`.
        """
        counts = instance_counts(self.panoptic, self.table)
        return {name: count for name, count in zip(self.table.names, counts) if count}

    def polygons(self) -> Dict[str, Any]:
        """Return the regions of each class as a GeoJSON FeatureCollection, in pixels; see `core.polygons`."""
        return geojson(self.label_map, self.table)

    def overlay(self, opacity: float = 0.5, legend: bool = False, *, plain: Sequence[str] = ()) -> np.ndarray:
        """Return the image with class colors over it, and with predicted instances outlined: (H, W, 3) uint8 RGB.

        Args:
            opacity: 0 gives the image, 1 the colors alone.
            legend: put the names of the classes that appear to the right, which makes the result wider.
            plain: names of classes under which the image stays as it is, such as a background.

        Raises DeepLabError for an opacity outside 0 to 1, or no such class.
        """
        if not 0 <= opacity <= 1:
            raise DeepLabError(f"The opacity must be 0 to 1; got {opacity}.")
        drawn = draw.overlay(self.image, self.label_map, self.table, opacity, plain=class_ids(plain, self.table))
        if self._prediction.panoptic_method == "centers":
            draw.outline(drawn, self.panoptic)
        if legend:
            strip = draw.legend(max(draw.LOWEST_LEGEND, len(drawn)), self.table, np.unique(self.label_map))
            drawn = draw.side_by_side([drawn, strip])
        return drawn

    def save(
        self,
        path: Path,
        format: str = "overlay",
        *,
        opacity: float = 0.5,
        legend: bool = False,
        plain: Sequence[str] = (),
    ) -> None:
        """Write the result as an image file, whole or not at all.

        Args:
            path: a PNG file or, for "overlay" and "color", a JPEG file; its folder is made if needed.
            format: "overlay"; "color", the class colors alone; "ids", class ids as gray values; "cityscapes", the
                label ids of the Cityscapes benchmark.
            opacity, legend, plain: of an overlay, as for `overlay`.

        Raises:
            DeepLabError: another format, a file that cannot be written, or other classes than Cityscapes'.
        """
        if format not in FORMATS:
            raise DeepLabError(f"There is no format '{format}'. {did_you_mean(format, FORMATS)}")
        if format == "cityscapes":
            check_cityscapes(self.table)
        if format in ("ids", "cityscapes") and not os.fspath(path).lower().endswith(".png"):
            raise DeepLabError(f"{os.fspath(path)}: ids need a lossless file; let its name end in .png.")
        if format == "overlay":
            pixels = self.overlay(opacity, legend, plain=plain)
        elif format == "color":
            pixels = draw.colorize(self.label_map, self.table)
        else:
            pixels = self.label_map if format == "ids" else CITYSCAPES_FROM_CLASS[self.label_map]
        write_image(path, pixels)


def class_ids(names: Sequence[str], table: LabelTable) -> List[int]:
    """Return the ids of classes. Raises DeepLabError, saying what was meant, for a name of none."""
    for name in names:
        if name not in table.names:
            raise DeepLabError(f"The network has no class '{name}'. {did_you_mean(name, table.names)}")
    return [table.names.index(name) for name in names]


def check_cityscapes(table: LabelTable) -> None:
    """Raise DeepLabError for other classes than Cityscapes'."""
    if table.names != CITYSCAPES.names:
        raise DeepLabError(
            f"The format cityscapes needs a network with Cityscapes' 19 classes; this one has {len(table)}: use ids."
        )


def _check(image: Any) -> np.ndarray:
    if not hasattr(image, "__array__"):  # of an image of Pillow, too
        raise DeepLabError(
            "Expected a path, an RGB array (H, W, 3) of uint8, or an iterable of them; got "
            + (
                "None: cv2.imread returns that for a file it cannot read."
                if image is None
                else f"{type(image).__name__}."
            )
        )
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DeepLabError(
            f"Expected an RGB image (H, W, 3) of uint8 with values 0 to 255; got {image.shape} of {image.dtype}."
        )
    return np.ascontiguousarray(image)
