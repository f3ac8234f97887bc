"""`deeplab-tf convert`: on the machine that trained, from a run to a bundle; on a device, from a bundle to its
engines."""

import contextlib
import os
import signal
import sys

import click

from deeplab_tf.cli.options import Choice, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2", "lab or runtime")
OPTION_NEEDS = {"a run": "export"}
_TARGETS = ("saved_model", "tf_trt", "onnx", "tensorrt")
_METHODS = ("min-max", "percentile", "entropy")
_TIMED_SECONDS = 2.0
_COMPARED_FRAMES = 2
"""On so many the class scores are held against Keras'."""


@click.command(
    epilog=example(
        "deeplab-tf convert runs/camvid --int8 --out camvid_bundle",
        "deeplab-tf convert runs/camvid --int8 --label-stride 4 --calibration percentile",
        "deeplab-tf convert camvid_bundle --fp16          (on a Jetson: builds its engines)",
    )
)
@click.argument("source", metavar="RUN_OR_BUNDLE", type=click.Path())
@click.option("--out", metavar="DIR", help="Where the bundle goes. [default: RUN/bundle]")
@click.option("--int8", is_flag=True, help="Also the network in 8-bit integers, calibrated on real images.")
@click.option("--fp16", is_flag=True, help="Engines in half precision, where there is a GPU.")
@click.option("--target", type=Choice(("all", *_TARGETS)), default="all", show_default=True, help="What to convert to.")
@click.option("--images", metavar="DIR", help="Calibrate on these images. [default: the run's own training images]")
@click.option(
    "--labels",
    metavar="DIR",
    help="Labels of --images, to score on; class ids for a bundle. [default: the run's val split]",
)
@click.option("--root", metavar="DIR", help="Where the run's data set lies. [default: as in the run's recipe]")
@click.option("--checkpoint", metavar="STEP", help="A kept step, or 'best'. [default: best]")
@click.option("--size", metavar="HxW", help="Height and width that the network will take. [default: the run's]")
@click.option(
    "--output", type=Choice(("labels", "logits")), default="labels", show_default=True, help="What the network gives."
)
@click.option(
    "--label-stride",
    type=Choice(("1", "4", "8")),
    default="1",
    show_default=True,
    help="Input pixels a side for one label.",
)
@click.option(
    "--calibration",
    type=Choice(_METHODS),
    help="How ranges are chosen. [default: what agrees best with the float network]",
)
@click.option(
    "--calibration-images", type=click.IntRange(1), default=100, show_default=True, help="How many to calibrate on."
)
@click.option("--score-images", type=click.IntRange(1), default=50, show_default=True, help="How many to score on.")
@click.option(
    "--calibrate-on-gpu", is_flag=True, help="Also let TF-TRT calibrate its engine by itself, on the GPU here."
)
@click.option(
    "--strict", is_flag=True, help="Refuse where an engine cannot be built as asked, instead of the next best."
)
@json_option
@verbose_option
def command(source, json_target, verbose, **options):
    """Converts a trained network for TensorRT, along both paths, and for plain TensorFlow and ONNX Runtime.

    From a run it writes a bundle, a folder to copy to the device. From a bundle it builds the engines of this machine.
    It ends with a table: size, build time, largest difference from Keras, mIoU on validation images and frames/s where
    it runs here.
    """
    from deeplab_tf.core.bundle import is_bundle

    if options["int8"] and options["fp16"]:
        raise click.UsageError("--int8 and --fp16 exclude each other: integers, or half precision.")
    targets = _TARGETS if options["target"] == "all" else (options["target"],)
    if is_bundle(source):
        _refuse(
            "a bundle: convert the run again",
            ("out", "size", "checkpoint", "calibration", "label_stride", "output", "root"),
        )
        report = _from_bundle(source, targets, options, json_target)
    else:
        _check_run(source)
        if not options["int8"]:
            _refuse("a conversion without --int8", ("calibration", "calibration_images", "calibrate_on_gpu"))
            if options["labels"] is None:
                _refuse("a conversion without --int8 or --labels", ("images",))
        report = _from_run(source, targets, options, json_target)
    write_json(report, json_target)


