"""What `compare` found: as JSON, and as the tables that a person reads."""

from typing import List, Optional, Sequence

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.metrics.confusion import ConfusionMatrix, count_pairs
from deeplab_tf.core.metrics.latency import percentiles
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy.compare.frames import Frames
from deeplab_tf.deploy.compare.runner import Outcome
from deeplab_tf.deploy.compare.worker import STAGES

CLAIM = {"before": 10.0, "after": 25.0, "size": (512, 1024)}
"""Frames/s in the published table 2: a Jetson Nano, plain TensorFlow and TensorRT."""

UNSTEADY = 0.1
"""Visits of one runtime that differ by more than this make its times doubtful."""


def rows(outcomes: Sequence[Outcome], bundle: Bundle, truth: Sequence[Optional[np.ndarray]]) -> List[dict]:
    """One row of the report for each runtime and precision; those of a failed one hold None, and `error`.

    Args:
        truth: label maps of the frames, None for each that has none.
    """
    first = next((outcome for outcome in outcomes if outcome.error is None), None)
    return [_row(outcome, first, bundle, truth) for outcome in outcomes]


def _row(outcome, first, bundle, truth):
    row = {"name": outcome.pair.runtime, "precision": outcome.pair.precision, "error": outcome.error}
    keys = (
        "fps",
        "latency_ms",
        "spread",
        "agreement",
        "agreement_by_class",
        "agreement_pq",
        "miou",
        "peak_memory_mb",
        "system_memory_mb",
        "power_w",
    )
    row.update(dict.fromkeys(keys + ("temperature_c", "throttled", "load_s", "runs", "warmed_up")))
    if outcome.error is not None:
        return row
    visits = outcome.visits
    row["precision"] = visits[0]["precision"]
    row["latency_ms"] = {
        stage: percentiles([time for visit in visits for time in visit["latency_ms"][stage]]) for stage in STAGES
    }
    row["fps"] = 1000.0 / row["latency_ms"]["end_to_end"]["p50"]
    medians = [percentiles(visit["latency_ms"]["end_to_end"])["p50"] for visit in visits]
    row.update(
        spread=max(medians) / min(medians) - 1.0, runs=sum(len(visit["latency_ms"]["end_to_end"]) for visit in visits)
    )
    row.update(
        warmed_up=all(visit["warm_up"]["stable"] for visit in visits), load_s=min(visit["load_s"] for visit in visits)
    )
    row["power_w"] = _of(visits, "power_w", lambda values: sum(values) / len(values))
    for key in ("temperature_c", "throttled", "peak_memory_mb", "system_memory_mb"):
        row[key] = _of(visits, key, max)
    row.update(agreement(first.labels, outcome.labels, bundle.table))
    if outcome.panoptic is not None:
        row["agreement_pq"] = pq(outcome.panoptic, first.panoptic, bundle.table, bundle.label_stride)
    row["miou"] = miou(outcome.labels_to_score, truth, len(bundle.table), bundle.label_stride)
    return row


def _of(visits, key, choose):
    values = [visit[key] for visit in visits if visit[key] is not None]
    return choose(values) if values else None


def agreement(first: np.ndarray, other: np.ndarray, table) -> dict:
    """How far two runtimes say the same.

    Args:
        first, other: (N, h, w) uint8 label maps of the same frames.
    Returns:
        `agreement`: the share of pixels with the same class. `agreement_by_class`: by name, the pixels that both call
            so, divided by those
        that either does; None for a class that neither sees.
    """
    confusion = ConfusionMatrix(len(table))
    for left, right in zip(first, other):
        confusion.update(left, right)
    by_class = [None if np.isnan(share) else float(share) for share in confusion.iou()]
    return {"agreement": confusion.pixel_accuracy(), "agreement_by_class": dict(zip(table.names, by_class))}


def miou(
    labels: Sequence[Optional[np.ndarray]], truth: Sequence[Optional[np.ndarray]], classes: int, label_stride: int = 1
) -> Optional[float]:
    """Return the mean IoU at the truth's own size; None where no frame has a truth."""
    confusion = ConfusionMatrix(classes)
    for label_map, true in zip(labels, truth):
        if true is not None and label_map is not None:
            confusion.add_pairs(count_pairs(true, resize_labels(label_map, true.shape, label_stride)))
    return confusion.miou() if confusion.images else None


def pq(panoptics: np.ndarray, truth: Sequence[Optional[np.ndarray]], table, label_stride: int = 1) -> Optional[float]:
    """Panoptic quality at the truth's own size, panoptic maps enlarged to it; None where no frame has a truth."""
    quality = PanopticQuality(table)
    for panoptic, true in zip(panoptics, truth):
        if true is not None:
            quality.update(true, resize_labels(panoptic, true.shape, label_stride))
    return quality.report()["pq"]


