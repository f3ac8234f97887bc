"""Labels of a video that are held against flicker: a pixel keeps its class until another one has been predicted for it
in several frames. What moves takes its classes along, by optical flow.
"""

import functools
from typing import Optional, Tuple

import cv2
import numpy as np

from deeplab_tf.core.draw import resize_labels

FRAMES = 3
"""How many frames in a row another class must be predicted for a pixel that has kept its class for as long."""
_FLOW_WIDTH = 256
"""Optical flow is computed on images of about this width, which a processor core does in a few milliseconds."""
_SAME_GRAY = 24.0
"""Levels of 255 by which a pixel may differ from where it came from, blurred: more is another thing."""
_SAME_PLACE = 2.0
"""Pixels of those images by which the flow there and back may miss where it began: more is another thing, too."""


class Smoother:
    """Smooths the label maps of one video, frame by frame."""

    def __init__(self, frames: int = FRAMES):
        """
        Args:
            frames: as FRAMES; 1 holds nothing.
        """
        self._frames = frames
        self._gray: Optional[np.ndarray] = None  # the last frame
        self._labels: Optional[np.ndarray] = None  # what was returned for it
        self._votes: Optional[np.ndarray] = None  # (h, w) uint8: how firmly a pixel has its class, up to `frames`
        create = cv2.DISOpticalFlow_create  # type: ignore[attr-defined]  # the name that OpenCV 4.1 has, too
        self._flow = create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def smooth(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the smoothed label map of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, always of the same size.
            labels: (h, w) uint8 class ids of the image, at any resolution, always the same.

        Returns:
            (h, w) uint8; `labels` itself for the first frame.
        """
        gray = _small_gray(image)
        last = self._gray
        self._gray = gray
        if last is None or last.shape != gray.shape or self._labels is None or self._labels.shape != labels.shape:
            self._labels, self._votes = labels, np.ones(labels.shape, np.uint8)
            return labels
        place, known = self._came_from(last, gray, labels.shape)
        held = cv2.remap(self._labels, place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        votes = cv2.remap(self._votes, place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        votes[~known] = 0
        same = held == labels
        votes = np.where(same, np.minimum(votes + 1, self._frames), np.maximum(votes, 1) - 1).astype(np.uint8)
        taken = votes == 0
        self._labels = np.where(taken, labels, held)
        votes[taken] = 1
        self._votes = votes
        return self._labels

    def _came_from(self, last, gray, size):
        """Return the (h, w, 2) float32 position (x, y) at which each pixel of a map was in the last frame, and whether
        it is seen there."""
        flow = self._flow.calc(gray, last, None)
        there = _grid(gray.shape) + flow
        back = cv2.remap(last, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        known = np.abs(cv2.blur(back.astype(np.float32) - gray, (3, 3))) <= _SAME_GRAY
        returned = flow + cv2.remap(self._flow.calc(last, gray, None), there, None, cv2.INTER_LINEAR)
        known &= np.einsum("hwc,hwc->hw", returned, returned) <= _SAME_PLACE**2
        height, width = size
        scale = np.array([width / gray.shape[1], height / gray.shape[0]], np.float32)
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
        return _grid(size) + flow, resize_labels(known.astype(np.uint8), size) == 1


@functools.lru_cache(maxsize=4)
def _grid(size: Tuple[int, int]) -> np.ndarray:
    """Return the (h, w, 2) float32 position (x, y) of each pixel; not to be changed."""
    rows, columns = np.indices(size, np.float32)
    return np.dstack([columns, rows])


def _small_gray(image):
    height, width = image.shape[:2]
    factor = max(1, round(width / _FLOW_WIDTH))
    small = cv2.resize(image, (max(16, width // factor), max(16, height // factor)), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
