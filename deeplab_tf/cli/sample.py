"""`deeplab-tf sample`: drawn street scenes in Cityscapes' layout."""

import multiprocessing
import os
import signal
import sys

import click

from deeplab_tf.cli.options import (
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
from deeplab_tf.core.progress import progress

NEEDS = ("numpy", "cv2")


@click.command(
    epilog=example(
        "deeplab-tf sample scenes --scenes 200 --size 256x512", "deeplab-tf sample scenes --scenes 10 --seed 3"
    )
)
@click.argument("out", type=PathType(file_okay=False))
@click.option(
    "--scenes",
    type=IntRange(1, 1000000),
    default=100,
    show_default=True,
    help="Number of scenes; every fifth is for validation.",
)
@click.option("--size", type=SizeType(), default="512x1024", show_default=True, help="Height x width in pixels.")
@click.option("--seed", type=IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the streets.")
@click.option(
    "--jobs",
    type=IntRange(1, 64),
    default=min(os.cpu_count() or 1, 8),
    help="Number of processes.  [default: one per processor, at most 8]",
)
@json_option
@verbose_option
def command(out, scenes, size, seed, jobs, json_target, verbose):
    """Draw street scenes in Cityscapes' layout, with labels and instances.

    OUT gets leftImg8bit/ and gtFine/, each with train/ and val/. The same seed and size give the same scenes. After an
    interruption, run the same command again: it draws what is missing.
    """
    from deeplab_tf.core.files import locked
    from deeplab_tf.synth.dataset import Settings, begin_folder, missing_scenes, scene_name

    guard = new_guard(json_target)
    guard.makes(out, "OUT")
    guard.check()
    settings = Settings(scenes, size, seed)
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
    splits = [scene_name(index, scenes)[0] for index in range(scenes)]
    train, val = splits.count("train"), splits.count("val")
    text = f"{out}: {train} scenes of {size[0]}x{size[1]} for training, {val} for validation."
    show(text, json_target)
    report = {"folder": out, "train": train, "val": val, "size": list(size), "seed": seed, "drawn": len(missing)}
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
