"""Takes a run folder back to the step of its saved state: what a killed run wrote after it is about to be written
again."""

import json
from pathlib import Path

import tensorflow as tf
from tensorflow.core.util.event_pb2 import Event

from deeplab_tf.lab.training.state import write_atomic


def rewind(run_dir: Path, step: int, *, validated: bool = True) -> None:
    """Removes unfinished files, and from metrics.jsonl and the TensorBoard logs what lies behind a step.

    Args:
        run_dir: a run folder.
        step: the last step that stays.
        validated: whether the scores of that step stay too; not if its validation was broken off.
    """
    for unfinished in list(run_dir.rglob(".*.tmp*")):
        unfinished.unlink()
    last_scores = step if validated else step - 1
    _rewind_metrics(run_dir / "metrics.jsonl", step, last_scores)
    for folder, last in (("train", step), ("val", last_scores)):
        for path in sorted((run_dir / "logs" / folder).glob("events.out.tfevents.*")):
            _rewind_events(path, last)


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; half a line, from a run that was killed, is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _rewind_metrics(path, last_step, last_scores):
    if path.is_file():
        rows = [row for row in read_metrics(path) if row["step"] <= (last_scores if "val" in row else last_step)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomic(path, lambda file: file.write(text.encode()))


def _rewind_events(path, last_step):
    """Rewrites a file of events without those after `last_step` and without what is torn at its end."""
    whole = list(_read_records(path))
    kept = [record for record in whole if Event.FromString(record).step <= last_step]
    if len(kept) < 2:  # only the version with which every file begins
        path.unlink()
        return
    temporary = path.with_name(f".{path.name}.tmp")
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for record in kept:
            writer.write(record)
    temporary.replace(path)


def _read_records(path):
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError:  # the run was killed while it wrote this record
        return
