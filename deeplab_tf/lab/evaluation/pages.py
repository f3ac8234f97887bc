"""Markdown pages of an evaluation and of a run's checkpoints."""

from collections.abc import Sequence
from pathlib import Path

from deeplab_tf.core.metrics.per_image import interval_text
from deeplab_tf.core.panoptic import METHODS
from deeplab_tf.core.progress import counted
from deeplab_tf.core.tables import markdown_table, number


def evaluation_page(reports: Sequence[dict], machine: str) -> str:
    """Return the page of an evaluation: how it was scored, every class, and the figures.

    Args:
        reports: one a checkpoint: `Evaluation.report` with `run`, `checkpoint`, `figures`, and `split` or
            `images_from` and `labels_from`; the warnings of the first go for all.
        machine: what it was measured on.
    """
    first = reports[0]
    source = (
        f"split `{first['split']}`"
        if "split" in first
        else f"`{first['images_from']}` against `{first['labels_from']}`"
    )
    averaged = ", averaged with its mirror image" * first["flip"]
    if first["scales"] != [1.0]:
        averaged += f", at {', '.join(f'{scale:g}' for scale in first['scales'])} times that size"
    height, width = first["size"]
    lines = [
        f"# Scores of {Path(first['run']).resolve().name}",
        f"{source}, {counted(first['images'], 'images')}, at the labels' own resolution; network input "
        f"{height}x{width} "
        f"(height x width){averaged}. Computed by {first['runtime']} in {first['precision']}, on {machine}.",
        *warning_lines(first),
        class_table({step_title(report["checkpoint"]): report for report in reports}),
    ]
    for report in reports:
        lines.append(f"{step_title(report['checkpoint'])}: {certainty_line(report)}.")
    for report in reports:
        lines += panoptic_lines(report) if "pq" in report else []
    for report in reports:
        for kind, path in sorted(report["figures"].items()):
            lines.append(f"![{kind.replace('_', ' ')}, {step_title(report['checkpoint'])}]({Path(path).name})")
    return "\n\n".join(lines) + "\n"


def certainty_line(report: dict) -> str:
    """Return the interval of mIoU and, where it was counted, the calibration error."""
    text = interval_text(report["miou_interval"])
    return text if report.get("ece") is None else f"{text}; expected calibration error (ECE) {number(report['ece'])}"


def warning_lines(report: dict) -> list[str]:
    """Return the warnings of a report, a paragraph each."""
    return [f"Warning: {sentence}" for sentence in report["warnings"]]


def panoptic_lines(report: dict) -> list[str]:
    """Return how the instances were made, and a table of PQ, SQ and RQ by class, for things, stuff and all."""
    text = f"Panoptic quality, {step_title(report['checkpoint'])}, instances by {METHODS[report['pq_method']]}."
    keys = ("pq", "sq", "rq")
    rows = [["class", "PQ", "SQ", "RQ"]]
    rows += [[name, *(number(report[f"{key}_per_class"][name]) for key in keys)] for name in report["pq_per_class"]]
    rows += [[kind, *(number(report[f"{key}_{kind}"]) for key in keys)] for kind in ("things", "stuff")]
    rows.append(["**all**", *(f"**{number(report[key])}**" for key in keys)])
    return [text, markdown_table(rows), *([components_line(report)] if "pq_of_components" in report else [])]


def components_line(report: dict) -> str:
    """Return the PQ that the same labels reach with connected components in place of centers and offsets."""
    values = report["pq_of_components"]
    titles = (("PQ", "pq"), ("things", "pq_things"), ("stuff", "pq_stuff"))
    scores = ", ".join(f"{title} {number(values[key])}" for title, key in titles)
    return f"Connected components of the same labels, without centers and offsets: {scores}."


def class_table(reports: dict[str, dict]) -> str:
    """Return a table with a row for each class and a column for each report ({title: report}), the means below."""
    names = list(next(iter(reports.values()))["iou"])
    rows = [["class", *reports]]
    rows += [[name, *(number(report["iou"][name]) for report in reports.values())] for name in names]
    rows.append(["**mIoU**", *(f"**{number(report['miou'])}**" for report in reports.values())])
    rows.append(["pixel accuracy", *(number(report["pixel_accuracy"]) for report in reports.values())])
    return markdown_table(rows)


def checkpoints_page(report: dict) -> str:
    """Return the page of a run's checkpoints: their scores and frame rates, every class, and the figures.

    Args:
        report: `run`, `split`, `images`, `machine`, `figure`, and `checkpoints`, rows with `checkpoint`, `steps`, `pq`,
            `fps`, `size` and the scores of `ConfusionMatrix.report`; `architecture` where it was drawn.
    """
    rows = [["checkpoint", "steps", "mIoU", "PQ", "frames/s"]]
    for row in report["checkpoints"]:
        title, steps = "best" if row["checkpoint"] == "best" else "saved", number(row["steps"], "{:,}")
        rows.append([title, steps, number(row["miou"]), number(row["pq"]), f"{row['fps']:.2f}"])
    height, width = report["checkpoints"][0]["size"]
    lines = [
        f"# Checkpoints of {Path(report['run']).resolve().name}",
        markdown_table(rows),
        f"Scored on split `{report['split']}`, {counted(report['images'], 'images')}, at the labels' own resolution. "
        f"Frames/s: frames of {height}x{width} (height x width), one after the other, in Keras, without TensorRT, "
        f"on {report['machine']}. {_about_pq(report['checkpoints'][0]['pq_method'])}",
        *warning_lines(report),
        class_table({step_title(row["checkpoint"]): row for row in report["checkpoints"]}),
        f"![the same images at each checkpoint]({Path(report['figure']).name})",
    ]
    if "architecture" in report:
        lines.append(f"![the network]({Path(report['architecture']).name})")
    return "\n\n".join(lines) + "\n"


def _about_pq(method):
    if method is None:
        return "PQ: -, the dataset has no instances."
    return f"PQ: as cityscapesScripts counts it, with instances by {METHODS[method]}."


def step_title(checkpoint: str) -> str:
    """Return "10,000 steps" for the checkpoint "10000"; "best" stays."""
    return f"{int(checkpoint):,} steps" if checkpoint.isdecimal() else checkpoint
