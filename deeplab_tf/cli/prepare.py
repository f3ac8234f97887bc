"""`deeplab-tf prepare`: a data set written once, at the training size, as records that are read several times as fast
as its files."""

import os

import click

from deeplab_tf.cli.options import example, json_option, show, verbose_option, write_json
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab")


@click.command(
    epilog=example(
        "deeplab-tf prepare configs/cityscapes_resnet50.yaml --set data.root=~/cityscapes --out ~/cityscapes-512x1024",
        "deeplab-tf train configs/cityscapes_resnet50.yaml --set data.records=~/cityscapes-512x1024",
    )
)
@click.argument("config", type=click.Path())
@click.option(
    "--out", metavar="DIR", help="Where the records go. [default: data.records, or records/NAME-HEIGHTxWIDTH]"
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Overrides a value of the recipe; repeatable."
)
@json_option
@verbose_option
def command(config, out, overrides, json_target, verbose):
    """Writes a recipe's data set once, as sharded TFDS records at the training size.

    Images are resized by area means, labels by nearest neighbour; the labels at their own resolution go along, so
    scores stay the same. The records appear whole or not at all; a second call finds them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.data.record_writer import prepare

    data = load(config, overrides).data
    report = prepare(data, out, progress=lambda items, label, total: progress(items, label, total=total))
    counts = ", ".join(f"{count} {name}" for name, count in report["splits"].items())
    what = "{} frames at {}x{}, {:.1f} MB, in {}".format(counts, *report["size"], report["bytes"] / 1e6, report["out"])
    show(f"Wrote {what}." if report["written"] else f"Already there: {what}.", json_target)
    show("Train on them with: --set data.records={}".format(report["out"]), json_target)
    write_json(report, json_target)
