"""What lies in a run folder, and how to open it for predictions."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

from deeplab_tf.core.bundle import is_bundle, open_bundle
from deeplab_tf.lab.data import open_split
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import open_runtime as open_bundle_runtime

BEST = "best"
_KEPT = re.compile(r"step_(\d+)\.keras")


def checkpoints(run: str) -> list[str]:
    """The checkpoints that a run offers: the kept steps in order ("10000", "60000"), then "best"; those that are
    there."""
    found = [_KEPT.fullmatch(path.name) for path in Path(run, "kept").glob("step_*.keras")]
    steps = sorted(int(match[1]) for match in found if match)
    return [str(step) for step in steps] + [BEST] * Path(run, "best.keras").is_file()


def check_run(path: str) -> None:
    """Raises DeepLabError unless `path` is a run folder."""
    if not Path(path, "config.yaml").is_file():
        kind = "is a file" if Path(path).is_file() else "has no config.yaml in it" if Path(path).is_dir() else "does not exist"
        raise DeepLabError(f"Expected a run folder, as 'deeplab-tf train' writes it, but {path} {kind}.")


def resolve_checkpoint(run: str, checkpoint: str | None = None) -> str:
    """The name of a checkpoint that is there; None means the best, or the last one kept where there is no best yet.

    Raises DeepLabError, naming those that are there, for one that is not; and for what is no run folder.
    """
    if is_bundle(run):
        if checkpoint is not None:
            raise DeepLabError(f"{run} is a bundle, which has one network; a checkpoint is named when it is converted.")
        return "bundle"
    check_run(run)
    known = checkpoints(run)
    if not known:
        raise DeepLabError(f"The run {run} has no checkpoint to predict with (best.keras or kept/step_*.keras); train it further.")
    if checkpoint is None:
        return known[-1]
    wanted = str(int(checkpoint)) if checkpoint.isdecimal() else checkpoint
    if wanted not in known:
        raise DeepLabError(f"The run {run} has no checkpoint '{checkpoint}'. It has: {', '.join(known)}.")
    return wanted


def open_runtime(path: str, checkpoint: str | None = None, runtime: str | None = None, precision: str | None = None):
    """Opens what lies at `path` for predictions.

    Args:
        path: a run folder, as `train` writes it, or a bundle, as `convert` does.
        checkpoint: of a run; see `resolve_checkpoint`.
        runtime: for a bundle, one of `deeplab_tf.deploy.runtimes`; the best that works here where left out.
        precision: for a bundle, one of the runtime's; the best that the bundle holds where left out.

    Returns:
        A runtime: `runtime(frame)` and, where it can, `runtime.class_scores(frame)`, with `name`, `table`, `size`, and
            `config.data`, the
        recipe's description of the data set.

    Raises:
        DeepLabError: the path is neither, or has no such checkpoint.
    """
    if is_bundle(path):
        if checkpoint is not None:
            raise DeepLabError(f"{path} is a bundle, which has one network; a checkpoint is named when it is converted.")
        bundle = open_bundle(path)
        opened = open_bundle_runtime(bundle, runtime or "auto", precision)
        opened.config = SimpleNamespace(data=bundle.info.get("data", {}))
        return opened
    if runtime not in (None, "keras"):
        raise DeepLabError(f"A run is run by Keras, and {path} is one; convert it for the runtime {runtime}.")
    if precision is not None:
        raise DeepLabError(f"A run has one precision, and {path} is one; --precision goes with a bundle.")
    name = resolve_checkpoint(path, checkpoint)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.runs.keras_runtime import open_run  # TensorFlow: only once the path has proved right

    return open_run(path, None if name == BEST else int(name))


def open_run_split(config, split: str, root: str | None = None):
    """A split of the data set that a run was trained on.

    Args:
        config: the run's recipe.
        root: where the data set lies now, if not where the recipe says; prepared records that the recipe names are then
            not read.

    Raises:
        DeepLabError: that folder is not there, and as `deeplab_tf.lab.data.open_split` does.
    """
    if root is not None:
        if not Path(root).expanduser().is_dir():
            raise DeepLabError(f"The folder {root} does not exist; --root must say where the run's data set lies.")
        return open_split({**config.data, "root": root, "records": None}, split)
    place = config.data.get("records") or config.data.get("root")
    if isinstance(place, str) and not Path(place).expanduser().is_dir():
        raise DeepLabError(f"The run's data set is not in {place} any more, as its recipe has it; say where it lies with --root.")
    return open_split(config.data, split)


def best_step(run: str) -> int | None:
    """The step that best.keras is from: the first of those with the highest validation score in metrics.jsonl; None
    where it has none.

    The score is PQ where the network predicts instances, else mIoU.
    """
    path = Path(run, "metrics.jsonl")
    best = None
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # half a line, from a run that was killed
        scores = row.get("val", {})
        score = scores.get("pq" if scores.get("pq_method") == "centers" else "miou")
        if score is not None and (best is None or score > best[0]):
            best = (score, row["step"])
    return best and best[1]