def _refuse(what, names):
    """A wrong call for options that were given and would do nothing."""
    source = click.get_current_context().get_parameter_source
    for name in names:
        if source(name) is not None and source(name).name == "COMMANDLINE":
            raise click.UsageError("--{} does not go with {}.".format(name.replace("_", "-"), what))


def _check_run(path):
    """Before the lab is asked for, which a Jetson does not have."""
    if not os.path.isfile(os.path.join(path, "config.yaml")):
        kind = "is a file" if os.path.isfile(path) else "has neither in it" if os.path.isdir(path) else "does not exist"
        raise DeepLabError(
            f"Expected a run folder (with a config.yaml) or a bundle (with a bundle.json), but {path} {kind}."
        )


def _precision(options):
    return "int8" if options["int8"] else "float16" if options["fp16"] else "float32"


def _from_bundle(source, targets, options, json_target):
    """On a device: what it can build."""
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy import conversion

    bundle = open_bundle(source)
    rows = conversion.exported(bundle, {}, {})
    rows = [row for row in rows if row.target in targets and row.target not in conversion.BUILT_ON_THE_DEVICE]
    rows += conversion.build_engines(
        bundle, _precision(options), targets, strict=options["strict"], say=_say, **_gpu(bundle, options)
    )
    if options["images"] is not None:
        images, truth = _folder_frames(bundle, options)
        rows = conversion.measured(bundle, rows, images, truth, _TIMED_SECONDS)
    return _finish(bundle, rows, json_target, {}, built_here=True)


def _from_run(source, targets, options, json_target):
    """On the lab: a bundle."""
    out = options["out"] or os.path.join(source, "bundle")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.core.bundle import check_target, new_bundle, open_bundle

    check_target(out)
    if options["labels"] is not None and options["images"] is None:
        raise click.UsageError("--labels are those of --images; name both folders.")
    size = _size(options["size"])
    show("Loading TensorFlow and the network ...", json_target)
    from deeplab_tf.deploy import conversion
    from deeplab_tf.lab.export import convert
    from deeplab_tf.lab.export.verify import label_stride_costs, largest_differences

    keras, size, scored, frames, trained = _inputs(source, size, options)
    choices = {"calibration": options["calibration"], "calibration_images": options["calibration_images"]}
    order = convert.Order(size, options["output"], int(options["label_stride"]), targets, options["int8"], **choices)
    with _tidy_at_sigterm(), new_bundle(out) as part:
        info = convert.write(part, keras.model, keras.table, order, frames, trained)
        reference, costs = label_stride_costs(keras, scored.images, scored.truth, scored.panoptic)
        differences = largest_differences(part, keras.model, scored.images[:_COMPARED_FRAMES], order.label_stride)
        mious = {str(cost["label_stride"]): cost["miou"] for cost in costs}
        scores = {"miou_by_label_stride": mious, "images": len(scored.images)}
        info["label_ids"] = scored.label_ids
        convert.finish(
            part, info, dict(scores, **({"pq": reference.pq} if info["instances"] else {})), keras.config.data
        )
    bundle = open_bundle(out)
    rows = conversion.exported(bundle, info["seconds"], differences)
    if options["fp16"] or options["int8"]:
        rows += [
            row
            for row in _engines(bundle, targets, options, frames)
            if options["fp16"] or not row.note.startswith("no engine")
        ]
    rows = [reference, *conversion.measured(bundle, rows, scored.images, scored.truth, _TIMED_SECONDS, scored.panoptic)]
    _show_choices(info, costs, order, len(scored.images), json_target)
    return _finish(bundle, rows, json_target, {"label_stride": costs, "calibration": info.get("calibration")})


