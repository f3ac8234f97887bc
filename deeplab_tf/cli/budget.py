"""`deeplab-tf budget`: what a network costs a frame, and what a device can do with it."""

import os

import click

from deeplab_tf.cli.options import DeviceType, SizeType, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2")
OPTION_NEEDS = {"a recipe": "lab", "--measure": "export"}


@click.command(
    epilog=example(
        "deeplab-tf budget configs/cityscapes_resnet50.yaml --device jetson-nano --fps 25",
        "deeplab-tf budget configs/camvid_resnet50_small.yaml --device jetson-nano --suggest",
        "deeplab-tf budget BUNDLE --measure",
    )
)
@click.argument("source", metavar="CONFIG_OR_BUNDLE", type=click.Path())
@click.option("--device", type=DeviceType(), help="Only this one. [default: all that are known]")
@click.option(
    "--fps",
    "target",
    type=click.FloatRange(0, min_open=True),
    default=25.0,
    show_default=True,
    help="The wanted frame rate.",
)
@click.option("--size", type=SizeType(), help="Of a recipe's network; height x width. [default: the recipe's]")
@click.option("--classes", type=click.IntRange(1, 255), default=19, show_default=True, help="Of a recipe's network.")
@click.option(
    "--suggest",
    is_flag=True,
    help="Which widths, output strides and heads of a recipe's network would reach --fps on --device.",
)
@click.option(
    "--picture",
    metavar="FILE",
    help="Draw every layer under the roofline into a PNG file: of --device, or measured with --measure.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Hold the estimate against ONNX Runtime's own time of every layer of a bundle, here.",
)
@json_option
@verbose_option
def command(source, device, target, size, classes, suggest, picture, measure, json_target, verbose):
    """Counts what a network costs a frame, and estimates the frame rate that a device reaches with it.

    The ceiling is what the maker's figures allow: each layer takes the longer of computing and moving its bytes. What
    is expected also takes the shares of them that networks were measured to get. Three published figures for a Nano
    were met within 11 %; take it as good to 30 %. Nothing here was measured on the device.

    --measure checks the way of estimating, on the machine that is here: its peaks and shares are measured on single
    layers, the bundle's network is predicted from them and then timed layer by layer. Nothing else should run
    meanwhile.
    """
    from deeplab_tf.core.bundle import is_bundle
    from deeplab_tf.deploy.budget import report as reports
    from deeplab_tf.deploy.budget.devices import DEVICES

    if suggest and device is None:
        raise click.UsageError("--suggest needs --device.")
    if picture and (device is None) != measure:
        raise click.UsageError("--picture needs --device or --measure, and not both.")
    if measure and not is_bundle(source):
        raise click.UsageError("--measure needs a bundle: a recipe has no trained network that could run.")
    if is_bundle(source):
        if suggest or size is not None:
            raise click.UsageError("--suggest and --size are for a recipe; a bundle is what it is.")
        title, size, layers = _bundle_layers(source)
    else:
        title, size, layers = _recipe_layers(source, size, classes)
    names = [device] if device else sorted(DEVICES)
    report = reports.report(layers, names, target)
    report.update(network=title, size=list(size))
    if suggest:
        report["suggestions"] = _suggestions(source, size, classes, device, target)
    show(reports.text(report), json_target)
    if measure:
        report["this_machine"] = _measured(source, layers, json_target)
    if picture:
        _draw(picture, layers, device, title, report)
        show(f"Open {picture}", json_target)
    write_json(report, json_target)


def _bundle_layers(path):
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.budget.layers import from_rows

    bundle = open_bundle(path, verify=False)
    if "layers" not in bundle.info:
        raise DeepLabError(f"The bundle {path} was converted before layers were noted; convert the run again.")
    return os.path.basename(os.path.abspath(path)), bundle.size, from_rows(bundle.info["layers"])


def _draw(path, layers, device, title, report):
    from deeplab_tf.lab.export.roofline import write_measured_roofline, write_roofline

    if device is not None:
        write_roofline(path, layers, device, title)
        return
    found = report["this_machine"]
    precision = "int8" if "int8" in found else "float32"
    write_measured_roofline(path, layers, found[precision], precision, title)


def _measured(path, layers, json_target):
    """Every precision that the bundle has a file for: what was found by precision."""
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.core.tables import text_table
    from deeplab_tf.deploy.runtimes.onnx import physical_cores
    from deeplab_tf.lab.export import layer_times

    bundle, found = open_bundle(path, verify=False), {}
    for precision, name in (("float32", "model.onnx"), ("int8", "model_int8_cpu.onnx")):
        if precision in bundle.info["precision"] and os.path.isfile(os.path.join(bundle.path, name)):
            one = layer_times.check(bundle.file(name), layers, precision, threads=physical_cores())
            show("\nThis machine, {}, ONNX Runtime on {} threads:".format(precision, one["threads"]), json_target)
            show(text_table(layer_times.cells(one)), json_target)
            found[precision] = one
    if not found:
        raise DeepLabError(f"The bundle {path} has no ONNX file to time; convert the run again with --target onnx.")
    return found


def _recipe_layers(path, size, classes):
    if not os.path.isfile(path):
        kind = (
            "is a folder without a bundle.json; of a run, name its config.yaml"
            if os.path.isdir(path)
            else "does not exist"
        )
        raise DeepLabError(f"Expected a recipe (YAML) or a bundle, but {path} {kind}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.export.layers import recipe_layers

    config = load(path)
    size = size or config.size
    return os.path.splitext(os.path.basename(path))[0], size, recipe_layers(config.model, size, classes)


def _suggestions(path, size, classes, device, target):
    from deeplab_tf.core.progress import progress
    from deeplab_tf.deploy.budget.report import suggestion
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.export.layers import SmallerNetworks

    networks = SmallerNetworks(load(path).model, size, classes)
    counted = progress(networks, "suggest", total=len(networks), unit="networks")
    return [suggestion(changes, layers, device, target) for changes, layers in counted]
