"""Keras callbacks of a run. Each does one thing."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress, say
from deeplab_tf.core.tables import number
from deeplab_tf.lab.config import Training
from deeplab_tf.lab.data.pipeline import TrainingPipeline
from deeplab_tf.lab.runs.metrics import read_metrics
from deeplab_tf.lab.training import state
from deeplab_tf.lab.training.stopping import StopSignal
from deeplab_tf.lab.training.weight_export import WeightExport
from deeplab_tf.lab.workers import ALONE, Workers


class StepCallback(keras.callbacks.Callback):
    """A callback that gets finished steps by their number in the whole run, which continues after a resume."""

    first_step = 0

    def on_train_batch_end(self, batch, logs=None):
        self.after_step(self.first_step + batch + 1, logs or {})

    def after_step(self, step: int, logs: dict) -> None:
        """React to the end of a step; `logs` holds its `loss`."""
        raise NotImplementedError


class StepLoss(keras.callbacks.Callback):
    """Makes `loss` in the logs that of the step; Keras reports the mean of the epoch so far."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.reset_metrics()


class StopOnNaN(StepCallback):
    """Stops before a broken network is saved, and names the step and its frames.

    The loss of a step is that of the weights before it, so the weights after it are checked too.
    """

    def __init__(self, pipeline: TrainingPipeline):
        super().__init__()
        self.pipeline = pipeline
        self._all_finite = tf.function(self._finite_weights, jit_compile=False)

    def after_step(self, step, logs):
        if not math.isfinite(logs["loss"]):
            self._stop(f"The loss became {logs['loss']} at step {step}", step)
        if not self._all_finite():
            self._stop(f"Weights are no longer finite after step {step} (its loss was {logs['loss']:.3g})", step)

    def _finite_weights(self):
        weights = [v for v in self.model.variables if v.dtype.startswith("float")]
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in weights])

    def _stop(self, what, step):
        raise DeepLabError(
            f"{what}; the batch held {', '.join(self.pipeline.files(step - 1))}. Nothing of it was saved. Lower "
            "optimizer.learning_rate, set optimizer.clip_norm, or look at these frames."
        )


SLOW_STEPS = 2
"""Steps that say nothing about the rest: the first traces the network, the second still allocates."""


class Progress(StepCallback):
    """Shows steps, rate, time left and loss in one line."""

    def __init__(self, options: Training):
        super().__init__()
        self.options = options

    def on_train_begin(self, logs=None):
        steps = self.options.steps
        self.bar = progress(steps, "train", unit="steps", done=self.first_step, slow=SLOW_STEPS)
        self.bar.say("Tracing the network (the first step takes half a minute) ...")
        self.bar.__enter__()

    def after_step(self, step, logs):
        self.bar.advance(1, note=f"loss {logs['loss']:.3f}")

    def on_train_end(self, logs=None):
        self.bar.__exit__(None, None, None)


class MetricsLogger(StepCallback):
    """Writes loss and learning rate to metrics.jsonl and TensorBoard; `seconds` continues after a resume."""

    def __init__(self, run_dir: Path, every: int):
        super().__init__()
        self.file = run_dir / "metrics.jsonl"
        self.writer = tf.summary.create_file_writer(str(run_dir / "logs" / "train"))
        self.every = every
        self.start = time.time() - max((row.get("seconds", 0.0) for row in read_metrics(run_dir)), default=0.0)

    def after_step(self, step, logs):
        if step % self.every and step != 1:
            return
        rate, seconds = float(self.model.optimizer.learning_rate), round(time.time() - self.start, 3)
        append_json(self.file, {"step": step, "loss": float(logs["loss"]), "learning_rate": rate, "seconds": seconds})
        with self.writer.as_default(step):
            tf.summary.scalar("loss", logs["loss"])
            tf.summary.scalar("learning_rate", rate)
        self.writer.flush()  # a killed run must lose nothing before its last saved state


