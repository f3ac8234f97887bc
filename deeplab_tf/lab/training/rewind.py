"""Rewind a run folder to the step of its saved state, because a killed run's later records will be written again."""

import json
import re
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from deeplab_tf.core.files import replacing, write_text
from deeplab_tf.core.progress import say
from deeplab_tf.lab.runs.metrics import read_metrics

UNFINISHED_BEFORE = re.compile(
    r"\.(best|step_\d+)\.(tmp\.keras|npz\.\d+\.tmp)|"
    r"\.(best|step_\d+|config|classes|ranges|metrics|events\.out\..+)\.[0-9a-f]{8}\.part(\.\w+)?"
)
"""What a killed process left of a file that it was writing, up to version 0.1; `core.files.locked` removes today's."""


def rewind(run_dir: Path, step: int, *, validated: bool = True) -> None:
    """Remove unfinished files, and what metrics.jsonl and the TensorBoard logs hold behind a step.

    Args:
        run_dir: a run folder.
        step: the last step that stays.
        validated: whether that step's validation was finished, so that its scores stay too.
    """
    for path in list(run_dir.rglob(".*")):
        if UNFINISHED_BEFORE.fullmatch(path.name) and path.is_file():
            path.unlink()
    last_scores = step if validated else step - 1
    _rewind_metrics(run_dir, step, last_scores)
    for folder, last in (("train", step), ("val", last_scores)):
        for path in sorted((run_dir / "logs" / folder).glob("events.out.tfevents.*")):
            if path.is_file():
                _rewind_events(path, last)


def _rewind_metrics(run_dir, last_step, last_scores):
    rows = [row for row in read_metrics(run_dir, say) if row["step"] <= (last_scores if "val" in row else last_step)]
    if (run_dir / "metrics.jsonl").is_file():
        write_text(run_dir / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _rewind_events(path, last_step):
    """Rewrite a file of events without those after `last_step` and without a torn end. A file that is none is left as
    it is."""
    records = list(_read_records(path))
    events = [record for step, record in records if step <= last_step]
    if not records and path.stat().st_size:
        return
    if len(events) < 2:  # only the version with which every file begins
        path.unlink()
        return
    with replacing(path) as temporary, tf.io.TFRecordWriter(temporary) as writer:
        for record in events:
            writer.write(record)


def _read_records(path):
    """Yield the step and the bytes of each event."""
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.compat.v1.Event.FromString(record.numpy()).step, record.numpy()
    except (tf.errors.DataLossError, DecodeError):  # most often, the run was killed while it wrote this record
        say(f"{path} is damaged from some event on; what follows is missing from TensorBoard.")
