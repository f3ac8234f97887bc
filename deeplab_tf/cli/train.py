"""`deeplab-tf train`: from a recipe to a run."""

import errno
import os
import shlex

import click

from deeplab_tf.cli.options import (
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    overwriting,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.signals import PARENT, end_with_parent

NEEDS = ("numpy", "cv2", "lab")
OPTION_NEEDS = {"quantization.aware": "export"}
MAX_STEPS = 10_000_000
MAX_WORKERS = 1000


@click.command(
    epilog=example(
        "deeplab-tf train configs/camvid_resnet50_small.yaml --set data.root=CAMVID",
        "deeplab-tf train RECIPE --set training.steps=100 --run runs/trial",
        "deeplab-tf train RECIPE --run runs/first --resume",
        "deeplab-tf train runs/first/config.yaml --run runs/first --resume --steps 900",
        "deeplab-tf train configs/cityscapes_resnet50.yaml --workers 4 --retries 3",
    )
)
@click.argument("config", type=PathType(dir_okay=False))
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value of the recipe, such as training.steps=100; repeatable.",
)
@click.option(
    "--run", "run_dir", metavar="DIR", type=PathType(), help="Write the run here.  [default: runs/NAME of the recipe]"
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option(
    "--steps",
    metavar="N",
    type=IntRange(1, MAX_STEPS),
    help="Train for N steps in all; with --resume, make a run longer. Short for --set training.steps=N.",
)
@click.option(
    "--workers",
    metavar="N",
    type=IntRange(1, MAX_WORKERS),
    help="Share the training among N processes of this machine: one for each GPU, else on the CPU.",
)
@click.option(
    "--retries",
    metavar="N",
    type=IntRange(0, 1000),
    default=0,
    help="Start all --workers again, from the last state, up to N times after one was killed.",
)
@json_option
@verbose_option
def command(config, overrides, run_dir, resume, steps, workers, retries, json_target, verbose):
    """Train a network by the recipe CONFIG (YAML).

    Writes a run: config.yaml (resolved), best.keras, last.keras, checkpoints, TensorBoard logs, metrics.jsonl. Ctrl-C
    saves the state; --resume continues from it, or from the start if nothing is saved, and ends with the same weights
    as a run that was never interrupted.

    With TF_CONFIG in the environment this process is one of several workers, on as many machines.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not os.path.isfile(config):
        raise DeepLabError(f"There is no recipe {config}; those that come with deeplab_tf are in configs/.")
    overrides += () if steps is None else (f"training.steps={steps}",)
    run = run_dir or os.path.join("runs", os.path.splitext(os.path.basename(config))[0])
    settings = [part for override in overrides for part in ("--set", override)]
    arguments = ["train", config, *settings, "--run", run]
    local = [] if workers is None else ["--workers", str(workers)]
    again = "Continue with: " + " ".join(map(shlex.quote, ["deeplab-tf", *arguments, "--resume", *local]))
    parent = os.environ.get(PARENT)
    if parent:
        end_with_parent(int(parent))
    elif workers and workers > 1:
        _train_locally([*arguments, *local, *(["--resume"] if resume else [])], workers, retries, json_target, again)
        return
    elif retries and not workers:
        raise click.UsageError("--retries is for --workers; with TF_CONFIG, the cluster manager starts workers again.")
    result = _train(config, overrides, run, resume, new_guard(json_target), again)
    if result["worker"]:
        show(f"Worker {result['worker']}: {result['step']} steps; worker 0 has written the run.", json_target)
        return
    name, best = ("PQ", result["best_pq"]) if "best_pq" in result else ("mIoU", result["best_miou"])
    score = "undefined" if best is None else f"{best:.4f}"
    show(f"{run}: {result['step']} steps, best validation {name} {score}.", json_target)
    show(f"Score it with: deeplab-tf evaluate {shlex.quote(run)}", json_target)
    write_json({"run": run, **result}, json_target)


def _train_locally(arguments, workers, retries, json_target, again):
    """Train in processes of this machine."""
    if os.environ.get("TF_CONFIG"):
        raise click.UsageError("--workers starts all workers itself; it cannot be given where TF_CONFIG names them.")
    from deeplab_tf.lab.training.local_workers import run

    new_guard(json_target).check()
    own = () if json_target is None else ("--json", json_target, *(["--overwrite"] if overwriting() else []))
    run(arguments, workers, own=own, retries=retries, again=again)


def _train(config, overrides, run, resume, guard, again):
    """Train; whatever stops it says how to continue."""
    try:
        from pathlib import Path

        from deeplab_tf.lab.config import load
        from deeplab_tf.lab.training.fit import train
        from deeplab_tf.lab.training.stopping import Interrupted
        from deeplab_tf.lab.workers import WorkerLeft
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Interrupted before the first step.") from None
    try:
        return train(load(config, overrides, to_train=True), Path(run), recipe=config, resume=resume, guard=guard)
    except WorkerLeft as left:
        raise DeepLabError(f"{left} All workers end. {again}") from left
    except Interrupted as interrupted:
        saved = interrupted.args[0]
        state = f"The state after step {saved} is saved." if saved else "No state was saved yet."
        raise KeyboardInterrupt(f"Interrupted. {state} {again}") from interrupted
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(f"Interrupted before the first step. {again}") from interrupt
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or f"to {run}"
        raise DeepLabError(
            f"The disk is full: cannot write {place}; what was saved before is whole. Free some space. {again}"
        ) from error
