"""What `convert` does on every machine once there is a bundle: builds the engines that the machine can, measures, and
shows a table."""

import os
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy import runtimes

TARGETS = ("saved_model", "tf_trt", "onnx", "tensorrt")
BUILT_ON_THE_DEVICE = ("tf_trt", "tensorrt")

EXPORTED = (
    ("saved_model", "float32"),
    ("tf_trt", "float32"),
    ("tf_trt", "int8"),
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("tensorrt", "int8"),
)
"""Target and precision of the rows for a bundle's own files."""


_FAILED = "failed: "


class Row(NamedTuple):
    """One line of the table; None where it was not measured."""

    target: str
    precision: str
    megabytes: Optional[float] = None
    build_s: Optional[float] = None
    difference: Optional[float] = None  # largest, of a class score, from Keras'
    miou: Optional[float] = None
    fps: Optional[float] = None
    memory_mb: Optional[float] = None  # peak of a process that does nothing else
    note: str = ""
    timed: bool = True  # whether it can be run as the runtime's own
    pq: Optional[float] = None  # where the network predicts instances


def build_engines(
    bundle: Bundle, precision: str, targets: Sequence[str], *, strict: bool = False, say=print, **options
) -> List[Row]:
    """Builds what the machine's TensorRT and TF-TRT make of a bundle; a row for each, with the reason where it could
    not be.

    Args:
        precision: "int8", "float16" or "float32".
        targets: of TARGETS.
        strict: refuse where a GPU lacks the precision, instead of taking the next.
        options: for `build` of tf_trt, such as frames to calibrate on.
    Raises:
        DeepLabError: with `strict`, where an engine cannot be built as asked, or none can.
    """
    wanted = [name for name in BUILT_ON_THE_DEVICE if name in targets]
    rows = [_build(bundle, name, precision, strict, say, options if name == "tf_trt" else {}) for name in wanted]
    failed = [row for row in rows if row.megabytes is None]
    if strict and failed and (len(failed) == len(rows) or any(row.note.startswith(_FAILED) for row in failed)):
        raise DeepLabError(" ".join(f"{row.target} {row.precision} was not built: {row.note}" for row in failed))
    return rows


def _build(bundle, name, precision, strict, say, options):
    source = runtimes.needs(name, precision)
    if source not in bundle and not options:
        again = "convert the run again with --int8" if precision == "int8" else "convert the run again"
        return Row(name, precision, note=f"the bundle has no {source}: {again}", timed=False)
    reason = runtimes.module(name).missing()
    if reason is not None:
        return Row(name, precision, note="no engine here: " + reason, timed=False)
    try:
        made = runtimes.module(name).build(bundle, precision, strict=strict, say=say, **options)
    except DeepLabError as error:
        return Row(name, precision, note=_FAILED + str(error), timed=False)
    note = "engine, as before" if made["reused"] else "engine"
    return Row(name, made["precision"], made["megabytes"], made["seconds"], note=note, timed=not options)


def exported(bundle: Bundle, seconds: Dict[str, float], differences: Dict[str, float]) -> List[Row]:
    """A row for each network in a bundle.

    Args:
        seconds, differences: by the file's name.
    """
    rows = []
    for target, precision in EXPORTED:
        name = runtimes.needs(target, precision)
        if name in bundle:
            later = target in BUILT_ON_THE_DEVICE
            figures = _megabytes(bundle.file(name)), seconds.get(name), differences.get(name)
            rows.append(Row(target, precision, *figures, note="built on the device" if later else "", timed=not later))
    return rows


def runnable(rows: Sequence[Row]) -> List[Row]:
    """Those that this machine can run."""
    missing = {name: runtimes.module(name).missing() for name in {row.target for row in rows} if name in TARGETS}
    return [row for row in rows if missing.get(row.target, "") is None and row.megabytes is not None and row.timed]


def measured(
    bundle: Bundle,
    rows: Sequence[Row],
    images: np.ndarray,
    truth: Sequence[Optional[np.ndarray]],
    seconds: float,
    panoptic: Optional[Sequence[np.ndarray]] = None,
) -> List[Row]:
    """The rows with frames/s, memory, mIoU and PQ of those that run here, each in a process of its own.

    Args:
        images: (N, H, W, 3) uint8 RGB at the network's size.
        truth: their label maps; None for an image that has none.
        seconds: how long each is timed.
        panoptic: true panoptic maps of the images; no PQ where left out.
    """
    from deeplab_tf.deploy.compare.plan import Pair
    from deeplab_tf.deploy.compare.runner import run_all

    able = runnable(rows)
    pairs = [Pair(row.target, row.precision) for row in able]
    found = run_all(bundle.path, pairs, images, seconds=seconds, once=True, truth=truth) if pairs else []
    outcomes = dict(zip(able, found))
    return [_with(row, outcomes.get(row), truth, panoptic, bundle) for row in rows]


def _with(row, outcome, truth, panoptic, bundle):
    from deeplab_tf.deploy.compare.report import miou, pq

    if outcome is None:
        return row
    if outcome.error is not None:
        return row._replace(note="failed: " + outcome.error)
    visit = outcome.visits[0]
    run = float(
        np.median(visit["latency_ms"]["upload"])
        + np.median(visit["latency_ms"]["run"])
        + np.median(visit["latency_ms"]["download"])
    )
    score = miou(outcome.labels_to_score, truth, len(bundle.table), bundle.label_stride)
    quality = None
    if panoptic is not None and outcome.panoptic is not None:
        quality = pq(outcome.panoptic, panoptic, bundle.table, bundle.label_stride)
    return row._replace(fps=1000.0 / run, memory_mb=visit["peak_memory_mb"], miou=score, pq=quality)


def table(rows: Sequence[Row]) -> str:
    """The rows as a person reads them. Changes in mIoU and PQ are from the first row's."""
    scores = [key for key in ("miou", "pq") if key == "miou" or any(row.pq is not None for row in rows)]
    head = ("target", "precision", "MB", "build s", "largest difference")
    for key in scores:
        head += ({"miou": "mIoU", "pq": "PQ"}[key], "change")
    head += ("frames/s", "memory MB", "")
    lines = [head]
    for row in rows:
        cells = (_text(row.megabytes, "{:.1f}"), _text(row.build_s, "{:.1f}"), _text(row.difference, "{:.2g}"))
        for key in scores:
            score, first = getattr(row, key), getattr(rows[0], key)
            change = None if score is None or first is None or row is rows[0] else score - first
            cells += (_text(score, "{:.4f}"), _text(change, "{:+.4f}"))
        cells += (_text(row.fps, "{:.2f}"), _text(row.memory_mb, "{:.0f}"))
        lines.append((row.target, row.precision) + cells + (row.note,))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    rule = tuple("-" * width for width in widths)
    texts = (0, 1, len(head) - 1)
    aligned = [
        [cell.ljust(width) if i in texts else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        for line in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in [aligned[0], rule] + aligned[1:])


def _text(value, form):
    return "-" if value is None else form.format(value)


def _megabytes(path):
    if os.path.isfile(path):
        return os.path.getsize(path) / 1e6
    return (
        sum(os.path.getsize(os.path.join(parent, name)) for parent, _, files in os.walk(path) for name in files) / 1e6
    )
