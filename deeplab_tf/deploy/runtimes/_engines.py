"""What is built on a device: where it is kept, what it was built from, when it is stale, and what its GPU can do.

An engine lies at engines/FINGERPRINT/NAME with a description beside it, NAME.json: what it was built from and for
("facts"), its size, how long it took. It is used again only if all facts are those of now.
"""

import glob
import hashlib
import json
import os
import re
import uuid
from typing import Iterable, List, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError

LADDER = ("int8", "float16", "float32")
"""A precision that a GPU lacks becomes the next that it has."""

MEGABYTE = 1 << 20

_WORDS = {
    "model": "the model",
    "gpu": "the GPU",
    "compute_capability": "the compute capability",
    "options": "the options",
}


def has_precision(precision: str, capability: Tuple[int, int]) -> bool:
    """Whether a GPU computes in a precision faster than in float32 (NVIDIA's table of arithmetic throughput by compute
    capability)."""
    if precision == "int8":
        return capability >= (6, 1) and capability != (6, 2)
    if precision == "float16":
        return capability >= (7, 0) or capability in ((5, 3), (6, 0), (6, 2))
    return True


def affordable(precision: str, gpu, *, strict: bool = False, say=print) -> str:
    """The precision, or where the GPU lacks it the next of LADDER, with one line through `say`.

    Raises DeepLabError instead with `strict`.
    """
    best = next(each for each in LADDER[LADDER.index(precision) :] if has_precision(each, gpu.capability))
    if best != precision:
        lacks = f"{gpu.name} (compute capability {capability_text(gpu)}) has no fast {precision}"
        if strict:
            raise DeepLabError(f"{lacks}: refused, as --strict asks; {best} would be next.")
        say(f"{lacks}: {best} instead.")
    return best


def workspace(free: int) -> int:
    """Bytes of scratch memory that an engine may ask for: a quarter of what is free (a Nano shares 4 GB with
    everything), at most 4 GB."""
    return max(16 * MEGABYTE, min(free // 4, 4096 * MEGABYTE))


def capability_text(gpu) -> str:
    """Such as "8.7"."""
    return "{}.{}".format(*gpu.capability)


def fingerprint(gpu, versions: dict) -> str:
    """The name of the folder for engines of this GPU and these versions, such as "orin-sm87-tensorrt-8.5.2.2"."""
    parts = [gpu.name, "sm{}{}".format(*gpu.capability)] + ["{} {}".format(*pair) for pair in sorted(versions.items())]
    return "-".join(re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-") for part in parts)


def facts(gpu, versions: dict, precision: str, model: str, options: dict) -> dict:
    """What an engine depends on.

    Args:
        gpu: a `Gpu`.
        versions: such as {"TensorRT": "8.5.3.1"}.
        model: a digest of all files that it is built from.
        options: of the build, as JSON takes them.
    """
    found = {
        "gpu": gpu.name,
        "compute_capability": capability_text(gpu),
        "precision": precision,
        "model": model,
        "options": options,
    }
    found.update(versions)
    return found


def stale(path: str, wanted: dict, elsewhere: Iterable[str] = ()) -> Optional[str]:
    """None where the engine at `path` is there, whole and built from `wanted`; else why not, as the end of a sentence.

    Args:
        elsewhere: engines for other GPUs or versions; one of them tells what has changed since where `path` is not
            there.
    """
    record = read_record(path)
    if record is None:
        other = next((each for each in map(read_record, elsewhere) if each), None)
        return (other and _difference(other["facts"], wanted)) or "none is built yet"
    if not os.path.exists(path):
        return "it is missing"
    if digest(path) != record["sha256"]:
        return "it has been changed"
    return _difference(record["facts"], wanted)


def sisters(engines: str, name: str) -> List[str]:
    """The engines of a name for every GPU and version below a bundle's engines/, the newest first."""
    found = glob.glob(os.path.join(glob.escape(engines), "*", name))
    return sorted(found, key=os.path.getmtime, reverse=True)


def _difference(had, wanted):
    for key in sorted(set(had) | set(wanted), key=lambda key: (key == "model", key)):
        if had.get(key) != wanted.get(key):
            word = _WORDS.get(key, key)
            if key == "model":
                return f"{word} is another one"
            return f"{word} was {_plain(had.get(key))} and is {_plain(wanted.get(key))}"
    return None


def _plain(value):
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value


def read_record(path: str) -> Optional[dict]:
    """The description beside an engine; None where there is none, or one that is no such description."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("facts"), dict) and "sha256" in record else None


def check_output(path: str) -> None:
    """Raises DeepLabError where something lies at `path` that was not built here: it would be lost."""
    if os.path.exists(path) and read_record(path) is None:
        raise DeepLabError(f"{path} is there already and is no engine that was built here; name another.")


def write_record(path: str, built_from: dict, seconds: float, **more) -> dict:
    """Describes the engine that has just been written to `path`; returns the description."""
    record = {"facts": built_from, "sha256": digest(path), "megabytes": megabytes(path), "seconds": seconds}
    record.update(more)
    write_whole(path + ".json", (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())
    return record


def outcome(path: str, *, reused: bool) -> dict:
    """What a runtime's `build` returns, from the description beside the engine."""
    record = read_record(path)
    return {
        "precision": record["facts"]["precision"],
        "path": path,
        "megabytes": record["megabytes"],
        "seconds": 0.0 if reused else record["seconds"],
        "reused": reused,
    }


def nothing_to_build(path: str, precision: str) -> dict:
    """The same for a runtime that runs a file of the bundle as it is."""
    return {"precision": precision, "path": path, "megabytes": megabytes(path), "seconds": 0.0, "reused": True}


def digest(path: str) -> str:
    """SHA-256 of a file, or of the names and contents of all files below a folder."""
    total = hashlib.sha256()
    for file in _files(path):
        if file != path:
            total.update(f"{os.path.relpath(file, path)}\0{os.path.getsize(file)}\0".encode())
        with open(file, "rb") as opened:
            for block in iter(lambda: opened.read(1 << 20), b""):
                total.update(block)
    return total.hexdigest()


def megabytes(path: str) -> float:
    """Of a file, or of all files below a folder; 1 MB is 1,000,000 bytes."""
    return sum(os.path.getsize(file) for file in _files(path)) / 1e6


def _files(path):
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names)


def write_whole(path: str, data: bytes) -> None:
    """Writes a file that appears whole or not at all; its folder is made if need be."""
    path = os.path.abspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
        os.replace(part, path)
    except OSError as error:
        raise DeepLabError(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
