"""`deeplab-tf report`: a run's checkpoints beside each other, in numbers and on the same images."""

import click

from deeplab_tf.cli.options import example, json_option, show, verbose_option, write_json
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example("deeplab-tf report runs/camvid", "deeplab-tf report runs/camvid --split test --frames 5 --json -")
)
@click.argument("run", type=click.Path())
@click.option(
    "--split", "split_name", default="val", show_default=True, metavar="NAME", help="Which split of the run's data set."
)
@click.option("--root", metavar="DIR", help="Where the data set lies. [default: as in the run's recipe]")
@click.option(
    "--frames", default=3, show_default=True, type=click.IntRange(1, 50), help="How many images the figure shows."
)
@json_option
@verbose_option
def command(run, split_name, root, frames, json_target, verbose):
    """Puts the kept checkpoints of a run and its best one beside each other.

    Writes into RUN/report: the table of steps, mIoU, PQ and frames/s (table 1 of the paper), the network (its figure
    1), and the same images as predicted at each checkpoint (its figures 2 and 3).
    """
    from pathlib import Path

    from deeplab_tf.lab.evaluation.comparison import checkpoints_markdown, spread, write_architecture, write_figure
    from deeplab_tf.lab.evaluation.report import write_text
    from deeplab_tf.lab.evaluation.speed import measured_with
    from deeplab_tf.lab.runs import BEST, best_step, checkpoints, open_run_split, open_runtime, resolve_checkpoint

    resolve_checkpoint(run)  # says what is wrong with the run before anything is written
    folder = Path(run, "report")
    folder.mkdir(parents=True, exist_ok=True)
    rows, predicted, split = [], {}, None
    for name in checkpoints(run):
        runtime = open_runtime(run, name)
        split = open_run_split(runtime.config, split_name, root) if split is None else split
        steps = best_step(run) if name == BEST else int(name)
        rows.append({"checkpoint": name, "steps": steps, **_measure(runtime, split, "evaluate " + name)})
        predicted[name] = {i: _predict(runtime, split.scored_frame(i)) for i in spread(len(split), frames)}
    figure = folder / "checkpoints.png"
    write_figure(figure, split, predicted)
    whole = {
        "run": run,
        "split": split_name,
        "images": len(split),
        "checkpoints": rows,
        "figure": str(figure),
        **measured_with(),
    }
    if hasattr(runtime, "model"):
        whole["architecture"] = str(folder / "architecture.png")
        write_architecture(folder / "architecture.png", runtime)
    page = checkpoints_markdown(whole)
    write_text(folder / "checkpoints.md", page)
    write_json(whole, str(folder / "checkpoints.json"))
    show(page + f"\nOpen {figure}", json_target)
    write_json(whole, json_target)


def _predict(runtime, frame):
    """The label map at the resolution of the truth, which is above the image's in prepared records."""
    from deeplab_tf.core.prediction import predict

    return predict(runtime, frame.image, frame.label_map.shape)


def _measure(runtime, split, label):
    """The scores and the speed of one checkpoint."""
    from deeplab_tf.lab.evaluation.evaluate import evaluate
    from deeplab_tf.lab.evaluation.speed import frames_per_second

    evaluation = evaluate(runtime, split, progress=lambda items: progress(items, label))
    return {"pq": None, "pq_method": None, **evaluation.report(), "fps": frames_per_second(runtime)}
