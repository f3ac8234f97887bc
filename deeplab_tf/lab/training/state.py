"""The state of a training run at one step, in one file: every variable of network and optimizer, to the last bit."""

import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError

_NAME = "step_{:08d}.npz"


def save(folder: Path, step: int, model: keras.Model, optimizer, extra: dict) -> Path:
    """Writes the state after `step` steps; the file stands whole under its name or not at all. Older states go, but for
    the one before.

    Args:
        folder: of a run's checkpoints; made where missing.
        extra: small values for JSON, such as the best score so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME.format(step)
    extra = json.dumps({**extra, "step": step, "layout": layout(model, optimizer)})
    arrays = [
        ("extra", np.array(extra)),
        *((f"{index:05d}", v) for index, v in enumerate(_variables(model, optimizer))),
    ]
    write_atomic(path, lambda file: _write_arrays(file, arrays))
    for old in sorted(folder.glob("step_*.npz"))[:-2]:
        old.unlink()
    return path


def _write_arrays(file, arrays):
    """What np.savez does, but for one array at a time, and closing its archive where the disk is full."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def write_atomic(path: Path, write) -> None:
    """Calls `write` with an open temporary file beside `path`, then renames it to `path`; on failure nothing is left
    behind."""
    with replacing(path, f".{path.name}.{os.getpid()}.tmp") as temporary, open(temporary, "wb") as file:
        write(file)


@contextlib.contextmanager
def replacing(path: Path, temporary_name: str) -> Iterator[Path]:
    """Gives the path of a temporary file beside `path`, which takes its place if the block ends well and goes if not.

    An OSError that names no file, as that of a full disk, gets the name of `path`.
    """
    temporary = path.with_name(temporary_name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def saved_step(folder: Path) -> int:
    """The step of the newest state in a folder of checkpoints; 0 where there is none."""
    newest = latest(folder)
    return int(newest.stem.split("_")[1]) if newest else 0


def latest(folder: Path) -> Path | None:
    """The state to resume from: the newest that can be read."""
    for path in sorted(folder.glob("step_*.npz"), reverse=True):
        if re.fullmatch(r"step_\d{8}\.npz", path.name) and zipfile.is_zipfile(path):
            return path
    return None


def restore(path: Path, model: keras.Model, optimizer) -> dict:
    """Puts a saved state back and returns its `extra`, with `step`.

    Raises DeepLabError for a file that another network or optimizer wrote, and for a damaged one.
    """
    try:
        with np.load(path) as file:
            arrays = dict(file)
        extra = json.loads(str(arrays.pop("extra")))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DeepLabError(f"{path} is damaged; delete it to resume from the state before it.") from error
    if extra.pop("layout") != layout(model, optimizer):
        raise DeepLabError(
            f"{path} holds another network or optimizer than this recipe's; resume with the recipe that wrote it."
        )
    for index, variable in enumerate(_variables(model, optimizer)):
        variable.assign(arrays[f"{index:05d}"])
    return extra


def layout(model: keras.Model, optimizer) -> str:
    """A digest of the names and shapes of all variables."""
    rows = [f"{v.path} {tuple(v.shape)} {v.dtype}" for v in _variables(model, optimizer)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def digest(model: keras.Model, optimizer) -> str:
    """A digest of all values: two runs with the same digest have the same weights, averages and optimizer state."""
    total = hashlib.sha256()
    for value in _values(model, optimizer):
        total.update(np.asarray(value).tobytes())
    return total.hexdigest()


def _variables(model, optimizer):
    return [*model.variables, *optimizer.variables]


def _values(model, optimizer):
    return [variable.numpy() for variable in _variables(model, optimizer)]
