"""What is compared, and in which order."""

from typing import Dict, List, NamedTuple, Optional, Tuple

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy import probe, runtimes


class Variant(NamedTuple):
    """A runtime at a precision."""

    runtime: str
    precision: str

    def __str__(self):
        return f"{self.runtime}:{self.precision}"


def missing_runtimes() -> Dict[str, Optional[str]]:
    """Return `runtimes.missing()`, asked in a child process, because the answer may load TensorFlow."""
    answer = probe.ask("from deeplab_tf.deploy import runtimes\nanswer = runtimes.missing()", 300.0)
    if answer.problem is not None:
        raise DeepLabError(f"Cannot find out which runtimes work here: {answer.problem}.")
    return answer.value


def variants(
    wanted: Optional[str], bundle: Bundle, missing: Dict[str, Optional[str]], precision: Optional[str] = None
) -> List[Variant]:
    """Return what to run, the reference first.

    Args:
        wanted: names with commas, such as "saved_model,onnx:int8"; a name alone stands for each precision that the
            bundle has. None: all that work here, plain TensorFlow first, TensorRT last.
        bundle: from `open_bundle`.
        missing: from `missing_runtimes`.
        precision: run what names none at this precision only.
    Raises:
        DeepLabError: as `parse`; a runtime that does not work here, or not at this precision; nothing to run.
    """
    if wanted is None:
        order = [name for name in reversed(runtimes.by_priority()) if missing.get(name, "") is None]
        found = [each for name in order for each in _all_of(name, bundle) if precision in (None, each.precision)]
        if not found and order:
            at = f" at {precision}" if precision else ""
            raise DeepLabError(f"None of the runtimes here ({', '.join(order)}) can run {bundle.path}{at}.")
        if not found:
            raise DeepLabError(f"No runtime works here. {' '.join(f'{n}: {missing[n]}' for n in sorted(missing))}")
        return found
    found = []
    for name, own in parse(wanted):
        if missing[name] is not None:
            raise DeepLabError(f"The runtime {name} does not work here: {missing[name]}")
        if precision and not own:
            runtimes.check_precision(name, precision)
        chosen = own or precision
        found += [Variant(name, chosen)] if chosen else _all_of(name, bundle)
    return list(dict.fromkeys(found))


def parse(wanted: str) -> List[Tuple[str, str]]:
    """Return (name, precision or "") of each part of "saved_model,onnx:int8".

    Raises DeepLabError for one that does not exist.
    """
    found = []
    for text in wanted.split(","):
        name, _, precision = text.strip().partition(":")
        runtimes.module(name)
        if precision:
            runtimes.check_precision(name, precision)
        found.append((name, precision))
    return found


def _all_of(name, bundle):
    """Return every precision of a runtime that the bundle has, float32 first."""
    return [Variant(name, precision) for precision in reversed(runtimes.precisions(bundle, name))]


def visit_order(count: int, rounds: int) -> List[int]:
    """Return which of `count` variants runs when: A B C C B A, `rounds` times, so that drift, such as of temperature,
    affects all alike."""
    forward = list(range(count))
    return (forward + forward[::-1]) * rounds
