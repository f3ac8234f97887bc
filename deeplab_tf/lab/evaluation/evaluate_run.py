"""Score a run or a bundle, and write the report: what `deeplab-tf evaluate` and `deeplab_tf.evaluate` do."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from deeplab_tf.core.bundle import check_run_or_bundle, files_read, is_bundle
from deeplab_tf.core.files import locked, write_json, write_text
from deeplab_tf.core.fitting import choose_mode
from deeplab_tf.core.guard import Guard
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.metrics.per_image import write_csv
from deeplab_tf.core.prediction import NO_INSTANCES, predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.core.progress import counted, say
from deeplab_tf.core.tables import number
from deeplab_tf.lab import runs
from deeplab_tf.lab.data.split import Split
from deeplab_tf.lab.evaluation.evaluate import Evaluation, ImageScore, evaluate
from deeplab_tf.lab.evaluation.figures import LabelPanel, comparison, confusion_figure, reliability_figure, truth_title
from deeplab_tf.lab.evaluation.folders import open_folders
from deeplab_tf.lab.evaluation.pages import evaluation_page
from deeplab_tf.lab.evaluation.speed import measured_with
from deeplab_tf.lab.runs.folder import read_data, resolve_checkpoint

SHOWN = 3
"""How many of the best and of the worst images a report shows."""

PAGES = ("report.json", "report.md")
"""The report; where the first is, all files are there and of one call."""

Progress = Callable[[Iterable, str], Iterable]


def evaluate_run(
    path: str | Path,
    checkpoints: Sequence[str | int | None] = (None,),
    *,
    runtime: str | None = None,
    precision: str | None = None,
    split: str | Split = "val",
    root: str | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    mode: str | None = None,
    overlap: float | None = None,
    images: str | None = None,
    labels: str | None = None,
    class_ids: bool = False,
    out: str | Path | None = None,
    guard: Guard | None = None,
    progress: Progress = lambda items, text: items,
    say: Callable[[str], None] = say,
) -> dict:
    """Score checkpoints of a run, or a bundle. Arguments and errors are those of `deeplab_tf.evaluate`, and:

    Args:
        checkpoints: of a run; None is the best one.
        guard: is told what is read and written, and asked; without it, files in `out` are replaced.
        progress: wraps the iterable of frame numbers, with a text beside it.
        say: called with remarks for a person.

    Returns:
        The report of the best checkpoint (see `Evaluation.report`), and all under `checkpoints` if there are several.
    """
    check_run_or_bundle(path)
    names = ["bundle"]
    if not is_bundle(path) or any(name is not None for name in checkpoints):
        names = list(dict.fromkeys(resolve_checkpoint(path, name) for name in checkpoints))
    folder = None if out is None else Path(out)
    if guard:
        guard.reads(*files_read(path), images, labels, *runs.read_places(path, root))
        guard.fills(folder, "--out", _report_files(folder, names) if folder else ())
        guard.check()
    with locked(folder) if folder else contextlib.nullcontext():
        source = {"split": split if isinstance(split, str) else type(split).__name__}
        if images is not None:
            source = {"images_from": str(images), "labels_from": str(labels)}
        reports = []
        for name in names:
            network = runs.open_runtime(path, None if name == "bundle" else name, runtime, precision)
            choose_mode(network, mode, overlap)
            if images is not None and labels is not None:
                frames: Split = open_folders(images, labels, network.table, None if class_ids else network.data)
            else:
                frames = runs.open_run_split(network, split, root) if isinstance(split, str) else split
            watch = with_text(progress, f"evaluate {name}")
            evaluation = evaluate(
                network, frames, flip=flip, scales=scales, calibration=network.gives_probabilities, progress=watch
            )
            if evaluation.panoptic is None and network.gives_instances:
                windows = network.mode == "slide"
                say(f"{NO_INSTANCES if windows else 'The frames have no instance files;'} PQ is not computed.")
            with_what = {"runtime": network.name, "precision": network.precision}
            report = {"run": str(path), "checkpoint": name, **source, **with_what, **evaluation.report()}
            report["warnings"] = data_warnings(path, frames, report)
            if folder:
                suffix = "" if len(names) == 1 else f"_{name}"
                report.update(_write_scores(folder, network, frames, evaluation, suffix))
            reports.append(report)
        for sentence in reports[0]["warnings"]:  # of the data: the same for all
            say(f"Warning: {sentence}")
        return _finished(reports, folder)


def _write_scores(folder, network, frames, evaluation, suffix):
    """Write the table and the figures of a checkpoint; return where they are, as in its report."""
    for page in PAGES:
        (folder / page).unlink(missing_ok=True)  # a killed process leaves none with figures of another
    table = str(folder / f"images{suffix}.csv")
    write_csv(table, evaluation.counts, frames.table)
    return {"per_image": table, "figures": write_figures(folder, network, frames, evaluation, suffix=suffix)}


def _finished(reports, folder):
    """Return the report of all checkpoints; write it, and its page, to the folder if there is one."""
    whole = {**_best(reports), **measured_with()}
    if len(reports) > 1:
        whole["checkpoints"] = reports
    if folder:
        write_text(folder / PAGES[1], evaluation_page(reports, whole["machine"]))
        write_json(folder / PAGES[0], whole)
    return whole


def _report_files(folder, names):
    suffixes = [""] if len(names) == 1 else [f"_{name}" for name in names]
    kinds = ("confusion_matrix", "best_and_worst", "reliability")
    figures = [f"{kind}{suffix}.png" for kind in kinds for suffix in suffixes]
    return [folder / name for name in (*PAGES, *figures, *(f"images{suffix}.csv" for suffix in suffixes))]


def data_warnings(run: str | Path, split: Split, report: dict) -> list[str]:
    """Return what must be known of scores: about the run's training data, the split, and the scores themselves."""
    return list(dict.fromkeys([*read_data(run).get("warnings", []), *split.remarks, *report["warnings"]]))


