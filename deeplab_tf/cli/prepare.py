"""`deeplab-tf prepare`: from a dataset to records at the training size, which are read several times as fast."""

import os
import shlex

import click

from deeplab_tf.cli.options import (
    Choice,
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    require,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.progress import progress, say

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example(
        "deeplab-tf prepare configs/cityscapes_resnet50.yaml --set data.root=~/cityscapes --out ~/cityscapes-512x1024",
        "deeplab-tf train configs/cityscapes_resnet50.yaml --set data.records=~/cityscapes-512x1024",
    )
)
@click.argument("config", type=PathType())
@click.option(
    "--out",
    metavar="DIR",
    type=PathType(),
    help="Write the records here.  [default: data.records, or records/NAME-HEIGHTxWIDTH]",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe; repeatable."
)
@click.option(
    "--processes",
    type=IntRange(1, 1024),
    help="Write so many files of records at once, each in a process of its own.  [default: as many as there are cores]",
)
@click.option(
    "--beam-runner",
    type=Choice(["direct", "flink", "spark", "dataflow"]),
    help="Write by an Apache Beam pipeline, on other machines too; the records are the same.",
)
@click.option(
    "--beam-options",
    multiple=True,
    metavar="OPTIONS",
    help="Options of the pipeline, in one word: '--flink_master=HOST:8081 --parallelism=16'; repeatable.",
)
@json_option
@verbose_option
def command(config, out, overrides, processes, beam_runner, beam_options, json_target, verbose):
    """Write a recipe's dataset as sharded TFDS records at the training size.

    Images are resized by area means, labels by nearest neighbor; the labels are kept at their own resolution too, so
    scores stay the same. The records appear whole or not at all; a second call finds them, and writes them again where
    files have changed since. Files of 128 MB of pixels are written at the same time.
    """
    require("beam-runner", beam_runner, "beam-options")
    if beam_runner and processes:
        raise click.UsageError("--processes does not go with --beam-runner; see --beam-options.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.data import places
    from deeplab_tf.lab.data.record_writer import Workers, prepare, records_folder

    data = load(config, overrides).data
    guard = new_guard(json_target)
    guard.reads(config, *places({**data, "records": None}))
    guard.fills(records_folder(data, out), "--out")
    guard.check()
    words = [word for options in beam_options for word in shlex.split(options)]
    workers = Workers(processes, beam_runner, words)
    report = prepare(data, out, progress=_progress, workers=workers)
    for sentence in report["warnings"]:
        say(f"Warning: {sentence}")
    counts = ", ".join(f"{count} {name}" for name, count in report["splits"].items())
    height, width = report["size"]
    what = f"{counts} images at {height}x{width}, {report['bytes'] / 1e6:.1f} MB, in {report['out']}"
    show(f"Wrote {what}." if report["written"] else f"Already there: {what}.", json_target)
    show(f"Train on them with: --set data.records={report['out']}", json_target)
    write_json(report, json_target)


def _progress(items, label, total):
    return progress(items, label, total=total)
