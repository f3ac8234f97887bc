"""The picture that a person sees: the frame with the labels over it, figures along its top, a legend to its right.

It is drawn for every frame, on the processor that may also run the network: one resize of the label map, one look-up
of colours, one blend and one line of text; about a millisecond at 512x1024.
"""

from typing import List, Optional, Tuple

import cv2
import numpy as np

from deeplab_tf.core import draw
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.frame import Figures

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEGEND_FROM = 96  # pixels of height below which a legend could not be read
_PAPER = 255


class Painter:
    """Draws one picture a frame; it keeps what is the same in all of them."""

    def __init__(self, table: LabelTable, opacity: float = 0.5, label_stride: int = 1):
        """`opacity` of the labels: 0 gives the frame, 1 the colours alone; `label_stride` of the label maps."""
        self._table, self._opacity, self._label_stride = table, opacity, label_stride
        self._legends = {}  # type: Dict[int, np.ndarray]

    def paint(
        self,
        image: np.ndarray,
        label_map: np.ndarray,
        figures: Optional[Figures] = None,
        panoptic: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """
        Args:
            image: (H, W, 3) uint8 RGB.
            label_map: (h, w) uint8, of the same view at any size.
            figures: written along the top; none where left out.
            panoptic: (h, w) int32 panoptic map, whose things get a line around them; none where left out.

        Returns:
            (H', W', 3) uint8 RGB, a new array; H' is H or H + 1, so that both sides are even.
        """
        height, width = image.shape[:2]
        legend = self._legend(height + height % 2, width)
        picture = np.empty((height + height % 2, width + legend.shape[1], 3), np.uint8)
        view = picture[:height, :width]
        draw.overlay(image, label_map, self._table, self._opacity, label_stride=self._label_stride, out=view)
        if panoptic is not None:
            draw.outline(view, panoptic, label_stride=self._label_stride)
        picture[height:, :width] = picture[height - 1 : height, :width]
        picture[:, width:] = legend
        if figures is not None:
            _write(picture[:height, :width], line(figures))
        return picture

    def _legend(self, height: int, width: int) -> np.ndarray:
        """A legend so wide that picture and legend together are even; an empty strip beside a frame too low for one."""
        if height not in self._legends:
            self._legends = {
                height: draw.legend(height, self._table)
                if height >= _LEGEND_FROM
                else np.zeros((height, 0, 3), np.uint8)
            }
        legend = self._legends[height]
        if (legend.shape[1] + width) % 2:
            legend = self._legends[height] = cv2.copyMakeBorder(
                legend, 0, 0, 0, 1, cv2.BORDER_CONSTANT, value=(_PAPER,) * 3
            )
        return legend

    def shares(self, label_map: np.ndarray) -> List[float]:
        """The share of the label map's pixels of each class, by id."""
        counts = cv2.calcHist([label_map], [0], None, [256], [0, 256])[: len(self._table), 0]
        return (counts / float(label_map.size)).tolist()


def line(figures: Figures) -> str:
    """The figures as one line of text (ASCII, OpenCV's fonts have no more)."""
    parts = [f"{figures.fps:.1f} frames/s", "latency {:.0f} ms".format(figures.latency_ms["end_to_end"])]
    parts.append(f"dropped {figures.dropped} of {figures.captured}")
    if figures.reconnects:
        parts.append(f"reconnects {figures.reconnects}")
    if figures.temperature_c is not None:
        parts.append(f"{figures.temperature_c:.0f} C")
    if figures.throttled:
        parts.append("THROTTLED")
    return "   ".join(parts)


def _write(picture: np.ndarray, text: str) -> None:
    """White text on a darkened strip along the top, as large as fits."""
    height, width = picture.shape[:2]
    scale, strip = _text_size(height, width, len(text))
    picture[:strip] //= 4
    cv2.putText(picture, text, (6, int(0.72 * strip)), _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _text_size(height: int, width: int, letters: int) -> Tuple[float, int]:
    """(font scale, height of the strip): a letter is some 18 pixels wide at scale 1."""
    scale = max(0.2, min(0.5 * height / 512.0 + 0.1, (width - 12) / (18.0 * max(1, letters))))
    return scale, min(height, int(round(38 * scale)))