def with_text(progress: Progress, text: str) -> Callable[[Iterable], Iterable]:
    """Return the progress display with its text, for `evaluate`."""
    return lambda items: progress(items, text)


def _best(reports):
    """Return the report with the highest score, of the kind that training judges by."""
    key = "pq" if reports[0].get("pq_method") == "centers" else "miou"
    return max(reports, key=lambda report: -1.0 if report[key] is None else report[key])


def write_figures(folder: Path, network: Predictor, split: Split, evaluation: Evaluation, *, suffix: str = "") -> dict:
    """Write the confusion matrix, and the best and the worst images beside their truth.

    Returns:
        {"confusion_matrix": path, "best_and_worst": path, "reliability": path}; without the second where no image has a
        score, without the third where the network gives labels only.
    """
    title = f"{counted(evaluation.confusion.images, 'images')}, mIoU {number(evaluation.confusion.miou())}"
    paths = {"confusion_matrix": str(folder / f"confusion_matrix{suffix}.png")}
    write_image(paths["confusion_matrix"], confusion_figure(evaluation.confusion, evaluation.table, title))
    if evaluation.reliability and evaluation.reliability.pixels.any():
        found = evaluation.reliability.report()
        paths["reliability"] = str(folder / f"reliability{suffix}.png")
        write_image(paths["reliability"], reliability_figure(found, f"calibration, ECE {number(found['ece'])}"))
    worst = evaluation.worst(SHOWN)
    best = [image for image in evaluation.best(SHOWN) if image not in worst]
    rows = [
        _row(network, split, evaluation, f"{kind} {i}", image)
        for kind, images in (("best", best), ("worst", worst))
        for i, image in enumerate(images, 1)
    ]
    if rows:
        paths["best_and_worst"] = str(folder / f"best_and_worst{suffix}.png")
        write_image(paths["best_and_worst"], comparison(rows, evaluation.table))
    return paths


def _row(network, split, evaluation: Evaluation, place: str, image: ImageScore):
    frame = split.scored_sample(image.index)
    size, flip, scales = frame.label_map.shape, evaluation.flip, evaluation.scales
    predicted = predict(network, frame.image, size, flip=flip, scales=scales)
    outlined = evaluation.pq_method == "centers"
    panoptic = split.panoptic_map(image.index) if outlined else None
    truth = LabelPanel(frame.label_map, truth_title(evaluation.table), panoptic)
    title = f"prediction: mIoU {number(image.miou)}"
    panels = [truth, LabelPanel(predicted.label_map, title, predicted.panoptic if outlined else None)]
    return frame.image, f"{place}: {image.name}", panels
