"""Scores during training, for metrics.jsonl and TensorBoard."""

from pathlib import Path

import tensorflow as tf

from deeplab_tf.core import draw
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.progress import progress
from deeplab_tf.lab.data.split import Split, Subset
from deeplab_tf.lab.evaluation.evaluate import Evaluation
from deeplab_tf.lab.evaluation.figures import confusion_figure
from deeplab_tf.lab.evaluation.shared import evaluate_shared
from deeplab_tf.lab.training.callbacks import append_json
from deeplab_tf.lab.training.stopping import StopSignal
from deeplab_tf.lab.workers import ALONE, Workers

PANELS = 3
"""Frames shown in TensorBoard at each validation; the same ones each time."""


class ValidationScorer:
    """Scores a runtime on the validation split, and writes the scores to metrics.jsonl and TensorBoard."""

    def __init__(self, split: Split, run_dir: Path, images: int | None, stop: StopSignal, workers: Workers = ALONE):
        """
        Args:
            split: validation frames.
            run_dir: gets lines in metrics.jsonl and events under logs/val.
            images: number of frames to score on, evenly spread; None for all.
            stop: checked before each frame.
            workers: share the frames; the first one writes.
        """
        self.workers = workers
        self.split = split if images is None else Subset(split, images)
        self.run_dir = run_dir
        self.stop = stop
        if workers.writes:
            self.writer = tf.summary.create_file_writer(str(run_dir / "logs" / "val"))

    def __call__(self, runtime, step: int) -> dict:
        """Return the report of the evaluation after `step` steps."""
        self.stop.check()  # of several workers all stop here, also those without an image of their own
        evaluation = evaluate_shared(
            runtime,
            self.split,
            self.workers,
            progress=lambda items: self.stop.watch(progress(items, f"validate at step {step}")),
        )
        report = evaluation.report()
        del report["warnings"]  # the check of the data has said it, once
        if self.workers.writes:
            append_json(self.run_dir / "metrics.jsonl", {"step": step, "val": report})
            self._to_tensorboard(evaluation, report, runtime, step)
        return report

    def _to_tensorboard(self, evaluation: Evaluation, report, runtime, step):
        with self.writer.as_default(step):
            scores = {f"iou/{name}": value for name, value in report["iou"].items()}
            scores.update(
                (name, report.get(name)) for name in ("miou", "pixel_accuracy", "pq", "pq_things", "pq_stuff")
            )
            for name, value in scores.items():
                if value is not None:
                    tf.summary.scalar(name, value)
            for index in range(min(PANELS, len(self.split))):
                tf.summary.image(f"panel/{index}", self._panel(index, runtime)[None])
            figure = confusion_figure(evaluation.confusion, evaluation.table, f"step {step}")
            tf.summary.image("confusion_matrix", figure[None])
        self.writer.flush()

    def _panel(self, index, runtime):
        """Return image, truth and prediction side by side."""
        frame, table = self.split.scored_sample(index), self.split.table
        predicted = predict(runtime, frame.image, frame.label_map.shape)
        panels = [frame.image, draw.colorize(frame.label_map, table), draw.colorize(predicted.label_map, table)]
        truth = self.split.panoptic_map(index)
        if truth is not None:
            draw.outline(panels[1], truth)
            draw.outline(panels[2], predicted.panoptic)
        return draw.side_by_side(panels, ["image", "truth", "prediction"])
