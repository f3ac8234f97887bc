"""`deeplab-tf predict`: label maps for images, at their own resolution."""

import contextlib
import os
from collections import deque
from typing import Deque, Iterator, List, NamedTuple, Optional, Sequence, Set

import click

from deeplab_tf.cli.options import (
    Choice,
    PartType,
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
        "deeplab-tf predict bundle images --out predicted --part 3/8",
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
@click.option(
    "--part",
    type=PartType(),
    help="Predict part I of N alone: N processes or machines share the images, whose names decide. Called again, it "
    "skips images whose files are complete, if neither image, network nor options have changed.",
)
@json_option
@verbose_option
def command(run, images, out, layout, part, json_target, verbose, **options):
    """Predict label maps for images (PNG, JPEG, TIFF, WebP, BMP), or for all images in folders.

    A run is a folder that `deeplab-tf train` wrote, a bundle one that `deeplab-tf convert` wrote. An unreadable image
    ends the command; files already written are complete.

    In the mode slide, PNG images above 33 million pixels are read and written some rows at a time.

    With --part, files of all parts may go into one folder, at the same time. In the format panoptic each part has a
    JSON file of its own; `score` reads them together, and --part 1/1, when all parts are done, makes one of them.
    """
    require("overlay", options["overlay"], "opacity", "legend", "plain")
    import deeplab_tf
    from deeplab_tf.core.bundle import files_read
    from deeplab_tf.core.manifest import part_manifest
    from deeplab_tf.core.parts import WHOLE
    from deeplab_tf.deploy.prediction_files import Wanted, check
    from deeplab_tf.deploy.prediction_jobs import plan

    jobs = plan(images, out, layout, part=part or WHOLE)
    kinds = {name: options.pop(name) for name in Wanted._fields if name in options}
    wanted = Wanted(None if layout == "panoptic" else layout, **kinds)
    guard = new_guard(json_target)
    guard.reads(*files_read(run))
    guard.reads(*images, whole=False)
    guard.reads_each(jobs.images())
    suffixes = [PANOPTIC] * (layout == "panoptic") + wanted.suffixes(_class_count(run, wanted))
    guard.fills(out, "--out", jobs.outputs(suffixes, _indices(out, layout, part or WHOLE)), part=part)
    guard.check()
    own_part = part_manifest(os.path.realpath(out), part) if part else None
    with locked(out, own_part), deeplab_tf.load(run, **_given(options)) as model, contextlib.ExitStack() as stack:
        check(model, wanted)
        runtime, precision = model.runtime, model.precision
        writer = stack.enter_context(_panoptic_writer(model, out, part or WHOLE)) if layout == "panoptic" else None
        finished = Finished(guard, _digest(run, model, layout, wanted, options)) if part else None
        work = _Work(model, jobs, out, wanted, writer, finished, keep_names=json_target is not None)
        work.run()
        if writer is not None:
            work.written.append(writer.close())
    if work.picture:
        hint = f"Open {work.picture}"
    elif writer is not None:
        hint = f"{writer.path} lists the segments."
    else:
        hint = f"The label files are in {out}; they look black, and --overlay shows them in color."
    report = {"images": len(jobs), "format": layout, "runtime": runtime, "precision": precision}
    what = counted(len(jobs), "images")
    if part:
        report.update(part=list(part), all_images=jobs.found, skipped=work.skipped)
        what = (
            f"{len(jobs) - work.skipped} images and skipped {work.skipped}; part {part} has {len(jobs)} of {jobs.found}"
        )
    show(f"Predicted {what}. Runtime: {runtime}, {precision}. {hint}", json_target)
    write_json({**report, "files": work.written, "warnings": work.warnings}, json_target)


class Finished:
    """Tells images whose files are complete, and signs files so that a later call can tell."""

    def __init__(self, guard, network):
        """Take the command's guard, and the digest of network and settings."""
        self._guard, self._network = guard, network

    def digest(self, image: str) -> str:
        """Return the digest of all that the files of an image are made from."""
        from deeplab_tf.deploy.prediction_jobs import image_digest

        return image_digest(self._network, image)

    def has(self, outputs: Sequence[str], digest: str) -> bool:
        """Return whether the files of an image are there, and are made from what has this digest."""
        return self._guard.finished(outputs, digest)

    def sign(self, digest: str) -> None:
        """Sign the files that are written from now on; "" is for those of no image."""
        self._guard.done = digest


class _Job(NamedTuple):
    image: str
    stem: str
    outputs: List[str]
    digest: str
    skipped: bool


class _Work:
    """The images of a call: `run` predicts them.

    Attributes:
        written: the files, if they are to be kept in memory.
        warnings: what is to be known of the images.
        skipped: how many images were complete already.
        picture: a file to look at; None where there is none.
    """

    def __init__(self, model, jobs, out, wanted, writer, finished, *, keep_names):
        self._model, self._jobs, self._out, self._wanted, self._writer = model, jobs, out, wanted, writer
        self._finished, self._keep_names = finished, keep_names
        self._suffixes = [PANOPTIC] * (writer is not None) + wanted.suffixes(len(model.table))
        self._said: Set[str] = set()
        self._begun: Deque[_Job] = deque()  # no more than the network has lanes, and one
        self.written: List[str] = []
        self.warnings: List[str] = []
        self.skipped = 0
        self.picture: Optional[str] = None

    def run(self) -> None:
        """Predict all images."""
        from deeplab_tf.deploy.prediction_files import predict_images

        number, total = 0, len(self._jobs)
        with contextlib.closing(predict_images(self._model, self._begin(), self._wanted, count=total)) as results:
            try:
                for result in progress(results, "predict", total=total):
                    self._end(self._begun.popleft(), result)
                    number += 1
            except DeepLabError as error:
                if self._writer is not None and number and self._finished is None:
                    self._writer.close()
                sentence = f"{error} {number} of {counted(total, 'images')} were predicted before it, into {self._out}."
                raise DeepLabError(sentence) from error
        if self._finished is not None:
            self._finished.sign("")

    def _begin(self) -> Iterator[Optional[str]]:
        """Yield the path of each image; None where its files are complete."""
        for image, stem in self._jobs:
            outputs = [stem + suffix for suffix in self._suffixes]
            digest = self._finished.digest(image) if self._finished is not None else ""
            skipped = self._finished is not None and self._finished.has(outputs, digest)
            self._begun.append(_Job(image, stem, outputs, digest, skipped))
            yield None if skipped else image

    def _end(self, job, result):
        if job.skipped:
            self.skipped += 1
            if self._writer is not None:
                self._writer.keep(os.path.relpath(job.stem, self._out), job.image)
        else:
            self._write(job, result)
        if self._keep_names:
            self.written += job.outputs
        if self._wanted.overlay or self._wanted.layout == "color":
            self.picture = job.outputs[-1]

    def _write(self, job, result):
        from deeplab_tf.core.image_header import about_image
        from deeplab_tf.deploy.prediction_files import write

        if self._finished is not None:
            self._finished.sign(job.digest)
        if self._writer is not None:
            self._writer.begin()
        write(self._model, job.image, job.stem, self._wanted, result)
        for sentence in about_image(job.image, self._said):
            self.warnings.append(sentence)
            say(f"Warning: {sentence}")
        if self._writer is not None and result is not None:
            self._writer.add(os.path.relpath(job.stem, self._out), result.panoptic, job.image)


def _digest(run, model, layout, wanted, options):
    """Return the digest of all that decides what is written for an image, but the image."""
    from deeplab_tf.core.bundle import INFO, is_bundle
    from deeplab_tf.deploy.prediction_jobs import network_digest

    if is_bundle(run):
        files = [os.path.join(run, INFO)]  # which has the digests of all others
    else:
        from deeplab_tf.lab.runs.folder import network_file

        files = [str(network_file(run, options.get("checkpoint"))), os.path.join(run, "config.yaml")]
    settings = {"runtime": model.runtime, "precision": model.precision, "mode": model.mode, "layout": layout}
    settings.update(overlap=options.get("overlap"), wanted=list(wanted))
    return network_digest(files, settings)


def _indices(out, layout, part):
    """Return the JSON files of panoptic maps that are written, or removed."""
    if layout != "panoptic":
        return []
    from deeplab_tf.core.panoptic.coco import json_name, stale_json

    return sorted({os.path.join(out, json_name(part)), *stale_json(out, json_name(part))})


def _panoptic_writer(model, out, part):
    from deeplab_tf.core.panoptic.coco import PanopticWriter
    from deeplab_tf.core.prediction import NO_INSTANCES

    instances = model.predictor.gives_instances
    if instances and model.mode == "slide":
        raise DeepLabError(NO_INSTANCES)
    if not instances:
        click.echo("This network predicts no instances; connected regions of a class count as one each.", err=True)
    return PanopticWriter(out, model.table, "centers" if instances else "components", part=part)


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
