"""Keras callbacks: what happens beside the steps of a run. Each does one thing."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.rewind import read_metrics
from deeplab_tf.lab.training.stopping import StopSignal


class StepCallback(keras.callbacks.Callback):
    """A callback told of finished steps by their number in the whole run, which goes on counting after a resume."""

    first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.after_step(self.first_step + batch + 1, logs or {})

    def after_step(self, step: int, logs: dict) -> None:
        """Called when `step` steps are done. `logs` holds `loss`."""
        raise NotImplementedError


class Progress(StepCallback):
    """One line: steps, rate, time left, loss; says first that the network is being traced, which takes half a
    minute."""

    def __init__(self, steps: int, save_steps=()):
        super().__init__()
        self.steps = steps
        self.late = [step for step in save_steps if step > steps]

    def on_train_begin(self, logs=None):
        self.bar = progress(self.steps, "train", unit="steps", done=self.first_step)
        if self.late:
            self.bar.say(
                f"training.save_steps names steps behind the last one, {self.steps}, which are not kept: {self.late}."
            )
        self.bar.say("Tracing the network (the first step takes half a minute) ...")
        self.bar.__enter__()

    def after_step(self, step, logs):
        self.bar.advance(1, note=f"loss {logs['loss']:.3f}")
        if step == self.first_step + 1:
            self.bar.warmed_up()  # the network has been traced

    def on_train_end(self, logs=None):
        self.bar.__exit__(None, None, None)


class StopOnNaN(StepCallback):
    """Stops before a broken network is saved anywhere, with the step and the frames that it met last.

    The loss of a step is that of the weights before it, so the weights after it are looked at too.
    """

    def __init__(self, pipeline):
        super().__init__()
        self.pipeline = pipeline
        self._finite_weights = tf.function(self._finite_weights, jit_compile=False)

    def after_step(self, step, logs):
        if not math.isfinite(logs["loss"]):
            self._stop(f"The loss became {logs['loss']} at step {step}", step)
        if not self._finite_weights():
            self._stop(f"Weights are no longer finite after step {step} (its loss was {logs['loss']:.3g})", step)

    def _finite_weights(self):
        weights = [v for v in self.model.variables if v.dtype.startswith("float")]
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in weights])

    def _stop(self, what, step):
        names = ", ".join(self.pipeline.files(step - 1))
        raise DeepLabError(
            f"{what}; the batch held {names}. Nothing of it was saved. Lower optimizer.learning_rate, set "
            "optimizer.clip_norm, or look at"
            " these frames."
        )


class LossOfStep(keras.callbacks.Callback):
    """Keras reports the mean loss of the epoch so far; this makes `loss` that of the step itself."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()


class Journal(StepCallback):
    """metrics.jsonl and TensorBoard scalars: loss and learning rate, every few steps. `seconds` counts on after a
    resume."""

    def __init__(self, run_dir: Path, every: int):
        super().__init__()
        self.file = run_dir / "metrics.jsonl"
        self.writer = tf.summary.create_file_writer(str(run_dir / "logs" / "train"))
        self.every = every
        self.start = time.time() - max((row.get("seconds", 0.0) for row in read_metrics(self.file)), default=0.0)

    def after_step(self, step, logs):
        if step % self.every and step != 1:
            return
        rate, seconds = float(self.model.optimizer.learning_rate), round(time.time() - self.start, 3)
        append_json(self.file, {"step": step, "loss": float(logs["loss"]), "learning_rate": rate, "seconds": seconds})
        with self.writer.as_default(step):
            tf.summary.scalar("loss", logs["loss"])
            tf.summary.scalar("learning_rate", rate)
        self.writer.flush()  # a killed run shall have lost nothing before its last state


def append_json(path: Path, row: dict) -> None:
    """Adds one line of JSON to a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class Validation(StepCallback):
    """Scores the network on the validation split, and keeps the best one and those of named steps.

    Attributes:
        judge: the key of the score that says which network is the best.
        best: the highest such score so far.
        step: the last one that something was to be done at.
        pending: that is not done to its end; what resumes from the state of this step does it first.
    """

    def __init__(
        self,
        publisher,
        scorer,
        *,
        every: int,
        steps: int,
        save_steps=(),
        judge: str = "miou",
        watchers: Sequence[keras.callbacks.Callback] = (),
    ):
        """
        Args:
            publisher: `Publisher`: gives the network to be scored.
            scorer: called with a runtime and the step; returns the report, after writing it where it belongs.
            every, steps, save_steps: when; the last step is always scored.
            watchers: callbacks that get `on_test_begin` and `on_test_end` of each validation.
        """
        super().__init__()
        self.watchers = watchers
        self.publisher, self.scorer, self.judge = publisher, scorer, judge
        self.every, self.steps, self.save_steps = every, steps, set(save_steps)
        self.best, self.step, self.pending = -1.0, 0, False

    def after_step(self, step, logs):
        self.pending = step in self.save_steps or self._scores(step)
        if self.pending:
            self.finish(step)

    def finish(self, step: int) -> None:
        """Does what is to be done at a step."""
        self.step = step
        if step in self.save_steps:
            self.publisher.save(f"kept/step_{step:08d}.keras")
        if self._scores(step):
            for watcher in self.watchers:
                watcher.on_test_begin()
            report = self.scorer(self.publisher.runtime(), step)
            score = report[self.judge] if report[self.judge] is not None else 0.0
            if score > self.best:
                self.publisher.save("best.keras")
                self.best = score
            scores = {name: report[name] for name in ("miou", "pixel_accuracy", "pq") if name in report}
            for watcher in self.watchers:
                watcher.on_test_end(scores)
        self.pending = False

    def _scores(self, step):
        """Return whether a step is scored; so is the one at which a callback ends the training."""
        return step % self.every == 0 or step == self.steps or self.model.stop_training


class Publisher:
    """The network as it goes out of the lab: float32, without optimizer or auxiliary head, with the averaged weights if
    there are such."""

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
        with state.replacing(path, f".{path.stem}.tmp.keras") as temporary:  # Keras wants the ending
            self.outgoing.save(temporary)


class Checkpoints(StepCallback):
    """The state to resume from: every few steps, at the end, and when training is stopped."""

    def __init__(self, folder: Path, validation: Validation, stop: StopSignal, *, every: int, steps: int):
        super().__init__()
        self.folder, self.validation, self.stop = folder, validation, stop
        self.every, self.steps = every, steps
        self.last = 0

    def after_step(self, step, logs):
        self.last, self.stop.worth_saving = step, True
        if step % self.every == 0 or step == self.steps or self.stop.requested or self.model.stop_training:
            self.save(step)
        if step < self.steps:
            self.stop.check()

    def save(self, step: int) -> None:
        """Writes the state after a step."""
        extra = {"best": self.validation.best, "pending": self.validation.pending}
        state.save(self.folder, step, self.model, self.model.optimizer, extra)
        self.stop.worth_saving = False
