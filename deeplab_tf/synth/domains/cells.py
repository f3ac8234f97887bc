"""Cells under a microscope with differential interference contrast: gray images, with masks of 0 and 255.

    OUT/images/cells_000000.png     8-bit gray
    OUT/masks/cells_000000.png      0 outside of cells, 255 inside

A cell is lit from one side and as bright as what is around it on average, and the light is uneven: no gray level says
what a pixel is, only the relief around it does. Specks of dirt have a relief too.
"""

import os
from typing import Dict, Tuple

import cv2
import numpy as np

GENERATOR = 1
SIZE = (256, 256)
TEXTS: Dict[str, str] = {}

_COVERED = 0.46
"""Share of the pixels that cells cover."""
_RADII = (11.0, 24.0)
_GAP = 2.0
"""Pixels between two cells, at least."""
_KEY = 71


def paths(folder: str, index: int, scenes: int) -> Tuple[str, ...]:
    """Return the files of a scene: image, mask."""
    name = f"cells_{index:06d}.png"
    return os.path.join(folder, "images", name), os.path.join(folder, "masks", name)


def split(index: int, scenes: int) -> str:
    """Return "": the images are not split."""
    return ""


def draw(seed: int, index: int, size: Tuple[int, int]) -> Tuple[np.ndarray, ...]:
    """Return the (H, W) uint8 gray image and its (H, W) uint8 mask."""
    random = np.random.RandomState([seed, index, _KEY])
    height, mask = _cells(random, size)
    height += _dirt(random, size)
    angle = np.deg2rad(random.uniform(25, 65))
    relief = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    image = random.uniform(112, 144) + 10.0 * relief + _uneven(random, size, 4, 30) + _uneven(random, size, 24, 3)
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), random.uniform(0.6, 1.1))
    image += random.normal(0, 4.0, size)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def _cells(random, size):
    """Return the height of the cells, (H, W) float32, and their mask."""
    height, mask = np.zeros(size, np.float32), np.zeros(size, np.uint8)
    taken = np.zeros(size, np.uint8)  # cells and the gap around them
    for _ in range(size[0] * size[1] // 40):
        if cv2.countNonZero(mask) >= _COVERED * mask.size:
            break
        center, radius = random.uniform((0, 0), size), random.uniform(*_RADII)
        if _is_taken(taken, center, radius):
            continue
        window, distance = _distance(random, center, radius, size)
        if (taken[window][distance < 1 + _GAP / radius]).any():
            continue
        inside = distance < 1
        mask[window][inside] = 255
        taken[window][distance < 1 + _GAP / radius] = 1
        grains = cv2.GaussianBlur(random.normal(0, 1, distance.shape).astype(np.float32), (0, 0), 1.4)
        dome = np.sqrt(np.clip(1 - distance**2, 0, None)) * radius * 0.16
        height[window] += np.where(inside, dome + 1.2 * grains * np.clip(2 - 2 * distance, 0, 1), 0)
    return cv2.GaussianBlur(height, (0, 0), 1.0), mask


def _is_taken(taken, center, radius):
    """Return whether the center, or a point around it, lies in another cell."""
    angles = np.arange(8) * np.pi / 4
    y = np.clip(center[0] + np.append(0, radius * np.sin(angles)), 0, taken.shape[0] - 1).astype(int)
    x = np.clip(center[1] + np.append(0, radius * np.cos(angles)), 0, taken.shape[1] - 1).astype(int)
    return taken[y, x].any()


def _distance(random, center, radius, size):
    """Return a window around a cell, and each pixel's distance from the center, 1 at the outline."""
    reach = radius * 1.6 + _GAP
    first = [max(0, int(c - reach)) for c in center]
    last = [min(side, int(c + reach) + 1) for c, side in zip(center, size)]
    y, x = np.mgrid[first[0] : last[0], first[1] : last[1]]
    dy, dx = (y - center[0]) / radius, (x - center[1]) / radius
    angle = np.arctan2(dy, dx)
    outline = 1 + sum(random.uniform(-0.5, 0.5) / n**1.3 * 0.3 * np.cos(n * angle + random.uniform(0, 6.3))
                      for n in (2, 2, 3, 4, 5))  # fmt: skip
    return np.s_[first[0] : last[0], first[1] : last[1]], np.hypot(dy, dx) / outline


def _dirt(random, size):
    """Return the height of specks, which are no cells."""
    specks = np.zeros(size, np.float32)
    for _ in range(size[0] * size[1] // 1500):
        x, y = random.randint(size[1]), random.randint(size[0])
        cv2.circle(specks, (x, y), random.randint(1, 4), random.uniform(-3, 3), -1)
    return cv2.GaussianBlur(specks, (0, 0), 1.0)


def _uneven(random, size, cells, amplitude):
    """Return a smooth random field: `cells` bumps a side of 256 pixels, with this standard deviation."""
    shape = [max(2, side * cells // 256 + 1) for side in size]
    field = cv2.resize(random.normal(0, 1, shape), size[::-1], interpolation=cv2.INTER_CUBIC)
    return amplitude * field / max(float(field.std()), 1e-6)
