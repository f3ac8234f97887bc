"""Measure what `stream --smooth` does, on drawn streets: flicker while the camera stands, and mIoU on the drive.

    python tools/check/smoothing.py BUNDLE [--frames 30] [--size 256x512]

Images get noise of 8 levels of 255, and 2 of the whole image, anew in each frame.
"""

import time

import click
import cv2
import numpy as np

import deeplab_tf
from deeplab_tf.cli.options import SizeType
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.smoothing import Smoother
from deeplab_tf.synth import draw_scene

SEEDS, FRAMES_PER_SECOND = (71, 72, 73), 25


def sequences(model, size, frames, *, moving):
    """Yield for each street its frames: image, truth and label map of the network."""
    random = np.random.RandomState(0)
    for seed in SEEDS:
        found = []
        for frame in range(frames):
            scene = draw_scene(seed, 3, size, time=frame / FRAMES_PER_SECOND if moving else 0.0)
            noise = random.normal(0, 8, scene.image.shape) + random.normal(0, 2)
            image = np.clip(scene.image + noise, 0, 255).astype(np.uint8)
            found.append((image, CITYSCAPES_TO_CLASS[scene.label_ids], model.predict(image).label_map))
        yield found


def measure(videos, smooth):
    """Return mIoU, the share of pixels that change their class from frame to frame, and milliseconds a frame."""
    confusion, changed, seconds, count = ConfusionMatrix(len(CITYSCAPES)), [], 0.0, 0
    for video in videos:
        smoother, last = Smoother(), None
        for image, truth, labels in video:
            start = time.process_time()
            shown = smoother.smooth(image, labels) if smooth else labels
            seconds, count = seconds + time.process_time() - start, count + 1
            confusion.update(truth, shown)
            if last is not None:
                changed.append(np.mean(shown != last))
            last = shown
    return confusion.miou(), np.mean(changed), 1000 * seconds / count


@click.command()
@click.argument("bundle")
@click.option("--frames", default=30, show_default=True, type=click.IntRange(2), help="Of each of three streets.")
@click.option("--size", default="256x512", show_default=True, type=SizeType(), help="Of the frames.")
def main(bundle, frames, size):
    """Measure a bundle of a network of Cityscapes' classes."""
    cv2.setNumThreads(1)
    model = deeplab_tf.load(bundle)
    for kind, moving in (("standing", False), ("driving", True)):
        videos = list(sequences(model, size, frames, moving=moving))
        for smooth in (False, True):
            miou, changed, took = measure(videos, smooth)
            name = "--smooth" if smooth else "plain"
            click.echo(
                f"{kind}, {name}: mIoU {miou:.4f}, {changed:.2%} of pixels change a frame, {took:.1f} ms a frame"
            )


if __name__ == "__main__":
    main()