def warnings(report_rows: Sequence[dict], problems: Sequence[str]) -> List[str]:
    """Why the times should not be believed: sentences."""
    found = list(problems)
    for row in report_rows:
        name = "{}:{}".format(row["name"], row["precision"])
        if row["error"] is not None:
            continue
        if row["throttled"]:
            found.append(f"The machine slowed itself down for its temperature while {name} ran.")
        if row["spread"] > UNSTEADY:
            found.append(
                "{} was {:.0%} slower in one visit than in another; is the machine busy?".format(name, row["spread"])
            )
        if not row["warmed_up"]:
            found.append(f"{name} did not settle while it warmed up; its times wander.")
    return found


def text(report: dict, frames: Frames) -> str:
    """The tables."""
    lines = [
        "{} frames of {} at {}x{}; {}".format(
            report["frames"], frames.source, *(report["size"] + [_device(report["device"])])
        ),
        "",
    ]
    if any(row["error"] is None for row in report["runtimes"]):
        lines += [text_table(_speed_cells(report["runtimes"])), ""]
    lines += [
        "{}:{} failed: {}".format(row["name"], row["precision"], row["error"])
        for row in report["runtimes"]
        if row["error"] is not None
    ]
    lines += ["Not here: {}. {}".format(*item) for item in report["not_here"].items()] + [""] * bool(report["not_here"])
    lines += _by_class(report["runtimes"])
    lines += table_2(report)
    if report["warnings"]:
        lines += [""] + ["Warning: " + warning for warning in report["warnings"]]
    return "\n".join(lines)


def _device(device):
    """The machine in a line."""
    machine = (
        device["processor"]
        if device["name"] in device["processor"]
        else "{}, {}".format(device["name"], device["processor"])
    )
    more = [device["gpu"], device["jetpack"] and "JetPack " + device["jetpack"], device["power_mode"]]
    return ", ".join([machine] + [part for part in more if part])


def _speed_cells(report_rows):
    head = [
        "runtime",
        "frames/s",
        "whole p50/p90/p99 ms",
        "upload",
        "run",
        "download",
        "post",
        "agrees",
        "mIoU",
        "memory MB",
        "W",
        "C",
    ]
    instances = any(row["agreement_pq"] is not None for row in report_rows)
    head += ["PQ with the first"] * instances
    cells = [head]
    for row in report_rows:
        if row["error"] is not None:
            continue
        latency = row["latency_ms"]
        whole = "/".join("{:.1f}".format(latency["end_to_end"][share]) for share in ("p50", "p90", "p99"))
        stages = ["{:.1f}".format(latency[stage]["p50"]) for stage in STAGES[1:]]
        scores = [
            _number(row["agreement"], "{:.4f}"),
            _number(row["miou"], "{:.3f}"),
            _number(row["peak_memory_mb"], "{:.0f}"),
        ]
        told = [_number(row["power_w"], "{:.1f}"), _number(row["temperature_c"], "{:.0f}")]
        told += [_number(row["agreement_pq"], "{:.4f}")] * instances
        cells.append(
            ["{}:{}".format(row["name"], row["precision"]), "{:.2f}".format(row["fps"]), whole] + stages + scores + told
        )
    return cells


def _by_class(report_rows):
    """The classes on which a runtime agrees least with the first one."""
    lines = []
    for row in report_rows:
        shares = [
            (share, name)
            for name, share in (row["agreement_by_class"] or {}).items()
            if share is not None and share < 0.9995
        ]
        if shares:
            worst = ", ".join(f"{name} {share:.3f}" for share, name in sorted(shares)[:4])
            lines.append("{}:{} agrees least with the first on: {}".format(row["name"], row["precision"], worst))
    return lines + [""] if lines else []


def table_2(report: dict) -> List[str]:
    """The published table of frames/s before and after TensorRT, and what was measured here in its places."""
    cells = [["frames/s before and after TensorRT", "size", "before", "after", "factor", ""]]
    size = "{}x{}".format(*CLAIM["size"])
    cells.append(
        ["published, on a Jetson Nano", size]
        + _factor(CLAIM["before"], CLAIM["after"])
        + ["a claim, not measured by us"]
    )
    measured = [row for row in report["runtimes"] if row["error"] is None]
    for row in measured[1:]:
        what = "{}:{} -> {}:{}".format(measured[0]["name"], measured[0]["precision"], row["name"], row["precision"])
        note = "" if row["name"] in ("tensorrt", "tf_trt") else "no TensorRT"
        cells.append(
            ["measured here", "{}x{}".format(*report["size"])]
            + _factor(measured[0]["fps"], row["fps"])
            + [(what + ", " + note).strip(", ")]
        )
    return text_table(cells).splitlines()


def _factor(before, after):
    return [f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}"]


def _number(value, pattern):
    return "-" if value is None else pattern.format(value)
