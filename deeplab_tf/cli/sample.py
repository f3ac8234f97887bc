"""`deeplab-tf sample`: drawn images with labels: streets, cells, fields."""

import multiprocessing
import os
import signal
import sys

import click

from deeplab_tf.cli.options import (
    Choice,
    FloatRange,
    IntRange,
    PathType,
    SizeType,
    example,
    json_option,
    new_guard,
    require,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core import signals
from deeplab_tf.core.files import modules_in
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2")


@click.command(
    epilog=example(
        "deeplab-tf sample scenes --scenes 200 --size 256x512",
        "deeplab-tf sample cells --domain cells --scenes 30",
        "deeplab-tf sample drives --video --scenes 4 --frames 60",
    )
)
@click.argument("out", type=PathType(file_okay=False))
@click.option(
    "--scenes",
    type=IntRange(1, 1000000),
    help="Number of scenes; every fifth is for validation, but cells and videos are not split.  [default: 100; with "
    "--video 10]",
)
@click.option(
    "--domain",
    type=Choice(modules_in(os.path.join(os.path.dirname(os.path.dirname(__file__)), "synth", "domains"))),
    default="streets",
    show_default=True,
    help="What is drawn: streets in Cityscapes' layout; cells, gray, with masks of 0 and 255; or fields of crops and "
    "weeds, with labels in colors.",
)
@click.option(
    "--size",
    type=SizeType(),
    help="Height x width in pixels.  [default: streets 512x1024, cells 256x256, fields 384x512]",
)
@click.option(
    "--video",
    is_flag=True,
    help="Draw drives along streets: for each scene a video's frames, and panoptic maps in COCO's format in which a "
    "thing keeps its number.",
)
@click.option(
    "--frames", type=IntRange(1, 10000), default=30, show_default=True, help="With --video: frames of each video."
)
@click.option(
    "--fps",
    type=FloatRange(0.1, 240),
    default=10.0,
    show_default=True,
    help="With --video: frames a second; the camera drives at 8 m/s.",
)
@click.option("--seed", type=IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the scenes.")
@click.option(
    "--jobs",
    type=IntRange(1, 64),
    default=min(os.cpu_count() or 1, 8),
    help="Number of processes.  [default: one per processor, at most 8]",
)
@json_option
@verbose_option
def command(out, scenes, domain, size, video, frames, fps, seed, jobs, json_target, verbose):
    """Draw images with labels: street scenes with instances in Cityscapes' layout, cells, or fields; or videos of
    streets.

    The same seed and size give the same scenes. After an interruption, run the same command again: it draws what is
    missing.
    """
    from deeplab_tf.core.files import locked
    from deeplab_tf.synth.dataset import STREETS, Settings, begin_folder, load_domain, missing_scenes

    if video and domain != STREETS:
        raise click.UsageError(f"--video goes with --domain {STREETS}; {domain} do not move.")
    require("video", video, "frames", "fps")
    guard = new_guard(json_target)
    guard.makes(out, "OUT")
    guard.check()
    size = size or load_domain(domain).SIZE
    scenes = scenes or (10 if video else 100)
    settings = Settings(scenes, size, seed, domain, *((frames, fps) if video else ()))
    unit = "videos" if video else "scenes"
    with locked(out):
        begin_folder(out, settings)
        missing = list(missing_scenes(out, settings))
        with progress(scenes, "sample", unit=unit, done=scenes - len(missing)) as bar:
            try:
                for _ in _draw(out, missing, settings, jobs):
                    bar.advance()
            except KeyboardInterrupt:
                sentence = f"Interrupted: {bar.done} of {scenes} {unit} are in {out}; the same command draws the rest."
                raise KeyboardInterrupt(sentence) from None
    what, counts = _contents(settings)
    show(f"{out}: {what}.", json_target)
    report = {"folder": out, **counts, "domain": domain, "size": list(size), "seed": seed, "drawn": len(missing)}
    write_json(report, json_target)


def _contents(settings):
    """Return what was drawn, in words and as counts."""
    from deeplab_tf.synth.dataset import load_domain

    scenes, (height, width) = settings.scenes, settings.size
    if settings.frames:
        counts = {"videos": scenes, "frames": settings.frames, "fps": settings.fps}
        each = f"{settings.frames} frames of {height}x{width} at {settings.fps:g} frames/s"
        return f"{scenes} videos of {each}; frames in images, panoptic maps in panoptic", counts
    splits = [load_domain(settings.domain).split(index, scenes) for index in range(scenes)]
    counts = {name: splits.count(name) for name in ("train", "val")}
    if not any(splits):
        return f"{scenes} scenes of {height}x{width}, not split", counts
    return f"{counts['train']} scenes of {height}x{width} for training, {counts['val']} for validation", counts


def _draw(folder, missing, settings, jobs):
    """Draw scenes, in this process or in several; yield the index of each that is on disk."""
    work = [(folder, index, settings) for index in missing]
    few, chunk = (2, 1) if settings.frames else (8, 4)  # a video is much work
    if jobs == 1 or len(missing) < few:
        yield from map(_write, work)
        return
    with signals.kept_from_children():
        pool = multiprocessing.get_context("spawn").Pool(min(jobs, len(missing)), _start_worker)
    with pool:
        yield from pool.imap_unordered(_write, work, chunk)


def _start_worker():
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # multiprocessing lets it through again
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # removes a file that it is writing
    cv2.setNumThreads(1)


def _write(work):
    from deeplab_tf.synth.dataset import write_scene

    return write_scene(*work)
