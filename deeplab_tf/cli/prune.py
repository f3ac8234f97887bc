"""`deeplab-tf prune`: a smaller network from a trained one."""

import os
import shlex

import click

from deeplab_tf.cli.options import Choice, DeviceType, SizeType, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example(
        "deeplab-tf prune runs/camvid --gmac 6 --size 512x1024",
        "deeplab-tf prune runs/camvid --device jetson-nano --fps 30 --size 512x1024 --out runs/camvid_nano",
    )
)
@click.argument("run", type=click.Path())
@click.option(
    "--gmac", type=click.FloatRange(0, min_open=True), help="Billions of multiply-adds that a frame may take."
)
@click.option("--device", type=DeviceType(), help="Instead: a device that is to be fast enough, as budget knows it,")
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="and the frames/s that it is to reach in its fastest precision.",
)
@click.option("--size", type=SizeType(), help="Height x width of a frame for that count. [default: the run's]")
@click.option(
    "--by", type=Choice(("loss", "scale")), default="loss", show_default=True, help="What a channel is worth."
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=4, show_default=True, help="In how many steps to get there."
)
@click.option(
    "--images",
    type=click.IntRange(8),
    default=64,
    show_default=True,
    help="Training images to measure on in each round.",
)
@click.option(
    "--score-images", type=click.IntRange(1), default=100, show_default=True, help="Validation images to score on."
)
@click.option("--checkpoint", metavar="STEP", help="A kept step, or 'best'. [default: best]")
@click.option("--root", metavar="DIR", help="Where the run's data set lies. [default: as in the run's recipe]")
@click.option("--out", metavar="DIR", help="Where the smaller run goes. [default: RUN_pruned]")
@json_option
@verbose_option
def command(run, json_target, verbose, **options):
    """Takes the channels out of a trained network that are worth the least for what they cost, until it is cheap
    enough.

    What comes out is a run: an ordinary, smaller network, and a recipe that describes it and starts from it. Train that
    recipe: scores right after pruning are low. A channel's worth is how much the loss changes without it, to first
    order (--by loss, Molchanov et al., 2019), or the scale of its batch normalisation (--by scale, Liu et al., 2017),
    which keeps much less of the score.
    """
    if (options["gmac"] is None) == (options["device"] is None):
        raise click.UsageError("say what the network may cost: either --gmac, or --device with --fps.")
    if (options["device"] is None) != (options["fps"] is None):
        raise click.UsageError("--device and --fps go together.")
    out = os.path.normpath(options["out"] or os.path.normpath(run) + "_pruned")
    _check_out(out)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.runs import check_run, open_runtime

    check_run(run)
    show("Loading TensorFlow and the network ...", json_target)
    runtime = open_runtime(run, options["checkpoint"])
    from deeplab_tf.lab.pruning.prune import Way
    from deeplab_tf.lab.pruning.run import prune_run
    from deeplab_tf.lab.pruning.target import Target

    target = Target(options["size"] or runtime.size, options["gmac"], options["device"], options["fps"])
    way = Way(options["by"], options["rounds"], options["images"])
    report = prune_run(runtime, out, target, way, root=options["root"], score_images=options["score_images"], say=_say)
    report.update(run=run, out=out, by=options["by"], command=_command(run, out))
    _show(report, json_target)
    write_json(report, json_target)


def _check_out(out):
    """Before hours of work."""
    if os.path.isfile(out) or os.path.isdir(out) and os.listdir(out):
        raise DeepLabError(f"{out} is there already; name another folder with --out.")


def _command(run, out):
    teacher = f"distillation.run={run}"
    words = ["deeplab-tf", "train", os.path.join(out, "config.yaml"), "--set", teacher, "--run", out + "_tuned"]
    return " ".join(shlex.quote(word) for word in words)


def _show(report, json_target):
    from deeplab_tf.lab.pruning.report import text

    show("\n" + text(report), json_target)
    show(
        "\nThe smaller run is in {}. Fine-tune it, with the one that it comes from as its teacher:".format(
            report["out"]
        ),
        json_target,
    )
    show("  " + report["command"], json_target)


def _say(line):
    click.echo(line, err=True)
