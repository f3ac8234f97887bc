"""From a recipe to a run: data, model, loss, optimizer, callbacks, in this order on the page."""

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path

import click
import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import Config, load_run
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.panoptic_targets import Targets
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.data.split import Split, require_instances
from deeplab_tf.lab.models.recipe import build_network
from deeplab_tf.lab.runs.keras_runtime import KerasRuntime
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.callbacks import (
    Checkpoints,
    Journal,
    LossOfStep,
    Progress,
    Publisher,
    StepCallback,
    StopOnNaN,
    Validation,
)
from deeplab_tf.lab.training.distillation import teach
from deeplab_tf.lab.training.losses import SegmentationLoss, center_loss, class_weights, offset_loss
from deeplab_tf.lab.training.optimizers import make_optimizer
from deeplab_tf.lab.training.rewind import rewind
from deeplab_tf.lab.training.scoring import Scorer
from deeplab_tf.lab.training.start import fill
from deeplab_tf.lab.training.stopping import Interrupted, StopSignal


def train(
    config: Config, run_dir: Path, *, resume: bool = False, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> dict:
    """Train a network into a run folder.

    `callbacks` get Keras' hooks. The training is one epoch; `batch` counts from 0 in this process (a `StepCallback`
    gets the number of the step in the run), and `logs["loss"]` is the loss of that step alone. Each validation calls
    `on_test_begin()` and `on_test_end(logs)` with `miou`, `pixel_accuracy` and, for instances, `pq`. Setting
    `self.model.stop_training = True` ends the run after this step, scored and saved.

    Args:
        config: a resolved recipe.
        run_dir: made where missing; a run that has begun there is continued with `resume`, and refused without.
        resume: continue from the newest state; begins anew where there is none.
        callbacks: called after each step, before it is validated and saved.

    Returns:
        `step`, the last one; `best_miou` (or `best_pq`) and `digest` (of all weights, averages and optimizer state).

    Raises:
        DeepLabError: bad data, a folder that holds another run, a loss that is not finite.
        Interrupted: stopped by a signal, with the state saved.
    """
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.clear_session()  # names of variables, by which a saved state is known, count up within a session
    keras.utils.set_random_seed(config.training.seed)
    training, validation = open_split(config.data, "train"), open_split(config.data, "val")
    check_run(run_dir, config, resume=resume)
    auxiliary = False if config.quantization.aware else None
    model = build_model(config, len(training.table), precision=config.training.precision, auxiliary=auxiliary)
    if "center" in model.output:
        require_instances(validation, "val")
    pipeline = make_pipeline(config, training, instances="center" in model.output)
    if state.latest(run_dir / "checkpoints") is None:
        fill(model, config.model, training.table)
    quantization = None
    if config.quantization.aware:
        from deeplab_tf.lab.training.quantization import (
            QuantizedTraining,
        )  # ONNX Runtime, which no other training needs

        quantization = QuantizedTraining(config, model, training.table, run_dir)
        model = quantization.quantized(model)
    teach(model, config, training.table)
    optimizer = make_optimizer(config.optimizer, model, config.training.steps)
    compile_model(model, optimizer, config, class_weights(config.loss.class_weights, training))

    begin_run(run_dir, config, training.table)
    if quantization:
        quantization.save(run_dir)
    publisher = make_publisher(config, model, optimizer, training.table, run_dir, quantization)
    with alone_in(run_dir), _plain_errors(pipeline, run_dir):
        saved = restore_run(run_dir, model)
        if resume and not saved["step"]:
            click.echo(f"Nothing is saved in {run_dir} yet: starting with step 1.", err=True)
        hooks = make_callbacks(config, pipeline, publisher, validation, run_dir, saved, callbacks)
        _fit(model, pipeline, hooks, saved["step"], config.training.steps)
    # Keras' fit ends by overwriting the weights with their averages; the run's state is the one from before.
    step = state.restore(state.latest(run_dir / "checkpoints"), model, model.optimizer)["step"]
    best = {f"best_{hooks.validation.judge}": hooks.validation.best}
    return {"step": step, **best, "digest": state.digest(model, model.optimizer)}


def build_model(
    config: Config, num_classes: int, *, precision: str = "float32", auxiliary: bool | None = None
) -> keras.Model:
    """The network of a recipe; `auxiliary=False` leaves out the head that only training needs."""
    return build_network(config.model, num_classes, precision=precision, auxiliary=auxiliary)


def make_pipeline(config: Config, split: Split, *, instances: bool) -> TrainingPipeline:
    """The batches that a recipe trains on; with `instances`, also with the centers and offsets of things."""
    options, targets = config.loss, None
    if instances:
        targets = {
            "sigma": options.center_sigma,
            "small": options.small_instance_threshold,
            "small_weight": options.small_instance_weight,
        }
    return TrainingPipeline(
        split,
        size=config.size,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        augmentation=config.augment,
        targets=targets,
    )


def make_losses(config: Config, model: keras.Model, weights) -> tuple[dict, dict]:
    """For each output of a model its loss, and what that is multiplied by in the sum; `weights` are those of the
    classes, or None."""
    options = config.loss
    loss = SegmentationLoss(
        model.output["logits"].shape[-1],
        class_weights=weights,
        label_smoothing=options.label_smoothing,
        ohem_ratio=options.ohem_ratio,
    )
    losses = {"logits": loss, "auxiliary_logits": loss, "center": center_loss(), "offset": offset_loss()}
    share = {
        "logits": 1.0,
        "auxiliary_logits": options.auxiliary_weight,
        "center": options.center_weight,
        "offset": options.offset_weight,
    }
    if config.distillation.run is not None:
        share["logits"] -= config.distillation.weight
    return {name: losses[name] for name in model.output}, {name: share[name] for name in model.output}


def compile_model(model: keras.Model, optimizer, config: Config, weights) -> None:
    """Gives the model its losses: one for each output."""
    losses, share = make_losses(config, model, weights)
    if config.training.precision == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        optimizer.build(model.trainable_variables)  # else resuming finds no loss scale to put back
    model.compile(
        optimizer=optimizer,
        loss=losses,
        loss_weights=share,
        jit_compile=False,  # on a CPU it makes the step eight times slower
        auto_scale_loss=False,
    )


def make_publisher(config: Config, model: keras.Model, optimizer, table, run_dir: Path, quantization=None) -> Publisher:
    """What turns the network in training into the one that is saved and scored; with `quantization`, as its integers
    compute."""
    outgoing = build_model(config, len(table), auxiliary=False)
    as_scored = quantization.quantized if quantization else lambda m: m
    return Publisher(model, optimizer, outgoing, lambda m: KerasRuntime(as_scored(m), table, config), run_dir)


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What `train` asks of its callbacks by name, and all of them in the order in which they act on a step."""

    all: list
    validation: Validation
    checkpoints: Checkpoints
    stop: StopSignal


def make_callbacks(
    config: Config,
    pipeline: TrainingPipeline,
    publisher,
    validation_split: Split,
    run_dir: Path,
    saved: dict,
    others: Sequence[keras.callbacks.Callback] = (),
) -> Hooks:
    """The callbacks of a run that goes on from what `restore_run` returned, and the caller's `others`."""
    options, stop = config.training, StopSignal()
    scorer = Scorer(validation_split, run_dir, options.validation_images, stop)
    judge = "pq" if "center" in publisher.trained.output else "miou"
    times = {"every": options.validate_every, "steps": options.steps, "save_steps": options.save_steps}
    validation = Validation(publisher, scorer, judge=judge, watchers=others, **times)
    validation.best, validation.pending, validation.step = saved["best"], saved["pending"], saved["step"]
    checkpoints = Checkpoints(
        run_dir / "checkpoints", validation, stop, every=options.checkpoint_every, steps=options.steps
    )
    hooks = [
        LossOfStep(),
        StopOnNaN(pipeline),
        Progress(options.steps, options.save_steps),
        Journal(run_dir, options.log_every),
        *others,
        validation,
        checkpoints,
    ]
    for hook in hooks:
        hook.set_model(publisher.trained)
        if isinstance(hook, StepCallback):
            hook.first_step = saved["step"]
    return Hooks(hooks, validation, checkpoints, stop)


def _fit(model, pipeline, hooks, first_step, last_step):
    """Takes the steps after `first_step`. What stops a validation leaves a state behind from which it is done again."""
    batches = pipeline.batches(first_step, last_step).map(lambda image, truth: as_keras(model, image, truth))
    try:
        with hooks.stop:
            if hooks.validation.pending:
                hooks.validation.finish(first_step)
                hooks.checkpoints.save(first_step)
            if first_step < last_step and not model.stop_training:
                model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=hooks.all)
    except BaseException as error:
        if hooks.validation.pending:
            hooks.checkpoints.save(hooks.validation.step)
            if isinstance(error, DeepLabError):  # from a frame of the validation
                raise DeepLabError(f"{error}{_saved(hooks.checkpoints.folder)}") from error
        elif pipeline.error is not None and hooks.stop.worth_saving:
            hooks.checkpoints.save(hooks.checkpoints.last)  # a frame that cannot be read costs no steps
        raise


