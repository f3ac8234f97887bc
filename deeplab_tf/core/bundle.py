"""The bundle: the folder that `convert` writes and a device runs. bundle.json says what it is and holds a SHA-256 of
every other file.

bundle.json            classes, size, label_stride, precision, ranges, scores at export, versions, digests
saved_model/           float32, frozen; runs in any TensorFlow from 2.6 on
tf_trt/float/ int8/    what TF-TRT converts
model.onnx             float32
model_int8.onnx        quantized for TensorRT
model_int8_cpu.onnx    quantized for ONNX Runtime on a CPU
calibration.cache      ranges in TensorRT's text format
engines/FINGERPRINT/   built on a device, each beside a description of its own; not in bundle.json's list
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import uuid
from typing import Dict, List

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable

FORMATS = (1, 2)
"""Of bundle.json that are read. The second has instances, which readers of the first would not expect."""

INSTANCE_OUTPUTS = ("center", "offset")
"""What a network that predicts instances gives besides its labels: (1, H/s, W/s, 1) and (1, H/s, W/s, 2) float32; see
panoptic.grouping."""

INFO = "bundle.json"
ENGINES = "engines"


class Bundle:
    """An exported network, read from its folder.

    Attributes:
        path: the folder.
        info: bundle.json as it is.
        table: the classes.
        size: height, width of the frames that it takes.
        label_stride: input pixels a side that one output label covers: 1, 4 or 8.
        output: "labels" or "logits".
        gives_instances: whether it predicts centers and offsets, too.
        outputs: names of what the network gives: `output`, then INSTANCE_OUTPUTS where it predicts instances.
        label_ids: what ids in the label files of the run's data set mean: id -> class id or IGNORE_LABEL; None where
            that is not known.
    """

    def __init__(self, path: str, info: dict):
        self.path, self.info = path, info
        try:
            self.table = LabelTable.from_dicts(info["classes"])
            self.size = tuple(int(side) for side in info["size"])
            self.label_stride, self.output = int(info["label_stride"]), str(info["output"])
            self.gives_instances = bool(info.get("instances", False))
            self.outputs = (self.output,) + INSTANCE_OUTPUTS * self.gives_instances
            label_ids = info.get("label_ids")
            self.label_ids = None if label_ids is None else {int(key): int(value) for key, value in label_ids.items()}
            self.digests: Dict[str, str] = dict(info["files"])
        except (KeyError, TypeError, ValueError) as error:
            raise DeepLabError(f"{os.path.join(path, INFO)} is not a description of a bundle: {error!r}.") from error

    def __contains__(self, name: str) -> bool:
        return name in self.digests or any(file.startswith(name + "/") for file in self.digests)

    def file(self, name: str) -> str:
        """The path of a file or folder of the bundle. Raises DeepLabError, saying what makes it, where the bundle has
        none."""
        if name not in self:
            hint = " Convert the run again with --int8." if "int8" in name or name == "calibration.cache" else ""
            raise DeepLabError(f"The bundle {self.path} has no {name}.{hint}")
        return os.path.join(self.path, *name.split("/"))

    @property
    def engines(self) -> str:
        """The folder for what is built on a device; it may not exist yet."""
        return os.path.join(self.path, ENGINES)


def is_bundle(path) -> bool:
    """Whether a folder has a bundle.json."""
    return os.path.isfile(os.path.join(os.fspath(path), INFO))


def open_bundle(path, *, verify: bool = True) -> Bundle:
    """Reads a bundle.

    Args:
        path: the folder.
        verify: compare the SHA-256 of every file; without it only their presence.

    Raises:
        DeepLabError: no bundle, one of a newer version, or one with a changed, missing or foreign file, which is named.
    """
    path = os.fspath(path)
    if not is_bundle(path):
        kind = (
            "does not exist"
            if not os.path.exists(path)
            else "is a file"
            if os.path.isfile(path)
            else "has no bundle.json in it"
        )
        raise DeepLabError(f"Expected a bundle, as 'deeplab-tf convert' writes it, but {path} {kind}.")
    place = os.path.join(path, INFO)
    try:
        with open(place, encoding="utf-8") as file:
            info = json.load(file)
    except (OSError, ValueError) as error:
        raise DeepLabError(f"Cannot read {place}: {error}. Copy the bundle again.") from error
    if not isinstance(info, dict) or info.get("format") not in FORMATS:
        found = info.get("format") if isinstance(info, dict) else None
        raise DeepLabError(
            "{}: expected a bundle of format {} or {}, got {}; convert with this version.".format(
                place, *FORMATS + (found,)
            )
        )
    bundle = Bundle(path, info)
    _check(bundle, verify)
    return bundle


def _check(bundle, verify):
    there = set(_files(bundle.path))
    listed = set(bundle.digests)
    problems = (
        ("is not whole: {} is missing", listed - there, "Copy it again"),
        ("holds a foreign file: {}", there - listed, "Remove it"),
    )
    for problem, names, remedy in problems:
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise DeepLabError(f"The bundle {bundle.path} {problem.format(min(names))}{more}. {remedy}.")
    for name in sorted(listed) if verify else ():
        if _digest(os.path.join(bundle.path, name)) != bundle.digests[name]:
            raise DeepLabError(f"The bundle {bundle.path} is not whole: {name} has been changed. Copy it again.")


def _files(folder) -> List[str]:
    """Names below a folder, with / between parts; without bundle.json and engines/."""
    found = []
    for parent, folders, files in os.walk(folder):
        if os.path.samefile(parent, folder) and ENGINES in folders:
            folders.remove(ENGINES)
        found += [os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/") for name in files]
    return [name for name in found if name != INFO]


def _digest(path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def seal(folder, info: dict) -> None:
    """Writes bundle.json into a folder that holds everything else: `info` with the format and the SHA-256 of every
    file."""
    digests = {name: _digest(os.path.join(folder, name)) for name in sorted(_files(folder))}
    with open(os.path.join(folder, INFO), "w", encoding="utf-8") as file:
        json.dump(
            dict(info, format=FORMATS[bool(info.get("instances"))], files=digests), file, indent=2, sort_keys=True
        )
        file.write("\n")


def check_target(path) -> None:
    """Raises DeepLabError if a bundle cannot be written to `path`: something else, which must not be lost, lies
    there."""
    path = os.fspath(path)
    if os.path.isfile(path):
        raise DeepLabError(f"{path} is a file; name a folder for the bundle.")
    if os.path.isdir(path) and os.listdir(path) and not is_bundle(path):
        raise DeepLabError(f"{path} holds other files; name a folder that is empty or does not exist.")


@contextlib.contextmanager
def new_bundle(path):
    """A folder to fill and `seal`; at the end of the block it becomes the bundle at `path`, replacing one that is
    there.

    If the block fails, or the process is killed, what was at `path` before is still there, and no half bundle. What a
    killed process left is taken away by the next.
    """
    path = os.path.realpath(os.fspath(path))
    check_target(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _remove_leftovers(path)
    part = f"{path}.{uuid.uuid4().hex[:8]}.part"
    os.mkdir(part)
    lock = os.open(part, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go by the system when the process ends, however it ends
    try:
        yield part
        old = None
        if os.path.isdir(path):
            old = part[: -len(".part")] + ".old"
            os.rename(path, old)
        try:
            os.rename(part, path)
        except OSError:
            if old:
                os.rename(old, path)
            raise
        if old:
            shutil.rmtree(old)
    finally:
        os.close(lock)
        shutil.rmtree(part, ignore_errors=True)


def _remove_leftovers(path):
    """Unfinished bundles for `path` that no process is filling any more."""
    for part in glob.glob(glob.escape(path) + ".*.part"):
        folder = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # somebody is at it
        finally:
            os.close(folder)
        shutil.rmtree(part, ignore_errors=True)
