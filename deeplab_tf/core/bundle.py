"""The bundle: the folder that `convert` writes and a device runs.

bundle.json            classes, size, label_stride, precision, ranges, scores at export, versions; SHA-256 of each file
saved_model/           float32, frozen; runs in any TensorFlow from 2.6 on
tf_trt/float/ int8/    what TF-TRT converts
model.onnx             float32
model_int8.onnx        quantized for TensorRT
model_int8_cpu.onnx    quantized for ONNX Runtime on a CPU
model_float16.tflite   float16 weights, for LiteRT
model_int8.tflite      quantized for LiteRT
calibration.cache      ranges in TensorRT's text format
engines/FINGERPRINT/   built on a device, each beside its own description; not in bundle.json's list
"""

import contextlib
import hashlib
import json
import os
import stat
from typing import Dict, Iterator, List, Optional

from deeplab_tf.core import bundle_schema
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.files import is_part, new_folder, sha256, write_json
from deeplab_tf.core.input_files import Value, read_json, shown
from deeplab_tf.core.labels import LabelTable

FORMATS = (1, 2, 3)
"""Of bundle.json that are read; 2 has instances, 3 a SHA-256 of itself. The last is written."""

DIGEST = "sha256"
"""The key of the SHA-256 of everything else in bundle.json."""

INSTANCE_OUTPUTS = ("center", "offset")
"""Outputs of a network that predicts instances, besides its labels: (1, H/s, W/s, 1) and (1, H/s, W/s, 2) float32; see
`deeplab_tf.core.panoptic.grouping`."""

INFO = "bundle.json"
_OF_A_RUN = (
    "config.yaml",
    "classes.json",
    "ranges.json",
    "metrics.jsonl",
    "best.keras",
    "last.keras",
    "kept",
    "checkpoints",
)
ENGINES = "engines"


class Bundle:
    """An exported network, read from its folder.

    Attributes:
        path: the folder.
        info: the contents of bundle.json.
        table: the classes.
        size: height, width of the frames that the network takes.
        label_stride: stride of the output label map, in input pixels, one of `bundle_schema.LABEL_STRIDES`.
        output: "labels" or "logits".
        gives_instances: whether the network also predicts centers and offsets.
        outputs: names of the network's outputs: `output`, then INSTANCE_OUTPUTS if it predicts instances.
        mode: how an image of another size is put before the network, one of `modes.BUNDLE_MODES`.
        label_ids: id in the label files of the run's dataset -> class id or IGNORE_LABEL; None if not known.
        digests: file name -> SHA-256.
    """

    def __init__(self, path: str, info: dict):
        """Raise DeepLabError, naming the key, for contents that do not describe a bundle."""
        self.path, self.info = path, info
        whole = Value(info, os.path.join(path, INFO))
        self.table = LabelTable.from_dicts(whole["classes"].value, whole.file)
        self.size = bundle_schema.size(whole["size"])
        self.label_stride = whole["label_stride"].one_of(bundle_schema.LABEL_STRIDES)
        self.output = whole["output"].one_of(bundle_schema.OUTPUTS)
        self.mode = bundle_schema.mode(whole.get("mode"))
        instances = whole.get("instances")
        self.gives_instances = instances is not None and instances.flag()
        self.outputs = (self.output,) + INSTANCE_OUTPUTS * self.gives_instances
        self.label_ids = bundle_schema.label_ids(whole.get("label_ids"), len(self.table))
        self.digests = bundle_schema.digests(whole["files"], others=(INFO, ENGINES))
        bundle_schema.check_rest(whole)

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


def files_read(path) -> List[str]:
    """Return what is read of a run or a bundle: of a bundle the whole folder, of a run its network and its recipe, and
    not its report or what else lies in it. Any other path is returned as it is."""
    path = os.fspath(path)
    return [os.path.join(path, name) for name in _OF_A_RUN] if is_run(path) and not is_bundle(path) else [path]


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
    names = _files(path)
    info = read_json(place)
    if not isinstance(info, dict) or type(info.get("format")) is not int or info["format"] not in FORMATS:
        found = shown(info.get("format")) if isinstance(info, dict) else shown(info)
        formats = ", ".join(str(each) for each in FORMATS)
        raise DeepLabError(f"{place}: expected a bundle of format {formats}, got {found}; convert with this version.")
    bundle = Bundle(path, info)
    if _is_changed(Value(info, place)):
        raise DeepLabError(f"{place} has been changed: its sha256 does not match. Copy the bundle again.")
    _check(bundle, names, verify)
    return bundle


