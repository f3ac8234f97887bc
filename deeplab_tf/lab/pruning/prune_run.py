"""Prune the network of a run into a new run."""

from collections.abc import Callable
from pathlib import Path

from deeplab_tf.core.errors import WrongCall
from deeplab_tf.core.files import files_below, new_folder
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.data.split import Subset
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.export.layer_costs import model_layers
from deeplab_tf.lab.pruning.before_after import compare_networks, output_channels
from deeplab_tf.lab.pruning.rounds import PruningOptions, prune
from deeplab_tf.lab.pruning.target import CostTarget
from deeplab_tf.lab.runs import open_run_split
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime
from deeplab_tf.lab.training.run_folder import begin_run


def prune_run(
    runtime: KerasRuntime,
    out: str,
    target: CostTarget,
    options: PruningOptions,
    *,
    root: str | None,
    score_images: int,
    say: Callable[[str], None],
) -> dict:
    """Write a run with a smaller network, and a recipe that describes it and starts from it.

    Args:
        runtime: of a run, as `open_run` returns it.
        out: the new folder, missing or empty.
        target: the highest cost.
        options: how to prune.
        root: the folder of the run's dataset, if not the recipe's.
        score_images: validation images on which both networks are scored.
        say: called with a line after each round.

    Returns:
        The report.

    Raises:
        DeepLabError: as `prune` does, and for bad data.
    """
    config, there = runtime.config, files_below(out)
    train, val = (open_run_split(config, split, root) for split in ("train", "val"))
    model = prune(runtime.model, config, train, target, options, say)
    some = Subset(val, score_images)
    scores = [_score(runtime, some, "before"), _score(KerasRuntime(model, runtime.table, config), some, "after")]
    models = runtime.model, model
    with new_folder(out) as part:
        begin_run(Path(part), _recipe(config, models, out, root), runtime.table)
        model.save(Path(part, "best.keras"))
        if files_below(out) != there:
            raise WrongCall(f"{out} got other files meanwhile, which would be lost; name another folder with --out.")
    return compare_networks(*models, [model_layers(one, target.size) for one in models], target, scores)


def _score(runtime, split, label):
    return evaluate(runtime, split, progress=lambda items: progress(items, f"score {label}")).report()


def _recipe(config, models, out, root):
    """Return the run's recipe with the channels that changed."""
    before, after = (output_channels(model) for model in models)
    changed = {name: count for name, count in after.items() if count != before[name]}
    section = {**config.model, "weights": out, "channels": {**(config.model["channels"] or {}), **changed}}
    data = config.data if root is None else {**config.data, "root": root, "records": None}
    return config.model_copy(update={"data": data, "model": section})
