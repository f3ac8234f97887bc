"""Train the network of a recipe."""

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import locked
from deeplab_tf.core.guard import Guard
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.progress import say
from deeplab_tf.lab.config import Config
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.check import check_splits
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.data.split import Split, Subset, require_instances
from deeplab_tf.lab.models.layer_graph import output_layer
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.models.taps import clear_untrained, describe
from deeplab_tf.lab.runs.folder import read_data
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime
from deeplab_tf.lab.training import run_folder, state
from deeplab_tf.lab.training.callbacks import (
    AgreedStop,
    Checkpoints,
    MetricsLogger,
    Progress,
    StepCallback,
    StepLoss,
    StopOnNaN,
    Validation,
    append_json,
)
from deeplab_tf.lab.training.distillation import add_distillation
from deeplab_tf.lab.training.freezing import phases
from deeplab_tf.lab.training.initial_weights import load_initial_weights
from deeplab_tf.lab.training.losses import class_weights
from deeplab_tf.lab.training.objective import compile_model, keras_batch, make_pipeline, synchronize_batch_norm
from deeplab_tf.lab.training.optimizers import make_optimizer, make_schedule
from deeplab_tf.lab.training.precision import with_precision
from deeplab_tf.lab.training.rewind import rewind
from deeplab_tf.lab.training.scoring import ValidationScorer
from deeplab_tf.lab.training.stopping import Interrupted, StopSignal
from deeplab_tf.lab.training.weight_export import WeightExport
from deeplab_tf.lab.training.worker_facts import check_workers
from deeplab_tf.lab.workers import ALONE, Workers, join


