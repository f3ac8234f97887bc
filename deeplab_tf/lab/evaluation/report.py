"""What goes into a report folder: pictures, and tables in Markdown. Every file appears whole or not at all."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.panoptic import METHODS
from deeplab_tf.core.prediction import predict, predict_maps
from deeplab_tf.lab.evaluation.evaluate import Evaluation, ImageScore
from deeplab_tf.lab.evaluation.figures import comparison, confusion_figure

SHOWN = 3
"""How many of the best and how many of the worst images a report shows."""


def write_pictures(folder: Path, runtime, split, evaluation: Evaluation, *, suffix: str = "") -> dict[str, str]:
    """Writes the confusion matrix, and the best and the worst images beside their truth.

    Args:
        folder: made if need be.
        suffix: goes into the file names, before .png.

    Returns:
        {"confusion_matrix": path, "best_and_worst": path}; the second is left out where no image has a score.
    """
    title = f"{evaluation.confusion.images} images, mIoU {score(evaluation.confusion.miou())}"
    paths = {"confusion_matrix": str(folder / f"confusion_matrix{suffix}.png")}
    write_image(paths["confusion_matrix"], confusion_figure(evaluation.confusion, evaluation.table, title))
    worst = evaluation.worst(SHOWN)
    best = [image for image in evaluation.best(SHOWN) if image not in worst]
    rows = [_row(runtime, split, evaluation, f"best {i}", image) for i, image in enumerate(best, 1)]
    rows += [_row(runtime, split, evaluation, f"worst {i}", image) for i, image in enumerate(worst, 1)]
    if rows:
        paths["best_and_worst"] = str(folder / f"best_and_worst{suffix}.png")
        write_image(paths["best_and_worst"], comparison(rows, evaluation.table))
    return paths


def _row(runtime, split, evaluation: Evaluation, place: str, image: ImageScore) -> tuple:
    frame = split.scored_sample(image.index)
    options = {"size": frame.label_map.shape, "flip": evaluation.flip, "scales": evaluation.scales}
    maps = predict_maps(runtime, frame.image, **options) if evaluation.pq_method == "centers" else None
    prediction = maps.label_map if maps else predict(runtime, frame.image, **options)
    label_maps = [(frame.label_map, "truth (black: ignored)"), (prediction, f"prediction: mIoU {score(image.miou)}")]
    if maps:
        label_maps = [
            (*pair, panoptic) for pair, panoptic in zip(label_maps, (split.panoptic_map(image.index), maps.panoptic))
        ]
    return frame.image, f"{place}: {image.name}", label_maps


def evaluation_markdown(reports: Sequence[dict], measured_on: str) -> str:
    """The page of an evaluation: how it was scored, every class, and the pictures.

    Args:
        reports: one a checkpoint: `Evaluation.report` with `run`, `checkpoint`, `pictures`, and `split` or
            `images_from`.
        measured_on: the machine.
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
        f"{source}, {first['images']} images, at the labels' own resolution; network input {height}x{width} "
        f"(height x width){averaged}. "
        f"Measured on {measured_on}.",
        class_table({step_title(report["checkpoint"]): report for report in reports}),
    ]
    for report in reports:
        if "pq" in report:
            lines += panoptic_lines(report)
    for report in reports:
        for kind, path in sorted(report["pictures"].items()):
            lines.append(f"![{kind.replace('_', ' ')}, {step_title(report['checkpoint'])}]({Path(path).name})")
    return "\n\n".join(lines) + "\n"


def panoptic_lines(report: dict) -> list[str]:
    """Markdown: how the instances were made, and PQ, SQ and RQ of each class, of things, of stuff and of all."""
    averaged = report["pq_method"] == "centers" and (report["flip"] or report["scales"] != [1.0])
    text = f"Panoptic quality, {step_title(report['checkpoint'])}, instances by {METHODS[report['pq_method']]}."
    text += " Labels, centers and offsets for it are those of the image as it is, without averaging." * averaged
    keys = ("pq", "sq", "rq")
    rows = [["class", "PQ", "SQ", "RQ"]]
    rows += [[name, *(score(report[f"{key}_per_class"][name]) for key in keys)] for name in report["pq_per_class"]]
    rows += [
        [title, *(score(report[key + suffix]) for key in keys)]
        for title, suffix in (("things", "_things"), ("stuff", "_stuff"))
    ]
    rows.append(["**all**", *(f"**{score(report[key])}**" for key in keys)])
    return [text, markdown_table(rows), *([components_line(report)] if "pq_of_components" in report else [])]


def components_line(report: dict) -> str:
    """What the same labels would be worth if a network without instances had given them."""
    values = report["pq_of_components"]
    scores = ", ".join(
        f"{title} {score(values[key])}" for title, key in (("PQ", "pq"), ("things", "pq_things"), ("stuff", "pq_stuff"))
    )
    return f"Connected components of the same labels, without centers and offsets: {scores}."


def class_table(reports: dict[str, dict]) -> str:
    """Markdown: one row a class, one column a report ({title: report with `miou`, `iou`, `pixel_accuracy`}), the means
    below."""
    names = list(next(iter(reports.values()))["iou"])
    rows = [["class", *reports]]
    rows += [[name, *(score(report["iou"][name]) for report in reports.values())] for name in names]
    rows.append(["**mIoU**", *(f"**{score(report['miou'])}**" for report in reports.values())])
    rows.append(["pixel accuracy", *(score(report["pixel_accuracy"]) for report in reports.values())])
    return markdown_table(rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that also reads well as plain text; the first row is the head, the first column is
    left-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("| " + " | ".join(cells) + " |")
    rule = "|" + "|".join(("-" * (w + 1) + ":") if i else "-" * (w + 2) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def score(value: float | None) -> str:
    """0.763, or a dash where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def step_title(checkpoint: str) -> str:
    """ "10,000 steps" for the checkpoint "10000"; "best" stays."""
    return f"{int(checkpoint):,} steps" if checkpoint.isdecimal() else checkpoint


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file, whole or not at all: under a temporary name in the same folder, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
