"""The folder of a run in training: whose it is, who may write to it, and what it holds."""

import json
from pathlib import Path
from typing import NamedTuple

import keras

from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.files import write_json, write_text
from deeplab_tf.core.guard import Guard, expand
from deeplab_tf.core.input_files import Value
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.progress import say
from deeplab_tf.lab.config import Config, load_run
from deeplab_tf.lab.data import places
from deeplab_tf.lab.data.check import Checked
from deeplab_tf.lab.runs.folder import BEST, DATA, LAST
from deeplab_tf.lab.runs.keras_runtime import read_table
from deeplab_tf.lab.runs.metrics import MAX_STEP, read_metrics
from deeplab_tf.lab.training import state

CHECKPOINTS = "checkpoints"
"""The folder of the states to resume from, in a run folder."""
BEFORE_THE_FIRST_STEP = ("config.yaml", "classes.json", DATA, "ranges.json", "logs", "metrics.jsonl")
"""What a run that was stopped before its first step may have written."""


class Resumed(NamedTuple):
    """What a run continues from.

    Attributes:
        step: the number of finished steps.
        best: the highest validation score so far; -1 before the first.
        waited: how many scores in a row were not above it.
        pending: whether that step's validation is unfinished.
    """

    step: int = 0
    best: float = -1.0
    waited: int = 0
    pending: bool = False


def declare(guard: Guard, config: Config, recipe: str | Path | None, run_dir: Path, *, resume: bool) -> None:
    """Tell a guard what a training reads and writes.

    Args:
        config: a resolved recipe.
        recipe: the file that it was read from; that of a run to resume is read and never written.
    """
    if recipe is not None and not (resume and _is_own(run_dir, recipe)):
        guard.reads(recipe)
    guard.reads(*places(config.data), config.distillation.run, config.model["weights"])
    for name in (*BEFORE_THE_FIRST_STEP, CHECKPOINTS, "kept", "best.keras", "last.keras"):
        guard.makes(run_dir / name, "--run")


def _is_own(run_dir, recipe):
    own = run_dir / "config.yaml"
    return recipe is not None and own.is_file() and own.samefile(recipe)


def check_run_folder(run_dir: Path, config: Config, *, resume: bool) -> None:
    """Raise DeepLabError for a folder that a run must not be written to: one that holds anything else, another run
    (naming the key that differs), or this run without `resume`."""
    for key, run in (("model.weights", config.model["weights"]), ("distillation.run", config.distillation.run)):
        if run is not None and run_dir.exists() and Path(expand(run)).resolve() == run_dir.resolve():
            raise DeepLabError(
                f"{key} is {run_dir} itself, whose network the training would overwrite; name another folder with "
                "--run."
            )
    if not has_begun(run_dir):
        ours = BEFORE_THE_FIRST_STEP if _wrote_recipe(run_dir, config) else ()
        foreign = [path.name for path in run_dir.glob("[!.]*") if path.name not in ours]
        if foreign:
            raise (WrongCall if "config.yaml" in foreign else DeepLabError)(
                f"{run_dir} is not empty and holds no run (but {foreign[0]}); name another folder with --run."
            )
        return
    different = config.difference(_shortened(load_run(run_dir), config.training.steps))
    if different:
        raise DeepLabError(f"{run_dir} holds a run of another recipe: {different}. Name another folder with --run.")
    if not resume:
        raise DeepLabError(
            f"{run_dir} already holds this run; continue it with --resume, or name another folder with --run."
        )
    if config.training.steps < saved_step(run_dir):
        raise DeepLabError(
            f"training.steps is {config.training.steps}, and {run_dir} has taken {saved_step(run_dir)} steps; give at "
            "least as many with --steps."
        )
    read_metrics(run_dir)
    broken = state.damaged(run_dir / CHECKPOINTS)
    if broken and not saved_step(run_dir):
        path, reason = broken[0]
        raise DeepLabError(
            f"{path} is damaged ({reason}), and there is no other state to resume from; begin another run with --run."
        )


def _shortened(run, steps):
    """Return a run's recipe without the steps to save that a training of so many steps does not reach."""
    reached = tuple(step for step in run.training.save_steps if step <= steps)
    return run.model_copy(update={"training": run.training.model_copy(update={"save_steps": reached})})


def _wrote_recipe(run_dir, config):
    """Return whether the config.yaml of a run without steps is one that `begin_run` wrote: this one, or another in the
    form in which only a program writes it."""
    try:
        text = (run_dir / "config.yaml").read_text(encoding="utf-8")
        written = (run_dir / "classes.json").is_file() and load_run(run_dir).to_yaml() == text
    except (OSError, ValueError, DeepLabError):
        return False
    return written or text == config.to_yaml()


def has_begun(run_dir: Path) -> bool:
    """Return whether a folder holds a run that has taken steps; one that has not may be begun anew by any recipe."""
    metrics = run_dir / "metrics.jsonl"
    written = (
        metrics.is_file()
        and metrics.stat().st_size > 0
        or any((run_dir / f"{name}.keras").is_file() for name in (BEST, LAST))
    )
    return (run_dir / "config.yaml").is_file() and (written or saved_step(run_dir) > 0)


def steps_before(run_dir: Path) -> int | None:
    """Return the `training.steps` that a run has had so far; None before it has begun."""
    return load_run(run_dir).training.steps if has_begun(run_dir) else None


def precision_before(run_dir: Path) -> str:
    """Return the `training.precision` of a run that has begun."""
    return load_run(run_dir).training.precision


def saved_step(run_dir: Path) -> int:
    """Return the step that a run can be resumed from; 0 where nothing is saved."""
    return state.saved_step(run_dir / CHECKPOINTS)


def begin_run(run_dir: Path, config: Config, table: LabelTable, recipe: str | Path | None = None) -> None:
    """Make the run folder, with its recipe and class table; the file `recipe`, which was read, stays as it is, but for
    another number of steps of the run that it belongs to. Raise DeepLabError for a run with other classes."""
    if has_begun(run_dir) and read_table(run_dir) != table:
        raise DeepLabError(
            f"{run_dir / 'classes.json'} holds other classes than the recipe's dataset; name another folder with --run."
        )
    if not _is_own(run_dir, recipe) or load_run(run_dir).training.steps != config.training.steps:
        write_text(run_dir / "config.yaml", config.to_yaml())
    write_text(run_dir / "classes.json", json.dumps(table.to_dicts(), indent=1))


def write_data(run_dir: Path, checked: Checked) -> None:
    """Write what the check of a run's dataset found."""
    write_json(run_dir / DATA, checked.to_json())


def restore_state(run_dir: Path, model: keras.Model) -> Resumed:
    """Restore the newest state of a run that is not damaged; without one, leave the model as it is."""
    folder = run_dir / CHECKPOINTS
    newest = state.latest(folder)
    for path, reason in state.damaged(folder) if newest else ():
        say(f"{path} is damaged ({reason}); continuing from the state of step {state.saved_step(folder)}.")
    if not newest:
        return Resumed()
    extra = Value(state.restore(newest, model, model.optimizer), str(newest))
    waited = extra.get("waited")  # not in version 0.1
    return Resumed(
        extra["step"].integer(1, MAX_STEP),
        extra["best"].number(-1, 1),
        waited.integer(0, MAX_STEP) if waited else 0,
        extra["pending"].flag(),
    )
