"""The state of a training run at one step, in one file: every variable of network and optimizer, to the last bit."""

import functools
import hashlib
import json
import math
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import replacing
from deeplab_tf.core.input_files import Value
from deeplab_tf.lab.models.blocks import BATCH_NORM_EPSILON

MAX_EXTRA_BYTES = 1 << 16


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
    for old in _files(folder)[2:]:
        old.unlink()
    return path


def saved_step(folder: Path) -> int:
    """Return the step of the newest state in a folder of checkpoints; 0 where there is none."""
    newest = latest(folder)
    return int(newest.stem.split("_")[1]) if newest else 0


def latest(folder: Path) -> Path | None:
    """Return the newest state that is not damaged; None where there is none."""
    return next((path for path in _files(folder) if damage(path) is None), None)


def damaged(folder: Path) -> list[tuple[Path, str]]:
    """Return the states that are newer than `latest`, and what is wrong with each."""
    newest = latest(folder)
    found = [(path, damage(path)) for path in _files(folder) if newest is None or path > newest]
    return [(path, reason) for path, reason in found if reason]


def damage(path: Path) -> str | None:
    """Return what is wrong with the file of a state; None if nothing is."""
    status = path.stat()
    return _damage(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _damage(path, size, _):
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                return "it is compressed, as no training writes it"
            if sum(member.file_size for member in members) > size:
                return "its parts overlap"
            broken = archive.testzip()
            if broken:
                return f"{broken} in it is damaged"
            for member in members:
                _header(archive, member.filename)
            _read_extra(path, archive)
    except DeepLabError as error:
        return str(error).rstrip(".")
    except Exception as error:  # zipfile and NumPy raise many types for what no program has written
        return str(error) or type(error).__name__
    return None


def restore(path: Path, model: keras.Model, optimizer) -> dict:
    """Restore a saved state; return its `extra`, with `step`.

    Raises:
        DeepLabError: another network or optimizer wrote the file, or it is damaged.
    """
    found = damage(path)
    if found:
        raise DeepLabError(f"{path} is damaged ({found}); delete it to resume from the state before it.")
    variables = {f"{index:05d}.npy": variable for index, variable in enumerate(_variables(model, optimizer))}
    with zipfile.ZipFile(path) as archive:
        extra = _read_extra(path, archive)
        if extra.pop("layout") != layout(model, optimizer):
            raise DeepLabError(
                f"{path} holds another network or optimizer than this recipe's; resume with the recipe, and the "
                "version of deeplab_tf, that wrote it."
            )
        different = {"extra.npy", *variables} ^ set(archive.namelist())
        if different or len(archive.namelist()) != len(variables) + 1:
            raise DeepLabError(
                f"{path} must hold the state's {len(variables)} arrays, each once, but it lacks or repeats some, or "
                f"holds others: {', '.join(sorted(different)[:3]) or 'two of one name'}; delete it to resume from the "
                "state before it."
            )
        for name, variable in variables.items():
            _, shape, dtype = _header(archive, name)
            if shape != tuple(variable.shape) or dtype != np.asarray(variable).dtype:
                raise DeepLabError(
                    f"{path}: {variable.path} must be {variable.dtype} of shape {tuple(variable.shape)}, got {dtype} "
                    f"of shape {shape}; delete the file to resume from the state before it."
                )
        for name, variable in variables.items():
            variable.assign(_read_array(archive, name))
    return extra


def _read_extra(path, archive) -> dict:
    if archive.getinfo("extra.npy").file_size > MAX_EXTRA_BYTES:
        raise ValueError("extra.npy in it is too large")
    array = _read_array(archive, "extra.npy")
    if array.shape or array.dtype.kind != "U":
        raise ValueError("extra.npy in it is no text")
    value = Value(json.loads(str(array)), "extra.npy")
    if value["step"].integer(1, 10**8) != int(path.stem.split("_")[1]):
        raise ValueError(f"it is of step {value['step'].value}")
    value["layout"].text()
    return value.mapping()


def _read_array(archive, name) -> np.ndarray:
    start, shape, dtype = _header(archive, name)
    values = np.frombuffer(archive.read(name), dtype, offset=start, count=math.prod(shape))
    return values.reshape(shape)


def _header(archive, name) -> tuple[int, tuple[int, ...], np.dtype]:
    """Return where the values of an array begin, its shape and its type. Raise ValueError for what `save` never
    writes: an array of Python objects, above all, which would be unpickled."""
    with archive.open(name) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} in it is of another version of NumPy's format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
        start = member.tell()
    if dtype.hasobject or (by_columns and len(shape) > 1):
        raise ValueError(f"{name} in it holds {'Python objects' if dtype.hasobject else 'columns'}")
    if start + math.prod(shape) * dtype.itemsize != archive.getinfo(name).file_size:
        raise ValueError(f"{name} in it has another size than its shape")
    return start, shape, dtype


def _files(folder: Path) -> list[Path]:
    """Return the states in a folder, the newest first."""
    found = [path for path in folder.glob("step_*.npz") if re.fullmatch(r"step_\d{8}\.npz", path.name)]
    return sorted(found, reverse=True)


def layout(model: keras.Model, optimizer) -> str:
    """Return a digest of the names, shapes and types of all variables, and of each epsilon that is not the usual one:
    with another epsilon the same variables are another network."""
    rows = [f"{v.path} {tuple(v.shape)} {v.dtype}" for v in _variables(model, optimizer)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    rows += [f"{norm.name} epsilon {norm.epsilon}" for norm in norms if norm.epsilon != BATCH_NORM_EPSILON]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def digest(model: keras.Model, optimizer) -> str:
    """Return a digest of all values; runs with the same digest have the same weights, averages and optimizer state."""
    total = hashlib.sha256()
    for variable in _variables(model, optimizer):
        total.update(variable.numpy().tobytes())
    return total.hexdigest()


def _variables(model, optimizer):
    return [*model.variables, *optimizer.variables]
