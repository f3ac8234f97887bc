"""`deeplab-tf budget`: the cost of a network, and the frame rates that devices reach with it."""

import os

import click

from deeplab_tf.cli.options import (
    DeviceType,
    FloatRange,
    IntRange,
    PathType,
    SizeType,
    example,
    json_option,
    new_guard,
    renamed_option,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import say

NEEDS = ("numpy", "cv2")
OPTION_NEEDS = {"a recipe or a run": "lab", "--measure": "export"}
ASSUMED_CLASSES = 19
"""Of a recipe whose dataset gives its classes only with files that are not here; as many as Cityscapes has."""


@click.command(
    epilog=example(
        "deeplab-tf budget configs/cityscapes_resnet50.yaml --device jetson-nano --fps 25",
        "deeplab-tf budget configs/camvid_resnet50_small.yaml --device jetson-nano --suggest",
        "deeplab-tf budget runs/camvid --device orin-nano",
        "deeplab-tf budget BUNDLE --measure",
    )
)
@click.argument("source", metavar="CONFIG_OR_RUN_OR_BUNDLE", type=PathType())
@click.option("--device", type=DeviceType(), help="Show this device only. [default: all]")
@click.option(
    "--fps",
    "target",
    type=FloatRange(0, 1e6, min_open=True),
    default=25.0,
    show_default=True,
    help="Target frame rate.",
)
@click.option("--size", type=SizeType(), help="Height and width of a recipe's network. [default: the recipe's]")
@click.option("--classes", type=IntRange(1, 255), help="Number of classes of a recipe. [default: those of its dataset]")
@click.option("--suggest", is_flag=True, help="Suggest smaller networks of a recipe that meet --fps on --device.")
@click.option(
    "--figure",
    metavar="FILE",
    type=PathType(),
    help="Draw the roofline with every layer: of --device, or with --measure.",
)
@click.option("--measure", is_flag=True, help="Compare the estimate with the layer times of a bundle on this machine.")
@renamed_option("--picture", "--figure")
@json_option
@verbose_option
def command(source, device, target, size, classes, suggest, figure, measure, json_target, verbose):
    """Estimate the frame rate that a device reaches with a network.

    Roofline model: each layer takes max(compute time, memory time). The upper bound uses the maker's peak and
    bandwidth; the estimate uses the fractions of them that networks were measured to attain. It was within 11 % of
    three published figures for a Jetson Nano; its range is 30 %. Nothing here was measured on the device.

    --measure validates the estimate on this machine: it measures peak and efficiency on single layers, predicts the
    bundle's network and times it layer by layer. Run nothing else meanwhile.
    """
    from deeplab_tf.core.bundle import is_bundle, is_run
    from deeplab_tf.deploy.budget import summary
    from deeplab_tf.deploy.budget.devices import DEVICES

    if suggest and device is None:
        raise click.UsageError("--suggest needs --device.")
    if figure and (device is None) != measure:
        raise click.UsageError("--figure needs --device or --measure, and not both.")
    if measure and not is_bundle(source):
        raise click.UsageError("--measure needs a bundle: convert the run of a recipe first.")
    guard = new_guard(json_target)
    guard.reads(source)
    guard.writes(figure, "--figure")
    guard.check()
    warnings: list = []
    if is_bundle(source):
        if suggest or size is not None or classes is not None:
            raise click.UsageError("--suggest, --size and --classes are for a recipe; a bundle's network is fixed.")
        title, size, classes, layers = _bundle_layers(source)
    else:
        if is_run(source) and classes is not None:
            raise click.UsageError("--classes is for a recipe; a run has the classes that it was trained on.")
        title, config = _read_recipe(source)
        size = size or config.size
        if classes is None:
            classes, warnings = _count_classes(source, config.data)
        layers = _recipe_layers(config.model, size, classes)
    report = summary.report(layers, [device] if device else sorted(DEVICES), target)
    report.update(network=title, size=list(size), classes=classes, warnings=warnings)
    if suggest:
        report["suggestions"] = _suggestions(config.model, size, classes, device, target)
    show(summary.text(report), json_target)
    if measure:
        report["this_machine"] = _measure(source, layers, json_target)
    if figure:
        _draw(figure, layers, device, title, report)
        show(f"Open {figure}", json_target)
    write_json(report, json_target)


def _bundle_layers(path):
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.budget.workload import from_rows

    bundle = open_bundle(path, verify=False)
    if "layers" not in bundle.info:
        raise DeepLabError(f"The bundle {path} is of a version that did not list layers; convert the run again.")
    title = os.path.basename(os.path.abspath(path))
    return title, bundle.size, len(bundle.table), from_rows(bundle.info["layers"])


def _draw(path, layers, device, title, report):
    from deeplab_tf.lab.export.roofline_figure import write_measured_roofline, write_roofline

    if device is not None:
        write_roofline(path, layers, device, title)
        return
    found = report["this_machine"]
    precision = "int8" if "int8" in found else "float32"
    write_measured_roofline(path, layers, found[precision], precision, title)


def _measure(path, layers, json_target):
    """Return the check of every precision that the bundle has a file for."""
    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.core.processor import physical_cores
    from deeplab_tf.core.tables import text_table
    from deeplab_tf.deploy.runtimes.onnx import PRECISIONS
    from deeplab_tf.lab.export import layer_times

    bundle, found = open_bundle(path, verify=False), {}
    for precision in ("float32", "int8"):
        name = PRECISIONS[precision]
        if name in bundle:
            found[precision] = layer_times.check(bundle.file(name), layers, precision, threads=physical_cores())
            threads = found[precision]["threads"]
            show(f"\nThis machine, {precision}, ONNX Runtime on {threads} threads:", json_target)
            show(text_table(layer_times.cells(found[precision])), json_target)
    if not found:
        raise DeepLabError(f"The bundle {path} has no ONNX file to time; convert the run again with --target onnx.")
    return found


def _read_recipe(path):
    """Return the name and the resolved recipe of a recipe file or a run."""
    from deeplab_tf.core.bundle import is_run

    if not is_run(path) and not os.path.isfile(path):
        problem = "is a folder without a config.yaml or bundle.json" if os.path.isdir(path) else "does not exist"
        raise DeepLabError(f"Expected a recipe (YAML), a run or a bundle, but {path} {problem}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from deeplab_tf.lab.config import load, load_run

    if is_run(path):
        return os.path.basename(os.path.abspath(path)), load_run(path)
    return os.path.splitext(os.path.basename(path))[0], load(path)


def _count_classes(path, data):
    """Return the number of classes of a run or of a recipe's dataset, and the warnings about it."""
    from deeplab_tf.core.bundle import is_run
    from deeplab_tf.lab.data import count_classes, open_split

    if is_run(path):
        from deeplab_tf.lab.runs.keras_runtime import read_table

        return len(read_table(path)), []
    try:
        return count_classes(data) or len(open_split(data, "train").table), []
    except DeepLabError as error:
        warning = f"{ASSUMED_CLASSES} classes assumed (see --classes), as the dataset cannot be opened: {error}"
        say(warning)
        return ASSUMED_CLASSES, [warning]


def _recipe_layers(model, size, classes):
    from deeplab_tf.lab.export.layer_costs import recipe_layers

    return recipe_layers(model, size, classes)


def _suggestions(model, size, classes, device, target):
    from deeplab_tf.core.progress import progress
    from deeplab_tf.deploy.budget.summary import suggestion
    from deeplab_tf.lab.export.smaller_networks import SmallerNetworks

    networks = SmallerNetworks(model, size, classes)
    counted = progress(networks, "suggest", total=len(networks), unit="networks")
    return [suggestion(changes, layers, device, target) for changes, layers in counted]
