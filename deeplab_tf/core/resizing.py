"""Bilinear resizing of a network's outputs, whose positions are pixels of its image at a stride."""

from typing import Tuple

import cv2
import numpy as np


def resize_linear(plane: np.ndarray, size: Tuple[int, int], stride: int) -> np.ndarray:
    """Resize (h, w) float32 bilinearly to `size`. With a stride s, position i is that of pixel s * i of the network's
    image, as in `draw.resize_labels`; OpenCV knows a stride of 1 only."""
    if stride == 1:
        if plane.shape == tuple(size):
            return plane
        return cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    low, high, share = _neighbors(size[1], plane.shape[1], stride)
    plane = plane[:, low] * (1 - share) + plane[:, high] * share
    low, high, share = _neighbors(size[0], plane.shape[0], stride)
    return plane[low] * (1 - share[:, None]) + plane[high] * share[:, None]


def _neighbors(length, source, stride):
    """Return for each of `length` pixels the two of `source` positions around its center, and the share of the second.

    Pixel i's center lies at x = (i + 0.5) * stride * source / length - 0.5 of the network's pixels: at position
    x / stride.
    """
    position = np.clip((np.arange(length) + 0.5) * source / length - 0.5 / stride, 0, source - 1)
    low = position.astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)
