"""Tracked things in the annotated frame: outlines in a color by number, the numbers, and trails."""

import collections
from typing import Deque, Dict, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.panoptic import VOID
from deeplab_tf.core.panoptic.tracking import Thing

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TRAIL = 50  # frames
_TRAILS = 200  # things whose trails are kept, those seen last
_LEAST_PIXELS = 150  # of a thing whose number is written


def color_of(number: int) -> Tuple[int, int, int]:
    """Return the bright color of a thing's number; those of neighboring numbers are far apart."""
    hue = int(180 * (number * 0.6180339887 % 1.0))
    red, green, blue = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return red, green, blue


class ThingMarker:
    """Draws tracked things; keeps their trails."""

    def __init__(self, *, trails: bool = False):
        """Draw trails, where a thing's foot was in the last frames, if `trails`."""
        self._trails = trails
        self._feet: Dict[int, Deque[Tuple[int, int]]] = {}

    def draw(self, view: np.ndarray, panoptic: np.ndarray, things: Sequence[Thing]) -> None:
        """Draw into an image.

        Args:
            view: (H, W, 3) uint8 RGB; changed.
            panoptic: (H, W) int32 panoptic map.
            things: of this map.
        """
        colors = np.full((VOID + 1, 3), 255, np.uint8)
        wanted = np.zeros(VOID + 1, bool)
        for thing in things:
            colors[thing.value], wanted[thing.value] = color_of(thing.id), True
        edge = np.zeros(panoptic.shape, bool)
        edge[:, :-1] = panoptic[:, :-1] != panoptic[:, 1:]
        edge[:-1] |= panoptic[:-1] != panoptic[1:]
        places = np.flatnonzero(edge)
        values = panoptic.reshape(-1)[places]
        places = places[wanted[values]]
        rows, columns = np.divmod(places, panoptic.shape[1])
        view[rows, columns] = colors[panoptic.reshape(-1)[places]]
        for thing in things:
            if thing.pixels >= _LEAST_PIXELS:
                self._write(view, thing)
        if self._trails:
            self._draw_trails(view, things)

    def _write(self, view, thing):
        x, y, width, _ = thing.box
        text, scale = str(thing.id), max(0.35, view.shape[0] / 1280.0)
        place = x + width // 2 - int(9 * scale * len(text)), max(int(24 * scale), y - 3)
        cv2.putText(view, text, place, _FONT, scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(view, text, place, _FONT, scale, color_of(thing.id), 1, cv2.LINE_AA)

    def _draw_trails(self, view, things):
        for thing in things:
            x, y, width, height = thing.box
            feet = self._feet.pop(thing.id, None) or collections.deque(maxlen=_TRAIL)
            self._feet[thing.id] = feet  # the last one in the dictionary's order
            feet.append((x + width // 2, y + height))
            cv2.polylines(view, [np.array(feet, np.int32)], False, color_of(thing.id), 1, cv2.LINE_AA)
        for id in list(self._feet)[:-_TRAILS]:
            del self._feet[id]
