"""`deeplab-tf sample`: drawn images with labels: streets, cells, fields."""

import multiprocessing
import os
import signal
import sys

import click

from deeplab_tf.cli.options import (
    Choice,
    IntRange,
    PathType,
    SizeType,
    example,
    json_option,
    new_guard,
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
        "deeplab-tf sample scenes --scenes 200 --size 256x512", "deeplab-tf sample cells --domain cells --scenes 30"
    )
)
@click.argument("out", type=PathType(file_okay=False))
@click.option(
    "--scenes",
    type=IntRange(1, 1000000),
    default=100,
    show_default=True,
    help="Number of scenes; every fifth is for validation, but cells are not split.",
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
@click.option("--seed", type=IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the scenes.")
@click.option(
    "--jobs",
    type=IntRange(1, 64),
    default=min(os.cpu_count() or 1, 8),
    help="Number of processes.  [default: one per processor, at most 8]",
)
@json_option
@verbose_option
def command(out, scenes, domain, size, seed, jobs, json_target, verbose):
    """Draw images with labels: street scenes with instances in Cityscapes' layout, cells, or fields.

    The same seed and size give the same scenes. After an interruption, run the same command again: it draws what is
    missing.
    """
    from deeplab_tf.core.files import locked
    from deeplab_tf.synth.dataset import Settings, begin_folder, load_domain, missing_scenes

    guard = new_guard(json_target)
    guard.makes(out, "OUT")
    guard.check()
    size = size or load_domain(domain).SIZE
    settings = Settings(scenes, size, seed, domain)
    with locked(out):
        begin_folder(out, settings)
        missing = list(missing_scenes(out, settings))
        with progress(scenes, "sample", unit="scenes", done=scenes - len(missing)) as bar:
            try:
                for _ in _draw(out, missing, settings, jobs):
                    bar.advance()
            except KeyboardInterrupt:
                sentence = f"Interrupted: {bar.done} of {scenes} scenes are in {out}; the same command draws the rest."
                raise KeyboardInterrupt(sentence) from None
    splits = [load_domain(domain).split(index, scenes) for index in range(scenes)]
    counts = {name: splits.count(name) for name in ("train", "val")}
    what = f"{counts['train']} scenes of {size[0]}x{size[1]} for training, {counts['val']} for validation"
    if not any(splits):
        what = f"{scenes} scenes of {size[0]}x{size[1]}, not split"
    show(f"{out}: {what}.", json_target)
    report = {"folder": out, **counts, "domain": domain, "size": list(size), "seed": seed, "drawn": len(missing)}
    write_json(report, json_target)


def _draw(folder, missing, settings, jobs):
    """Draw scenes, in this process or in several; yield the index of each that is on disk."""
    work = [(folder, index, settings) for index in missing]
    if jobs == 1 or len(missing) < 8:
        yield from map(_write, work)
        return
    with signals.kept_from_children():
        pool = multiprocessing.get_context("spawn").Pool(min(jobs, len(missing)), _start_worker)
    with pool:
        yield from pool.imap_unordered(_write, work, 4)


def _start_worker():
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # multiprocessing lets it through again
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # removes a file that it is writing
    cv2.setNumThreads(1)


def _write(work):
    from deeplab_tf.synth.dataset import write_scene

    return write_scene(*work)
