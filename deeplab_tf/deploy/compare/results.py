"""The results of `compare`, as JSON and as tables."""

from typing import Any, Dict, List, Optional, Sequence

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.metrics.latency import percentiles
from deeplab_tf.core.progress import counted
from deeplab_tf.core.tables import number, text_table
from deeplab_tf.deploy import device
from deeplab_tf.deploy.compare import scores
from deeplab_tf.deploy.compare.labeled_frames import LabeledFrames
from deeplab_tf.deploy.compare.runner import Outcome
from deeplab_tf.deploy.compare.worker import SCORES, STAGES
from deeplab_tf.deploy.conversion import BUILT_ON_THE_DEVICE

CLAIM: Dict[str, Any] = {"before_fps": 10.0, "after_fps": 25.0, "size": [512, 1024]}
"""Frames/s in table 2 of Huang et al. (2025): a Jetson Nano, plain TensorFlow and TensorRT, on Cityscapes."""

UNSTEADY = 0.1
"""Larger relative differences between the visits of one runtime make its times doubtful."""

_FIGURES = (
    "fps",
    "latency_ms",
    "spread",
    "agreement",
    "agreement_by_class",
    "agreement_pq",
    *SCORES,
    "peak_memory_mb",
    "system_memory_mb",
    "power_w",
    "temperature_c",
    "throttled",
    "load_s",
    "runs",
    "warmed_up",
)


def report(
    bundle: Bundle,
    frames: LabeledFrames,
    outcomes: Sequence[Outcome],
    missing: Dict[str, Optional[str]],
    problems: Sequence[str],
) -> dict:
    """Return the JSON report.

    Args:
        outcomes: from `runner.run_all`.
        missing: from `plan.missing_runtimes`.
        problems: of the machine, from `jetpack.problems`.
    """
    found, machine = rows(outcomes, bundle), device.fingerprint()
    return {
        "bundle": bundle.path,
        "source": frames.source,
        "frames": len(frames.images),
        "size": list(bundle.size),
        "label_stride": bundle.label_stride,
        "device": machine,
        "runtimes": found,
        "not_here": {name: reason for name, reason in sorted(missing.items()) if reason is not None},
        "warnings": [*scores.about_truth(frames.truth, bundle.table), *warnings(found, problems)],
        "claims": CLAIM if _is_claimed(bundle, machine) else None,
    }


def _is_claimed(bundle, machine):
    """Return whether CLAIM is about this network (Cityscapes at its size) or this device."""
    about_network = (bundle.info.get("data") or {}).get("name") == "cityscapes" and [*bundle.size] == CLAIM["size"]
    return about_network or "Jetson Nano" in machine["name"]


def rows(outcomes: Sequence[Outcome], bundle: Bundle) -> List[dict]:
    """Return one row for each runtime and precision; those of a failed one hold None, and `error`."""
    first = next((outcome for outcome in outcomes if outcome.error is None), None)
    return [_row(outcome, first, bundle) for outcome in outcomes]


def _row(outcome, first, bundle):
    row = {"name": outcome.variant.runtime, "precision": outcome.variant.precision, "error": outcome.error}
    row.update(dict.fromkeys(_FIGURES))
    if outcome.error is not None:
        return row
    visits = outcome.visits
    end_to_end = [visit["latency_ms"]["end_to_end"] for visit in visits]
    medians = [percentiles(times)["p50"] for times in end_to_end]
    latency = {stage: percentiles([ms for visit in visits for ms in visit["latency_ms"][stage]]) for stage in STAGES}
    row.update(
        precision=visits[0]["precision"],
        latency_ms=latency,
        fps=1000.0 / latency["end_to_end"]["p50"],
        spread=max(medians) / min(medians) - 1.0,
        runs=sum(map(len, end_to_end)),
        warmed_up=all(visit["warm_up"]["stable"] for visit in visits),
        load_s=min(visit["load_s"] for visit in visits),
        power_w=_over(visits, "power_w", lambda values: sum(values) / len(values)),
    )
    for key in ("temperature_c", "throttled", "peak_memory_mb", "system_memory_mb"):
        row[key] = _over(visits, key, max)
    row.update(scores.agreement(first.labels, outcome.labels, bundle.table))
    if outcome.panoptic is not None:
        row["agreement_pq"] = scores.pq(outcome.panoptic, first.panoptic, bundle.table)
    row.update({key: visits[0].get(key) for key in SCORES})
    return row


def _over(visits, key, reduce):
    values = [visit[key] for visit in visits if visit[key] is not None]
    return reduce(values) if values else None


