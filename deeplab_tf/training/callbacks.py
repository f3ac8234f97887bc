"""Keras callbacks: what happens beside the steps of a run. Each does one thing."""

import json
import math
import signal
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from deeplab_tf.cli.options import progress
from deeplab_tf.errors import DeepLabError
from deeplab_tf.training import state


class StepCallback(keras.callbacks.Callback):
    """A callback told of finished steps by their number in the whole run, which goes on counting after a resume."""

    first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.after_step(self.first_step + batch + 1, logs or {})

    def after_step(self, step: int, logs: dict) -> None:
        """Called when `step` steps are done. `logs` holds `loss`."""
        raise NotImplementedError


class Progress(StepCallback):
    """One line: steps, rate, time left, loss; says first that the network is being traced, which takes half a minute."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs=None):
        self.bar = progress(self.steps, "train", unit="steps", done=self.first_step)
        self.bar.say("Tracing the network (the first step takes half a minute) ...")
        self.bar.__enter__()

    def after_step(self, step, logs):
        self.bar.advance(1, note=f"loss {logs['loss']:.3f}")

    def on_train_end(self, logs=None):
        self.bar.__exit__(None, None, None)


class StopOnNaN(StepCallback):
    """Stops before a broken network is saved anywhere, with the step and the frames that it met last."""

    def __init__(self, pipeline):
        super().__init__()
        self.pipeline = pipeline

    def after_step(self, step, logs):
        if not math.isfinite(logs["loss"]):
            names = ", ".join(self.pipeline.names(step - 1))
            raise DeepLabError(
                f"The loss became {logs['loss']} at step {step}; the batch held {names}. Lower optimizer.learning_rate, set "
                "optimizer.clip_norm, or look at these frames; the last checkpoint is whole."
            )


class LossOfStep(keras.callbacks.Callback):
    """Keras reports the mean loss of the epoch so far; this makes `loss` that of the step itself."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()


class Journal(StepCallback):
    """metrics.jsonl and TensorBoard scalars: loss and learning rate, every few steps."""

    def __init__(self, run_dir: Path, every: int):
        super().__init__()
        self.file = run_dir / "metrics.jsonl"
        self.writer = tf.summary.create_file_writer(str(run_dir / "logs" / "train"))
        self.every = every
        self.start = time.time()

    def after_step(self, step, logs):
        if step % self.every and step != 1:
            return
        rate = float(self.model.optimizer.learning_rate)
        append_json(self.file, {"step": step, "loss": float(logs["loss"]), "learning_rate": rate, "seconds": round(time.time() - self.start, 3)})
        with self.writer.as_default(step):
            tf.summary.scalar("loss", logs["loss"])
            tf.summary.scalar("learning_rate", rate)

    def on_train_end(self, logs=None):
        self.writer.flush()


def append_json(path: Path, row: dict) -> None:
    """Adds one line of JSON to a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class Validation(StepCallback):
    """Scores the network on the validation split, keeps the best one and those of named steps, and shows what it sees in TensorBoard."""

    def __init__(self, publisher, scorer, *, every: int, steps: int, keep=()):
        """
        Args:
            publisher: `Publisher`: gives the network to be scored.
            scorer: called with a runtime and the step; returns the report, after writing it where it belongs.
            every, steps, keep: when; the last step is always scored.
        """
        super().__init__()
        self.publisher, self.scorer = publisher, scorer
        self.every, self.steps, self.keep = every, steps, set(keep)
        self.best = -1.0

    def after_step(self, step, logs):
        if step in self.keep:
            self.publisher.save(f"kept/step_{step:08d}.keras")
        if step % self.every == 0 or step == self.steps:
            report = self.scorer(self.publisher.runtime(), step)
            miou = report["miou"] if report["miou"] is not None else 0.0
            if miou > self.best:
                self.best = miou
                self.publisher.save("best.keras")


class Publisher:
    """The network as it goes out of the lab: float32, without optimizer or auxiliary head, with averaged weights where the recipe averages."""

    def __init__(self, trained: keras.Model, optimizer, outgoing: keras.Model, make_runtime, run_dir: Path):
        self.trained, self.optimizer, self.outgoing, self.run_dir = trained, optimizer, outgoing, run_dir
        self._runtime = make_runtime(outgoing)

    def runtime(self):
        """The network with its weights of now."""
        average = getattr(self.optimizer, "_model_variables_moving_average", None) if self.optimizer.use_ema else None
        trainable = average or self.trained.trainable_variables
        values = {v.path: value.numpy() for v, value in zip(self.trained.trainable_variables, trainable)}
        values.update({v.path: v.numpy() for v in self.trained.non_trainable_variables})
        for variable in self.outgoing.variables:
            if variable.path in values:
                variable.assign(values[variable.path])
        return self._runtime

    def save(self, name: str) -> None:
        """Writes the network of now under the run folder."""
        self.runtime()
        path = self.run_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.tmp.keras")
        try:
            self.outgoing.save(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


class Checkpoints(StepCallback):
    """The state to resume from: every few steps, at the end, and when training is interrupted."""

    def __init__(self, folder: Path, every: int, steps: int, validation: Validation):
        super().__init__()
        self.folder, self.every, self.steps, self.validation = folder, every, steps, validation
        self.interrupted = False

    def on_train_begin(self, logs=None):
        self._before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_end(self, logs=None):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number, frame):
        self.interrupted = True  # acted on after the step in hand

    def after_step(self, step, logs):
        if step % self.every == 0 or step == self.steps or self.interrupted:
            state.save(self.folder, step, self.model, self.model.optimizer, {"best": self.validation.best})
        if self.interrupted and step < self.steps:
            raise Interrupted(step)


class Interrupted(Exception):
    """Training was asked to stop and has saved its state; `args[0]` is the step."""


