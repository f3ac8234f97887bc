"""The bundle: the folder that `convert` writes and a device runs.

bundle.json            classes, size, label_stride, precision, ranges, scores at export, versions; SHA-256 of each file
saved_model/           float32, frozen; runs in any TensorFlow from 2.6 on
tf_trt/float/ int8/    what TF-TRT converts
model.onnx             float32
model_int8.onnx        quantized for TensorRT
model_int8_cpu.onnx    quantized for ONNX Runtime on a CPU
calibration.cache      ranges in TensorRT's text format
engines/FINGERPRINT/   built on a device, each beside its own description; not in bundle.json's list
"""

import contextlib
import json
import os
from typing import Dict, Iterator, List, Optional, Tuple

from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.files import files_below, is_part, new_folder, sha256, write_json
from deeplab_tf.core.labels import LabelTable

FORMATS = (1, 2)
"""Of bundle.json that are read; the second has instances."""

INSTANCE_OUTPUTS = ("center", "offset")
"""Outputs of a network that predicts instances, besides its labels: (1, H/s, W/s, 1) and (1, H/s, W/s, 2) float32; see
`deeplab_tf.core.panoptic.grouping`."""

INFO = "bundle.json"
ENGINES = "engines"


class Bundle:
    """An exported network, read from its folder.

    Attributes:
        path: the folder.
        info: the contents of bundle.json.
        table: the classes.
        size: height, width of the frames that the network takes.
        label_stride: stride of the output label map, in input pixels: 1, 4 or 8.
        output: "labels" or "logits".
        gives_instances: whether the network also predicts centers and offsets.
        outputs: names of the network's outputs: `output`, then INSTANCE_OUTPUTS if it predicts instances.
        label_ids: id in the label files of the run's dataset -> class id or IGNORE_LABEL; None if not known.
        digests: file name -> SHA-256.
    """

    def __init__(self, path: str, info: dict):
        self.path, self.info = path, info
        try:
            self.table = LabelTable.from_dicts(info["classes"])
            height, width = info["size"]
            self.size: Tuple[int, int] = (int(height), int(width))
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
        """Return the path of a file or folder of the bundle. Raises DeepLabError, saying what makes it, if missing."""
        if name not in self:
            hint = " Convert the run again with --int8." if "int8" in name or name == "calibration.cache" else ""
            raise DeepLabError(f"The bundle {self.path} has no {name}.{hint}")
        return os.path.join(self.path, *name.split("/"))

    @property
    def engines(self) -> str:
        """The folder of engines that a device has built; it may not exist yet."""
        return os.path.join(self.path, ENGINES)


def is_bundle(path) -> bool:
    """Return whether a folder has a bundle.json."""
    return os.path.isfile(os.path.join(os.fspath(path), INFO))


def is_run(path) -> bool:
    """Return whether a folder has a config.yaml."""
    return os.path.isfile(os.path.join(os.fspath(path), "config.yaml"))


def check_run_or_bundle(path) -> None:
    """Raise DeepLabError for a path that is neither a run nor a bundle. Needs no lab, which a Jetson does not have."""
    path = os.fspath(path)
    if is_bundle(path) or is_run(path):
        return
    if path.endswith(".keras"):
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.basename(folder) == "kept":
            folder = os.path.dirname(folder)
        if is_run(folder):
            raise DeepLabError(f"{path} is a checkpoint of a run; name or load its run folder: {folder}.")
    kind = "is a file" if os.path.isfile(path) else "has neither" if os.path.isdir(path) else "does not exist"
    expected = "a run folder (with a config.yaml) or a bundle (with a bundle.json)"
    raise DeepLabError(f"Expected {expected}, but {path} {kind}.")


def open_bundle(path, *, verify: bool = True) -> Bundle:
    """Read a bundle.

    Args:
        path: the folder.
        verify: compare the SHA-256 of every file; without it only their presence.

    Raises:
        DeepLabError: no bundle, one of a newer version, or one with a changed, missing or foreign file, which is named.
    """
    path = os.fspath(path)
    if is_run(path) and not is_bundle(path):
        raise DeepLabError(f"{path} is a run, not a bundle; convert it first: deeplab-tf convert {path}")
    if not is_bundle(path):
        kind = "is a file" if os.path.isfile(path) else "has no bundle.json in it"
        kind = kind if os.path.exists(path) else "does not exist"
        raise DeepLabError(f"Expected a bundle, as 'deeplab-tf convert' writes it, but {path} {kind}.")
    place = os.path.join(path, INFO)
    try:
        with open(place, encoding="utf-8") as file:
            info = json.load(file)
    except (OSError, ValueError) as error:
        raise DeepLabError(f"Cannot read {place}: {error}. Copy the bundle again.") from error
    if not isinstance(info, dict) or info.get("format") not in FORMATS:
        found = info.get("format") if isinstance(info, dict) else None
        formats = " or ".join(str(each) for each in FORMATS)
        raise DeepLabError(f"{place}: expected a bundle of format {formats}, got {found}; convert with this version.")
    bundle = Bundle(path, info)
    _check(bundle, verify)
    return bundle


