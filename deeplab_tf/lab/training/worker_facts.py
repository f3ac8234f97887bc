"""What all workers of a training must have alike."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.core import __version__
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import Config
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.workers import Workers

LOCAL = ("data.root", "data.manual_dir", "data.records", "training.precision")
"""Keys of a recipe that may differ: places on each machine, and what worker 0 chooses for all."""


def check_workers(workers: Workers, config: Config, splits: Mapping[str, Split]) -> None:
    """Raise DeepLabError, on all workers, where their recipes, files or versions differ, naming worker and key; or
    where they cannot share a batch evenly."""
    if workers.size == 1:
        return
    batch = config.training.batch_size
    if batch % workers.size:
        raise DeepLabError(
            f"training.batch_size is {batch}, which {workers.size} workers cannot share evenly; make it a multiple of "
            f"{workers.size}."
        )
    facts = {"the version of deeplab_tf": f"{__version__} ({_code()})"}
    facts["the versions of TensorFlow and Keras"] = f"{tf.__version__} and {keras.__version__}"
    facts.update((key, value) for key, value in _flat(config.model_dump(mode="json")).items() if key not in LOCAL)
    for name, split in splits.items():
        facts[f"the files of {name}"] = f"{len(split)} samples (digest {_files(split)})"
    workers.check_alike(facts)


def _flat(values, before=""):
    """Return nested dictionaries as one, with keys such as optimizer.name."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{before}{key}."))
        else:
            flat[before + key] = value
    return flat


def _files(split):
    """Return a digest of the names and sizes of the files of a split."""
    files = (path for index in range(len(split)) for path in split.files(index))
    sizes = [os.path.getsize(path) if os.path.isfile(path) else None for path in files]
    return hashlib.sha256(json.dumps([split.names, sizes]).encode()).hexdigest()[:8]


def _code():
    """Return a digest of the program's own files."""
    files = sorted(Path(__file__).parents[2].rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]
