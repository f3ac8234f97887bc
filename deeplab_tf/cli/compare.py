"""`deeplab-tf compare`: every runtime of this machine on the same frames: speed, agreement, memory."""

import click

from deeplab_tf.cli.options import example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError


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
@click.argument("bundle", type=click.Path())
@click.option("--source", "uri", required=True, metavar="URI", help="Where the frames come from, as of `stream`.")
@click.option(
    "--runtimes",
    metavar="A,B,...",
    callback=_check_runtimes,
    help="Runtimes, such as saved_model,onnx:int8; one without a precision stands for all of its own. The first is "
    "what the others are"
    " held against. [default: all that work here]",
)
@click.option(
    "--labels",
    metavar="DIR",
    help="True label files of the images, for mIoU: ids as in the run's data set, or Cityscapes' own.",
)
@click.option("--frames", type=click.IntRange(1), default=16, show_default=True, metavar="N", help="How many frames.")
@click.option(
    "--seconds", type=click.FloatRange(0), default=5.0, show_default=True, help="Of timed runs a visit, once warm."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often the runtimes take turns: A B C C B A.",
)
@click.option("--out", metavar="DIR", help="Pictures of where the runtimes disagree.")
@json_option
@verbose_option
def command(bundle, uri, runtimes, labels, frames, seconds, rounds, out, json_target, verbose):
    """Compares the runtimes of this machine on the same frames: speed, agreement, memory, power.

    Each runs in a process of its own, twice or more, in the order A B C C B A, and is timed once it has warmed up.
    Frames/s are those at the median time of a whole frame: upload, network, download, and drawing the picture.
    """
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy import device, jetpack
    from deeplab_tf.deploy.compare import report as reports
    from deeplab_tf.deploy.compare.frames import gather
    from deeplab_tf.deploy.compare.pictures import write_disagreements
    from deeplab_tf.deploy.compare.runner import run_all

    opened = open_bundle(bundle)
    pairs, missing = _pairs(runtimes, opened)
    gathered = gather(uri, opened, frames, labels)
    outcomes = run_all(
        bundle,
        pairs,
        gathered.images,
        seconds=seconds,
        rounds=rounds,
        truth=gathered.truth,
        say=lambda line: click.echo(line, err=True),
    )
    rows = reports.rows(outcomes, opened, gathered.truth)
    report = {"bundle": bundle, "source": gathered.source, "frames": len(gathered.images), "size": list(opened.size)}
    report.update(label_stride=opened.label_stride, device=device.fingerprint(), runtimes=rows)
    report["not_here"] = {name: reason for name, reason in sorted(missing.items()) if reason is not None}
    report["warnings"] = reports.warnings(rows, jetpack.problems())
    report["claims"] = {
        "before_fps": reports.CLAIM["before"],
        "after_fps": reports.CLAIM["after"],
        "size": list(reports.CLAIM["size"]),
    }
    report["pictures"] = write_disagreements(out, gathered.images, outcomes, opened.table) if out else []
    show(reports.text(report, gathered), json_target)
    write_json(report, json_target)
    if all(row["error"] is not None for row in rows):
        raise DeepLabError("No runtime could run this bundle; the reasons stand above.")


def _pairs(wanted, bundle):
    """What to run, and what each runtime misses here; asked in a process of its own, because an answer may load
    TensorFlow."""
    from deeplab_tf.deploy import probe
    from deeplab_tf.deploy.compare.plan import pairs

    missing = probe.ask(probe.RUNTIMES, 300.0)
    if missing.problem is not None:
        raise DeepLabError(f"Cannot find out which runtimes work here: {missing.problem}.")
    return pairs(wanted, bundle, missing.value), missing.value
