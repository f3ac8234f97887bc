"""The state of a training run at one step, in one file: every variable of network and optimizer, to the last bit."""

import hashlib
import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import replacing


def save(folder: Path, step: int, model: keras.Model, optimizer, extra: dict) -> Path:
    """Save the state after `step` steps, whole or not at all, and remove all older states but the last.

    Args:
        folder: of a run's checkpoints; made where missing.
        extra: small values for JSON, such as the best score so far.
    """
    path = folder / f"step_{step:08d}.npz"
    values = np.array(json.dumps({**extra, "step": step, "layout": layout(model, optimizer)}))
    arrays = [("extra", values), *((f"{index:05d}", v) for index, v in enumerate(_variables(model, optimizer)))]
    with replacing(path, sync=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays:  # as np.savez, but with one array in memory at a time
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    for old in sorted(folder.glob("step_*.npz"))[:-2]:
        old.unlink()
    return path


def saved_step(folder: Path) -> int:
    """Return the step of the newest state in a folder of checkpoints; 0 where there is none."""
    newest = latest(folder)
    return int(newest.stem.split("_")[1]) if newest else 0


def latest(folder: Path) -> Path | None:
    """Return the newest state that can be read."""
    for path in sorted(folder.glob("step_*.npz"), reverse=True):
        if re.fullmatch(r"step_\d{8}\.npz", path.name) and zipfile.is_zipfile(path):
            return path
    return None


def restore(path: Path, model: keras.Model, optimizer) -> dict:
    """Restore a saved state; return its `extra`, with `step`.

    Raises:
        DeepLabError: another network or optimizer wrote the file, or it is damaged.
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
    """Return a digest of the names, shapes and types of all variables."""
    rows = [f"{v.path} {tuple(v.shape)} {v.dtype}" for v in _variables(model, optimizer)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def digest(model: keras.Model, optimizer) -> str:
    """Return a digest of all values; runs with the same digest have the same weights, averages and optimizer state."""
    total = hashlib.sha256()
    for variable in _variables(model, optimizer):
        total.update(variable.numpy().tobytes())
    return total.hexdigest()


def _variables(model, optimizer):
    return [*model.variables, *optimizer.variables]
