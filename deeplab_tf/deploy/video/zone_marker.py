"""Zones and lines in the annotated frame, with their counts; an arrow shows which way across a line is forward."""

from typing import Dict, Tuple

import cv2
import numpy as np

from deeplab_tf.core.panoptic.zones import Regions
from deeplab_tf.core.text import put_text, text_width

_BLACK, _COLOR = (0, 0, 0), (255, 230, 80)


class ZoneMarker:
    """Draws zones and lines."""

    def __init__(self, regions: Regions):
        """Take what is drawn."""
        self._regions = regions

    def draw(self, view: np.ndarray, lines: Dict[str, dict], zones: Dict[str, dict]) -> None:
        """Draw into an (H, W, 3) uint8 RGB image, with the counts of `RegionCounter`."""
        for region in self._regions.zones:
            corners = _pixels(view, region.points)
            _strokes(view, [corners], closed=True)
            inside = sum(zones[region.name]["inside"].values())
            _label(view, f"{region.name}: {inside}", corners[np.lexsort((corners[:, 0], corners[:, 1]))[0]])
        for region in self._regions.lines:
            ends = _pixels(view, region.points)
            _strokes(view, [ends, *_arrow(ends)], closed=False)
            forward, backward = (sum(lines[region.name][way].values()) for way in ("forward", "backward"))
            _label(view, f"{region.name}: +{forward} -{backward}", ends[np.argmin(ends[:, 0])])


def _pixels(view, points) -> np.ndarray:
    height, width = view.shape[:2]
    places = np.array(points) * (width, height)
    return np.clip(places, 0, (width - 1, height - 1)).astype(np.int32)


def _arrow(ends) -> Tuple[np.ndarray, ...]:
    """Return the strokes of an arrow across the middle of a line, forward."""
    along = (ends[1] - ends[0]).astype(float)
    length = max(1.0, float(np.hypot(*along)))
    across = np.array([-along[1], along[0]]) / length
    size = min(24.0, max(6.0, 0.2 * length))
    middle = 0.5 * (ends[0] + ends[1])
    tip, back, side = middle + size * across, middle + 0.5 * size * across, 0.4 * size * along / length
    parts = [middle, tip], [back + side, tip, back - side]
    return tuple(np.round(np.array(part)).astype(np.int32) for part in parts)


def _strokes(view, strokes, *, closed):
    for color, width in ((_BLACK, 3), (_COLOR, 1)):
        cv2.polylines(view, strokes, closed, color, width, cv2.LINE_AA)


def _label(view, text, place):
    """Write a text above a place, within the image."""
    scale = max(0.35, view.shape[0] / 1280.0)
    height = int(22 * scale)
    width = text_width(text, scale)
    x = min(max(2, int(place[0])), max(2, view.shape[1] - width - 2))
    y = min(max(3 * height, int(place[1]) - 4), view.shape[0] - 4)  # below the statistics
    view[y - height - 3 : y + 4, x - 2 : x + width + 2] //= 3
    put_text(view, text, (x, y), scale, _COLOR)
