"""`deeplab-tf convert`: on the machine that trained, from a run to a bundle; on a device, from a bundle to engines."""

import os
from typing import Tuple

import click

from deeplab_tf.cli.options import (
    Choice,
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
from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.modes import BUNDLE_MODES
from deeplab_tf.deploy.conversion import TARGETS

NEEDS = ("numpy", "cv2", "lab or runtime")
OPTION_NEEDS = {"a run": "export"}


@click.command(
    epilog=example(
        "deeplab-tf convert runs/camvid --int8 --out camvid_bundle",
        "deeplab-tf convert runs/camvid --int8 --label-stride 4 --calibration percentile",
        "deeplab-tf convert camvid_bundle --fp16          (on a Jetson: builds its engines)",
    )
)
@click.argument("source", metavar="RUN_OR_BUNDLE", type=PathType())
@click.option("--out", metavar="DIR", type=PathType(), help="Write the bundle here. [default: RUN/bundle]")
@click.option("--int8", is_flag=True, help="Also write the INT8 network, calibrated on real images.")
@click.option("--fp16", is_flag=True, help="Build FP16 engines where there is a GPU.")
@click.option("--target", type=Choice(("all", *TARGETS)), help="Format to write. [default: all but litert]")
@click.option(
    "--images", metavar="DIR", type=PathType(), help="Calibrate on these images. [default: the run's training images]"
)
@click.option(
    "--labels",
    metavar="DIR",
    type=PathType(),
    help="Score on --images with these labels. With a bundle, the files hold class ids. [default: the run's val split]",
)
@root_option
@checkpoint_option("Convert")
@click.option(
    "--mode",
    type=Choice(BUNDLE_MODES),
    default="stretch",
    show_default=True,
    help="What the bundle does with images of another size, unless a command is told otherwise: stretch, pad, or slide "
    "windows over them.",
)
@click.option("--size", type=SizeType(), help="Height and width that the network takes. [default: the run's]")
@click.option(
    "--output", type=Choice(("labels", "logits")), default="labels", show_default=True, help="Output of the network."
)
@click.option(
    "--label-stride",
    type=Choice(("1", "4", "8")),
    default="1",
    show_default=True,
    help="Stride of the output label map, in input pixels.",
)
@click.option(
    "--calibration", type=Choice(METHODS), help="Calibration method. [default: the one that agrees best with FP32]"
)
@click.option(
    "--calibration-images",
    type=IntRange(1, 10000),
    default=100,
    show_default=True,
    help="Number of images to calibrate on.",
)
@click.option(
    "--score-images",
    type=IntRange(1, 10000),
    default=50,
    show_default=True,
    help="Number of validation images to score on.",
)
@click.option("--calibrate-on-gpu", is_flag=True, help="Also let TF-TRT calibrate its engine itself, on this GPU.")
@click.option(
    "--strict",
    is_flag=True,
    help="Fail if an engine cannot be built as asked, instead of building the next best precision.",
)
@json_option
@verbose_option
def command(source, json_target, verbose, **options):
    """Convert a trained network for TensorRT, TensorFlow and ONNX Runtime.

    From a run it writes a bundle, a folder to copy to the device. From a bundle it builds the engines of this machine.
    It ends with a table: size, build time, largest difference from Keras, mIoU on validation images and frames/s where
    it runs here.
    """
    from deeplab_tf.core.bundle import files_read, is_bundle

    if options["int8"] and options["fp16"]:
        raise click.UsageError("--int8 and --fp16 exclude each other.")
    options["label_stride"] = int(options["label_stride"])
    convert, guard = _bundle if is_bundle(source) else _run, new_guard(json_target)
    guard.reads(*files_read(source), options["labels"], options["root"])
    report = convert(source, options, guard, lambda text: show(text, json_target))
    write_json(report, json_target)


def _bundle(source, options, guard, say):
    from deeplab_tf.deploy.convert_bundle import convert_bundle
    from deeplab_tf.deploy.video.sources import local_files

    unused: Tuple[str, ...] = ("out", "size", "checkpoint", "calibration", "calibration_images", "label_stride")
    unused += ("output", "root", "mode")
    _refuse("a bundle: convert the run again", unused)
    guard.reads(*(local_files(options["images"]) if options["images"] else ()), whole=False)
    guard.check()
    return convert_bundle(source, say=say, **{name: value for name, value in options.items() if name not in unused})


def _run(source, options, guard, say):
    from deeplab_tf.core.bundle import check_run_or_bundle, check_target

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    check_run_or_bundle(source)
    if not options["int8"]:
        _refuse("a conversion without --int8", ("calibration", "calibration_images", "calibrate_on_gpu"))
        if options["labels"] is None:
            _refuse("a conversion without --int8 or --labels", ("images",))
    if options["labels"] is not None and options["images"] is None:
        raise click.UsageError("--labels are those of --images; name both folders.")
    from deeplab_tf.lab.runs import read_places

    guard.reads(options["images"], *read_places(source, options["root"]))
    out = options["out"] or os.path.join(source, "bundle")
    guard.makes(out, "--out")
    guard.check()
    check_target(out, overwrite=overwriting())
    say("Loading TensorFlow and the network ...")
    from deeplab_tf.lab.export.calibration import load
    from deeplab_tf.lab.export.convert import convert_run

    if options["int8"] and options["calibration"] is None and not options["calibrate_on_gpu"] and load(source):
        names = ("calibration_images",) if options["labels"] else ("calibration_images", "images")
        _refuse("a run that was trained with its ranges, unless --calibration asks for others", names)
    return convert_run(source, say=say, overwrite=overwriting(), **options)


def _refuse(what, names):
    """Raise a wrong call for options that were given and would do nothing."""
    source = click.get_current_context().get_parameter_source
    for name in names:
        if source(name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} does not go with {what}.")
