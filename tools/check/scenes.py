"""Measures the drawn scenes: how fast they are drawn, how often each class occurs, and how far color alone goes.

    python tools/check/scenes.py --scenes 100

Color alone: a linear classifier (multinomial logistic regression on the RGB values of a pixel), fitted to the training
scenes and scored on the validation scenes, with and without class weights. Below mIoU 0.35 the scenes ask for more than
colors.
"""

import argparse
import tempfile
import time

import cv2
import numpy as np

from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.synth import draw_scene
from deeplab_tf.synth.dataset import Settings, write_scene
from deeplab_tf.synth.domains.streets import scene_name


def features(image: np.ndarray) -> np.ndarray:
    """(N, 4) float32: red, green and blue about zero, and 1."""
    flat = image.reshape(-1, 3).astype(np.float32) / 64 - 2
    return np.concatenate([flat, np.ones((len(flat), 1), np.float32)], axis=1)


def fit(pixels: np.ndarray, classes: np.ndarray, weights: np.ndarray, steps: int = 400) -> np.ndarray:
    """(4, C) coefficients of the weighted multinomial logistic regression, by Adam on the whole set."""
    count = len(weights)
    truth = np.eye(count, dtype=np.float32)[classes]
    importance = weights[classes][:, None] / weights[classes].sum()
    theta, first, second = (np.zeros((pixels.shape[1], count)) for _ in range(3))
    for step in range(1, steps + 1):
        scores = pixels @ theta.astype(np.float32)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        gradient = pixels.T @ ((scores / scores.sum(axis=1, keepdims=True) - truth) * importance)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        theta -= 0.2 * (1 - step / steps) * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-10)
    return theta


def color_miou(train, val, balanced: bool, random: np.random.RandomState) -> float:
    """mIoU on `val` of a linear classifier fitted to 800 pixels of every scene of `train`; both lists of (image,
    label_map)."""
    pixels, classes = [], []
    for image, label_map in train:
        known = np.flatnonzero(label_map.reshape(-1) != IGNORE_LABEL)
        chosen = random.choice(known, 800)
        pixels.append(features(image)[chosen])
        classes.append(label_map.reshape(-1)[chosen])
    pixels, classes = np.concatenate(pixels), np.concatenate(classes).astype(np.int64)
    counts = np.bincount(classes, minlength=len(CITYSCAPES))
    theta = fit(pixels, classes, 1.0 / np.maximum(counts, 1) if balanced else np.ones(len(CITYSCAPES)))
    confusion = ConfusionMatrix(len(CITYSCAPES))
    for image, label_map in val:
        confusion.update(label_map, (features(image) @ theta).argmax(axis=1).astype(np.uint8).reshape(label_map.shape))
    return confusion.miou()


def speed(seed: int, count: int = 20) -> None:
    """Prints scenes a second at 512x1024 on one processor: drawn, and drawn and written."""
    cv2.setNumThreads(1)
    draw_scene(seed, 0)
    for label, work in (("drawn", lambda folder, i: draw_scene(seed, i)), ("drawn and written", None)):
        with tempfile.TemporaryDirectory() as folder:
            start, processor = time.perf_counter(), time.process_time()
            for i in range(count):
                work(folder, i) if work else write_scene(folder, i, Settings(count, (512, 1024), seed))
            wall, processor = time.perf_counter() - start, time.process_time() - processor
        print(
            f"{label}: {count / wall:.1f} scenes/s by the clock, {count / processor:.1f} a second of processor "
            "time (512x1024, one thread)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    speed(options.seed)
    splits = {"train": [], "val": []}
    seen, share = np.zeros(256), np.zeros(256)
    for i in range(options.scenes):
        scene = draw_scene(options.seed, i, (256, 512))
        label_map = CITYSCAPES_TO_CLASS[scene.label_ids]
        splits[scene_name(i, options.scenes)[0]].append((scene.image, label_map))
        counts = np.bincount(label_map.reshape(-1), minlength=256)
        seen += counts >= 20
        share += counts / label_map.size
    for i, name in list(enumerate(CITYSCAPES.names)) + [(IGNORE_LABEL, "(ignored)")]:
        print(
            f"{name:15s} in {seen[i] / options.scenes:4.0%} of the scenes, {share[i] / options.scenes:6.2%} of the "
            "pixels"
        )
    for balanced in (False, True):
        miou = color_miou(splits["train"], splits["val"], balanced, np.random.RandomState(0))
        print("linear classifier on colors{}: mIoU {:.3f}".format(", classes weighted alike" if balanced else "", miou))


if __name__ == "__main__":
    main()