def _name(row):
    return f"{row['name']}:{row['precision']}"


def _measured(report_rows):
    return [row for row in report_rows if row["error"] is None]


def warnings(report_rows: Sequence[dict], problems: Sequence[str]) -> List[str]:
    """Return why the times are doubtful: sentences."""
    found = list(problems)
    for row in _measured(report_rows):
        if row["throttled"]:
            found.append(f"The machine was throttled for its temperature while {_name(row)} ran.")
        if row["spread"] > UNSTEADY:
            found.append(
                f"{_name(row)} was {row['spread']:.0%} slower in one visit than in another; is the machine busy?"
            )
        if not row["warmed_up"]:
            found.append(f"The times of {_name(row)} did not become stable during its warm-up.")
    return found


def text(report: dict) -> str:
    """Return the tables of a report."""
    found = report["runtimes"]
    size = "{}x{}".format(*report["size"])
    lines = [f"{counted(report['frames'], 'frames')} of {report['source']} at {size}; {_machine(report['device'])}", ""]
    if _measured(found):
        lines += [text_table(_speed_cells(_measured(found))), ""]
    lines += [f"{_name(row)} failed: {row['error']}" for row in found if row["error"] is not None]
    if report["not_here"]:
        lines += [*(f"Not here: {name}. {reason}" for name, reason in report["not_here"].items()), ""]
    lines += _by_class(found)
    lines += table_2(report)
    if report["warnings"]:
        lines += ["", *(f"Warning: {warning}" for warning in report["warnings"])]
    return "\n".join(lines)


def _machine(device):
    """Return the machine in a line."""
    parts = [device["processor"], device["gpu"], device["jetpack"] and f"JetPack {device['jetpack']}"]
    if device["name"] not in device["processor"]:
        parts.insert(0, device["name"])
    return ", ".join(part for part in [*parts, device["power_mode"]] if part)


def _speed_cells(measured):
    head = ["runtime", "frames/s", "end-to-end p50/p90/p99 ms", *STAGES[1:], "agreement", "mIoU", "memory MB", "W", "C"]
    last = {"pq": "PQ", "agreement_pq": "PQ against the first"}
    last = {key: title for key, title in last.items() if any(row[key] is not None for row in measured)}
    cells = [[*head, *last.values()]]
    for row in measured:
        latency = row["latency_ms"]
        cells.append(
            [
                _name(row),
                f"{row['fps']:.2f}",
                "/".join(f"{latency['end_to_end'][share]:.1f}" for share in ("p50", "p90", "p99")),
                *(f"{latency[stage]['p50']:.1f}" for stage in STAGES[1:]),
                number(row["agreement"], "{:.4f}"),
                number(row["miou"]),
                number(row["peak_memory_mb"], "{:.0f}"),
                number(row["power_w"], "{:.1f}"),
                number(row["temperature_c"], "{:.0f}"),
                *(number(row[key], "{:.4f}") for key in last),
            ]
        )
    return cells


def _by_class(report_rows):
    """Return the classes on which each runtime agrees least with the first, as lines."""
    lines = []
    for row in report_rows:
        by_class = row["agreement_by_class"] or {}
        worst = sorted((share, name) for name, share in by_class.items() if share is not None and share < 0.9995)[:4]
        if worst:
            text = ", ".join(f"{name} {share:.3f}" for share, name in worst)
            lines.append(f"{_name(row)} agrees least with the first on: {text}")
    return [*lines, ""] if lines else []


def table_2(report: dict) -> List[str]:
    """Return the frames/s of the first runtime and of each other one, as lines: the published ones where they are about
    this network or device, and those measured here."""
    cells = [["frames/s", "size", "before", "after", "factor", "from -> to"]]
    claim = report["claims"]
    if claim:
        size, claimed = "{}x{}".format(*claim["size"]), _factor(claim["before_fps"], claim["after_fps"])
        note = "plain TensorFlow -> TensorRT; a claim, not measured by us"
        cells.append(["published, on a Jetson Nano", size, *claimed, note])
    size = "{}x{}".format(*report["size"])
    measured = _measured(report["runtimes"])
    for row in measured[1:]:
        note = "" if row["name"] in BUILT_ON_THE_DEVICE else ", no TensorRT"
        factor = _factor(measured[0]["fps"], row["fps"])
        cells.append(["measured here", size, *factor, f"{_name(measured[0])} -> {_name(row)}{note}"])
    return text_table(cells).splitlines() if len(cells) > 1 else []


def _factor(before, after):
    return [f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}"]
