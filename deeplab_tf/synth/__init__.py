"""Draws street scenes with labels and instances: training data without download, license or permission.

A scene follows from (seed, index) alone: the same street at every size, and at every time along the drive.
"""

from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.synth.ground import paint_background, paint_camera, paint_ground
from deeplab_tf.synth.light import expose
from deeplab_tf.synth.painter import Painter
from deeplab_tf.synth.sides import place_sides
from deeplab_tf.synth.street import Scenery, plan_street
from deeplab_tf.synth.traffic import place_people, place_traffic

GENERATOR = 1
"""Goes up when a scene of the same seed and index looks different from before."""

_MIN_SIZE = 32


class Scene(NamedTuple):
    """An image with its labels."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label_ids: np.ndarray  # (H, W) uint8: the 34 ids of Cityscapes' *_labelIds.png files
    instance_ids: np.ndarray  # (H, W) uint16: label id * 1000 + k for an instance; the label id for stuff and groups


def draw_scene(
    seed: int,
    index: int,
    size: Tuple[int, int] = (512, 1024),
    *,
    time: float = 0.0,
    numbers: Optional[Dict[Tuple[int, bytes], int]] = None,
) -> Scene:
    """Draw the street of (seed, index), seen after `time` seconds of driving along it.

    Args:
        seed: of the set of scenes.
        index: of the scene in the set, from 0.
        size: (height, width) in pixels, at least 32 each.
        time: seconds; the camera drives at 8 m/s, and what moves moves. Streets have no end.
        numbers: a dictionary that is given to every frame of a drive, empty at first: a thing keeps its instance id.
            None numbers the things of this frame alone.

    Raises:
        DeepLabError: for a size below 32 pixels per side.
    """
    if min(size) < _MIN_SIZE:
        raise DeepLabError(f"A scene needs a size of at least {_MIN_SIZE}x{_MIN_SIZE} pixels, got {size[0]}x{size[1]}.")
    street = plan_street(seed, index, time)
    painter = Painter(size, street.camera, street.light, numbers)
    random = np.random.RandomState([*street.key, 0])
    paint_background(street, painter, random)
    scenery = Scenery(street, painter)
    paint_ground(scenery)
    place_sides(scenery)
    place_people(scenery, time)
    place_traffic(scenery, time)
    scenery.paint()
    paint_camera(street, painter)
    image, grain, instance_ids = painter.finish()
    label_ids = np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids).astype(np.uint8)
    return Scene(expose(image, grain, street.light, random), label_ids, instance_ids)
