"""`deeplab-tf compare`: every runtime of this machine on the same frames: speed, agreement, memory."""

import click

from deeplab_tf.cli.options import (
    FloatRange,
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    precision_option,
    show,
    source_option,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2", "runtime")


def _check_runtimes(ctx, param, value):
    from deeplab_tf.deploy.compare.plan import parse

    if value is not None:
        try:
            parse(value)
        except DeepLabError as error:
            raise click.BadParameter(str(error)) from error
    return value


@click.command(
    epilog=example(
        "deeplab-tf compare demo/bundle --source sample://",
        "deeplab-tf compare BUNDLE --source CITYSCAPES/leftImg8bit/val/lindau --labels "
        "CITYSCAPES/gtFine/val/lindau --frames 59",
        "deeplab-tf compare BUNDLE --source street.mp4 --runtimes saved_model,tf_trt:int8,tensorrt:int8 --out compared",
    )
)
@click.argument("bundle", type=PathType())
@source_option("Read the frames from here, as `stream --source`.")
@click.option(
    "--runtimes",
    metavar="A,B,...",
    callback=_check_runtimes,
    help="Runtimes to compare with the first of them, such as saved_model,onnx:int8; a name alone stands for all its "
    "precisions, or the one of --precision. [default: all that work here]",
)
@precision_option("Compare at this precision only. [default: every precision]")
@click.option(
    "--labels",
    metavar="DIR",
    type=PathType(),
    help="Read label files of the images from here, for mIoU: with ids as in the run's dataset, or Cityscapes' own, "
    "with instances for PQ.",
)
@click.option("--frames", type=IntRange(1, 10000), default=16, show_default=True, help="Number of frames.")
@click.option(
    "--seconds", type=FloatRange(0, 3600), default=5.0, show_default=True, help="Seconds to time each runtime per turn."
)
@click.option(
    "--rounds", type=IntRange(1, 1000), default=1, show_default=True, help="Number of rounds, each A B C C B A."
)
@click.option("--out", metavar="DIR", type=PathType(), help="Write figures of where the runtimes disagree here.")
@json_option
@verbose_option
def command(bundle, uri, runtimes, precision, labels, frames, seconds, rounds, out, json_target, verbose):
    """Compare the runtimes of this machine on the same frames: speed, agreement, memory, power.

    Each runs in a process of its own, at least twice, in the order A B C C B A, and is timed once it has warmed up.
    Frames/s are those at the median end-to-end latency: upload, network, download, and drawing the overlay.
    """
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy import jetpack
    from deeplab_tf.deploy.compare.disagreement import figure_path, write_disagreements
    from deeplab_tf.deploy.compare.labeled_frames import load_frames
    from deeplab_tf.deploy.compare.plan import missing_runtimes, variants
    from deeplab_tf.deploy.compare.results import report, text
    from deeplab_tf.deploy.compare.runner import run_all
    from deeplab_tf.deploy.video.sources import local_files

    opened, missing = open_bundle(bundle), missing_runtimes()
    chosen = variants(runtimes, opened, missing, precision)
    guard = new_guard(json_target)
    guard.reads(bundle, labels)
    guard.reads(*local_files(uri), whole=False)
    guard.fills(out, "--out", [figure_path(out or "", variant) for variant in chosen[1:]])
    guard.check()
    loaded = load_frames(uri, opened, frames, labels)
    outcomes = run_all(
        bundle,
        chosen,
        loaded.images,
        seconds=seconds,
        rounds=rounds,
        truth=loaded.truth,
        panoptic=loaded.panoptic,
        whole=loaded.whole,
        say=lambda line: click.echo(line, err=True),
    )
    found = report(opened, loaded, outcomes, missing, jetpack.problems())
    found["figures"] = write_disagreements(out, loaded.images, outcomes, opened.table) if out else []
    show(text(found), json_target)
    write_json(found, json_target)
    if all(outcome.error is not None for outcome in outcomes):
        raise DeepLabError("No runtime could run this bundle; the reasons are above.")
