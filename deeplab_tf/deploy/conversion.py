"""What `convert` does with a bundle on every machine: build the engines that the machine can, measure, show a table."""

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import megabytes
from deeplab_tf.core.tables import number, text_table

if TYPE_CHECKING:  # the command's help needs TARGETS, and no NumPy
    import numpy as np

    from deeplab_tf.core.bundle import Bundle

TARGETS = ("saved_model", "tf_trt", "onnx", "tensorrt", "openvino", "litert")
"""What a network is converted to: the runtime that each is for."""
DEFAULT_TARGETS = TARGETS[:-1]
"""What a run is converted to unless it is told otherwise: all but .tflite files."""
BUILT_ON_THE_DEVICE = ("tf_trt", "tensorrt")

_FAILED = "failed: "
NOT_HERE = "no engine here: "


class Row(NamedTuple):
    """One line of the table; None for what was not measured.

    Attributes:
        target: of TARGETS, or "keras".
        difference: largest absolute difference of a logit from Keras.
        memory_mb: peak of a process that does nothing else.
        timed: whether it can run as the runtime's own.
        pq: of a panoptic network.
    """

    target: str
    precision: str
    megabytes: Optional[float] = None
    build_s: Optional[float] = None
    difference: Optional[float] = None
    miou: Optional[float] = None
    fps: Optional[float] = None
    memory_mb: Optional[float] = None
    note: str = ""
    timed: bool = True
    pq: Optional[float] = None


def build_engines(
    bundle: "Bundle", precision: str, targets: Sequence[str], *, strict: bool = False, say=print, **options
) -> List[Row]:
    """Build the engines of a bundle with TensorRT and TF-TRT; return a row for each, with the reason if it failed.

    Args:
        precision: "int8", "float16" or "float32".
        targets: of TARGETS.
        strict: refuse if a GPU lacks the precision, instead of taking the next.
        options: for `build` of tf_trt, such as frames to calibrate on.
    Raises:
        DeepLabError: with `strict`, if an engine cannot be built as asked, or none can.
    """
    wanted = [name for name in BUILT_ON_THE_DEVICE if name in targets]
    rows = [_build(bundle, name, precision, strict, say, options if name == "tf_trt" else {}) for name in wanted]
    failed = [row for row in rows if row.megabytes is None]
    if strict and failed and (len(failed) == len(rows) or any(row.note.startswith(_FAILED) for row in failed)):
        raise DeepLabError(" ".join(f"{row.target} {row.precision} was not built: {row.note}" for row in failed))
    return rows


def _build(bundle, name, precision, strict, say, options):
    from deeplab_tf.deploy import runtimes

    runtime = runtimes.module(name)
    source = runtime.PRECISIONS[precision]
    if source not in bundle and not options:
        again = "convert the run again with --int8" if precision == "int8" else "convert the run again"
        return Row(name, precision, note=f"the bundle has no {source}: {again}", timed=False)
    reason = runtime.missing()
    if reason is not None:
        return Row(name, precision, note=f"{NOT_HERE}{reason}", timed=False)
    try:
        made = runtime.build(bundle, precision, strict=strict, say=say, **options)
    except DeepLabError as error:
        return Row(name, precision, note=f"{_FAILED}{error}", timed=False)
    note = "engine, reused" if made["reused"] else "engine"
    return Row(name, made["precision"], made["megabytes"], made["seconds"], note=note, timed=not options)


def exported(bundle: "Bundle", seconds: Dict[str, float], differences: Dict[str, float]) -> List[Row]:
    """Return a row for each network in a bundle, under the first target and lowest precision that starts from it; where
    that one is built on the device, another for the first target that runs it as it is.

    Args:
        seconds, differences: by the file's name.
    """
    from deeplab_tf.deploy import runtimes

    rows: Dict[str, Row] = {}
    for target in TARGETS:
        later = target in BUILT_ON_THE_DEVICE
        for precision, name in reversed(list(runtimes.module(target).PRECISIONS.items())):
            known = rows.get(name)
            if name in bundle and (known is None or not later and not known.timed):
                measured = megabytes(bundle.file(name)), seconds.get(name), differences.get(name)
                note = "built on the device" if later else ""
                key = name if known is None else f"{name} as it is"
                rows[key] = Row(target, precision, *measured, note=note, timed=not later)
    return list(rows.values())


def runnable(rows: Sequence[Row]) -> List[Row]:
    """Return the rows that this machine can run."""
    from deeplab_tf.deploy import runtimes

    missing = {name: runtimes.module(name).missing() for name in {row.target for row in rows} if name in TARGETS}
    return [row for row in rows if missing.get(row.target, "") is None and row.megabytes is not None and row.timed]


def measured(
    bundle: "Bundle",
    rows: Sequence[Row],
    images: "np.ndarray",
    truth: Sequence[Optional["np.ndarray"]],
    seconds: float,
    panoptic: Optional[Sequence["np.ndarray"]] = None,
    whole: Optional[Sequence["np.ndarray"]] = None,
) -> List[Row]:
    """Return the rows with frames/s, memory, mIoU and PQ of those that run here, each in a process of its own.

    Args:
        images: (N, H, W, 3) uint8 RGB at the network's size.
        truth: their label maps; None for an image that has none.
        seconds: how long each is timed.
        panoptic: true panoptic maps of the images; no PQ if left out.
        whole: the images at their own sizes, to score on, where the bundle's mode is not stretch.
    """
    from deeplab_tf.deploy.compare.plan import Variant
    from deeplab_tf.deploy.compare.runner import run_all

    able = runnable(rows)
    variants = [Variant(row.target, row.precision) for row in able]
    outcomes = {}
    if variants:
        found = run_all(
            bundle.path, variants, images, seconds=seconds, once=True, truth=truth, panoptic=panoptic, whole=whole
        )
        outcomes = dict(zip(able, found))
    return [_with(row, outcomes.get(row)) for row in rows]


def _with(row, outcome):
    from deeplab_tf.core.metrics.latency import percentiles

    if outcome is None:
        return row
    if outcome.error is not None:
        return row._replace(note=_FAILED + outcome.error)
    (visit,) = outcome.visits
    milliseconds = sum(percentiles(visit["latency_ms"][stage])["p50"] for stage in ("upload", "run", "download"))
    return row._replace(
        fps=1000.0 / milliseconds, memory_mb=visit["peak_memory_mb"], miou=visit.get("miou"), pq=visit.get("pq")
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table. Changes in mIoU and PQ are relative to the first row."""
    scores = {"miou": "mIoU"}
    if any(row.pq is not None for row in rows):
        scores["pq"] = "PQ"
    cells = [["target", "precision", "MB", "build s", "largest difference"]]
    for title in scores.values():
        cells[0] += [title, "change"]
    cells[0] += ["frames/s", "memory MB", "note"]
    for row in rows:
        cells.append([row.target, row.precision, number(row.megabytes, "{:.1f}"), number(row.build_s, "{:.1f}")])
        cells[-1].append(number(row.difference, "{:.2g}"))
        for key in scores:
            score, first = getattr(row, key), getattr(rows[0], key)
            change = None if score is None or first is None or row is rows[0] else score - first
            cells[-1] += [number(score, "{:.4f}"), number(change, "{:+.4f}")]
        cells[-1] += [number(row.fps, "{:.2f}"), number(row.memory_mb, "{:.0f}"), row.note]
    return text_table(cells, left=(0, 1, -1), rule=True)
