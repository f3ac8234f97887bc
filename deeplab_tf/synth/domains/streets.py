"""Street scenes in the layout of Cityscapes, so that every tool for Cityscapes reads them.

OUT/leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png
OUT/gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png and NAME_gtFine_instanceIds.png
"""

import os
from typing import Dict, Tuple

import numpy as np

from deeplab_tf.core.cityscapes import IMAGE_SUFFIX, INSTANCE_SUFFIX, LABEL_SUFFIX
from deeplab_tf.synth import GENERATOR, draw_scene

__all__ = ["GENERATOR", "SIZE", "TEXTS", "draw", "paths", "scene_name", "split"]

SIZE = (512, 1024)
TEXTS: Dict[str, str] = {}

_TRAIN_CITIES = ("ahornfeld", "birkenau", "erlenbach", "ulmenhof")
_VAL_CITY = "lindenfurt"


def split(index: int, scenes: int) -> str:
    """Return the split of a scene: every fifth is for validation; of two to four, the last."""
    return "val" if index % 5 == 4 or (1 < scenes < 5 and index == scenes - 1) else "train"


def scene_name(index: int, scenes: int) -> Tuple[str, str]:
    """Return split and name, such as city/city_000000_000019."""
    where = split(index, scenes)
    city = _VAL_CITY if where == "val" else _TRAIN_CITIES[index % 5 % 4]
    return where, f"{city}/{city}_{index:06d}_000019"


def paths(folder: str, index: int, scenes: int) -> Tuple[str, ...]:
    """Return the files of a scene: image, label ids, instance ids."""
    where, name = scene_name(index, scenes)
    image = os.path.join(folder, "leftImg8bit", where, *name.split("/"))
    truth = os.path.join(folder, "gtFine", where, *name.split("/"))
    return image + IMAGE_SUFFIX, truth + LABEL_SUFFIX, truth + INSTANCE_SUFFIX


def draw(seed: int, index: int, size: Tuple[int, int]) -> Tuple[np.ndarray, ...]:
    """Return the arrays of those files."""
    return tuple(draw_scene(seed, index, size))
