"""Reads the Keras file of a network, which may be damaged or of another project: checked before Keras builds it.

A Keras file names the classes that it is made of, and some of those run code or read other files. Only layers that
compute are taken, Keras' own and this project's.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np

import deeplab_tf.lab.models.custom_layers  # noqa: F401  (registers the layers of saved models)
from deeplab_tf.core.errors import DeepLabError

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MAX_CONFIG_BYTES = 1 << 25
MAX_CHANNELS = 1 << 14
"""Of a layer."""
MAX_REASON = 200
"""Characters of what Keras says."""

_MODULES = {"keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints"}
_CLASSES = {"keras DTypePolicy", "keras Functional", "keras.src.models.functional Functional"}
_RUN_CODE_OR_READ_FILES = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "FlaxLayer", "JaxLayer"),
    *("StringLookup", "IntegerLookup", "TextVectorization"),
}


def load_network_file(path: Path) -> keras.Model:
    """Load a network: from images (B, H, W, 3) to a dictionary with `logits` (B, H, W, C).

    Raises:
        DeepLabError: the file is damaged, runs code, or holds something else than such a network.
    """
    try:
        _check_archive(path)
        model = keras.models.load_model(path, compile=False)
    except DeepLabError:
        raise
    except Exception as error:  # Keras and HDF5 raise whatever comes up
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        _fail(path, f"it may be damaged ({reason[:MAX_REASON]})", error)
    _check_network(path, model)
    return model


def _check_archive(path):
    if not zipfile.is_zipfile(path):
        _fail(path, "it is no Keras file")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if set(members) != MEMBERS or len(archive.infolist()) != len(MEMBERS):
            _fail(path, f"a Keras file holds {', '.join(sorted(MEMBERS))}, and this one {_some(members)}")
        size = sum(info.file_size for info in members.values())
        if size > 2 * os.path.getsize(path) + MAX_CONFIG_BYTES or members["config.json"].file_size > MAX_CONFIG_BYTES:
            _fail(path, f"it would unpack to {size >> 20} MB")
        damaged = archive.testzip()  # Keras reads parts of a member, which zipfile does not check
        if damaged:
            _fail(path, f"{damaged} in it is damaged")
        config = json.loads(archive.read("config.json"))
    for node in _objects(config):
        _check_class(path, node)


def _objects(config) -> Iterator[dict]:
    """Yield every object that Keras would make."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "class_name" in node:
                yield node
            waiting += [value for key, value in node.items() if key != "compile_config"]
        elif isinstance(node, list):
            waiting += node


def _check_class(path, node):
    name, module, registered = (node.get(key) for key in ("class_name", "module", "registered_name"))
    known = isinstance(registered, str) and registered.startswith("deeplab_tf>")
    allowed = (
        name == "__keras_tensor__"
        or (known and keras.saving.get_registered_object(registered) is not None)
        or f"{module} {name}" in _CLASSES
        or (module in _MODULES and isinstance(name, str) and name not in _RUN_CODE_OR_READ_FILES)
    )
    if not allowed:
        _fail(path, f"it is made of {name} of {module or 'no module'}, which no network of this project is")
    options = node.get("config")
    for key in ("filters", "units"):
        count = options.get(key) if isinstance(options, dict) else None
        if count is not None and not (isinstance(count, int) and 1 <= count <= MAX_CHANNELS):
            _fail(path, f"a layer in it has {_some([str(count)])} channels")


def _check_network(path, model):
    outputs = model.output if isinstance(model, keras.Model) and isinstance(model.output, dict) else {}
    inputs = model.inputs if outputs else []
    shapes = [tuple(tensor.shape) for tensor in (*inputs, outputs.get("logits")) if tensor is not None]
    if len(shapes) != 2 or any(len(shape) != 4 for shape in shapes) or shapes[0][-1] != 3 or not shapes[1][-1]:
        _fail(path, "expected a network from RGB images to logits, and it is another one")
    if ("center" in outputs) != ("offset" in outputs):
        _fail(path, "it predicts only one of the centers and the offsets of instances")
    for variable in model.variables:
        if not np.all(np.isfinite(np.asarray(variable, np.float32))):
            _fail(path, f"its weights {variable.path} are not finite")


def _some(names) -> str:
    text = ", ".join(sorted(map(repr, names)))
    return text if len(text) <= 100 else f"{text[:100]}..."


def _fail(path, problem, cause=None) -> NoReturn:
    raise DeepLabError(f"Cannot read the network {path}: {problem}.") from cause
