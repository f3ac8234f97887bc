"""Writes sets of drawn scenes; see `domains` for what is drawn."""

import importlib
import os
from typing import Iterator, List, NamedTuple, Tuple

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import modules_in, write_json, write_text
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.input_files import read_json
from deeplab_tf.synth import video

SETTINGS = "scenes.json"
"""The file in the folder that holds its settings; written first."""

STREETS = "streets"


class Settings(NamedTuple):
    """Everything that decides the files of a set of scenes; with `frames` each scene is a video (see `video`)."""

    scenes: int
    size: Tuple[int, int]
    seed: int
    domain: str = STREETS
    frames: int = 0
    fps: float = 0.0


def domains() -> List[str]:
    """Return the names of what can be drawn."""
    return modules_in(os.path.join(os.path.dirname(__file__), "domains"))


def load_domain(name: str):
    """Return the module that draws a domain."""
    return importlib.import_module("deeplab_tf.synth.domains." + name)


def scene_paths(folder: str, index: int, scenes: int, domain: str = STREETS) -> Tuple[str, ...]:
    """Return the files of a scene; of a street: image, label ids, instance ids."""
    return load_domain(domain).paths(folder, index, scenes)


def begin_folder(folder: str, settings: Settings) -> None:
    """Make the folder ready for scenes, or check that it was begun with the same settings.

    Raises:
        DeepLabError: the folder holds something else, or scenes drawn with other settings.
    """
    path = os.path.join(folder, SETTINGS)
    domain = load_domain(settings.domain)
    wanted = {
        "generator": domain.GENERATOR,
        "scenes": settings.scenes,
        "size": list(settings.size),
        "seed": settings.seed,
    }
    if settings.domain != STREETS:  # which came first, and is not written
        wanted["domain"] = settings.domain
    if settings.frames:
        wanted.update(frames=settings.frames, fps=settings.fps)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise DeepLabError(f"{folder} is a file; name a new folder for the scenes.")
    if os.path.exists(path):
        _check_settings(path, wanted)
    elif os.path.isdir(folder) and os.listdir(folder):
        raise DeepLabError(f"{folder} is not empty and holds no drawn scenes; name a new folder.")
    else:
        write_json(path, wanted)
    for name, text in domain.TEXTS.items():
        if not os.path.exists(os.path.join(folder, name)):
            write_text(os.path.join(folder, name), text)


def _check_settings(path: str, wanted: dict) -> None:
    try:
        found = read_json(path)
    except DeepLabError:
        found = None
    if not isinstance(found, dict):
        raise DeepLabError(f"{path} is damaged; name a new folder for the scenes.")
    keys = dict.fromkeys([*wanted, *sorted({"domain", "frames", "fps"} & set(found))])
    different = [f"{key} {found.get(key)} (now {wanted.get(key)})" for key in keys if found.get(key) != wanted.get(key)]
    if different:
        raise DeepLabError(
            f"{os.path.dirname(path)} holds scenes drawn with {', '.join(different)}; name a new folder, or repeat "
            "those."
        )


def missing_scenes(folder: str, settings: Settings) -> Iterator[int]:
    """Yield the index of each scene of which a file is missing."""
    for index in range(settings.scenes):
        if settings.frames:
            if not video.is_drawn(folder, index):
                yield index
        elif not all(os.path.exists(path) for path in scene_paths(folder, index, settings.scenes, settings.domain)):
            yield index


def write_scene(folder: str, index: int, settings: Settings) -> int:
    """Draw a scene and write those of its files that are missing, or all of a video, each whole or not at all. Returns
    the index."""
    if settings.frames:
        frames, fps = settings.frames, settings.fps
        video.write_video(folder, index, seed=settings.seed, size=settings.size, frames=frames, fps=fps)
        return index
    domain = load_domain(settings.domain)
    arrays = domain.draw(settings.seed, index, settings.size)
    for path, array in zip(domain.paths(folder, index, settings.scenes), arrays):
        if not os.path.exists(path):
            write_image(path, array)
    return index
