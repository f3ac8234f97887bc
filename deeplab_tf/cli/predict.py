"""`deeplab-tf predict`: label maps for images, at their own resolution."""

import os
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
SUFFIXES = {"color": "_color.png", "ids": ".png", "cityscapes": "_pred_labelIds.png", "panoptic": "_panoptic.png"}
"""The end of the file name by format."""
OVERLAY_SUFFIX = "_overlay.jpg"


@click.command(
    epilog=example(
        "deeplab-tf predict runs/camvid street.jpg --out predicted --overlay",
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
    type=Choice(sorted(SUFFIXES)),
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
@runtime_options
@mode_options
@checkpoint_option("Predict with")
@json_option
@verbose_option
def command(run, images, out, layout, overlay, opacity, legend, json_target, verbose, **options):
    """Predict label maps for images (PNG, JPEG, TIFF, WebP, BMP), or for all images in folders.

    A run is a folder that `deeplab-tf train` wrote, a bundle one that `deeplab-tf convert` wrote. An unreadable image
    ends the command; files already written are complete.
    """
    require("overlay", overlay, "opacity", "legend")
    import deeplab_tf
    from deeplab_tf.core.bundle import files_read
    from deeplab_tf.core.image_header import about_image
    from deeplab_tf.core.input_files import natural_key
    from deeplab_tf.deploy.model import check_cityscapes

    jobs = plan(images, out, layout)
    guard = new_guard(json_target)
    guard.reads(*files_read(run))
    guard.reads(*images, *jobs, whole=False)
    guard.fills(out, "--out", _outputs(jobs, out, layout, overlay))
    guard.check()
    writer = None
    written: List[str] = []
    warnings: List[str] = []
    said: Set[str] = set()
    with locked(out), deeplab_tf.load(run, **_given(options)) as model:
        if layout == "cityscapes":
            check_cityscapes(model.table)
        if layout == "panoptic":
            from deeplab_tf.core.panoptic.coco import PanopticWriter

            if not model.predictor.gives_instances:
                click.echo(
                    "This network predicts no instances; connected regions of a class count as one each.", err=True
                )
            writer = PanopticWriter(out, model.table, "centers" if model.predictor.gives_instances else "components")
        for image, stem in progress(sorted(jobs.items(), key=lambda job: natural_key(job[0])), "predict"):
            try:
                result = model.predict(image)
                for sentence in about_image(image, said):
                    warnings.append(sentence)
                    say(f"Warning: {sentence}")
                if writer is None:
                    result.save(stem + SUFFIXES[layout], layout)
                else:
                    writer.add(os.path.relpath(stem, out), result.panoptic, image)
                if overlay:
                    result.save(stem + OVERLAY_SUFFIX, opacity=opacity, legend=legend)
            except DeepLabError as error:
                if writer is not None and written:
                    writer.close()
                before = len(written) // len(_suffixes(layout, overlay))
                sentence = f"{error} {before} of {counted(len(jobs), 'images')} were predicted before it, into {out}."
                raise DeepLabError(sentence) from error
            written += [stem + suffix for suffix in _suffixes(layout, overlay)]
        picture = written[-1] if overlay or layout == "color" else None
        if writer is not None:
            written.append(writer.close())
    if picture:
        hint = f"Open {picture}"
    elif writer is not None:
        hint = f"{written[-1]} lists the segments."
    else:
        hint = f"The label files are in {out}; they look black, and --overlay shows them in color."
    show(f"Predicted {counted(len(jobs), 'images')}. {hint}", json_target)
    write_json({"images": len(jobs), "format": layout, "files": written, "warnings": warnings}, json_target)


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


def _outputs(jobs, out, layout, overlay):
    from deeplab_tf.core.panoptic.coco import JSON_NAME

    paths = [stem + suffix for stem in jobs.values() for suffix in _suffixes(layout, overlay)]
    return paths + [os.path.join(out, JSON_NAME)] * (layout == "panoptic")


def _inputs(inputs, out) -> Iterator[Tuple[str, str]]:
    """Yield the path of each image and its name below `out`, without suffix."""
    from deeplab_tf.core.image_files import list_images

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
            raise DeepLabError(f"The folder {given} has no PNG or JPEG image in it.")
        for path in found:
            yield path, os.path.splitext(os.path.relpath(path, given))[0]


def _suffixes(layout, overlay):
    return [SUFFIXES[layout]] + [OVERLAY_SUFFIX] * overlay