def _check(bundle, names, verify):
    there, listed = set(names), set(bundle.digests)
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
    """Return the names of the files and linked folders below a folder, without bundle.json and engines/.

    Raises DeepLabError for a link that leads out of the folder, and for a pipe, a socket or a device.
    """
    found = []
    inside = os.path.join(os.path.realpath(folder), "")
    for parent, folders, names in os.walk(folder):
        for name in names + [each for each in folders if os.path.islink(os.path.join(parent, each))]:
            place = os.path.join(parent, name)
            name = os.path.relpath(place, folder).replace(os.sep, "/")
            if os.path.islink(place) and not (os.path.realpath(place) + os.sep).startswith(inside):
                raise DeepLabError(f"The bundle {folder} holds a link that leads out of it: {name}. Remove it.")
            if os.path.exists(place) and stat.S_IFMT(os.stat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                raise DeepLabError(f"The bundle {folder} holds a pipe, a socket or a device: {name}. Remove it.")
            found.append(name)
    return [name for name in found if name != INFO and name.split("/")[0] != ENGINES]


def seal(folder, info: dict) -> None:
    """Write bundle.json into a folder that holds everything else: `info`, the format and the SHA-256 of every file."""
    digests = {name: sha256(os.path.join(folder, name)) for name in _files(folder)}
    info = dict(info, format=FORMATS[-1], files=digests)
    write_json(os.path.join(folder, INFO), dict(info, **{DIGEST: _digest(info)}), sort_keys=True)


def _is_changed(info: Value) -> bool:
    return info["format"].integer(0, 99) >= 3 and info[DIGEST].value != _digest(info.value)


def _digest(info: dict) -> str:
    """Return the SHA-256 of bundle.json without it: of compact JSON, keys sorted, in ASCII."""
    rest = json.loads(json.dumps({key: value for key, value in info.items() if key != DIGEST}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


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
            f"{path} holds other files than a bundle's ({foreign}); name a folder that is empty or does not exist."
        )
    changed = None if overwrite or digests is None else _changed(path, digests)
    if changed is not None:
        raise WrongCall(
            f"{os.path.join(path, changed)} was changed since the bundle was written; name another folder, or add "
            "--overwrite (overwrite=True) to replace it."
        )


def _changed(path, digests) -> Optional[str]:
    """Return a file of a bundle that is not as it was written; None if all are."""
    places = {name: os.path.join(path, name) for name in sorted(digests)}
    changed = (
        name for name in sorted(digests) if os.path.exists(places[name]) and sha256(places[name]) != digests[name]
    )
    return INFO if _is_changed(Value(read_json(os.path.join(path, INFO)), path)) else next(changed, None)


def _listed(path) -> Optional[Dict[str, str]]:
    """Return the files that a bundle.json lists, whatever else is in it; None if it is not one of a bundle."""
    try:
        info = Value(read_json(os.path.join(path, INFO)), INFO)
        return {name: str(digest.value) for name, digest in info["files"].items()} if info["format"].value else None
    except DeepLabError:
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
        record = Value(read_json(path + ".json"), path + ".json")
        record["facts"].mapping()
        record["sha256"].text()
        record["megabytes"].number(0, 1e9)
        return record.mapping()
    except DeepLabError:
        return None


@contextlib.contextmanager
def new_bundle(path, *, overwrite: bool = False) -> Iterator[str]:
    """Yield a folder to fill and `seal`; see `files.new_folder`. Raises WrongCall as `check_target` does."""
    path = os.path.realpath(os.fspath(path))
    check_target(path, overwrite=overwrite)
    with new_folder(path) as part:
        yield part
        check_target(path, overwrite=overwrite)  # what was put there meanwhile
