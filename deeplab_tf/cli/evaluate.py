"""`deeplab-tf evaluate`: score a trained network on labeled images."""

import os

import click

from deeplab_tf.cli.options import (
    PathType,
    checkpoint_option,
    example,
    json_option,
    mode_options,
    new_guard,
    root_option,
    runtime_options,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab")


def parse_scales(ctx, param, value):
    """Return "0.75,1,1.25" as (0.75, 1.0, 1.25); a wrong call otherwise."""
    try:
        scales = tuple(float(part) for part in value.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 8 for scale in scales):
        raise click.BadParameter(f"expected numbers from 0.1 to 8 with commas, such as 0.75,1,1.25; got '{value}'.")
    return scales


@click.command(
    epilog=example(
        "deeplab-tf evaluate runs/camvid",
        "deeplab-tf evaluate runs/camvid --checkpoint 10000 --checkpoint 60000 --flip --scales 0.75,1,1.25",
        "deeplab-tf evaluate camvid_bundle --runtime onnx --root camvid",
        "deeplab-tf evaluate runs/fields --mode slide --overlap 0.5",
        "deeplab-tf evaluate runs/camvid --images camvid/test --labels camvid/testannot --out report_test --json -",
    )
)
@click.argument("run", metavar="RUN_OR_BUNDLE", type=PathType())
@checkpoint_option("Score", multiple=True)
@runtime_options
@click.option("--split", metavar="NAME", help="Score on this split of the run's dataset. [default: val]")
@root_option
@mode_options
@click.option("--flip", is_flag=True, help="Average with the prediction for the mirrored image.")
@click.option(
    "--scales",
    metavar="F,F,...",
    callback=parse_scales,
    default="1",
    show_default=True,
    help="Average over these factors of the network's size.",
)
@click.option(
    "--images", metavar="DIR", type=PathType(), help="Score on these images instead of a split; needs --labels."
)
@click.option(
    "--labels",
    metavar="DIR",
    type=PathType(),
    help="Label files of the same names, with ids or colors as in the run's dataset.",
)
@click.option("--class-ids", is_flag=True, help="The files in --labels hold class ids 0 to C-1, and 255 for ignored.")
@click.option(
    "--out", metavar="DIR", type=PathType(), help="Write the report here. [default: RUN/report, or BUNDLE_report]"
)
@json_option
@verbose_option
def command(run, checkpoint, split, out, json_target, verbose, **options):
    """Score a run or a bundle: IoU per class, mIoU, pixel accuracy; PQ where the data has instances.

    Metrics are computed at the labels' original resolution. A run is a folder that `deeplab-tf train` wrote, a bundle
    one that `deeplab-tf convert` wrote. The report has the scores as JSON and Markdown, the confusion matrix, and the
    best and the worst images beside their truth.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if (options["images"] is None) != (options["labels"] is None):
        raise click.UsageError("--images and --labels go together; name both folders.")
    for name, value in (("--split", split), ("--root", options["root"])):
        if value is not None and options["images"] is not None:
            raise click.UsageError(f"{name} and --images exclude each other: score a split, or a folder.")
    if options["class_ids"] and options["labels"] is None:
        raise click.UsageError("--class-ids describes --labels; name --images and --labels.")
    from deeplab_tf.core.bundle import is_bundle
    from deeplab_tf.lab.evaluation.evaluate_run import evaluate_run

    path = os.path.normpath(run)
    out = out or (path + "_report" if is_bundle(path) else os.path.join(path, "report"))  # a bundle stays as it is
    report = evaluate_run(
        run,
        checkpoint or (None,),
        split=split or "val",
        out=out,
        guard=new_guard(json_target),
        progress=progress,
        say=lambda text: click.echo(text, err=True),
        **options,
    )
    for each in report.get("checkpoints", [report]):
        _show_scores(each, "checkpoints" in report, json_target)
    figures = report["figures"]
    figure = figures.get("best_and_worst", figures["confusion_matrix"])
    show(f"\nReport: {os.path.join(out, 'report.md')}\nOpen {figure}", json_target)
    write_json(report, json_target)


def _show_scores(report, titled, json_target):
    from deeplab_tf.core.metrics import panoptic
    from deeplab_tf.core.metrics.confusion import iou_table
    from deeplab_tf.core.panoptic import METHODS
    from deeplab_tf.lab.evaluation.pages import certainty_line, components_line

    if titled:
        show(f"\ncheckpoint {report['checkpoint']}\n", json_target)
    show(iou_table(report), json_target)
    show(certainty_line(report), json_target)
    if "pq" in report:
        method = METHODS[report["pq_method"]]
        show(f"\nPanoptic quality, instances by {method}\n{panoptic.pq_table(report)}", json_target)
    if "pq_of_components" in report:
        show(components_line(report), json_target)
