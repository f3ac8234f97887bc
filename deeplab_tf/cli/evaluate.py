"""`deeplab-tf evaluate`: the scores of a trained network on labelled images, and a report folder that shows them."""

import click

from deeplab_tf.cli.options import Choice, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab or runtime")


def parse_scales(ctx, param, value):
    """ "0.75,1,1.25" -> (0.75, 1.0, 1.25); a wrong call otherwise."""
    try:
        scales = tuple(float(part) for part in value.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 8 for scale in scales):
        raise click.BadParameter(f"expected numbers between 0 and 8 with commas, such as 0.75,1,1.25; got '{value}'.")
    return scales


@click.command(
    epilog=example(
        "deeplab-tf evaluate runs/camvid",
        "deeplab-tf evaluate runs/camvid --checkpoint 10000 --checkpoint 60000 --flip --scales 0.75,1,1.25",
        "deeplab-tf evaluate camvid_bundle --runtime onnx --root camvid",
        "deeplab-tf evaluate runs/camvid --images camvid/test --labels camvid/testannot --out report_test --json -",
    )
)
@click.argument("run", metavar="RUN_OR_BUNDLE", type=click.Path())
@click.option(
    "--checkpoint", "wanted", multiple=True, metavar="STEP", help="A kept step, or 'best'; repeatable. [default: best]"
)
@click.option(
    "--runtime", "runtime_name", metavar="NAME", help="What runs a bundle. [default: the best that works here]"
)
@click.option(
    "--precision", type=Choice(["int8", "float16", "float32"]), help="Of a bundle. [default: the best that it has]"
)
@click.option("--split", "split_name", metavar="NAME", help="Which split of the run's data set. [default: val]")
@click.option("--root", metavar="DIR", help="Where the data set lies. [default: as in the run's recipe]")
@click.option("--flip", is_flag=True, help="Average with the prediction for the mirrored image.")
@click.option(
    "--scales",
    callback=parse_scales,
    default="1",
    show_default=True,
    help="Average over these factors of the network's size.",
)
@click.option("--images", metavar="DIR", help="Score these images instead of a split of the data set; needs --labels.")
@click.option(
    "--labels", metavar="DIR", help="Their label files: the same names, with ids or colours as in the run's data set."
)
@click.option("--class-ids", is_flag=True, help="The files in --labels hold class ids 0 to C-1, and 255 for ignored.")
@click.option("--out", metavar="DIR", help="Where the report goes. [default: RUN/report, or BUNDLE_report]")
@json_option
@verbose_option
def command(
    run,
    wanted,
    runtime_name,
    precision,
    split_name,
    root,
    flip,
    scales,
    images,
    labels,
    class_ids,
    out,
    json_target,
    verbose,
):
    """Scores a run or a bundle at the labels' own resolution: IoU per class, mIoU, pixel accuracy; PQ where the data
    has instances.

    A run is a folder that `deeplab-tf train` wrote, a bundle one that `deeplab-tf convert` did. The report folder gets
    the scores as JSON and Markdown, the confusion matrix, and the best and the worst images beside their truth.
    """
    if (images is None) != (labels is None):
        raise click.UsageError("--images and --labels go together; name both folders.")
    if images is not None and split_name is not None:
        raise click.UsageError("--split and --images exclude each other: score a split of the data set, or a folder.")
    if root is not None and images is not None:
        raise click.UsageError("--root and --images exclude each other: score a split of the data set, or a folder.")
    if class_ids and labels is None:
        raise click.UsageError("--class-ids says what --labels holds; name --images and --labels.")
    from pathlib import Path

    from deeplab_tf.lab.evaluation.folders import open_folders
    from deeplab_tf.lab.runs import open_run_split, open_runtime, resolve_checkpoint

    names = list(dict.fromkeys(resolve_checkpoint(run, name) for name in wanted or (None,)))
    split_name = split_name or "val"
    folder = Path(
        out or (Path(run, "report") if names != ["bundle"] else str(Path(run)) + "_report")
    )  # nothing is added to a bundle
    folder.mkdir(parents=True, exist_ok=True)
    source = {"images_from": images, "labels_from": labels} if images else {"split": split_name}
    reports = []
    for name in names:
        runtime = open_runtime(run, None if name == "bundle" else name, runtime_name, precision)
        if images is None:
            frames = open_run_split(runtime.config, split_name, root)
        else:
            frames = open_folders(images, labels, runtime.table, None if class_ids else runtime.config.data)
        suffix = "" if len(names) == 1 else "_" + name
        reports.append(
            {"run": run, "checkpoint": name, **source, **_score(runtime, frames, name, flip, scales, folder, suffix)}
        )
    _finish(reports, folder, json_target)


def _score(runtime, frames, name, flip, scales, folder, suffix):
    from deeplab_tf.lab.evaluation.evaluate import evaluate
    from deeplab_tf.lab.evaluation.report import write_pictures

    evaluation = evaluate(
        runtime, frames, flip=flip, scales=scales, progress=lambda items: progress(items, "evaluate " + name)
    )
    if evaluation.panoptic is None and getattr(runtime, "gives_instances", False):
        click.echo("These frames have no instance files, so that things are not scored one by one.", err=True)
    return {**evaluation.report(), "pictures": write_pictures(folder, runtime, frames, evaluation, suffix=suffix)}


def _finish(reports, folder, json_target):
    from deeplab_tf.core.metrics import panoptic
    from deeplab_tf.core.metrics.confusion import score_text
    from deeplab_tf.core.panoptic import METHODS
    from deeplab_tf.lab.evaluation.report import components_line, evaluation_markdown, write_text
    from deeplab_tf.lab.evaluation.speed import measured_with

    judge = "pq" if reports[0].get("pq_method") == "centers" else "miou"  # as in training
    best = max(reports, key=lambda report: -1.0 if report[judge] is None else report[judge])
    whole = {**best, **measured_with()}
    if len(reports) > 1:
        whole["checkpoints"] = reports
    write_text(folder / "report.md", evaluation_markdown(reports, whole["machine"]))
    write_json(whole, str(folder / "report.json"))
    for report in reports:
        title = "" if len(reports) == 1 else "\ncheckpoint {}\n".format(report["checkpoint"])
        show(title + score_text(report), json_target)
        if "pq" in report:
            show(
                "\nPanoptic quality, instances by {}\n{}".format(
                    METHODS[report["pq_method"]], panoptic.score_text(report)
                ),
                json_target,
            )
        if "pq_of_components" in report:
            show(components_line(report), json_target)
    pictures = best["pictures"]
    show(
        "\nReport: {}\nOpen {}".format(
            folder / "report.md", pictures.get("best_and_worst", pictures["confusion_matrix"])
        ),
        json_target,
    )
    write_json(whole, json_target)