def as_keras(model, images, truth):
    """A batch as `fit` takes it: images, and for each output its truth and, with instances, how much each pixel
    counts."""
    if not isinstance(truth, Targets):
        return images, dict.fromkeys(model.output, truth)
    truths = {"logits": truth.label_map, "center": truth.center, "offset": truth.offset}
    weights = {"logits": truth.label_weight, "center": truth.center_weight, "offset": truth.offset_weight}
    return images, truths, weights


def _saved(folder):
    """What to add to the error of a bad file: that the steps before it are not lost."""
    step = state.saved_step(folder)
    return f" The state after step {step} is saved; when the file is mended, go on with --resume." if step else ""


@contextlib.contextmanager
def _plain_errors(pipeline, run_dir):
    """What TensorFlow says about a person's frames, disk or memory, in our words; Ctrl-C with the step that was
    saved."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise Interrupted(state.saved_step(run_dir / "checkpoints")) from interrupt
    except tf.errors.OpError as error:
        if pipeline.error is not None:
            raise DeepLabError(f"{pipeline.error}{_saved(run_dir / 'checkpoints')}") from error
        if "determinis" in str(error).lower():
            raise DeepLabError(
                "This machine cannot compute one of the network's operations deterministically; set "
                "training.deterministic to false, and"
                f" runs will differ in the last bits. TensorFlow says: {str(error).splitlines()[0]}"
            ) from error
        if os.strerror(errno.ENOSPC) in str(error):  # the writer of TensorBoard's events
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir / "logs")) from error
        if isinstance(error, tf.errors.ResourceExhaustedError):
            batch = f"batches of {pipeline.batch_size}"
            raise DeepLabError(
                f"There is not enough memory for {batch}; lower training.batch_size or augment.crop."
            ) from error
        raise


@contextlib.contextmanager
def alone_in(run_dir):
    """Keeps a second training out of the folder; the lock goes with the process, however that ends."""
    folder = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DeepLabError(
            f"Another training is writing to {run_dir}; wait for it, or name another folder with --run."
        ) from error
    finally:
        os.close(folder)


def restore_run(run_dir: Path, model: keras.Model) -> dict:
    """Puts back the newest state of a run, and takes its metrics and logs back to that step.

    Returns:
        `step`; `best`, the highest mIoU so far; `pending`, whether that step is still to be scored.
    """
    saved = {"step": 0, "best": -1.0, "pending": False}  # before the first step
    newest = state.latest(run_dir / "checkpoints")
    if newest:
        saved.update(state.restore(newest, model, model.optimizer))
    rewind(run_dir, saved["step"], validated=not saved["pending"])
    return saved


BEFORE_THE_FIRST_STEP = ("config.yaml", "classes.json", "ranges.json", "logs", "metrics.jsonl")
"""What a run may have written that was stopped before its first step."""


def check_run(run_dir: Path, config: Config, *, resume: bool) -> None:
    """Raises DeepLabError where a run has begun in the folder: another one (saying which key differs), or this one
    without `resume`."""
    if run_dir.exists() and not run_dir.is_dir():
        raise DeepLabError(f"{run_dir} is a file; name a folder with --run.")
    for key, run in (("model.weights", config.model["weights"]), ("distillation.run", config.distillation.run)):
        if run is not None and run_dir.exists() and Path(run).expanduser().resolve() == run_dir.resolve():
            raise DeepLabError(
                f"{key} is {run_dir} itself, whose network the training would overwrite; name another folder with "
                "--run."
            )
    if not has_begun(run_dir):
        foreign = [path.name for path in run_dir.glob("[!.]*") if path.name not in BEFORE_THE_FIRST_STEP]
        if foreign:
            raise DeepLabError(
                f"{run_dir} is not empty and holds no run (but {foreign[0]}); name another folder with --run."
            )
        return
    different = config.difference(load_run(run_dir))
    if different:
        raise DeepLabError(f"{run_dir} holds a run of another recipe: {different}. Name another folder with --run.")
    if not resume:
        raise DeepLabError(
            f"{run_dir} already holds this run; continue it with --resume, or name another folder with --run."
        )


def has_begun(run_dir: Path) -> bool:
    """Whether a folder holds a run that has taken steps; one that was stopped before that may be begun anew, with any
    recipe."""
    metrics = run_dir / "metrics.jsonl"
    traces = (
        metrics.is_file()
        and metrics.stat().st_size
        or state.saved_step(run_dir / "checkpoints")
        or (run_dir / "best.keras").is_file()
    )
    return bool(traces) and (run_dir / "config.yaml").is_file()


def begin_run(run_dir: Path, config: Config, table) -> None:
    """Makes the run folder with its recipe and class table."""
    run_dir.mkdir(parents=True, exist_ok=True)
    classes, text = json.dumps(table.to_dicts(), indent=1), config.to_yaml()
    state.write_atomic(run_dir / "classes.json", lambda file: file.write(classes.encode()))
    state.write_atomic(run_dir / "config.yaml", lambda file: file.write(text.encode()))
