"""What is compared, and in which order."""

from typing import Dict, List, NamedTuple, Optional, Tuple

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.deploy.runtimes import PREFERENCE, module, names, precisions


class Pair(NamedTuple):
    """A runtime at a precision."""

    runtime: str
    precision: str

    def __str__(self):
        return "{}:{}".format(*self)


def pairs(wanted: Optional[str], bundle: Bundle, missing: Dict[str, Optional[str]]) -> List[Pair]:
    """What to run.

    Args:
        wanted: names with commas, such as "saved_model,onnx:int8"; a name alone stands for each precision that the
            bundle has. None: all that work here, plain TensorFlow first, TensorRT last.
        bundle: from `open_bundle`.
        missing: of each runtime, why it does not work here; None where it does.
    Raises:
        DeepLabError: as `parse`; one that does not work here; nothing to run.
    """
    if wanted is None:
        order = sorted(missing, key=lambda name: -PREFERENCE.index(name) if name in PREFERENCE else 1)
        return [pair for name in order if missing[name] is None for pair in _all_of(name, bundle)] or _nothing(missing)
    found = []  # type: List[Pair]
    for name, precision in parse(wanted):
        if missing[name] is not None:
            raise DeepLabError(f"The runtime {name} does not work here: {missing[name]}")
        found += [
            pair for pair in ([Pair(name, precision)] if precision else _all_of(name, bundle)) if pair not in found
        ]
    return found


def parse(wanted: str) -> List[Tuple[str, str]]:
    """(name, precision or "") of each part of "saved_model,onnx:int8". Raises DeepLabError for one that does not
    exist."""
    found = []
    for text in wanted.split(","):
        name, _, precision = text.strip().partition(":")
        if name not in names():
            raise DeepLabError(f"There is no runtime '{name}'. {did_you_mean(name, names())}")
        choices = module(name).PRECISIONS
        if precision and precision not in choices:
            raise DeepLabError(f"The runtime {name} has no precision '{precision}'. {did_you_mean(precision, choices)}")
        found.append((name, precision))
    return found


def _all_of(name, bundle):
    """Every precision of a runtime that the bundle has, float32 first."""
    return [Pair(name, precision) for precision in reversed(precisions(bundle, name))]


def _nothing(missing):
    raise DeepLabError(
        "No runtime works here. {}".format(" ".join("{}: {}".format(*item) for item in sorted(missing.items())))
    )


def order(count: int, rounds: int) -> List[int]:
    """Which of `count` pairs runs when: A B C C B A, `rounds` times. What drifts, such as temperature, hits all alike.

    Args:
        rounds: 1 gives each pair two visits.
    """
    there = list(range(count))
    return (there + there[::-1]) * rounds