def append_json(path: Path, row: dict) -> None:
    """Append one line of JSON to a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class Validation(StepCallback):
    """Scores the network on the validation split, and saves the newest one, the best one and those of named steps.

    Attributes:
        monitor: the key of the score that the best network has the highest of.
        best: the highest such score so far; -1 where none was defined.
        waited: how many scores in a row were not above the best.
        step: the last step with a pending action.
        pending: whether that action is unfinished; a run that resumes from this step's state does it first.
    """

    def __init__(
        self,
        export: WeightExport,
        scorer: Callable[..., dict],
        options: Training,
        monitor: str,
        watchers: Sequence[keras.callbacks.Callback],
    ):
        """
        Args:
            export: makes and saves the network to score.
            scorer: called with a runtime and the step; writes down and returns the report.
            options: say at which steps; the last one is always scored.
            monitor: see above.
            watchers: callbacks that get `on_test_begin` and `on_test_end` of each validation.
        """
        super().__init__()
        self.export, self.scorer, self.options, self.monitor, self.watchers = export, scorer, options, monitor, watchers
        self.best, self.waited, self.step, self.pending = -1.0, 0, 0, False

    def after_step(self, step, logs):
        self.pending = step in self.options.save_steps or self._scores(step)
        if self.pending:
            self.finish(step)

    def finish(self, step: int) -> None:
        """Save and score the network after a step, as far as that is due."""
        self.step = step
        if step in self.options.save_steps:
            self.export.save(f"kept/step_{step:08d}.keras")
        # What is pending at no step to save is a score, also where the callback that ended the training is gone.
        if self._scores(step) or step not in self.options.save_steps:
            for watcher in self.watchers:
                watcher.on_test_begin()
            report = self.scorer(self.export.runtime(), step)
            self.export.save("last.keras")
            self._compare(report[self.monitor])
            say(score_line(step, report, self.monitor, self.best))
            logs = {name: report[name] for name in ("miou", "pixel_accuracy", "pq") if name in report}
            for watcher in self.watchers:
                watcher.on_test_end(logs)
            if self.out_of_patience:
                self.model.stop_training = True
        self.pending = False

    @property
    def out_of_patience(self) -> bool:
        """Whether the training ends early."""
        return self.options.patience is not None and self.waited >= self.options.patience

    def _compare(self, score):
        """Keep the network if its score is defined and above the best."""
        if score is None or score <= self.best:
            self.waited += 1
            return
        self.export.save("best.keras")
        self.best, self.waited = score, 0

    def _scores(self, step):
        """Return whether a step is scored; so is the one at which a callback ends the training."""
        return step % self.options.validate_every == 0 or step == self.options.steps or self.model.stop_training


def score_line(step: int, report: dict, monitor: str, best: float) -> str:
    """Return a validation's line: "step 600: mIoU 0.499, pixel accuracy 0.931 (best so far)".

    Args:
        report: an evaluation's.
        monitor: the key of the score that `best`, the highest so far or -1, is of.
    """
    names = {"pq": "PQ", "miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    keys = [monitor, *(key for key in names if key in report and key != monitor)]
    scores = [f"{names[key]} {number(report[key])}" for key in keys]
    mark = "best so far" if report[monitor] == best else f"best: {best:.3f}" if best >= 0 else "no best yet"
    return f"step {step}: {', '.join(scores)} ({mark})"


class AgreedStop(StepCallback):
    """Stops all workers after the same step: the one in which a signal or a callback has stopped any of them."""

    def __init__(self, stop: StopSignal, workers: Workers):
        super().__init__()
        self.stop, self.workers = stop, workers

    def after_step(self, step, logs):
        stopped = self.workers.any(self.stop.requested, bool(self.model.stop_training))
        self.stop.agreed, self.model.stop_training = stopped
        self.workers.agreed = self.stop.agreed


class Checkpoints(StepCallback):
    """Saves the state to resume from: every few steps, at the end, and when training is stopped; worker 0 does."""

    def __init__(
        self, folder: Path, validation: Validation, stop: StopSignal, options: Training, workers: Workers = ALONE
    ):
        super().__init__()
        self.workers = workers
        self.folder, self.validation, self.stop, self.options, self.last = folder, validation, stop, options, 0

    def after_step(self, step, logs):
        self.last, self.stop.worth_saving = step, True
        ends = step == self.options.steps or self.stop.due or self.model.stop_training
        if ends or step % self.options.checkpoint_every == 0:
            self._check_weights(step)
            self.save(step)
        if step < self.options.steps:
            self.stop.check()

    def _check_weights(self, step):
        """Find out whether all workers still have the same network, before it is saved."""
        if self.workers.size > 1:
            digest = state.digest(self.model, self.model.optimizer)
            self.workers.check_alike({f"the weights after step {step} (digest)": digest[:16]})

    def save(self, step: int) -> None:
        """Save the state after a step."""
        validation = self.validation
        extra = {"best": validation.best, "waited": validation.waited, "pending": validation.pending}
        if self.workers.writes:
            state.save(self.folder, step, self.model, self.model.optimizer, extra)
        self.stop.worth_saving = self.stop.shared  # several stop after the same step, never at once
