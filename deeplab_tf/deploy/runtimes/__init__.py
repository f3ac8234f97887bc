"""What runs an exported network. One file a runtime; the folder is the registry: runtimes/NAME.py is the runtime NAME.

A runtime's file has
    PRECISIONS                        those that it offers, the best first, of "int8", "float16", "float32"
    missing()                         None where it runs on this machine, else one sentence: what is missing and what to
    do build(bundle, precision, *, strict=False, rebuild=False, say=print, **options)
                                      makes what it needs beyond the bundle's files (an engine), where it needs any;
                                      returns `precision` (what was built), `path`, `megabytes`, `seconds` and `reused`
    load(bundle, precision, *, strict=False, say=print, **options)
                                      a `Runtime`, built first where nothing fits
and imports its SDK (TensorFlow, ONNX Runtime, TensorRT) inside functions only. Private files (_NAME.py) are parts of
runtimes.
"""

import importlib
import os
from typing import Dict, List, Optional, Sequence

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.prediction import Predictor, as_prediction

PREFERENCE = ("tensorrt", "tf_trt", "onnx", "saved_model")
"""Which runtime "auto" takes: the first that runs here."""


_NEEDS = {
    ("onnx", "int8"): "model_int8_cpu.onnx",
    ("tf_trt", "int8"): "tf_trt/int8",
    ("tf_trt", "float32"): "tf_trt/float",
    ("tf_trt", "float16"): "tf_trt/float",
    ("saved_model", "float32"): "saved_model",
}
"""What of a bundle a runtime starts from; where nothing stands here, from model_int8.onnx for "int8" and from
model.onnx."""


class Runtime(Predictor):
    """A loaded bundle. Subclasses define `upload`, `run` and `download`.

    Attributes:
        bundle: where it comes from; see `Predictor` for the others.
    """

    def __init__(self, bundle: Bundle, precision: str):
        self.bundle, self.precision = bundle, precision
        self.table, self.size, self.label_stride = bundle.table, bundle.size, bundle.label_stride
        self.gives_probabilities, self.gives_instances = bundle.output == "logits", bundle.gives_instances
        self.data = bundle.info.get("data") or {}

    def upload(self, frame: np.ndarray) -> None:
        """Hands over a (H, W, 3) uint8 RGB frame at the network's size."""
        raise NotImplementedError

    def run(self) -> None:
        """Runs the network on what was uploaded, and waits for it."""
        raise NotImplementedError

    def download(self) -> Dict[str, np.ndarray]:
        """What the network gave, by the bundle's `outputs`: `labels` (H/s, W/s) of an integer type or `logits` (H/s,
        W/s, C) float32 before softmax; with instances `center` (H/s, W/s, 1) and `offset` (H/s, W/s, 2). Later runs
        leave the last two alone."""
        raise NotImplementedError

    def lanes(self) -> Sequence["Runtime"]:
        """Runtimes of this network that work on different frames at the same time: for frames a second, where it does
        not matter how long each one takes. A runtime that needs the machine to itself for a frame, as a GPU does, is
        its only lane."""
        return [self]

    def predict(self, frame: np.ndarray) -> Prediction:
        if frame.shape != tuple(self.size) + (3,) or frame.dtype != np.uint8:
            size, shape = ("x".join(map(str, sides)) for sides in (self.size, frame.shape))
            raise DeepLabError(
                f"Expected a uint8 RGB frame of {size}, the only size of {self.bundle.path}; got {frame.dtype} {shape}."
            )
        self.upload(frame)
        self.run()
        return as_prediction(self.download())


def names() -> List[str]:
    """The runtimes that exist, by their files."""
    stems = [os.path.splitext(name) for name in os.listdir(os.path.dirname(__file__))]
    return sorted(stem for stem, ending in stems if ending == ".py" and not stem.startswith("_"))


def module(name: str):
    """The module of a runtime. Raises DeepLabError, naming the choices, where there is none."""
    if name not in names():
        raise DeepLabError(f"There is no runtime '{name}'. {did_you_mean(name, names())}")
    return importlib.import_module("deeplab_tf.deploy.runtimes." + name)


def available() -> List[str]:
    """The runtimes that run on this machine, the preferred first."""
    return list(_working())


def _working():
    """The same one by one: to ask the next can take the seconds that TensorFlow needs to load."""
    order = sorted(names(), key=lambda name: PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE))
    return (name for name in order if module(name).missing() is None)


def needs(name: str, precision: str) -> str:
    """The file or folder of a bundle that a runtime starts from."""
    return _NEEDS.get((name, precision), "model_int8.onnx" if precision == "int8" else "model.onnx")


def precisions(bundle: Bundle, name: str) -> List[str]:
    """Those at which a runtime can run a bundle, the best first: it may lack what they start from."""
    return [each for each in module(name).PRECISIONS if needs(name, each) in bundle]


def open_runtime(bundle: Bundle, name: str = "auto", precision: Optional[str] = None, **options) -> Runtime:
    """Loads a bundle.

    Args:
        bundle: from `open_bundle`.
        name: a runtime, or "auto" for the first of PREFERENCE that runs here and finds in the bundle what it needs.
        precision: one of the runtime's; the best that the bundle holds where left out.
        options: for the runtime's `load`.

    Raises:
        DeepLabError: no such runtime, not installed here, or the bundle lacks what it needs.
    """
    if name == "auto":
        name = next((each for each in _working() if precisions(bundle, each)), None)
        if name is None:
            reasons = [
                "{}: {}".format(each, module(each).missing() or "the bundle has nothing for it.") for each in names()
            ]
            raise DeepLabError("No runtime can run {} here. {}".format(bundle.path, " ".join(reasons)))
    chosen = module(name)
    reason = chosen.missing()
    if reason is not None:
        raise DeepLabError(f"The runtime {name} does not work here: {reason}")
    if precision is None:
        precision = (precisions(bundle, name) or chosen.PRECISIONS[-1:])[0]
    if precision not in chosen.PRECISIONS:
        raise DeepLabError(
            f"The runtime {name} has no precision '{precision}'. {did_you_mean(precision, chosen.PRECISIONS)}"
        )
    return chosen.load(bundle, precision, **options)
