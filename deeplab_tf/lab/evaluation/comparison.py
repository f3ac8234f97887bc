"""The pages of a run as the paper has them: the network (figure 1), table 1, and the same images at each checkpoint
(figures 2 and 3)."""

from pathlib import Path

import numpy as np

from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.panoptic import METHODS
from deeplab_tf.lab.evaluation.figures import comparison, pixels
from deeplab_tf.lab.evaluation.report import class_table, markdown_table, score, step_title


def spread(length: int, count: int) -> list[int]:
    """Up to `count` different frame numbers of `length`, evenly spread: spread(10, 3) is [1, 5, 8]."""
    count = min(length, count)
    return [int((i + 0.5) * length / count) for i in range(count)]


def write_figure(path: Path, split, predicted: dict[str, dict[int, np.ndarray]]) -> None:
    """Writes one picture: a row an image, with the image, its truth and the prediction of each checkpoint.

    Args:
        predicted: checkpoint -> {frame number: (H, W) uint8 label map at the truth's resolution}.
    """
    rows = []
    for index in next(iter(predicted.values())):
        frame = split.scored_frame(index)
        label_maps = [(frame.label_map, "truth (black: ignored)")]
        for checkpoint, shown in predicted.items():
            label_maps.append(
                (shown[index], f"{step_title(checkpoint)}: mIoU {score(_miou(split, frame, shown[index]))}")
            )
        rows.append((frame.image, split.names[index], label_maps))
    write_image(path, comparison(rows, split.table))


def write_architecture(path: Path, runtime) -> None:
    """Writes a picture of a Keras runtime's network: its parts, with shapes at the runtime's size and parameters."""
    from deeplab_tf.lab.models.diagram import (
        architecture_figure,
    )  # imports Keras, which the rest of a report can do without

    figure = architecture_figure(runtime.model, runtime.size)
    figure.set_dpi(130)
    write_image(path, pixels(figure))


def checkpoints_markdown(report: dict) -> str:
    """The page: table 1, every class, and the figure.

    Args:
        report: `run`, `split`, `images`, `machine`, `figure`, and `checkpoints`, rows with `checkpoint`, `steps`, `pq`,
            `fps`, `size` and the scores of `ConfusionMatrix.report`; `architecture` where it was drawn.
    """
    rows = [["checkpoint", "steps", "mIoU", "PQ", "frames/s"]]
    for row in report["checkpoints"]:
        steps = "-" if row["steps"] is None else f"{row['steps']:,}"
        title = "best" if row["checkpoint"] == "best" else "kept"
        rows.append([title, steps, score(row["miou"]), score(row["pq"]), f"{row['fps']:.2f}"])
    height, width = report["checkpoints"][0]["size"]
    lines = [
        f"# Checkpoints of {Path(report['run']).resolve().name}",
        markdown_table(rows),
        f"Scored on split `{report['split']}`, {report['images']} images, at the labels' own resolution. "
        f"Frames/s: frames of {height}x{width} (height x width), one after the other, in Keras, without TensorRT, "
        f"on {report['machine']}. " + _about_pq(report["checkpoints"][0].get("pq_method")),
        class_table({step_title(row["checkpoint"]): row for row in report["checkpoints"]}),
        f"![the same images at each checkpoint]({Path(report['figure']).name})",
    ]
    if "architecture" in report:
        lines.append(f"![the network]({Path(report['architecture']).name})")
    return "\n\n".join(lines) + "\n"


def _about_pq(method):
    if method is None:
        return "PQ: -, the data set has no instances."
    return f"PQ: as cityscapesScripts counts it, with instances by {METHODS[method]}."


def _miou(split, frame, prediction):
    confusion = ConfusionMatrix(len(split.table))
    confusion.update(frame.label_map, prediction)
    return confusion.miou()
