"""Drawn drives along streets: frames, and panoptic maps in which a thing keeps its number.

    OUT/images/0003/0003_000012.png                 8-bit RGB: frame 12 of video 3
    OUT/panoptic/0003/0003_000012_panoptic.png      its segments
    OUT/panoptic/0003/panoptic.json                 those of all frames of the video, in COCO's format; written last

A name of its own in each frame lets `predict` write the maps of all videos into one folder.
"""

import os
from typing import Dict, Tuple

from deeplab_tf.core.cityscapes import CITYSCAPES, from_instance_ids
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.panoptic.coco import JSON_NAME, PanopticWriter
from deeplab_tf.synth import draw_scene


def is_drawn(folder: str, index: int) -> bool:
    """Return whether a video is complete."""
    return os.path.exists(os.path.join(_folders(folder, index)[1], JSON_NAME))


def write_video(folder: str, index: int, *, seed: int, size: Tuple[int, int], frames: int, fps: float) -> None:
    """Draw a drive and write its files.

    Args:
        folder: of all videos.
        index: of the street, and of the video.
        seed, size: as for `draw_scene`.
        frames: their number.
        fps: frames a second; the camera drives at 8 m/s.
    """
    images, maps = _folders(folder, index)
    numbers: Dict[Tuple[int, bytes], int] = {}
    with PanopticWriter(maps, CITYSCAPES, "centers") as writer:
        for frame in range(frames):
            name = f"{index:04d}_{frame:06d}"
            scene = draw_scene(seed, index, size, time=frame / fps, numbers=numbers)
            write_image(os.path.join(images, name + ".png"), scene.image)
            writer.add(name, from_instance_ids(scene.instance_ids, name), name + ".png")
        writer.close()


def _folders(folder, index):
    return [os.path.join(folder, kind, f"{index:04d}") for kind in ("images", "panoptic")]
