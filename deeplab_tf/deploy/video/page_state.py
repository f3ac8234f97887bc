"""What the loop and the web server of a stream's page share: the latest frame of each source, and its figures."""

import collections
import threading
from typing import Any, Deque, Dict, List, Optional, Sequence

from deeplab_tf.core.clock import awake
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.metrics import StreamMetrics

TICK = 0.5
"""Seconds between two updates of the statistics."""
HISTORY = 240
"""Points of the plots that a new viewer gets: two minutes of ticks."""


class SourceState:
    """Statistics of one source.

    Attributes:
        viewers, tile_viewers: who waits for its video, at full size and as a tile of the grid; changed by the server's
            thread alone.
        points: of the plots; of the server's thread.
    """

    def __init__(self):
        self.viewers = self.tile_viewers = 0
        self.points: Deque[list] = collections.deque(maxlen=HISTORY)
        self._start, self._lock = awake(), threading.Lock()
        self._last: Optional[AnnotatedFrame] = None
        self._max_latency = 0.0

    def update(self, frame: AnnotatedFrame) -> None:
        """Take the next frame."""
        with self._lock:
            self._last = frame
            self._max_latency = max(self._max_latency, frame.stats.latency_ms["end_to_end"])

    def tick(self) -> Dict[str, Any]:
        """Return the current statistics and one more point of the plots: time, frames/s and maximum latency since the
        last point."""
        with self._lock:
            last, latency, self._max_latency = self._last, self._max_latency, 0.0
        now = awake()
        if last is None:
            return {"waiting": now - self._start}
        stats = dict(last.stats._asdict(), age=now - last.captured_at, frame=last.number)
        point: List[Optional[float]] = [round(now - self._start, 2), 0, None]  # a gap: no frame since the last point
        if latency:
            point[1:] = [round(last.stats.fps, 2), round(latency, 2)]
        self.points.append(point)
        return {"stats": stats, "point": point}


class PageState:
    """Statistics of all sources.

    Attributes:
        names: of the sources.
        sources: their states.
        metrics: for Prometheus.
    """

    def __init__(self, table: LabelTable, title: str, names: Sequence[str]):
        self._table, self._title, self.names = table, title, list(names)
        self.metrics = StreamMetrics(table, names)
        self.sources = [SourceState() for _ in names]

    @property
    def viewers(self) -> int:
        """Connected viewers of live video."""
        return sum(source.viewers for source in self.sources)

    @property
    def is_watched(self) -> bool:
        """Whether anyone waits for a frame."""
        return any(source.viewers or source.tile_viewers for source in self.sources)

    def update(self, frame: AnnotatedFrame) -> None:
        """Take the next frame."""
        self.sources[frame.feed].update(frame)
        self.metrics.observe(frame)

    def hello(self, source: Optional[int]) -> Dict[str, Any]:
        """Return the first message to a viewer of one source, or of the grid of all."""
        message: Dict[str, Any] = {"title": self._title, "tick": TICK, "sources": self.names}
        if source is not None:
            rows = [(label.name, ", ".join(map(str, label.color))) for label in self._table]
            classes = [{"name": name, "color": f"rgb({color})"} for name, color in rows]
            message.update(source=source, classes=classes, history=list(self.sources[source].points))
        return message
