"""A training run of seconds: three classes, each of one color, and a network of a few layers in place of ResNet-50.

As a script it is `deeplab-tf` with that network; with "wait" as its first argument it begins when its standard input is
closed.
"""

import atexit
import functools
import os
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml

COLORS = {"road": (128, 64, 128), "tree": (107, 142, 35), "sky": (70, 130, 180)}
LABEL_COLORS = {"road": (10, 20, 30), "tree": (200, 100, 0), "sky": (0, 0, 250)}
VOID = (255, 0, 255)
"""The color of ignored pixels in label files."""
SMALL = {"name": "lr_aspp", "backbone": "resnet50", "aspp_channels": 16, "batch_norm_momentum": 0.8}
"""A network of 20 variables in place of 41: TensorFlow traces it in half the time."""


def backbone(image, *, width=1.0, output_stride=16, multi_grid=(1, 1, 1), momentum=0.99):
    """Four stages of one convolution each, at strides 4, 8, 16 and 16."""
    from keras import layers

    from deeplab_tf.lab.models.blocks import conv_bn

    features, x = {}, layers.AveragePooling2D(4, padding="same", name="pool")(image)
    for name, pooled in (("res2", False), ("res3", True), ("res4", True), ("res5", False)):
        if pooled:
            x = layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)
        features[name] = x = conv_bn(x, 16, 3, name=name, momentum=momentum)
    return features


def use_backbone(monkeypatch=None):
    """Puts `backbone` in the place of ResNet-50."""
    from deeplab_tf.lab.models.backbones import resnet50

    if monkeypatch is None:
        resnet50.build = backbone
    else:
        monkeypatch.setattr(resnet50, "build", backbone)


def write_data(root, *, train=8, val=3, size=(64, 64), colors=False, instances=False, seed=0):
    """Images of noisy color blocks and their labels, as a `folder` dataset: ids, or colors that are not the images'
    own.

    With `instances` every block of 16 x 16 pixels is a thing of its own.
    """
    rng = np.random.default_rng(seed)
    paint = np.array(list(COLORS.values()), np.uint8)
    label_paint = np.array([*LABEL_COLORS.values(), VOID], np.uint8)
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            ids = np.kron(rng.integers(0, 3, (size[0] // 16, size[1] // 16)), np.ones((16, 16), int))
            image = np.clip(paint[ids] + rng.normal(0, 8, (*size, 3)), 0, 255).astype(np.uint8)
            ids[:2] = 3  # ignored
            label = label_paint[ids] if colors else np.where(ids == 3, 255, ids).astype(np.uint8)
            write_png(root / "images" / split / f"frame_{index}.png", image)
            write_png(root / "labels" / split / f"frame_{index}.png", label)
            if instances:
                numbers = np.kron(np.arange(1, ids.size // 256 + 1).reshape(size[0] // 16, -1), np.ones((16, 16), int))
                write_png(
                    root / "instances" / split / f"frame_{index}.png", np.where(ids == 1, numbers, 0).astype(np.uint8)
                )
    return root


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


def recipe(root, *, colors=False, instances=False, small=False, **changes):
    """The recipe's sections; `changes` are sections of values that win over them. With `instances` trees are things.

    `small` takes the network SMALL, for tests of how a training begins, goes on and ends.
    """
    paint = LABEL_COLORS if colors else COLORS
    tree = {
        "data": {
            "name": "folder",
            "root": str(root),
            "size": [64, 64],
            "classes": [{"name": name, "color": list(color)} for name, color in paint.items()],
        },
        "augment": {"crop": [64, 64], "flip": 0.5, "scale": [0.8, 1.25], "brightness": 0.1},
        "model": {
            "separable": False,
            "aspp_channels": 16,
            "decoder_channels": 16,
            "low_level_channels": 8,
            "batch_norm_momentum": 0.8,
        },
        "optimizer": {"learning_rate": 0.01, "schedule": "cosine", "ema": 0.8, "weight_decay": 0.01},
        "training": {
            "steps": 30,
            "batch_size": 4,
            "precision": "float32",  # the same numbers on every machine
            "validate_every": 10,
            "checkpoint_every": 4,
            "log_every": 1,
            "save_steps": [15],
        },
    }
    if small:
        tree["model"] = dict(SMALL)
    if colors:
        tree["data"].update(label_format="colors", ignore_colors=[list(VOID)])
    if instances:
        tree["data"]["instances"] = "instances/{split}"
        tree["data"]["classes"][1]["thing"] = True
        tree["model"] = {
            "name": "panoptic_deeplab",
            "separable": False,
            "aspp_channels": 16,
            "decoder_channels": 16,
            "batch_norm_momentum": 0.8,
        }
        tree["model"].update(
            instance_channels=16, head_channels=16, low_level_channels=[8, 8], instance_low_level_channels=[8, 8]
        )
        tree["loss"] = {"center_sigma": 3.0, "offset_weight": 0.1}
    for section, values in changes.items():
        tree.setdefault(section, {}).update(values)
    return tree


def write_recipe(path, tree):
    path.write_text(yaml.safe_dump(tree))
    return path


@functools.cache
def trained_run():
    """A run on RGB-color labels that are described in the recipe alone, trained once for all tests by the command
    line: its folder."""
    return _train(lambda root: recipe(write_data(root / "data", colors=True), colors=True))


@functools.cache
def panoptic_run():
    """A run that learned to tell blocks of one color apart, trained once for all tests by the command line: its
    folder."""
    steps = {"steps": 100, "validate_every": 50, "checkpoint_every": 100, "save_steps": [50]}
    changes = {"augment": {"scale": [1.0, 1.0]}, "training": steps, "model": {"dropout": 0.0}}
    return _train(lambda root: recipe(write_data(root / "data", instances=True, train=24), instances=True, **changes))


def _train(make_recipe):
    import pytest
    from click.testing import CliRunner

    from deeplab_tf.cli import group

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    root = Path(folder.name)
    path = write_recipe(root / "recipe.yaml", make_recipe(root))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_backbone(monkeypatch)
        result = CliRunner().invoke(
            group, ["train", str(path), "--run", str(root / "run"), "--json", str(root / "result.json")]
        )
    if result.exit_code:
        raise RuntimeError(result.output) from result.exception
    return root / "run"


def environment():
    """For a process that imports what this one does."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}


if __name__ == "__main__":
    import deeplab_tf.lab.training.fit  # noqa: F401  (seconds: done while waiting)
    from deeplab_tf.cli import main

    use_backbone()
    if sys.argv[1:2] == ["wait"]:
        del sys.argv[1]
        sys.stdin.read()
    main()
