"""`deeplab-tf predict`: label maps for images, at their own resolution."""

import os
from contextlib import closing
from typing import Dict, Iterator, List, Sequence, Set, Tuple

import click

from deeplab_tf.cli.options import (
    Choice,
    PathType,
    checkpoint_option,
    example,
    json_option,
    mode_options,
    new_guard,
    opacity_option,
    require,
    runtime_options,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import locked
from deeplab_tf.core.progress import counted, progress, say

NEEDS = ("numpy", "cv2", "lab or runtime")
FORMATS = ("cityscapes", "color", "ids", "panoptic")
PANOPTIC = "_panoptic.png"
"""The end of a panoptic map's name; those of the others are in `core.map_files`."""


@click.command(
    epilog=example(
        "deeplab-tf predict runs/camvid street.jpg --out predicted --overlay",
        "deeplab-tf predict bundle field.png --out predicted --mode slide --format ids --polygons",
        "deeplab-tf predict runs/cityscapes cityscapes/leftImg8bit/val --out results --format cityscapes",
    )
)
@click.argument("run", metavar="RUN_OR_BUNDLE", type=PathType())
@click.argument("images", nargs=-1, required=True, type=PathType(), metavar="IMAGE_OR_DIR...")
@click.option(
    "--out", required=True, metavar="DIR", type=PathType(), help="Write here; subfolders of an input folder are kept."
)
@click.option(
    "--format",
    "layout",
    type=Choice(FORMATS),
    default="color",
    show_default=True,
    help="color: NAME_color.png, RGB in the class colors. ids: NAME.png, class ids 0 to C-1. cityscapes: "
    "NAME_pred_labelIds.png, the benchmark's own ids. panoptic: NAME_panoptic.png and one panoptic.json, in COCO's "
    "format.",
)
@click.option(
    "--overlay",
    is_flag=True,
    help="Also write NAME_overlay.jpg: the image with class colors and, if predicted, outlined instances.",
)
@opacity_option("in the overlay (with --overlay)")
@click.option(
    "--legend", is_flag=True, help="Add a legend beside each overlay (with --overlay): the classes in the image."
)
@click.option(
    "--plain",
    multiple=True,
    metavar="CLASS",
    help="Leave the image as it is under this class, such as a background, in the overlay (with --overlay); "
    "repeatable.",
)
@click.option(
    "--probabilities",
    type=Choice(("npy", "png")),
    help="Also write class probabilities. npy: NAME_probabilities.npy, (H, W, C) float32. png: NAME_probability_C.png "
    "for each class id C, 16-bit gray, where 65535 is 1.",
)
@click.option(
    "--confidence", is_flag=True, help="Also write NAME_confidence.png: the highest probability, 16-bit gray."
)
@click.option(
    "--entropy",
    is_flag=True,
    help="Also write NAME_entropy.png: the entropy of the probabilities, 16-bit gray, where 65535 is log C.",
)
@click.option(
    "--polygons",
    is_flag=True,
    help="Also write NAME_polygons.geojson: a polygon with holes for each region of a class, in pixels.",
)
@click.option(
    "--rle", "run_lengths", is_flag=True, help="Also write NAME_rle.json: an annotation a class, in COCO's RLE."
)
@runtime_options
@mode_options
@checkpoint_option("Predict with")
@json_option
@verbose_option
def command(run, images, out, layout, json_target, verbose, **options):
    """Predict label maps for images (PNG, JPEG, TIFF, WebP, BMP), or for all images in folders.

    A run is a folder that `deeplab-tf train` wrote, a bundle one that `deeplab-tf convert` wrote. An unreadable image
    ends the command; files already written are complete.

    In the mode slide, PNG images above 33 million pixels are read and written some rows at a time.
    """
    require("overlay", options["overlay"], "opacity", "legend", "plain")
    import deeplab_tf
    from deeplab_tf.core.bundle import files_read
    from deeplab_tf.deploy.prediction_files import Wanted, check

    jobs = plan(images, out, layout)
    kinds = {name: options.pop(name) for name in Wanted._fields if name in options}
    wanted = Wanted(None if layout == "panoptic" else layout, **kinds)
    guard = new_guard(json_target)
    guard.reads(*files_read(run))
    guard.reads(*images, *jobs, whole=False)
    guard.fills(out, "--out", _outputs(jobs, out, layout, wanted.suffixes(_class_count(run, wanted))))
    guard.check()
    with locked(out), deeplab_tf.load(run, **_given(options)) as model:
        check(model, wanted)
        runtime, precision = model.runtime, model.precision
        writer = _panoptic_writer(model, out) if layout == "panoptic" else None
        written, warnings = _predict_all(model, jobs, out, wanted, writer)
        picture = written[-1] if wanted.overlay or layout == "color" else None
        if writer is not None:
            written.append(writer.close())
    if picture:
        hint = f"Open {picture}"
    elif writer is not None:
        hint = f"{written[-1]} lists the segments."
    else:
        hint = f"The label files are in {out}; they look black, and --overlay shows them in color."
    show(f"Predicted {counted(len(jobs), 'images')}. Runtime: {runtime}, {precision}. {hint}", json_target)
    report = {"images": len(jobs), "format": layout, "runtime": runtime, "precision": precision}
    write_json({**report, "files": written, "warnings": warnings}, json_target)


def _predict_all(model, jobs, out, wanted, writer):
    """Predict all images; return the files that were written, and what is to be known of the images."""
    from deeplab_tf.core.image_header import about_image
    from deeplab_tf.core.input_files import natural_key
    from deeplab_tf.deploy.prediction_files import predict_images, write

    written: List[str] = []
    warnings: List[str] = []
    said: Set[str] = set()
    suffixes = wanted.suffixes(len(model.table))
    in_order = sorted(jobs.items(), key=lambda job: natural_key(job[0]))
    number = 0  # of images that are done
    with closing(predict_images(model, [image for image, _ in in_order], wanted)) as results:
        try:
            for image, stem in progress(in_order, "predict"):
                result = next(results)
                if writer is not None and not number:
                    writer.begin()
                write(model, image, stem, wanted, result)
                for sentence in about_image(image, said):
                    warnings.append(sentence)
                    say(f"Warning: {sentence}")
                if writer is not None and result is not None:
                    writer.add(os.path.relpath(stem, out), result.panoptic, image)
                written += [stem + suffix for suffix in [PANOPTIC] * (writer is not None) + suffixes]
                number += 1
        except DeepLabError as error:
            if writer is not None and written:
                writer.close()
            sentence = f"{error} {number} of {counted(len(jobs), 'images')} were predicted before it, into {out}."
            raise DeepLabError(sentence) from error
    return written, warnings


def _panoptic_writer(model, out):
    from deeplab_tf.core.panoptic.coco import PanopticWriter
    from deeplab_tf.core.prediction import NO_INSTANCES

    instances = model.predictor.gives_instances
    if instances and model.mode == "slide":
        raise DeepLabError(NO_INSTANCES)
    if not instances:
        click.echo("This network predicts no instances; connected regions of a class count as one each.", err=True)
    return PanopticWriter(out, model.table, "centers" if instances else "components")


def _class_count(run, wanted):
    """Return how many classes a run or a bundle has, where that many files are written."""
    if wanted.probabilities != "png":
        return 0
    from deeplab_tf.core.bundle import INFO, is_bundle
    from deeplab_tf.core.input_files import read_json
    from deeplab_tf.core.labels import LabelTable

    bundle = is_bundle(run)
    path = os.path.join(run, INFO if bundle else "classes.json")
    found = read_json(path)
    return len(LabelTable.from_dicts(found["classes"] if bundle else found, path))


def _given(options):
    """Return the options that were given; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def plan(inputs: Sequence[str], out: str, layout: str) -> Dict[str, str]:
    """Return the path of each image -> the path of its outputs without suffix.

    Folders are searched with their subfolders, which are kept below `out`; if `out` is one of them, its files are no
    inputs.

    Raises DeepLabError for a missing path, a folder without images, and two images of one output name.
    """
    from deeplab_tf.core.cityscapes import IMAGE_SUFFIX

    jobs: Dict[str, str] = {}
    taken: Dict[str, str] = {}
    cityscapes = os.path.splitext(IMAGE_SUFFIX)[0]
    for path, name in _inputs(inputs, out):
        if layout in ("cityscapes", "panoptic") and name.endswith(cityscapes):
            name = name[: -len(cityscapes)]
        stem = os.path.join(out, name)
        key = os.path.basename(name) if layout == "panoptic" else stem  # image ids have no folders
        first = taken.setdefault(key, path)
        if os.path.realpath(first) != os.path.realpath(path):
            raise DeepLabError(f"{first} and {path} would both be written as {stem}; predict them into two folders.")
        jobs[first] = stem
    return jobs


def _outputs(jobs, out, layout, suffixes):
    from deeplab_tf.core.panoptic.coco import JSON_NAME

    ends = [PANOPTIC] * (layout == "panoptic") + suffixes
    paths = [stem + suffix for stem in jobs.values() for suffix in ends]
    return paths + [os.path.join(out, JSON_NAME)] * (layout == "panoptic")


def _inputs(inputs, out) -> Iterator[Tuple[str, str]]:
    """Yield the path of each image and its name below `out`, without suffix."""
    from deeplab_tf.core.image_files import IMAGE_KINDS, list_images

    out_real = os.path.realpath(out)
    for given in inputs:
        if not os.path.isdir(given):
            if not os.path.exists(given):
                raise DeepLabError(f"There is no image or folder {given}.")
            yield given, os.path.splitext(os.path.basename(given))[0]
            continue
        found = list_images(given, recursive=True)
        if out_real.startswith(os.path.join(os.path.realpath(given), "")):
            found = [path for path in found if not os.path.realpath(path).startswith(os.path.join(out_real, ""))]
        if not found:
            raise DeepLabError(f"The folder {given} has no image in it ({IMAGE_KINDS}).")
        for path in found:
            yield path, os.path.splitext(os.path.relpath(path, given))[0]
