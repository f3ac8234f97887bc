"""A network's interface: what the runtimes of bundles and of runs have in common. Needs NumPy only."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.panoptic import Prediction

MAX_LANES = 4
"""Lanes of a network on a CPU; each needs memory for features of its own."""


class Predictor:
    """A loaded network, of a bundle or of a run. Subclasses define `predict`.

    Attributes:
        name, precision: of the runtime, such as "onnx" and "int8".
        table: the classes.
        size: height, width of the frames that it takes.
        label_stride: stride of the output label map, in input pixels.
        gives_probabilities: whether a prediction holds logits.
        gives_instances: whether a prediction holds centers and offsets.
        takes_any_size: whether it takes frames of other sizes, too.
        mode: how an image of another size is put before it, one of `modes.MODES`.
        overlap: of windows in the mode slide: the least share of a window that its neighbor covers, too.
        data: the `data` section of the recipe that it was trained by; empty where that is not known.
    """

    name = ""
    precision = "float32"
    table: LabelTable
    size: Tuple[int, int]
    label_stride = 1
    gives_probabilities = False
    gives_instances = False
    takes_any_size = False
    mode = "stretch"
    overlap = 0.25
    data: Dict[str, Any] = {}

    def predict(self, frame: np.ndarray) -> Prediction:
        """Run the network on a (H, W, 3) uint8 RGB frame of its size. Raises DeepLabError for another size or type."""
        raise NotImplementedError

    def predict_many(self, frames: Sequence[np.ndarray]) -> List[Prediction]:
        """Return the predictions of frames. A network that can runs them in one batch."""
        return [self.predict(frame) for frame in frames]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return the (H/s, W/s) uint8 label map of a frame, at the label stride s."""
        return self.predict(frame).label_map

    def lanes(self) -> Sequence["Predictor"]:
        """Return predictors of this network that may run in parallel, for throughput where latency does not matter.

        They share its weights; this one may be among them, and may be slower alone from now on. A predictor that needs
        the whole device for a frame, such as a GPU, is its only lane.
        """
        return [self]

    def close(self) -> None:
        """Free memory and devices."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def as_prediction(outputs: Dict[str, np.ndarray], classes: int) -> Prediction:
    """Return the outputs of a bundle's network (see `deploy.runtimes.Runtime.download`) as a prediction.

    Raises DeepLabError for a label of none of its `classes`.
    """
    logits = outputs.get("logits")
    label_map = outputs["labels"] if logits is None else logits.argmax(axis=-1)
    if label_map.size and not 0 <= label_map.min() <= label_map.max() < classes:
        wrong = int(label_map.min()) if label_map.min() < 0 else int(label_map.max())
        raise DeepLabError(
            f"The network gives the label {wrong}, and its class table has {classes} classes, 0 to {classes - 1}; "
            "convert the run again."
        )
    center = outputs["center"][..., 0] if "center" in outputs else None
    return Prediction(label_map.astype(np.uint8), center, outputs.get("offset"), logits)


def softmax(logits: Optional[np.ndarray]) -> np.ndarray:
    """Return the class probabilities of (h, w, C) logits as (C, h, w) float32: one plane per class.

    Raises DeepLabError for None: a network that gives labels only.
    """
    if logits is None:
        raise DeepLabError(
            "This network gives labels only, and class probabilities are needed; convert its run with --output logits "
            '(output="logits").'
        )
    planes = np.moveaxis(np.asarray(logits, np.float32), -1, 0).copy()
    planes -= planes.max(axis=0)
    np.exp(planes, out=planes)
    planes /= planes.sum(axis=0)
    return planes
