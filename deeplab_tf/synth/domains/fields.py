"""A field seen from a drone: rows of young crops, weeds between them, soil with plant residue; labels in colors.

    OUT/images/{train,val}/field_000000.png     8-bit RGB
    OUT/labels/{train,val}/field_000000.png     8-bit RGB, in the colors of label_colors.txt
    OUT/label_colors.txt                        red green blue name, a line a class

Crops, weeds and residue have the same greens, and each image has a light of its own. Crops stand in rows and are
rosettes of long leaves; weeds stand anywhere, as tufts of blades or as a few round leaves.
"""

import os
from typing import Tuple

import cv2
import numpy as np

GENERATOR = 1
SIZE = (384, 512)

CLASSES = (("soil", (128, 96, 64)), ("crop", (0, 160, 0)), ("weed", (220, 40, 40)))
TEXTS = {"label_colors.txt": "".join("{} {} {} {}\n".format(*color, name) for name, color in CLASSES)}

_SOIL, _CROP, _WEED = range(3)
_KEY = 72


def split(index: int, scenes: int) -> str:
    """Return the split of a scene: every fifth is for validation; of two to four, the last."""
    return "val" if index % 5 == 4 or (1 < scenes < 5 and index == scenes - 1) else "train"


def paths(folder: str, index: int, scenes: int) -> Tuple[str, ...]:
    """Return the files of a scene: image, label."""
    name = os.path.join(split(index, scenes), f"field_{index:06d}.png")
    return os.path.join(folder, "images", name), os.path.join(folder, "labels", name)


def draw(seed: int, index: int, size: Tuple[int, int]) -> Tuple[np.ndarray, ...]:
    """Return the (H, W, 3) uint8 RGB image and the (H, W, 3) uint8 colors of its label."""
    random = np.random.RandomState([seed, index, _KEY])
    field = _Field(random, size)
    field.lay_residue()
    for row, column in field.crop_places():
        field.crop(row, column)
    for _ in range(size[0] * size[1] // 2600):
        field.weed(random.uniform(0, size[0]), random.uniform(0, size[1]))
    palette = np.array([color for _, color in CLASSES], np.uint8)
    return _photograph(random, field.image), palette[field.label]


class _Field:
    """An image and its label, drawn from the soil up."""

    def __init__(self, random, size):
        self.random, self.size = random, size
        self.label = np.zeros(size, np.uint8)
        self.hue = random.uniform(34, 52)  # of the plants of this image, in OpenCV's degrees / 2
        tone = np.array([random.uniform(96, 130), random.uniform(84, 112), random.uniform(60, 88)])
        grain = sum(_noise(random, size, side) for side in (8, 24, 80, 200))[..., None]
        self.image = (tone + 9.0 * grain).astype(np.float32)

    def green(self):
        """Draw a plant's color: from fresh to yellowed."""
        hue, saturation, value = (
            np.clip(self.random.normal(self.hue, 6), 18, 75),
            self.random.uniform(60, 170),
            self.random.uniform(70, 170),
        )
        pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
        return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(float)

    def lay_residue(self):
        """Lay leaves and stalks of the last crop on the soil, and moss in it: they are soil."""
        height, width = self.size
        moss = np.clip(_noise(self.random, self.size, 5) + self.random.uniform(-0.3, 0.5), 0, 1)[..., None]
        self.image += moss * (self.green() - self.image) * self.random.uniform(0.5, 0.9)
        for _ in range(height * width // 700):
            y, x = self.random.uniform(0, height), self.random.uniform(0, width)
            self._leaf(y, x, self.random.uniform(0, 360), self.random.uniform(4, 18), self.random.uniform(1.5, 5), None)

    def crop_places(self):
        """Yield the places of crops: along rows."""
        spacing, along, angle = self.random.uniform(78, 96), self.random.uniform(50, 62), self.random.uniform(-0.5, 0.5)
        half = int(np.hypot(*self.size) / 2 / along) + 2
        shift = self.random.uniform(0, spacing)
        for row in range(-half, half + 1):
            for step in range(-half, half + 1):
                if self.random.rand() < 0.08:  # it did not come up
                    continue
                u, v = row * spacing + shift + self.random.normal(0, 3), step * along + self.random.normal(0, 5)
                y = self.size[0] / 2 + u * np.cos(angle) + v * np.sin(angle)
                x = self.size[1] / 2 - u * np.sin(angle) + v * np.cos(angle)
                if -40 < y < self.size[0] + 40 and -40 < x < self.size[1] + 40:
                    yield y, x

    def crop(self, y, x):
        """Draw a rosette of long leaves."""
        count, turn, reach = self.random.randint(6, 9), self.random.uniform(0, 360), self.random.uniform(20, 31)
        color = self.green()
        for leaf in range(count):
            self._petal(y, x, turn + 360.0 * leaf / count + self.random.normal(0, 9), reach, 0.24, color, _CROP)

    def weed(self, y, x):
        """Draw a tuft of blades or a few round leaves."""
        color, blades = self.green(), self.random.rand() < 0.5
        count, reach = (self.random.randint(7, 13), self.random.uniform(12, 22)) if blades else (
            self.random.randint(3, 6), self.random.uniform(9, 15))  # fmt: skip
        turn = self.random.uniform(0, 360)
        for leaf in range(count):
            self._petal(
                y, x, turn + 360.0 * leaf / count + self.random.normal(0, 14), reach * self.random.uniform(0.7, 1.1),
                0.09 if blades else 0.5, color, _WEED,
            )  # fmt: skip

    def _petal(self, y, x, degrees, reach, width, color, class_id):
        """Draw a leaf that begins at (y, x)."""
        angle = np.deg2rad(degrees)
        half = reach / 2
        self._leaf(y + half * np.sin(angle), x + half * np.cos(angle), degrees, half, max(1.2, half * width * 1.6),
                   color * self.random.uniform(0.86, 1.14), class_id)  # fmt: skip

    def _leaf(self, y, x, degrees, half, thick, color, class_id=None):
        color = self.green() if color is None else color
        center, axes = (int(x * 16), int(y * 16)), (int(half * 16), int(thick * 16))
        cv2.ellipse(self.image, center, axes, degrees, 0, 360, [float(c) for c in color], -1, cv2.LINE_AA, 4)
        if class_id is not None:
            cv2.ellipse(self.label, center, axes, degrees, 0, 360, class_id, -1, cv2.LINE_8, 4)


def _photograph(random, image):
    """Return what the camera sees: shade, the light of the day, blur and noise."""
    size = image.shape[:2]
    shade = 1 + 0.16 * _noise(random, size, 3) + 0.08 * _noise(random, size, 60)
    gains = random.uniform(0.75, 1.25) * random.uniform(0.9, 1.1, 3)
    image = cv2.GaussianBlur(image * shade[..., None] * gains, (0, 0), random.uniform(0.5, 0.9))
    return np.clip(np.rint(image + random.normal(0, 4, image.shape)), 0, 255).astype(np.uint8)


def _noise(random, size, cells):
    """Return a smooth random field with a standard deviation of about 1, of `cells` bumps in 512 pixels."""
    shape = [max(2, side * cells // 512 + 2) for side in size]
    return cv2.resize(random.normal(0, 1.2, shape), size[::-1], interpolation=cv2.INTER_CUBIC)
