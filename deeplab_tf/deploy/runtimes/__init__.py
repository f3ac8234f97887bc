"""Runtimes for exported networks. The folder is the registry: runtimes/NAME.py is the runtime NAME.

A runtime's file has
    PRECISIONS                        precision -> the file or folder of a bundle that it starts from, for each of
                                      "int8", "float16" and "float32" that it offers, the best first
    PRIORITY                          "auto" takes the highest that works here; `compare` starts with the lowest
    PACKAGE                           the Python package that it needs, which `doctor` says how to install
    missing()                         None where it works on this machine, else one sentence: what to install
    build(bundle, precision, *, strict=False, rebuild=False, say=print, **options)
                                      builds an engine, if it needs one; returns `precision` (of what was built),
                                      `path`, `megabytes`, `seconds` and `reused`
    load(bundle, precision, *, strict=False, say=print, **options)
                                      returns a `Runtime`; builds first if no engine fits
    runs_on_cpu()                     whether it runs on the processor here: of those that do, a live video takes the
                                      fastest (see _fastest.py); a runtime of GPUs leaves it out
and imports its SDK (TensorFlow, ONNX Runtime, TensorRT) inside functions only. Private files (_NAME.py) are parts of
runtimes.
"""

import importlib
import os
from typing import Dict, Iterator, List, Optional, Sequence

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, WrongCall, did_you_mean
from deeplab_tf.core.files import modules_in
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import Predictor, as_prediction


