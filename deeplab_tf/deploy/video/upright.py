"""Frames turned as their video says that it is displayed: a phone's camera stores portrait videos on their side."""

from typing import Optional

import cv2
import numpy as np

_OF_DEGREES = {90: 6, 180: 3, 270: 8}
"""EXIF's orientation by a clockwise turn in degrees."""


class Turner:
    """Turns the frames of a capture, once, on every OpenCV: some turn by themselves, some not, some know no rotation.

    Attributes:
        orientation: as EXIF counts, 1 (upright) to 8.
    """

    def __init__(self, capture: "cv2.VideoCapture", orientation: Optional[int] = None):
        """Take the orientation that a file's header says; None: what OpenCV knows, from 4.5 on."""
        automatic = getattr(cv2, "CAP_PROP_ORIENTATION_AUTO", None)
        turns = False
        if automatic is not None and capture.get(automatic) > 0:  # -1 where a backend knows none
            turns = not capture.set(automatic, 0) or capture.get(automatic) > 0
        self.orientation = 1
        if not turns:
            self.orientation = _known(capture) if orientation is None else orientation

    def turn(self, image: np.ndarray) -> np.ndarray:
        """Return the (H, W, 3) image as it is displayed."""
        if self.orientation == 1:
            return image
        if self.orientation > 4:
            image = cv2.transpose(image)
        rows, columns = self.orientation in (3, 4, 7, 8), self.orientation in (2, 3, 6, 7)
        return cv2.flip(image, -1 if rows and columns else int(columns)) if rows or columns else image


def _known(capture) -> int:
    meta = getattr(cv2, "CAP_PROP_ORIENTATION_META", None)
    degrees = capture.get(meta) if meta is not None else 0
    return _OF_DEGREES.get(int(round(degrees)) % 360, 1)
