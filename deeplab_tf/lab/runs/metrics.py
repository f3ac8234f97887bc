"""metrics.jsonl of a run: a line for each logged step, and one for each validation.

{"step": 20, "loss": 0.91, "learning_rate": 0.001, "seconds": 31.2}
{"step": 100, "val": {"miou": 0.45, ...}}
{"step": 600, "steps": 900, "steps_before": 600}

The last kind stands where a run was made longer or shorter.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import Value, read_bytes

FILE = "metrics.jsonl"
MAX_BYTES = 1 << 28
MAX_STEP = 10_000_000


def read_metrics(run: str | Path, say: Callable[[str], None] = lambda text: None) -> list[dict]:
    """Return the rows of a run's metrics.jsonl; none where there is no such file.

    Args:
        say: called with a sentence where the last line is incomplete, as a killed run leaves it; it is left out.

    Raises:
        DeepLabError: another line is no row, with its number.
    """
    path = Path(run, FILE)
    if not os.path.lexists(path) or path.is_file() and not path.stat().st_size:
        return []
    *lines, last = read_bytes(path, MAX_BYTES).split(b"\n")
    rows = [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    if last:
        try:
            rows.append(_row(last, str(path)))
        except DeepLabError:
            say(f"{path}: its last line is incomplete and left out.")
    _check_order(rows, path)
    return rows


def best_step(run: str | Path) -> int | None:
    """Return the step of best.keras: the first with the highest validation score (PQ where the network predicts
    instances, else mIoU) in metrics.jsonl; None if there is none."""
    best = None
    for row in read_metrics(run):
        scores = row.get("val", {})
        score = scores.get("pq" if scores.get("pq_method") == "centers" else "miou")
        if score is not None and (best is None or score > best[0]):
            best = (score, row["step"])
    return best and best[1]


def _row(line, place) -> dict:
    """Return the row of a line, checked as far as anything reads it."""
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise DeepLabError(f"{place} is no row of JSON; remove the line.") from None
    value = Value(row, place)
    value["step"].integer(0, MAX_STEP)
    for key, low in (("seconds", 0.0), ("loss", -1e38), ("learning_rate", 0.0)):
        number = value.get(key)
        if number is not None:
            number.number(low, 1e38)
    scores = value.get("val")
    for score in (scores.get("miou"), scores.get("pq")) if scores else ():
        if score is not None:
            score.number(0.0, 1.0)
    return row


def _refuse(text):
    raise ValueError(f"{text} is no number")


def _check_order(rows, path):
    last = {False: -1, True: -1}  # of losses, of validations
    for number, row in enumerate(rows, 1):
        if "steps" in row:
            continue
        kind, step = "val" in row, row["step"]
        if step <= last[kind] or step < max(last.values()):
            raise DeepLabError(f"{path}, line {number}: step {step} stands after step {max(last.values())}.")
        last[kind] = step
