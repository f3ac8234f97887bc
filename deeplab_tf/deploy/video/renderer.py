"""The annotated frame: class colors over the image, statistics along its top, a legend to its right.

Drawn for every frame, on the processor that may also run the network: one resize of the label map, one color look-up,
one blend, one line of text.
"""

from typing import Dict, List, Optional

import cv2
import numpy as np

from deeplab_tf.core import draw
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.frame import StreamStats

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEGEND_FROM = 96  # pixels of height below which a legend is illegible
_WHITE = (255, 255, 255)


class OverlayRenderer:
    """Draws annotated frames; caches the legend."""

    def __init__(self, table: LabelTable, opacity: float = 0.5, label_stride: int = 1):
        """Take the classes, the opacity of their colors (0 gives the frame, 1 the colors) and the label maps'
        stride."""
        self._table, self._opacity, self._label_stride = table, opacity, label_stride
        self._legends: Dict[int, np.ndarray] = {}

    def render(
        self,
        image: np.ndarray,
        label_map: np.ndarray,
        stats: Optional[StreamStats] = None,
        panoptic: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """Return the annotated frame, a new array.

        Args:
            image: (H, W, 3) uint8 RGB.
            label_map: (h, w) uint8, of the same view at any size.
            stats: statistics to write along the top; None: no text.
            panoptic: (h, w) int32 panoptic map whose instances are outlined; None: no outlines.

        Returns:
            (H', W', 3) uint8 RGB; H' is H or H + 1, so that both sides are even.
        """
        height, width = image.shape[:2]
        legend = self._legend(height + height % 2, width)
        canvas = np.empty((height + height % 2, width + legend.shape[1], 3), np.uint8)
        view = canvas[:height, :width]
        draw.overlay(image, label_map, self._table, self._opacity, label_stride=self._label_stride, out=view)
        if panoptic is not None:
            draw.outline(view, panoptic, label_stride=self._label_stride)
        canvas[height:, :width] = canvas[height - 1 : height, :width]
        canvas[:, width:] = legend
        if stats is not None:
            _write(view, status_line(stats))
        return canvas

    def _legend(self, height: int, width: int) -> np.ndarray:
        """Return a legend that makes the total width even; an empty strip beside a frame too low for one."""
        if height not in self._legends:
            empty = np.zeros((height, 0, 3), np.uint8)
            self._legends = {height: draw.legend(height, self._table) if height >= _LEGEND_FROM else empty}
        legend = self._legends[height]
        if (legend.shape[1] + width) % 2:
            legend = cv2.copyMakeBorder(legend, 0, 0, 0, 1, cv2.BORDER_CONSTANT, value=_WHITE)
            self._legends[height] = legend
        return legend

    def class_shares(self, label_map: np.ndarray) -> List[float]:
        """Return the share of the label map's pixels by class id."""
        counts = cv2.calcHist([label_map], [0], None, [256], [0, 256])[: len(self._table), 0]
        return (counts / float(label_map.size)).tolist()


def status_line(stats: StreamStats) -> str:
    """Return the statistics as one line of ASCII; OpenCV's fonts have no more."""
    parts = [f"{stats.fps:.1f} frames/s", f"latency {stats.latency_ms['end_to_end']:.0f} ms"]
    parts.append(f"dropped {stats.dropped} of {stats.captured}")
    if stats.reconnects:
        parts.append(f"reconnects {stats.reconnects}")
    if stats.temperature_c is not None:
        parts.append(f"{stats.temperature_c:.0f} C")
    if stats.throttled:
        parts.append("THROTTLED")
    return "   ".join(parts)


def _write(view: np.ndarray, text: str) -> None:
    """Write white text on a darkened strip along the top, as large as fits; a letter is 18 pixels wide at scale 1."""
    height, width = view.shape[:2]
    scale = max(0.2, min(0.5 * height / 512.0 + 0.1, (width - 12) / (18.0 * len(text))))
    strip = min(height, int(round(38 * scale)))
    view[:strip] //= 4
    cv2.putText(view, text, (6, int(0.72 * strip)), _FONT, scale, _WHITE, 1, cv2.LINE_AA)
