"""Draw what each augmentation does to image and label: python tools/draw/augmentations.py docs/augmentations.png"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np

from deeplab_tf.cli.options import show
from deeplab_tf.core import draw
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_TO_CLASS
from deeplab_tf.core.image_files import write_image
from deeplab_tf.synth import draw_scene

SIZE = (192, 384)
EXAMPLES = (
    ("none", {}),
    ("flip", {"flip": 1.0}),
    ("rotation: 15", {"rotation": 15.0}),
    ("scale: [0.5, 0.6]", {"scale": (0.5, 0.6)}),
    ("scale: [1.8, 2.0]", {"scale": (1.8, 2.0)}),
    ("crop: [128, 256]", {"crop": (128, 256)}),
    ("brightness: 0.5", {"brightness": 0.5}),
    ("contrast: 0.7", {"contrast": 0.7}),
    ("saturation: 0.9", {"saturation": 0.9}),
    ("hue: 0.2", {"hue": 0.2}),
    ("white_balance: 0.3", {"white_balance": 0.3}),
    ("gamma: 1.0", {"gamma": 1.0}),
    ("noise: 40", {"noise": 40.0}),
    (
        "all of a recipe",
        {
            "crop": (160, 320),
            "flip": 0.5,
            "rotation": 5.0,
            "scale": (0.6, 1.8),
            "brightness": 0.4,
            "contrast": 0.4,
            "gamma": 0.4,
        },
    ),
)


def panel(image, label_map, title, options, seed):
    """Return image and label after one augmentation, side by side under its name."""
    import tensorflow as tf

    from deeplab_tf.lab.data.augment import Augmentation, augment

    changed, labels = augment(
        tf.constant(image), tf.constant(label_map), tf.constant([seed, 3], tf.int64), Augmentation(**options)
    )
    pair = [changed.numpy(), draw.colorize(labels.numpy(), CITYSCAPES)]
    return draw.side_by_side([_centered(each) for each in pair], [title, ""])


def _centered(panel):
    canvas = np.full((*SIZE, 3), 255, np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(SIZE, panel.shape))
    canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return canvas


@click.command()
@click.argument("figure", type=click.Path(dir_okay=False))
@click.option("--seed", default=1, show_default=True)
def main(figure, seed):
    """Draw a scene and its label under each augmentation into FIGURE (PNG)."""
    scene = draw_scene(seed, 3, SIZE)
    label_map = CITYSCAPES_TO_CLASS[scene.label_ids]
    panels = [panel(scene.image, label_map, title, options, seed) for title, options in EXAMPLES]
    rows = [
        np.hstack([panels[i], np.full((panels[i].shape[0], 12, 3), 255, np.uint8), panels[i + 1]])
        for i in range(0, len(panels), 2)
    ]
    write_image(figure, np.vstack(rows))
    show(f"Drew {figure}")


if __name__ == "__main__":
    main()