class Runtime(Predictor):
    """A loaded bundle. Subclasses define `upload`, `run` and `download`.

    Attributes:
        bundle: where it comes from; see `Predictor` for the others.
    """

    def __init__(self, bundle: Bundle, precision: str):
        self.bundle, self.precision = bundle, precision
        self.table, self.size, self.label_stride = bundle.table, bundle.size, bundle.label_stride
        self.mode = bundle.mode
        self.gives_probabilities, self.gives_instances = bundle.output == "logits", bundle.gives_instances
        self.data = bundle.info.get("data") or {}

    def check_outputs(self, file: str, outputs: Dict[str, Optional[Sequence]]) -> None:
        """Raise DeepLabError unless a network's outputs are those that bundle.json describes.

        Args:
            file: that holds the network, for the error.
            outputs: their shapes by name, as in `fits`.
        """
        height, width = (-(-side // self.label_stride) for side in self.size)
        last = {"logits": (len(self.table),), "center": (1,), "offset": (2,)}
        for name in self.bundle.outputs:
            if name not in outputs:
                raise DeepLabError(f"{file} gives {', '.join(sorted(outputs))}, and bundle.json promises {name}.")
            found, wanted = outputs[name], (1, height, width) + last.get(name, ())
            if not fits(found, wanted):
                there, here = ("x".join(map(str, each)) for each in (found or (), wanted))
                classes = f", {len(self.table)} classes" if name == "logits" else ""
                raise DeepLabError(
                    f"{file} gives {name} of {there}, and bundle.json describes {here} (size, label_stride{classes}); "
                    "convert the run again."
                )

    def upload(self, frame: np.ndarray) -> None:
        """Copy a (H, W, 3) uint8 RGB frame at the network's size to where the network runs."""
        raise NotImplementedError

    def run(self) -> None:
        """Run the network on the uploaded frame, and wait for it."""
        raise NotImplementedError

    def download(self) -> Dict[str, np.ndarray]:
        """Return the bundle's `outputs` by name.

        These are `labels` (H/s, W/s) of an integer type or `logits` (H/s, W/s, C) float32; of a panoptic network also
        `center` (H/s, W/s, 1) and `offset` (H/s, W/s, 2), which later runs leave alone.
        """
        raise NotImplementedError

    def predict(self, frame: np.ndarray) -> Prediction:
        if frame.shape != tuple(self.size) + (3,) or frame.dtype != np.uint8:
            size, shape = ("x".join(map(str, sides)) for sides in (self.size, frame.shape))
            raise DeepLabError(
                f"Expected a uint8 RGB frame of {size}, the only size of {self.bundle.path}; got {frame.dtype} {shape}."
            )
        self.upload(frame)
        self.run()
        return as_prediction(self.download(), len(self.table))


def fits(shape: Optional[Sequence], wanted: Sequence[int]) -> bool:
    """Return whether a shape is the wanted one, as far as it is known: it, or any of its sides, may not be."""
    if shape is None:
        return True
    pairs = zip(shape, wanted)
    return len(shape) == len(wanted) and all(side == other for side, other in pairs if isinstance(side, int))


def names() -> List[str]:
    """Return the runtimes, by the names of their files."""
    return modules_in(os.path.dirname(__file__))


def module(name: str):
    """Return the module of a runtime. Raises WrongCall, naming the choices, if there is none."""
    if name not in names():
        raise WrongCall(f"There is no runtime '{name}'. {did_you_mean(name, names())}")
    return importlib.import_module("deeplab_tf.deploy.runtimes." + name)


def by_priority() -> List[str]:
    """Return all runtimes, the preferred first."""
    return sorted(names(), key=lambda name: -module(name).PRIORITY)


def missing() -> Dict[str, Optional[str]]:
    """Return for each runtime what it lacks on this machine; None where it works. May load TensorFlow."""
    return {name: module(name).missing() for name in names()}


def available() -> Iterator[str]:
    """Yield the runtimes that work on this machine, the preferred first; the next one may take seconds to load."""
    return (name for name in by_priority() if module(name).missing() is None)


def check_precision(name: str, precision: str) -> None:
    """Raise WrongCall, naming the choices, if a runtime does not offer a precision."""
    choices = module(name).PRECISIONS
    if precision not in choices:
        raise WrongCall(f"The runtime {name} has no precision '{precision}'. {did_you_mean(precision, choices)}")


def precisions(bundle: Bundle, name: str) -> List[str]:
    """Return the precisions at which a runtime can run a bundle, the best first."""
    return [precision for precision, source in module(name).PRECISIONS.items() if source in bundle]


RUNTIME_VARIABLE = "DEEPLAB_TF_RUNTIME"
"""What a live video takes on a processor, in place of the fastest."""
_SHARED_OPTIONS = {"say", "strict", "threads"}
"""Options that the `load` of every runtime for a processor takes."""


def _automatic(bundle: Bundle, precision: Optional[str], options: dict, live: bool) -> str:
    """Return the runtime that "auto" stands for; "" if none can run the bundle here."""
    preferred = _preferred() if live else None
    able = (each for each in available() if precisions(bundle, each))
    first = next(able, "")
    if not first or not _on_cpu(first):
        return first
    if not live or not _SHARED_OPTIONS.issuperset(options):
        if precision in (None, *precisions(bundle, first)):
            return first
        return next((each for each in able if precision in precisions(bundle, each)), first)
    on_cpu = [first] + [each for each in able if _on_cpu(each)]
    if preferred in on_cpu:
        return str(preferred)
    from deeplab_tf.core.progress import say  # click

    options = dict({"say": say}, **options)
    if preferred:
        options["say"](f"{RUNTIME_VARIABLE}: {preferred} cannot run this bundle here; {first} instead.")
        return first
    rivals = _rivals(bundle, precision, on_cpu)
    if len(rivals) < 2:
        return next(iter(rivals), first)
    from deeplab_tf.deploy.runtimes._fastest import fastest

    return fastest(bundle, rivals, module, **options) or first


def _preferred() -> Optional[str]:
    """Return the runtime in RUNTIME_VARIABLE, None for none. Raises WrongCall for a name that is no runtime."""
    name = os.environ.get(RUNTIME_VARIABLE)
    if name and name not in names():
        raise WrongCall(f"{RUNTIME_VARIABLE}: there is no runtime '{name}'. {did_you_mean(name, names())}")
    return name or None


def _on_cpu(name) -> bool:
    return getattr(module(name), "runs_on_cpu", bool)()


def _rivals(bundle, precision, on_cpu) -> Dict[str, str]:
    """Return the runtimes with the precision that is asked for, or that all of them take: INT8, if one of them has it,
    else float32. float16 is never taken unasked."""
    best = {name: precisions(bundle, name) for name in on_cpu}
    if precision is None:
        precision = "int8" if any("int8" in found for found in best.values()) else "float32"
    return {name: precision for name in on_cpu if precision in best[name]}


def open_runtime(
    bundle: Bundle, name: str = "auto", precision: Optional[str] = None, *, live: bool = False, **options
) -> Runtime:
    """Load a bundle.

    Args:
        bundle: from `open_bundle`.
        name: a runtime, or "auto": the one of the highest priority that works here and can run the bundle; on a
            processor, ONNX Runtime unless it lacks the precision that is asked for.
        precision: one of the runtime's; the best that the bundle holds if left out.
        live: on a processor, let "auto" be the fastest, or what the environment variable RUNTIME_VARIABLE names. INT8
            runtimes round differently, so that labels may then depend on the machine.
        options: for the runtime's `load`.

    Raises:
        DeepLabError: no such runtime, not installed here, or the bundle lacks what it needs.
    """
    if name == "auto":
        name = _automatic(bundle, precision, options, live)
        if not name:
            reasons = [f"{each}: {reason or 'the bundle has nothing for it.'}" for each, reason in missing().items()]
            raise DeepLabError(f"No runtime can run {bundle.path} here. {' '.join(reasons)}")
    chosen = module(name)
    reason = chosen.missing()
    if reason is not None:
        raise DeepLabError(f"The runtime {name} does not work here: {reason}")
    if precision is None:
        precision = next(iter(precisions(bundle, name)), list(chosen.PRECISIONS)[-1])
    check_precision(name, precision)
    return chosen.load(bundle, precision, **options)