def train(
    config: Config,
    run_dir: Path,
    *,
    recipe: str | Path | None = None,
    resume: bool = False,
    guard: Guard | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict:
    """Train a network into a run folder.

    Where TF_CONFIG names several workers, this process is one of them, and takes its part of every batch and of every
    validation. Worker 0 alone needs the run folder, and writes it.

    Args:
        config: a resolved recipe.
        run_dir: made where missing; a run that has begun there is continued with `resume`, and refused without.
        recipe: the file that `config` was read from, which is not written.
        resume: continue from the newest state; without one, start with step 1.
        guard: knows what else is written; told what is read and written here, and asked.
        callbacks: get Keras' hooks, before a step is validated and saved. The training is one epoch, or two with
            `optimizer.freeze_steps`; its batches count from 0 in this process (a `StepCallback` gets the number of the
            step in the run); `logs["loss"]` is that of the step. A validation calls `on_test_begin()` and
            `on_test_end(logs)` with `miou`, `pixel_accuracy` and, for instances, `pq`.
            `self.model.stop_training = True` ends the run after this step, scored and saved.

    Returns:
        `step`, the last one; `best_miou` (or `best_pq`), None where no score is defined; `digest`, of all weights,
        averages and optimizer state; `warnings` about the data; and `worker`, the rank of this one, from 0.

    Raises:
        DeepLabError: bad data, a folder that holds another run or is being trained in, a loss that is not finite; as
            WorkerLeft, another worker that has failed.
        Interrupted: stopped by a signal, with the state saved.
    """
    workers = join()
    with workers.together():
        if not workers.writes:
            return _train(config, run_dir, recipe, resume, callbacks, workers)
        guard = guard or Guard("train")
        run_folder.declare(guard, config, recipe, run_dir, resume=resume)
        guard.check()
        with locked(run_dir):  # before the folder is checked: nothing may change it between that and the first write
            return _train(config, run_dir, recipe, resume, callbacks, workers)


def _train(config, run_dir, recipe, resume, callbacks, workers):
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.clear_session()  # a saved state knows variables by names, which count up within a session
    keras.utils.set_random_seed(config.training.seed)
    training, validation = open_split(config.data, "train"), open_split(config.data, "val")
    check_workers(workers, config, {"train": training, "val": validation})
    config, saved, before = _open_folder(config, run_dir, resume, workers)
    table, precision = training.table, config.training.precision
    checked = _check_data(config, training, validation, run_dir)
    auxiliary = False if config.quantization.aware else None
    network = build_network(config.model, len(table), precision=precision, auxiliary=auxiliary)
    instances = "center" in network.output
    if instances:
        require_instances(validation, "val")
    pipeline = make_pipeline(config, training, instances=instances, workers=workers)
    if not saved:
        load_initial_weights(network, config.model, table)
        cleared = clear_untrained(network, config.model, config.training_size)
        if cleared:
            say(describe(cleared, config.training_size))
    workers.share_variables(network.variables)
    model, quantization = network, None
    if config.quantization.aware:
        from deeplab_tf.lab.training.quantization import QuantizedTraining  # ONNX Runtime, for this alone

        quantization = QuantizedTraining(config, network, table, run_dir, workers)
        model = quantization.quantized(network)
    if config.distillation.run is not None:
        add_distillation(model, config, table, stride=output_layer(network, "logits").factor, workers=workers)
    optimizer = make_optimizer(config.optimizer, model, config.training.steps)
    weights = class_weights(config.loss.class_weights, training, checked.counts["train"])
    compile_model(model, optimizer, config, weights, workers)
    if config.model["sync_batch_norm"]:
        synchronize_batch_norm(model, workers)

    resumed = _restore(run_dir, model, workers)  # a damaged state is found before anything is written
    export = make_export(config, model, optimizer, table, run_dir if workers.writes else None, quantization)
    with _plain_errors(pipeline, run_dir, workers):
        if workers.writes:
            _begin(config, run_dir, table, recipe, checked, quantization)
            rewind(run_dir, resumed.step, validated=not resumed.pending)
            if resumed.step and before not in (None, config.training.steps):
                _tell_length(config, run_dir, resumed.step, before)
            if resume and not resumed.step:
                click.echo(f"Nothing is saved in {run_dir} yet: starting with step 1.", err=True)
        hooks, checkpoints = make_callbacks(config, pipeline, export, validation, run_dir, resumed, callbacks, workers)
        _fit(model, pipeline, hooks, checkpoints, resumed.step, config.optimizer)
    best = checkpoints.validation
    return {
        "step": workers.share(run_folder.saved_step(run_dir) if workers.writes else None),
        f"best_{best.monitor}": best.best if best.best >= 0 else None,
        "digest": state.digest(model, model.optimizer),
        "warnings": checked.warnings,
        "worker": workers.rank,
    }


def _open_folder(config, run_dir, resume, workers):
    """Return, as worker 0 finds them: the recipe with its precision, the step that is saved, and `steps_before`."""
    found = None
    if workers.writes:
        config = with_precision(config, run_dir)
        run_folder.check_run_folder(run_dir, config, resume=resume)
        found = config.training.precision, run_folder.saved_step(run_dir), run_folder.steps_before(run_dir)
    precision, saved, before = workers.share(found)
    training = config.training.model_copy(update={"precision": precision})
    return config.model_copy(update={"training": training}), saved, before


def _restore(run_dir, model, workers):
    """Give all workers the state that worker 0 finds."""
    resumed = run_folder.Resumed(*workers.share(run_folder.restore_state(run_dir, model) if workers.writes else None))
    if resumed.step:
        workers.share_variables([*model.variables, *model.optimizer.variables])
    return resumed


def _begin(config, run_dir, table, recipe, checked, quantization):
    run_folder.begin_run(run_dir, config, table, recipe)
    run_folder.write_data(run_dir, checked)
    if quantization:
        quantization.save(run_dir)


def _tell_length(config, run_dir, step, before):
    """Say, and write down, that a run goes on with another number of steps."""
    steps = config.training.steps
    old, new = (float(make_schedule(config.optimizer, number)(step)) for number in (before, steps))
    say(
        f"training.steps: {before} before, {steps} now. From step {step + 1} on the learning rate is that of a "
        f"training of {steps} steps: {new:.3g} there, in place of {old:.3g}."
    )
    append_json(run_dir / "metrics.jsonl", {"step": step, "steps": steps, "steps_before": before})


def _check_data(config, training, validation, run_dir):
    """Examine both splits before anything is built; what is wrong but can be trained on is said, and kept."""
    scored = config.training.validation_images
    splits = {"train": training, "val": validation if scored is None else Subset(validation, scored)}
    checked = check_splits(splits, config.data, read_data(run_dir))
    for sentence in checked.warnings:
        say(f"Warning: {sentence}")
    return checked


def make_export(
    config: Config, model: keras.Model, optimizer, table: LabelTable, run_dir: Path | None, quantization=None
) -> WeightExport:
    """Make the export of a model in training; with `quantization` it is scored as its INT8 network computes."""
    exported = build_network(config.model, len(table), auxiliary=False)

    def make_runtime(network):
        return KerasRuntime(quantization.quantized(network) if quantization else network, table, config)

    return WeightExport(model, optimizer, exported, make_runtime, run_dir)


def make_callbacks(
    config: Config,
    pipeline: TrainingPipeline,
    export: WeightExport,
    split: Split,
    run_dir: Path,
    resumed: run_folder.Resumed,
    others: Sequence[keras.callbacks.Callback] = (),
    workers: Workers = ALONE,
) -> tuple[list[keras.callbacks.Callback], Checkpoints]:
    """Return the callbacks of a run that continues from `resumed`, with the caller's `others`, and the last of them."""
    options, stop = config.training, StopSignal(shared=workers.size > 1)
    scorer = ValidationScorer(split, run_dir, options.validation_images, stop, workers)
    monitor = "pq" if "center" in export.trained.output else "miou"
    validation = Validation(export, scorer, options, monitor, others)
    validation.step, validation.best, validation.waited, validation.pending = resumed
    checkpoints = Checkpoints(run_dir / run_folder.CHECKPOINTS, validation, stop, options, workers)
    own: list[keras.callbacks.Callback] = [StepLoss(), StopOnNaN(pipeline)]
    if workers.writes:
        own += [Progress(options), MetricsLogger(run_dir, options.log_every)]
    agreed = [AgreedStop(stop, workers)] if stop.shared else []
    hooks = [*own, *others, *agreed, validation, checkpoints]
    for hook in hooks:
        hook.set_model(export.trained)
    return hooks, checkpoints


def _fit(model, pipeline, hooks, checkpoints, first_step, options):
    """Take the steps after `first_step`. A validation that is stopped leaves a state from which it is done again."""
    validation, stop, steps = checkpoints.validation, checkpoints.stop, checkpoints.options.steps
    try:
        with stop:
            if validation.pending:
                validation.finish(first_step)
                checkpoints.save(first_step)
            if not validation.out_of_patience:  # as a run is that has ended early before
                for before, last in phases(model, options, first_step, steps):
                    _take_steps(model, pipeline, hooks, before, last)
            if validation.out_of_patience:
                say(f"Ended early: {validation.waited} scores in a row were not above the best (training.patience).")
    except BaseException as error:
        if validation.pending:
            checkpoints.save(validation.step)
            if isinstance(error, DeepLabError):  # from a frame of the validation
                raise DeepLabError(
                    f"{error}{_how_to_resume(checkpoints.folder.parent, checkpoints.workers)}"
                ) from error
        elif pipeline.error is not None and stop.worth_saving:
            checkpoints.save(checkpoints.last)  # a frame that cannot be read costs no steps
        raise


def _take_steps(model, pipeline, hooks, before, last):
    """Take the steps from the one after `before` to `last`."""
    for hook in hooks:
        if isinstance(hook, StepCallback):
            hook.first_step = before
    batches = pipeline.batches(before, last).map(lambda images, truth: keras_batch(model, images, truth))
    model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=hooks)


def _how_to_resume(run_dir, workers):
    """Return what the error for a bad file adds: the steps before it are not lost. Worker 0 knows."""
    step = run_folder.saved_step(run_dir) if workers.writes else 0
    return f" The state after step {step} is saved; once the file is fixed, continue with --resume." if step else ""


@contextlib.contextmanager
def _plain_errors(pipeline: TrainingPipeline, run_dir: Path, workers: Workers) -> Iterator[None]:
    """Translate TensorFlow's errors about frames, disk and memory, and Ctrl-C with the step that was saved."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(run_folder.saved_step(run_dir)) from interrupt
    except tf.errors.OpError as error:
        if pipeline.error is not None:
            raise DeepLabError(f"{pipeline.error}{_how_to_resume(run_dir, workers)}") from error
        if "determinis" in str(error).lower():
            raise DeepLabError(
                "This machine cannot compute one of the network's operations deterministically; set "
                "training.deterministic to false, and runs will differ in the last bits. TensorFlow says: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if os.strerror(errno.ENOSPC) in str(error):  # the writer of TensorBoard's events
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir / "logs")) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise DeepLabError(
                f"There is not enough memory for batches of {pipeline.batch_size}; lower training.batch_size or "
                "augment.crop."
            ) from error
        raise
