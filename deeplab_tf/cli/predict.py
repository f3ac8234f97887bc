"""`deeplab-tf predict`: label maps for images, at their own resolution."""

import os
from typing import Dict, Sequence

import click

from deeplab_tf.cli.options import Choice, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2", "lab or runtime")
SUFFIXES = {"color": "_color.png", "ids": ".png", "cityscapes": "_pred_labelIds.png", "panoptic": "_panoptic.png"}
"""The end of the file name by format. The one for Cityscapes is found by `score` and by cityscapesScripts alike."""
OVERLAY_SUFFIX = "_overlay.jpg"
_CITYSCAPES_IMAGE = "_leftImg8bit"


@click.command(
    epilog=example(
        "deeplab-tf predict runs/camvid street.jpg --out predicted --overlay",
        "deeplab-tf predict runs/cityscapes cityscapes/leftImg8bit/val --out results --format cityscapes",
    )
)
@click.argument("run", metavar="RUN_OR_BUNDLE", type=click.Path())
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE_OR_DIR...")
@click.option(
    "--out", required=True, metavar="DIR", help="Where the label files go; subfolders of an input folder are kept."
)
@click.option(
    "--format",
    "layout",
    type=Choice(sorted(SUFFIXES)),
    default="color",
    show_default=True,
    help="color: NAME_color.png, RGB in the class colours. ids: NAME.png, class ids 0 to C-1. cityscapes: "
    "NAME_pred_labelIds.png,"
    " the benchmark's own ids. panoptic: NAME_panoptic.png and one panoptic.json, COCO's format for classes with "
    "instances.",
)
@click.option(
    "--overlay",
    is_flag=True,
    help="Also write NAME_overlay.jpg: the image with class colours and, if known, single things.",
)
@click.option(
    "--runtime", "runtime_name", metavar="NAME", help="What runs a bundle. [default: the best that works here]"
)
@click.option("--checkpoint", metavar="STEP", help="A kept step, or 'best'. [default: best]")
@json_option
@verbose_option
def command(run, images, out, layout, overlay, runtime_name, checkpoint, json_target, verbose):
    """Predicts the class of every pixel of images (PNG or JPEG), or of all images in folders.

    A run is a folder that `deeplab-tf train` wrote, a bundle one that `deeplab-tf convert` did. An image that cannot be
    read ends the work; what was written until then is whole.
    """
    jobs = plan(images, out, layout, overlay)
    runtime = _open(run, checkpoint, runtime_name)
    if layout == "cityscapes":
        _check_cityscapes(runtime.table)
    written, panoptic = [], None
    if layout == "panoptic":
        from deeplab_tf.core.panoptic.files import PanopticWriter

        panoptic = PanopticWriter(out, runtime.table, "centers" if runtime.gives_instances else "components")
    for image, stem in progress(sorted(jobs.items()), "predict"):
        try:
            _predict_one(runtime, image, stem, layout, overlay, panoptic)
        except DeepLabError as error:
            if panoptic is not None:
                panoptic.close()
            before = len(written) // len(_suffixes(layout, overlay))
            raise DeepLabError(
                f"{error} {before} of {len(jobs)} images were predicted before it, into {out}."
            ) from error
        written += [stem + suffix for suffix in _suffixes(layout, overlay)]
    picture = written[-1] if overlay or layout == "color" else None
    if panoptic is not None:
        written.append(panoptic.close())
    what = f"Open {picture}" if picture else f"Label files, dark to the eye, are in {out}; --overlay shows them."
    show(f"{len(jobs)} images predicted. {what}", json_target)
    write_json({"images": len(jobs), "format": layout, "files": written}, json_target)


def _open(path, checkpoint, runtime_name):
    """A bundle needs the ground floor only, a run the lab."""
    from deeplab_tf.core.bundle import is_bundle, open_bundle

    if is_bundle(path) and checkpoint is None:
        from deeplab_tf.deploy.runtimes import open_runtime

        return open_runtime(open_bundle(path), runtime_name or "auto")
    from deeplab_tf.lab.runs import open_runtime as open_run_or_bundle

    return open_run_or_bundle(path, checkpoint, runtime_name)


