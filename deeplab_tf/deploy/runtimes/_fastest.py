"""The fastest of several runtimes for a bundle on this processor: measured once, and kept with the bundle's engines."""

import json
import os
import re
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core import processor
from deeplab_tf.core.bundle import DIGEST, Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_json
from deeplab_tf.deploy import device

FILE = "fastest.json"
ROUNDS, SECONDS = 3, 0.1
"""Each runtime is timed in each round for SECONDS, in turn, so that other work on the machine slows all alike."""
TIE = 1.03
"""Times that differ by less are equal."""


class Timed(NamedTuple):
    """A runtime with its least time for a frame, in milliseconds, and the memory that it took, in MB."""

    runtime: str
    ms: float
    memory_mb: float


def fastest(
    bundle: Bundle, precisions: Dict[str, str], module: Callable[[str], Any], *, say=print, **options
) -> Optional[str]:
    """Return the fastest runtime on this machine; on ties the one with the least memory. None if none loads.

    Args:
        precisions: runtime -> its precision; several.
        module: returns the module of a runtime.
        say: called with one line: the choice, with all times if they were measured now.
        options: for `load` of each.
    """
    path, facts = _place(bundle), _facts(bundle, precisions, options)
    known = _read(path, facts)
    if known in precisions:
        say(f"Runtime: {known}, the fastest here when it was measured ({path}).")
        return known
    found = measure(bundle, precisions, module, say=say, **options)
    if not found:
        return None
    chosen = choose(found)
    others = ", ".join(f"{each.runtime} {each.ms:.1f}" for each in found if each is not chosen)
    say(f"Runtime: {chosen.runtime}, {chosen.ms:.1f} ms for a frame, the fastest here{others and f' ({others})'}.")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        measured = [dict(each._asdict()) for each in found]
        write_json(path, {"facts": facts, "runtime": chosen.runtime, "measured": measured})
    except (OSError, DeepLabError):  # a bundle that may not be written to is measured each time
        pass
    return chosen.runtime


def choose(found: Sequence[Timed]) -> Timed:
    """Return the fastest; of those as fast, the one with the least memory."""
    limit = TIE * min(each.ms for each in found)
    return min((each for each in found if each.ms <= limit), key=lambda each: each.memory_mb)


def measure(
    bundle: Bundle, precisions: Dict[str, str], module: Callable[[str], Any], *, say=print, **options
) -> List[Timed]:
    """Time the runtimes; one that does not load is left out, said, and one that does not load at its precision."""
    frame = np.random.default_rng(0).integers(0, 256, tuple(bundle.size) + (3,)).astype(np.uint8)
    loaded: Dict[str, Any] = {}
    memory: Dict[str, float] = {}
    try:
        for name, precision in precisions.items():
            before = _resident_mb()
            try:
                opened = module(name).load(bundle, precision, say=lambda line: None, **options)
                loaded[name] = opened
                opened.predict(frame)
            except Exception as error:  # of any kind: an optional package may be broken
                loaded.pop(name, None)
                say(f"Left out: {name} ({' '.join(str(error).split())[:200] or type(error).__name__}).")
                continue
            memory[name] = max(0.0, _resident_mb() - before)
            if opened.precision != precision:
                loaded.pop(name).close()
        times = {name: _time(opened, frame, 0.0) for name, opened in loaded.items()}  # warms up
        for _ in range(ROUNDS):
            for name, opened in loaded.items():
                times[name] = min(times[name], _time(opened, frame, SECONDS))
    finally:
        for opened in loaded.values():
            opened.close()
    return [Timed(name, 1000 * seconds, memory[name]) for name, seconds in times.items()]


def _time(opened, frame, seconds) -> float:
    """Return the least time of a frame in `seconds`."""
    least, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        opened.predict(frame)
        now = time.perf_counter()
        least = min(least, now - start)
        if now >= end:
            return least


def _resident_mb() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        return 0.0


def _place(bundle) -> str:
    words = f"cpu {processor.model_name() or 'unknown'} {processor.physical_cores()} cores"
    return os.path.join(bundle.engines, re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-"), FILE)


def _facts(bundle, precisions, options) -> dict:
    """Return all that the choice depends on."""
    return {
        "bundle": bundle.info.get(DIGEST),
        "processor": device.processor(),
        "features": processor.features(),
        "cores": processor.physical_cores(),
        "precisions": dict(precisions),
        "options": {name: value for name, value in options.items() if name != "strict"},
        "versions": device.versions(),
    }


def _read(path, facts) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        return record["runtime"] if record["facts"] == facts else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