def _check(bundle, verify):
    there = set(_files(bundle.path))
    listed = set(bundle.digests)
    problems = (
        ("is damaged: {} is missing", listed - there, "Copy it again"),
        ("holds a foreign file: {}", there - listed, "Remove it"),
    )
    for problem, names, remedy in problems:
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise DeepLabError(f"The bundle {bundle.path} {problem.format(min(names))}{more}. {remedy}.")
    for name in sorted(listed) if verify else ():
        if sha256(os.path.join(bundle.path, name)) != bundle.digests[name]:
            raise DeepLabError(f"The bundle {bundle.path} is damaged: {name} has been changed. Copy it again.")


def _files(folder) -> List[str]:
    """Return the names of the files below a folder, without bundle.json and engines/."""
    return [name for name in files_below(folder) if name != INFO and not name.startswith(ENGINES + "/")]


def seal(folder, info: dict) -> None:
    """Write bundle.json into a folder that holds everything else: `info`, the format and the SHA-256 of every file."""
    digests = {name: sha256(os.path.join(folder, name)) for name in _files(folder)}
    info = dict(info, format=FORMATS[bool(info.get("instances"))], files=digests)
    write_json(os.path.join(folder, INFO), info, sort_keys=True)


def check_target(path, *, overwrite: bool = False) -> None:
    """Raise WrongCall if a bundle cannot be written to `path`: something that must not be lost is there.

    A bundle is replaced if its folder holds only what its bundle.json lists, unchanged, and engines that were built on
    a device.

    Args:
        overwrite: replace a bundle whose files were changed, too; never one that has other files in it.
    """
    path = os.fspath(path)
    if os.path.isfile(path):
        raise WrongCall(f"{path} is a file; name a folder for the bundle.")
    if not os.path.isdir(path) or not os.listdir(path):
        return
    digests = _listed(path)
    foreign = min(os.listdir(path)) if digests is None else _foreign(path, digests)
    if foreign is not None:
        raise WrongCall(
            f"{path} holds other files than a bundle's, such as {foreign}, which would be lost; name a folder that is "
            "empty or does not exist."
        )
    for name, digest in () if overwrite or digests is None else sorted(digests.items()):
        place = os.path.join(path, name)
        if os.path.exists(place) and sha256(place) != digest:
            raise WrongCall(
                f"{place} was changed since the bundle was written; name another folder, or add --overwrite "
                "(overwrite=True) to replace it."
            )


def _listed(path) -> Optional[Dict[str, str]]:
    """Return the files that a bundle.json lists, whatever else is in it; None if it is not one of a bundle."""
    try:
        with open(os.path.join(path, INFO), encoding="utf-8") as file:
            info = json.load(file)
        return {str(name): str(digest) for name, digest in info["files"].items()} if info["format"] else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _foreign(path, digests) -> Optional[str]:
    """Return a file or link below the folder of a bundle that neither `convert` nor a device wrote; None if there is
    none."""
    for parent, folders, names in os.walk(path):
        for name in folders + names:
            place = os.path.join(parent, name)
            short = os.path.relpath(place, path).replace(os.sep, "/")
            ours = name in folders or short == INFO or short in digests or is_part(name) or _is_of_engine(path, short)
            if os.path.islink(place) or not ours:
                return short
    return None


def _is_of_engine(path, name) -> bool:
    """Return whether a file in a bundle's engines/ is an engine with its description, or such a description, or a cache
    of TensorRT's."""
    parts = name.split("/")
    if parts[0] != ENGINES or len(parts) < 3:
        return False
    if parts[-1] == "timing.cache" or parts[1] == "onnxruntime" and name.endswith((".engine", ".profile", ".timing")):
        return True
    engine = os.path.join(path, *parts[:3])
    described = engine if engine.endswith(".json") else engine + ".json"
    return read_record(described[: -len(".json")]) is not None


def read_record(path: str) -> Optional[dict]:
    """Return the description beside an engine, NAME.json; None if there is none or it is damaged."""
    try:
        with open(path + ".json", encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("facts"), dict) and "sha256" in record else None


@contextlib.contextmanager
def new_bundle(path, *, overwrite: bool = False) -> Iterator[str]:
    """Yield a folder to fill and `seal`; see `files.new_folder`. Raises WrongCall as `check_target` does."""
    path = os.path.realpath(os.fspath(path))
    check_target(path, overwrite=overwrite)
    with new_folder(path) as part:
        yield part
        check_target(path, overwrite=overwrite)  # what was put there meanwhile
