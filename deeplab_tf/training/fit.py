"""From a recipe to a run: data, model, loss, optimizer, callbacks, in this order on the page."""

import json
from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.data import open_split
from deeplab_tf.data.pipeline import TrainingPipeline
from deeplab_tf.errors import DeepLabError
from deeplab_tf.models.deeplab import deeplab_v3_plus
from deeplab_tf.models.pretrained import load_weights
from deeplab_tf.training import callbacks, state
from deeplab_tf.training.config import Config
from deeplab_tf.training.keras_runtime import KerasRuntime
from deeplab_tf.training.losses import SegmentationLoss, class_weights
from deeplab_tf.training.optimizers import make_optimizer
from deeplab_tf.training.scoring import Scorer


def train(config: Config, run_dir: Path, *, resume: bool = False) -> dict:
    """Trains a network into a run folder.

    Args:
        config: a resolved recipe.
        run_dir: made where missing; a run that has begun there is continued with `resume`, and refused without.
        resume: continue from the newest state; begins anew where there is none.

    Returns:
        `step`, `best_miou` and `digest` (of all weights, averages and optimizer state).

    Raises:
        DeepLabError: bad data, a folder that holds another run, a loss that is not finite.
        callbacks.Interrupted: stopped by a signal, with the state saved.
    """
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.training.seed)
    training, validation = open_split(config.data, "train"), open_split(config.data, "val")
    prepare_run(run_dir, config, training.table, resume=resume)

    pipeline = TrainingPipeline(
        training,
        size=config.size,
        batch_size=config.training.batch_size,
        seed=config.training.seed,
        augmentation=config.augment,
    )
    model = build_model(config, len(training.table), precision=config.training.precision)
    load_weights(model, config.model["backbone"], config.model["weights"])
    optimizer = make_optimizer(config.optimizer, model, config.training.steps)
    compile_model(model, optimizer, config, class_weights(config.loss.class_weights, training))

    publisher = make_publisher(config, model, optimizer, training.table, run_dir)
    scorer = Scorer(validation, run_dir, config.training.validation_images)
    first_step, hooks = make_callbacks(config, pipeline, publisher, scorer, run_dir, model)
    if first_step < config.training.steps:
        _fit(model, pipeline, first_step, config.training.steps, hooks)
    return {"step": config.training.steps, "best_miou": hooks[-2].best, "digest": state.digest(model, optimizer)}


def build_model(config: Config, num_classes: int, *, precision: str = "float32", auxiliary: bool | None = None) -> keras.Model:
    """The network of a recipe; `auxiliary=False` leaves out the head that only training needs."""
    options = {key: value for key, value in config.model.items() if key != "weights"}
    if auxiliary is not None:
        options["auxiliary"] = auxiliary
    return deeplab_v3_plus(num_classes, precision=precision, **options)


def compile_model(model: keras.Model, optimizer, config: Config, weights) -> None:
    """Gives the model its losses: one for each output."""
    options = config.loss
    loss = SegmentationLoss(
        model.output["logits"].shape[-1],
        class_weights=weights,
        label_smoothing=options.label_smoothing,
        hard_pixels=options.hard_pixels,
    )
    share = {"logits": 1.0, "auxiliary_logits": options.auxiliary_weight}
    outputs = list(model.output)
    if config.training.precision == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss={name: loss for name in outputs},
        loss_weights={name: share[name] for name in outputs},
        jit_compile=False,  # on a CPU it makes the step eight times slower
        auto_scale_loss=False,
    )


def make_publisher(config, model, optimizer, table, run_dir):
    """What turns the network in training into the one that is scored and saved."""
    outgoing = build_model(config, len(table), auxiliary=False)
    return callbacks.Publisher(model, optimizer, outgoing, lambda m: KerasRuntime(m, table, config.size), run_dir)


def make_callbacks(config, pipeline, publisher, scorer, run_dir, model):
    """The first step to take, and the callbacks in the order in which they act on a step."""
    steps = config.training.steps
    validation = callbacks.Validation(publisher, scorer, every=config.training.validate_every, steps=steps, keep=config.training.keep)
    checkpoints = callbacks.Checkpoints(run_dir / "checkpoints", config.training.checkpoint_every, steps, validation)
    hooks = [
        callbacks.LossOfStep(),
        callbacks.StopOnNaN(pipeline),
        callbacks.Progress(steps),
        callbacks.Journal(run_dir, config.training.log_every),
        validation,
        checkpoints,
    ]
    first_step = 0
    newest = state.latest(run_dir / "checkpoints")
    if newest:
        saved = state.restore(newest, model, publisher.optimizer)
        first_step, validation.best = saved["step"], saved["best"]
    for hook in hooks:
        hook.first_step = first_step
    return first_step, hooks


def _fit(model, pipeline, first_step, last_step, hooks):
    batches = pipeline.batches(first_step, last_step).map(lambda image, label: (image, {name: label for name in model.output}))
    try:
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=hooks)
    except tf.errors.OpError as error:
        if pipeline.error is not None:
            raise pipeline.error from error
        raise


def prepare_run(run_dir: Path, config: Config, table, *, resume: bool) -> None:
    """Makes the run folder with its recipe and class table.

    Raises DeepLabError where a run has begun there: another one (saying which key differs), or this one without `resume`.
    """
    recipe, text = run_dir / "config.yaml", config.to_yaml()
    if recipe.is_file():
        different = _difference(recipe.read_text(encoding="utf-8"), text)
        if different:
            raise DeepLabError(f"{run_dir} holds a run of another recipe: {different}. Name another folder with --run.")
        if not resume:
            raise DeepLabError(f"{run_dir} already holds this run; continue it with --resume, or name another folder with --run.")
        return
    if run_dir.is_dir() and any(run_dir.iterdir()):
        raise DeepLabError(f"{run_dir} is not empty and holds no run; name another folder with --run.")
    run_dir.mkdir(parents=True, exist_ok=True)
    classes = json.dumps(table.to_dicts(), indent=1)
    state.write_atomic(run_dir / "classes.json", lambda file: file.write(classes.encode()))
    state.write_atomic(recipe, lambda file: file.write(text.encode()))


def _difference(old: str, new: str) -> str | None:
    """The first line in which two resolved recipes differ."""
    for a, b in zip(old.splitlines() + [""], new.splitlines() + [""]):
        if a != b:
            return f"'{a.strip()}' there, '{b.strip()}' here"
    return None
