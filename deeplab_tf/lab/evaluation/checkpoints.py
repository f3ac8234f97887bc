"""Compare the checkpoints of a run: what `deeplab-tf report` does.

The scores by checkpoint, the network and the same images at each checkpoint are table 1 and figures 1 to 3 of Huang et
al., 2025.
"""

from pathlib import Path

import numpy as np

from deeplab_tf.core.bundle import files_read
from deeplab_tf.core.files import locked, write_json, write_text
from deeplab_tf.core.guard import Guard
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.tables import number
from deeplab_tf.lab import runs
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.evaluation import speed
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.evaluation.evaluate_run import Progress, data_warnings, with_text
from deeplab_tf.lab.evaluation.figures import LabelPanel, comparison, pixels, truth_title
from deeplab_tf.lab.evaluation.pages import checkpoints_page, step_title
from deeplab_tf.lab.runs.folder import LAST, checkpoints, resolve_checkpoint
from deeplab_tf.lab.runs.metrics import best_step

PAGES = ("checkpoints.json", "checkpoints.md")
"""The report; where the first is, all files are there and of one call."""


def compare_checkpoints(
    run: str | Path,
    *,
    split: str = "val",
    root: str | None = None,
    frames: int = 3,
    guard: Guard | None = None,
    progress: Progress = lambda items, text: items,
) -> tuple[dict, str]:
    """Score every checkpoint of a run, and write RUN/report/checkpoints.json, .md and .png, and architecture.png.

    Args:
        run: the folder that `train` wrote.
        split: of the run's dataset.
        root: where the dataset lies now, if not where the recipe says.
        frames: how many images the figure shows.
        guard: as for `evaluate_run`.
        progress: wraps the iterable of frame numbers, with a text beside it.

    Returns:
        The report as written to checkpoints.json, and the page.
    """
    resolve_checkpoint(run)  # says what is wrong with the run before anything is written
    steps = best_step(run)
    folder = Path(run, "report")
    if guard:
        guard.reads(*files_read(run), *runs.read_places(run, root))
        guard.fills(folder, "RUN/report", [folder / name for name in (*PAGES, "checkpoints.png", "architecture.png")])
        guard.check()
    with locked(folder):
        names, rows, predicted = [name for name in checkpoints(run) if name != LAST] or [LAST], [], {}
        network = runs.open_runtime(run, names[0])
        opened = runs.open_run_split(network, split, root)
        for name in names:
            network = network if name == names[0] else runs.open_runtime(run, name)
            evaluation = evaluate(network, opened, progress=with_text(progress, f"evaluate {name}"))
            row = {"pq": None, "pq_method": None, **evaluation.report(), "fps": speed.frames_per_second(network)}
            row.update(runtime=network.name, precision=network.precision)
            rows.append({"checkpoint": name, "steps": int(name) if name.isdecimal() else steps, **row})
            predicted[name] = {i: _label_map(network, opened, i) for i in spread_indices(len(opened), frames)}
        for page in PAGES:
            (folder / page).unlink(missing_ok=True)  # a killed process leaves none with a figure of another
        figure = folder / "checkpoints.png"
        write_image(figure, checkpoints_figure(opened, predicted))
        report = {"run": str(run), "split": split, "images": len(opened), "checkpoints": rows, "figure": str(figure)}
        report["warnings"] = data_warnings(run, opened, rows[0])
        report.update(speed.measured_with())
        if hasattr(network, "model"):
            report["architecture"] = str(folder / "architecture.png")
            write_image(report["architecture"], _architecture(network))
        text = checkpoints_page(report)
        write_text(folder / PAGES[1], text)
        write_json(folder / PAGES[0], report)
        return report, text


def spread_indices(length: int, count: int) -> list[int]:
    """Return up to `count` different indices of `length` items, evenly spread: [1, 5, 8] of 10 and 3."""
    count = min(length, count)
    return [int((i + 0.5) * length / count) for i in range(count)]


def checkpoints_figure(split: Split, predicted: dict[str, dict[int, np.ndarray]]) -> np.ndarray:
    """Draw a row for each image: the image, its truth and the prediction of each checkpoint.

    Args:
        predicted: checkpoint -> {frame number: (H, W) uint8 label map at the truth's resolution}.
    """
    rows = []
    for index in next(iter(predicted.values())):
        frame = split.scored_sample(index)
        panels = [LabelPanel(frame.label_map, truth_title(split.table))]
        for checkpoint, label_maps in predicted.items():
            confusion = ConfusionMatrix(len(split.table))
            confusion.update(frame.label_map, label_maps[index])
            title = f"{step_title(checkpoint)}: mIoU {number(confusion.miou())}"
            panels.append(LabelPanel(label_maps[index], title))
        rows.append((frame.image, split.names[index], panels))
    return comparison(rows, split.table)


def _label_map(network, split, index):
    """Return the label map at the resolution of the truth, which is above the image's in prepared records."""
    frame = split.scored_sample(index)
    return predict(network, frame.image, frame.label_map.shape).label_map


def _architecture(network):
    from deeplab_tf.lab.models.diagram import architecture_figure  # imports Keras

    figure = architecture_figure(network.model, network.size)
    figure.set_dpi(130)
    return pixels(figure)
