"""deeplab-tf prune: make a smaller run from a trained one."""

import os
import shlex

import click

from deeplab_tf.cli.options import (
    Choice,
    DeviceType,
    FloatRange,
    IntRange,
    PathType,
    SizeType,
    checkpoint_option,
    example,
    json_option,
    new_guard,
    overwriting,
    root_option,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import WrongCall
from deeplab_tf.core.files import locked

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example(
        "deeplab-tf prune runs/camvid --gmac 6 --size 512x1024",
        "deeplab-tf prune runs/camvid --device jetson-nano --fps 30 --size 512x1024 --out runs/camvid_nano",
    )
)
@click.argument("run", type=PathType())
@click.option("--gmac", type=FloatRange(0, 1e6, min_open=True), help="Target: billions of multiply-adds per frame.")
@click.option("--device", type=DeviceType(), help="Target: a device to be fast enough for, with --fps.")
@click.option(
    "--fps", type=FloatRange(0, 1e6, min_open=True), help="Frames/s to reach on --device in its fastest precision."
)
@click.option("--size", type=SizeType(), help="Count for frames of this height x width. [default: the run's]")
@click.option(
    "--by", type=Choice(("loss", "scale")), default="loss", show_default=True, help="Measure of channel importance."
)
@click.option("--rounds", type=IntRange(1, 100), default=4, show_default=True, help="Prune in this number of rounds.")
@click.option(
    "--images",
    type=IntRange(8, 100000),
    default=64,
    show_default=True,
    help="Measure importance on this number of training images in each round.",
)
@click.option(
    "--score-images",
    type=IntRange(1, 1000000),
    default=100,
    show_default=True,
    help="Score on this number of validation images.",
)
@checkpoint_option("Prune")
@root_option
@click.option("--out", metavar="DIR", type=PathType(), help="Write the smaller run here. [default: RUN_pruned]")
@json_option
@verbose_option
def command(run, json_target, verbose, **options):
    """Prune a trained network down to a target cost.

    Removes the channels that are least important for what they cost, in rounds, and writes a run: an ordinary, smaller
    network, and a recipe that describes it and starts from it. Train that recipe: scores right after pruning are low.
    The importance of a channel is the change of the loss without it, to first order (--by loss, Molchanov et al.,
    2019), or the scale of its batch normalization (--by scale, Liu et al., 2017), which keeps much less of the score.
    """
    if (options["gmac"] is None) == (options["device"] is None):
        raise click.UsageError("name a target: either --gmac, or --device with --fps.")
    if (options["device"] is None) != (options["fps"] is None):
        raise click.UsageError("--device and --fps go together.")
    out = os.path.normpath(options["out"] or os.path.normpath(run) + "_pruned")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.core.bundle import files_read
    from deeplab_tf.lab.runs import check_run, read_places

    guard = new_guard(json_target)
    guard.reads(*files_read(run), *read_places(run, options["root"]), options["root"])
    guard.makes(out, "--out")
    guard.check()

    check_run(run)
    with locked(out):
        _check_target(out)
        report = _prune(run, out, options, json_target)
    _show(report, json_target)
    write_json(report, json_target)


def _prune(run, out, options, json_target):
    show("Loading TensorFlow and the network ...", json_target)
    from deeplab_tf.lab.pruning.prune_run import prune_run
    from deeplab_tf.lab.pruning.rounds import PruningOptions
    from deeplab_tf.lab.pruning.target import GmacTarget, SpeedTarget
    from deeplab_tf.lab.runs.keras_runtime import open_run

    runtime = open_run(run, options["checkpoint"])
    size, gmac = options["size"] or runtime.size, options["gmac"]
    target = GmacTarget(size, gmac) if gmac is not None else SpeedTarget(size, options["device"], options["fps"])
    how = PruningOptions(options["by"], options["rounds"], options["images"])
    report = prune_run(runtime, out, target, how, root=options["root"], score_images=options["score_images"], say=_say)
    report.update(run=run, out=out, by=options["by"], command=_command(run, out))
    return report


def _check_target(out):
    """Raise WrongCall for a folder that holds anything; with --overwrite, anything but a smaller run."""
    there = os.listdir(out) if os.path.isdir(out) else [out] * os.path.lexists(out)
    foreign = sorted(set(there) - {"config.yaml", "classes.json", "best.keras"}) if overwriting() else there
    if foreign:
        advice = "" if overwriting() else ", or add --overwrite to replace a smaller run"
        raise WrongCall(f"{out} exists already and holds {foreign[0]}; name another folder with --out{advice}.")


def _command(run, out):
    teacher = f"distillation.run={run}"
    words = ["deeplab-tf", "train", os.path.join(out, "config.yaml"), "--set", teacher, "--run", out + "_tuned"]
    return " ".join(shlex.quote(word) for word in words)


def _show(report, json_target):
    from deeplab_tf.lab.pruning.before_after import comparison_tables

    show("\n" + comparison_tables(report), json_target)
    show(f"\nThe smaller run is in {report['out']}. Fine-tune it, with the original as its teacher:", json_target)
    show("  " + report["command"], json_target)


def _say(line):
    click.echo(line, err=True)
