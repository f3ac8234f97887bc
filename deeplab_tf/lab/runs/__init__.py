"""Opening runs and bundles for predictions, and the datasets that they were trained on."""

import os
from pathlib import Path

from deeplab_tf.core.bundle import is_bundle, open_bundle
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.guard import expand
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy.runtimes import open_runtime as open_bundle_runtime
from deeplab_tf.lab.config import load_run
from deeplab_tf.lab.data import open_split, places
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.runs.folder import check_run, resolve_checkpoint

__all__ = ["check_run", "open_run_split", "open_runtime", "read_places"]


def open_runtime(
    path: str | Path, checkpoint: str | int | None = None, runtime: str | None = None, precision: str | None = None
) -> Predictor:
    """Load a run or a bundle for predictions.

    Args:
        path: a run folder, as `train` writes it, or a bundle, as `convert` does.
        checkpoint: of a run; see `folder.resolve_checkpoint`.
        runtime: of a bundle, one of `deeplab_tf.deploy.runtimes`; the best that works here if left out.
        precision: of a bundle, one of the runtime's; the best that the bundle holds if left out.

    Raises:
        DeepLabError: the path is neither, or options that do not go with it.
    """
    if is_bundle(path):
        if checkpoint is not None:
            raise WrongCall(f"{path} is a bundle, which has one network; name the checkpoint when you convert the run.")
        return open_bundle_runtime(open_bundle(path), runtime or "auto", precision)
    if runtime not in (None, "auto", "keras"):
        raise WrongCall(f"{path} is a run, which Keras runs; convert it to a bundle for the runtime {runtime}.")
    if precision is not None:
        raise WrongCall(f"{path} is a run, which has one precision; convert it to a bundle for {precision}.")
    name = resolve_checkpoint(path, checkpoint)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.runs.keras_runtime import open_run  # TensorFlow: only once the path has proved right

    return open_run(path, name)


def read_places(path: str | Path, root: str | None = None) -> list[str]:
    """Return the files and folders that a run's or a bundle's dataset is read from, as far as they are there.

    Args:
        path: of the run or bundle.
        root: as for `open_run_split`.
    """
    try:
        data = open_bundle(path, verify=False).info.get("data") if is_bundle(path) else load_run(path).data
    except DeepLabError:  # whoever opens it will say what is wrong
        data = None
    if not data:
        return []
    return places(data if root is None else {**data, "root": root, "records": None})


def open_run_split(trained, split: str, root: str | None = None) -> Split:
    """Open a split of the dataset that a network was trained on.

    Args:
        trained: the recipe or the loaded network: its `data` is the recipe's data section.
        split: such as "val".
        root: where the dataset lies now, if not where the recipe says; prepared records are then not read.

    Raises:
        DeepLabError: that folder is not there, or as `deeplab_tf.lab.data.open_split` raises.
    """
    data = trained.data
    if not data:
        raise DeepLabError(
            "The bundle does not say what it was trained on; score on --images and --labels (images=, labels=)."
        )
    if root is not None:
        if not Path(expand(root)).is_dir():
            raise DeepLabError(
                f"The folder {root} does not exist; --root (root=) must say where the run's dataset lies."
            )
        return open_split({**data, "root": root, "records": None}, split)
    place = data.get("records") or data.get("root")
    if isinstance(place, str) and not Path(expand(place)).is_dir():
        raise DeepLabError(
            f"The run's dataset is no longer at {place}, where its recipe has it; pass its location with --root DIR "
            "(root=DIR)."
        )
    return open_split(data, split)
