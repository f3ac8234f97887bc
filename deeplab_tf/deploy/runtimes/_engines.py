"""Engines built on a device: where they are kept, when they are stale, and the precisions that a GPU offers.

An engine is engines/FINGERPRINT/NAME, with a description beside it, NAME.json: what it was built from and for
("facts"), its size and build time. It is used again only if all facts still hold.
"""

import glob
import importlib.util
import json
import os
import re
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from deeplab_tf.core.bundle import read_record as read_record  # public
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import megabytes, sha256, write_bytes

PRECISIONS = ("int8", "float16", "float32")
"""A precision that a GPU lacks falls back to the next that it has."""

MEGABYTE = 1 << 20

_TITLES = {
    "model": "the model",
    "gpu": "the GPU",
    "compute_capability": "the compute capability",
    "options": "the options",
}


def missing_package(package: str, title: str, load: Callable[[], object]) -> Optional[str]:
    """Return None, or why a runtime of one Python package cannot run here.

    Args:
        package: its name for `import`.
        title: its name in sentences.
        load: imports it, or raises DeepLabError.
    """
    if importlib.util.find_spec(package) is None:
        return f"{title} is not installed: pip install {package.replace('_', '-')}."
    try:
        load()
    except DeepLabError as error:
        return str(error)
    return None


def has_precision(precision: str, capability: Tuple[int, int]) -> bool:
    """Return whether a GPU is faster in a precision than in float32.

    Source: NVIDIA, CUDA C++ Programming Guide, arithmetic throughput by compute capability.
    """
    if precision == "int8":
        return capability >= (6, 1) and capability != (6, 2)
    if precision == "float16":
        return capability >= (7, 0) or capability in ((5, 3), (6, 0), (6, 2))
    return True


def supported_precision(precision: str, gpu, *, strict: bool = False, say=print) -> str:
    """Return the precision, or the next of PRECISIONS if the GPU lacks it, with one line through `say`.

    Raises DeepLabError instead of falling back if `strict`.
    """
    best = next(each for each in PRECISIONS[PRECISIONS.index(precision) :] if has_precision(each, gpu.capability))
    if best != precision:
        problem = f"{gpu.name} (compute capability {capability_text(gpu)}) has no fast {precision}"
        if strict:
            raise DeepLabError(f"{problem}: refused because of --strict; {best} would be next.")
        say(f"{problem}: {best} instead.")
    return best


def workspace(free: int) -> int:
    """Return the scratch memory of an engine in bytes: a quarter of the free memory, which a Jetson's GPU shares with
    the CPU, within 16 MB and 4 GB."""
    return max(16 * MEGABYTE, min(free // 4, 4096 * MEGABYTE))


def capability_text(gpu) -> str:
    """Return the compute capability, such as "8.7"."""
    return "{}.{}".format(*gpu.capability)


def fingerprint(gpu, versions: dict) -> str:
    """Return the folder name for engines of a GPU and versions, such as "orin-sm87-tensorrt-8.5.2.2"."""
    parts = [gpu.name, "sm{}{}".format(*gpu.capability)] + [
        f"{name} {value}" for name, value in sorted(versions.items())
    ]
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts)


def facts(gpu, versions: dict, precision: str, model: str, options: dict) -> dict:
    """Return all that an engine depends on.

    Args:
        gpu: a `Gpu`.
        versions: such as {"TensorRT": "8.5.3.1"}.
        model: SHA-256 of the files that it is built from.
        options: of the build, as JSON takes them.
    """
    return dict(
        versions,
        gpu=gpu.name,
        compute_capability=capability_text(gpu),
        precision=precision,
        model=model,
        options=options,
    )


def build_if_stale(
    path: str,
    wanted: dict,
    make: Callable[[], dict],
    *,
    kind: str,
    siblings: Iterable[str] = (),
    rebuild: bool = False,
    say=print,
) -> dict:
    """Return the result of a runtime's `build`, after building the engine if it is missing or stale.

    Args:
        path: of the engine.
        wanted: its `facts`.
        make: writes the engine to `path`; returns `seconds` and whatever else belongs in its description.
        kind: of the engine, for a person.
        siblings: as in `stale_reason`.
        rebuild: build in any case.
    """
    reason = "asked for" if rebuild else stale_reason(path, wanted, siblings)
    if reason is not None:
        say(f"Building {kind} for {wanted['gpu']} ({reason}); this takes minutes.")
        record = _write_record(path, wanted, make())
    else:
        record = read_record(path) or {}
    return {
        "precision": wanted["precision"],
        "path": path,
        "megabytes": record["megabytes"],
        "seconds": record["seconds"] if reason is not None else 0.0,
        "reused": reason is None,
    }


def nothing_to_build(path: str, precision: str) -> dict:
    """Return the result of `build` for a runtime that runs a file of the bundle as it is."""
    return {"precision": precision, "path": path, "megabytes": megabytes(path), "seconds": 0.0, "reused": True}


def stale_reason(path: str, wanted: dict, siblings: Iterable[str] = ()) -> Optional[str]:
    """Return None if the engine at `path` is intact and built from `wanted`, else why not, as the end of a sentence.

    Args:
        siblings: engines for other GPUs or versions, which show what has changed if there is none at `path`.
    """
    record = read_record(path)
    if record is None:
        other = next((each for each in map(read_record, siblings) if each), None)
        return (other and _difference(other["facts"], wanted)) or "none is built yet"
    if not os.path.exists(path):
        return "it is missing"
    if sha256(path) != record["sha256"]:
        return "it has been changed"
    return _difference(record["facts"], wanted)


def sibling_engines(engines: str, name: str) -> List[str]:
    """Return the engines of a name for every GPU and version below a bundle's engines/, the newest first."""
    found = glob.glob(os.path.join(glob.escape(engines), "*", name))
    return sorted(found, key=os.path.getmtime, reverse=True)


def _difference(had: Dict[str, object], wanted: Dict[str, object]) -> Optional[str]:
    for key in sorted(set(had) | set(wanted), key=lambda key: (key == "model", key)):
        if had.get(key) != wanted.get(key):
            title = _TITLES.get(key, key)
            if key == "model":
                return f"{title} is another one"
            return f"{title} was {_plain(had.get(key))} and is {_plain(wanted.get(key))}"
    return None


def _plain(value):
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def check_output(path: str) -> None:
    """Raise DeepLabError if `path` exists and is no engine that was built here: it would be lost."""
    if os.path.exists(path) and read_record(path) is None:
        raise DeepLabError(f"{path} is there already and is no engine that was built here; name another.")


def _write_record(path, built_from, more):
    record = dict(more, facts=built_from, sha256=sha256(path), megabytes=megabytes(path))
    write_file(path + ".json", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())
    return record


def write_file(path: str, data: bytes) -> None:
    """Write a file, whole or not at all. Raises DeepLabError if that fails."""
    try:
        write_bytes(path, data)
    except OSError as error:
        raise DeepLabError(f"Cannot write {path}: {error.strerror}.") from error