def plan(inputs: Sequence[str], out: str, layout: str, overlay: bool) -> Dict[str, str]:
    """Which image is written under which name: path of the image -> path of its outputs without suffix.

    Folders are searched with their subfolders, which are kept below `out`; what lies in `out` itself is not taken for
    an input.

    Raises DeepLabError for a path that is not there, a folder without images, two images that would be written under
    one name, and an image that would be overwritten.
    """
    jobs, taken = {}, {}  # type: Dict[str, str], Dict[str, str]
    for path, name in _inputs(inputs, out):
        if layout in ("cityscapes", "panoptic") and name.endswith(_CITYSCAPES_IMAGE):
            name = name[: -len(_CITYSCAPES_IMAGE)]
        stem = os.path.join(out, name)
        first = taken.setdefault(
            os.path.basename(name) if layout == "panoptic" else stem, path
        )  # image ids have no folders
        if os.path.realpath(first) != os.path.realpath(path):
            raise DeepLabError(f"{first} and {path} would both be written as {stem}; predict them into two folders.")
        jobs[first] = stem
    inputs_real = {os.path.realpath(path) for path in jobs}
    for stem in jobs.values():
        for suffix in _suffixes(layout, overlay):
            if os.path.realpath(stem + suffix) in inputs_real:
                raise DeepLabError(
                    f"{stem + suffix} is an image to predict, and would be overwritten; choose another --out."
                )
    return jobs


def _inputs(inputs, out):
    """(path of an image, its name below `out` without suffix)"""
    from deeplab_tf.core.image_files import list_images

    out_real = os.path.join(os.path.realpath(out), "")
    for given in inputs:
        if not os.path.isdir(given):
            if not os.path.exists(given):
                raise DeepLabError(f"There is no image or folder {given}.")
            yield given, os.path.splitext(os.path.basename(given))[0]
            continue
        inside = [
            path for path in list_images(given, recursive=True) if not os.path.realpath(path).startswith(out_real)
        ]
        if not inside:
            raise DeepLabError(f"The folder {given} has no PNG or JPEG image in it.")
        for path in inside:
            yield path, os.path.splitext(os.path.relpath(path, given))[0]


def _suffixes(layout, overlay):
    return [SUFFIXES[layout]] + [OVERLAY_SUFFIX] * overlay


def _predict_one(runtime, path, stem, layout, overlay, writer):
    from deeplab_tf.core import draw
    from deeplab_tf.core.image_files import read_image, write_image
    from deeplab_tf.core.labels import CITYSCAPES_FROM_CLASS

    image = read_image(path)
    label_map, panoptic = _maps(runtime, image, panoptic=layout == "panoptic" or overlay and runtime.gives_instances)
    if layout == "panoptic":
        writer.add(os.path.relpath(stem, writer.folder), panoptic, path)
    elif layout == "color":
        write_image(stem + SUFFIXES[layout], draw.colorize(label_map, runtime.table))
    else:
        write_image(stem + SUFFIXES[layout], label_map if layout == "ids" else CITYSCAPES_FROM_CLASS[label_map])
    if overlay:
        picture = draw.overlay(image, label_map, runtime.table)
        if runtime.gives_instances:
            draw.outline(picture, panoptic)
        write_image(stem + OVERLAY_SUFFIX, picture)


def _maps(runtime, image, *, panoptic):
    """The label map of an image and, where it is asked for, the panoptic map, both at the image's size."""
    if not hasattr(runtime, "bundle"):
        from deeplab_tf.core.prediction import predict, predict_maps

        if not panoptic:
            return predict(runtime, image), None
        maps = predict_maps(runtime, image)
        return maps.label_map, maps.panoptic
    from deeplab_tf.core.draw import resize_labels
    from deeplab_tf.core.image_files import resize_image
    from deeplab_tf.core.panoptic.grouping import components, to_panoptic

    prediction = runtime.predict(resize_image(image, runtime.size))
    label_map = resize_labels(prediction.label_map, image.shape[:2], runtime.label_stride)
    if not panoptic:
        return label_map, None
    if not runtime.gives_instances:
        return label_map, components(label_map, runtime.table)
    found, _ = to_panoptic(prediction, runtime.table, stride=runtime.label_stride)
    return label_map, resize_labels(found, image.shape[:2], runtime.label_stride)


def _check_cityscapes(table):
    from deeplab_tf.core.labels import CITYSCAPES

    if table.names != CITYSCAPES.names:
        raise DeepLabError(
            f"--format cityscapes needs a network with Cityscapes' 19 classes; this one has {len(table)}: use ids."
        )
