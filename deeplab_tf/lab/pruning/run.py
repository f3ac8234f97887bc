"""From a run to a smaller run."""

import shutil
from collections.abc import Callable
from pathlib import Path

from deeplab_tf.core.progress import progress
from deeplab_tf.lab.data.split import Subset
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.export.layer_costs import model_layers
from deeplab_tf.lab.pruning.prune import Way, prune
from deeplab_tf.lab.pruning.report import channels, report
from deeplab_tf.lab.pruning.target import Target
from deeplab_tf.lab.runs import open_run_split
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime
from deeplab_tf.lab.training.fit import begin_run


def prune_run(
    runtime: KerasRuntime,
    out: str,
    target: Target,
    way: Way,
    *,
    root: str | None,
    score_images: int,
    say: Callable[[str], None],
) -> dict:
    """Writes a run with a smaller network, and a recipe that describes it and starts from it.

    Args:
        runtime: of a run, as `open_run` gives it.
        out: the folder; there is nothing in it yet.
        root: where the run's data set lies, if not where its recipe says.
        score_images: validation images on which both networks are scored.
        say: told how it goes on.

    Returns:
        The report.

    Raises:
        DeepLabError: as `prune` does, and what the data set has to say.
    """
    config = runtime.config
    train, val = (open_run_split(config, split, root) for split in ("train", "val"))
    model = prune(runtime.model, config, train, target, way, say)
    some = Subset(val, score_images)
    scores = [_score(runtime, some, "before"), _score(KerasRuntime(model, runtime.table, config), some, "after")]
    models = runtime.model, model
    _write(Path(out), _recipe(config, models, out, root), model, runtime.table)
    return report(*models, [model_layers(one, target.size) for one in models], target, scores)


def _score(runtime, split, label):
    return evaluate(runtime, split, progress=lambda items: progress(items, f"score {label}")).report()


def _recipe(config, models, out, root):
    """The run's own, with the channels that changed."""
    before, after = (channels(model) for model in models)
    changed = {name: count for name, count in after.items() if count != before[name]}
    section = {**config.model, "weights": out, "channels": {**(config.model["channels"] or {}), **changed}}
    data = config.data if root is None else {**config.data, "root": root, "records": None}
    return config.model_copy(update={"data": data, "model": section})


def _write(out, config, model, table):
    """The run, whole or not at all."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        begin_run(part, config, table)
        model.save(part / "best.keras")
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