@contextlib.contextmanager
def _tidy_at_sigterm():
    """SIGTERM ends the block as an error does, so that it leaves nothing half-written."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _inputs(source, size, options):
    """The network, its size, the frames to score on, those to calibrate on, and the ranges that the network was trained
    with."""
    from deeplab_tf.lab.export import ranges
    from deeplab_tf.lab.export.from_run import calibration_frames, scored_frames
    from deeplab_tf.lab.runs import open_runtime

    keras = open_runtime(source, options["checkpoint"])
    trained = ranges.load(source) if options["int8"] and options["calibration"] is None else None
    if trained and not options["calibrate_on_gpu"]:
        names = ("calibration_images",) if options["labels"] else ("calibration_images", "images")
        _refuse("a run that was trained with its ranges, unless --calibration says to measure others", names)
    size = size or keras.size
    places = {"root": options["root"]}
    scored_from = {"images": options["images"], "labels": options["labels"]} if options["labels"] else {}
    scored = scored_frames(keras.config, keras.table, size, options["score_images"], **scored_from, **places)
    frames = []
    if options["int8"] and not trained or options["calibrate_on_gpu"]:
        count = options["calibration_images"] + ranges.JUDGES
        frames = list(calibration_frames(keras.config, size, count, images=options["images"], **places))
    return keras, size, scored, frames, trained


def _engines(bundle, targets, options, frames):
    from deeplab_tf.deploy.conversion import build_engines

    more = {"calibrate_on_gpu": True, "images": frames} if options["calibrate_on_gpu"] else {}
    return build_engines(bundle, _precision(options), targets, strict=options["strict"], say=_say, **more)


def _gpu(bundle, options):
    """Options for TF-TRT's own calibration."""
    if not options["calibrate_on_gpu"]:
        return {}
    if options["images"] is None:
        raise DeepLabError("--calibrate-on-gpu needs real images; name a folder of them with --images.")
    return {"calibrate_on_gpu": True, "images": list(_folder_frames(bundle, options)[0])}


def _folder_frames(bundle, options):
    from deeplab_tf.deploy.compare.labeled_frames import load_frames

    frames = load_frames(options["images"], bundle, options["score_images"], options["labels"])
    return frames.images, frames.truth


def _size(text):
    if text is None:
        return None
    try:
        height, width = (int(side) for side in text.lower().split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 32:
        raise click.UsageError(f"--size: expected HxW of at least 32x32, such as 512x1024; got '{text}'.")
    return height, width


def _say(text):
    click.echo(text, err=True)


def _show_choices(info, costs, order, images, json_target):
    """What was chosen, and what else there was to choose."""
    calibration = info.get("calibration")
    if calibration and calibration["trained"]:
        show(
            "Ranges: those that the network was trained with ({method} on {frames} images).".format(**calibration),
            json_target,
        )
    elif calibration:
        form = "{} {:.4f}" if info["instances"] else "{} {:.2%}"
        others = ", ".join(form.format(name, value) for name, value in calibration["agreement"].items())
        show(
            "Calibration: {} on {} images. {} the float network's: {}.".format(
                ", ".join([calibration["method"]] + [f"{name} in float" for name in calibration["float_layers"]]),
                calibration["frames"],
                "PQ against" if info["instances"] else "Labels equal to",
                others,
            ),
            json_target,
        )
    text = ", ".join("{}: {:.4f} in {:.0f} ms".format(cost["label_stride"], cost["miou"], cost["ms"]) for cost in costs)
    show(
        f"mIoU on {images} images and time a frame in TensorFlow, by --label-stride: {text}. Taken: "
        f"{order.label_stride}.",
        json_target,
    )


def _finish(bundle, rows, json_target, more, *, built_here=False):
    from deeplab_tf.deploy.conversion import table

    show("\n" + table(rows), json_target)
    where = "{}: {} at {}x{}".format(bundle.path, bundle.output, *bundle.size)
    show(f"\nThe bundle is in {where}. {_next(bundle, built_here)}", json_target)
    return dict(more, bundle=bundle.path, rows=[dict(row._asdict()) for row in rows])


def _next(bundle, built_here):
    """What to do with the bundle: engines are built from some of its files only."""
    integers = any(name in bundle for name in ("model_int8.onnx", "tf_trt/int8"))
    if built_here or not any(name in bundle for name in ("model.onnx", "tf_trt/float", "tf_trt/int8")):
        return f"See it at work: deeplab-tf stream {bundle.path} --source sample://"
    folder = os.path.basename(os.path.abspath(bundle.path))
    return "On the device it is for: deeplab-tf convert {} --{}".format(folder, "int8" if integers else "fp16")
