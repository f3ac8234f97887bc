"""Writes drawn scenes in the folder layout of Cityscapes, so that every tool for Cityscapes reads them."""

import os
from typing import Iterator, NamedTuple, Tuple

from deeplab_tf.core.cityscapes import IMAGE_SUFFIX, INSTANCE_SUFFIX, LABEL_SUFFIX
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_json
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.input_files import read_json
from deeplab_tf.synth import GENERATOR, draw_scene

SETTINGS = "scenes.json"
"""The file in the folder that holds its settings; written first."""

_TRAIN_CITIES = ("ahornfeld", "birkenau", "erlenbach", "ulmenhof")
_VAL_CITY = "lindenfurt"


class Settings(NamedTuple):
    """Everything that decides the files of a set of scenes."""

    scenes: int
    size: Tuple[int, int]
    seed: int


def scene_name(index: int, scenes: int) -> Tuple[str, str]:
    """Return (split, city/city_000000_000019): every fifth scene is for validation; of two to four, the last."""
    validation = index % 5 == 4 or (1 < scenes < 5 and index == scenes - 1)
    city = _VAL_CITY if validation else _TRAIN_CITIES[index % 5 % 4]
    return "val" if validation else "train", f"{city}/{city}_{index:06d}_000019"


def scene_paths(folder: str, index: int, scenes: int) -> Tuple[str, str, str]:
    """Return the files of a scene: image, label ids, instance ids."""
    split, name = scene_name(index, scenes)
    image = os.path.join(folder, "leftImg8bit", split, *name.split("/"))
    truth = os.path.join(folder, "gtFine", split, *name.split("/"))
    return image + IMAGE_SUFFIX, truth + LABEL_SUFFIX, truth + INSTANCE_SUFFIX


def begin_folder(folder: str, settings: Settings) -> None:
    """Make the folder ready for scenes, or check that it was begun with the same settings.

    Raises:
        DeepLabError: the folder holds something else, or scenes drawn with other settings.
    """
    path = os.path.join(folder, SETTINGS)
    wanted = {"generator": GENERATOR, "scenes": settings.scenes, "size": list(settings.size), "seed": settings.seed}
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise DeepLabError(f"{folder} is a file; name a new folder for the scenes.")
    if os.path.exists(path):
        _check_settings(path, wanted)
    elif os.path.isdir(folder) and os.listdir(folder):
        raise DeepLabError(f"{folder} is not empty and holds no drawn scenes; name a new folder.")
    else:
        write_json(path, wanted)


def _check_settings(path: str, wanted: dict) -> None:
    try:
        found = read_json(path)
    except DeepLabError:
        found = None
    if not isinstance(found, dict):
        raise DeepLabError(f"{path} is damaged; name a new folder for the scenes.")
    different = [f"{key} {found.get(key)} (now {value})" for key, value in wanted.items() if found.get(key) != value]
    if different:
        raise DeepLabError(
            f"{os.path.dirname(path)} holds scenes drawn with {', '.join(different)}; name a new folder, or repeat "
            "those."
        )


def missing_scenes(folder: str, settings: Settings) -> Iterator[int]:
    """Yield the index of each scene of which a file is missing."""
    for index in range(settings.scenes):
        if not all(os.path.exists(path) for path in scene_paths(folder, index, settings.scenes)):
            yield index


def write_scene(folder: str, index: int, settings: Settings) -> int:
    """Draw a scene and write those of its three files that are missing, each whole or not at all. Returns the index."""
    scene = draw_scene(settings.seed, index, settings.size)
    pixels = scene.image, scene.label_ids, scene.instance_ids
    for path, array in zip(scene_paths(folder, index, settings.scenes), pixels):
        if not os.path.exists(path):
            write_image(path, array)
    return index
