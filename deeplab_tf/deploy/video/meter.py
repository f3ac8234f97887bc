"""Rates and latencies of the frames that a stream shows, and the state of the machine."""

import collections
import threading
from typing import Deque, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.clock import awake
from deeplab_tf.deploy import device

_KEPT = 20000
_WINDOW_S = 2.0


class StreamReport(NamedTuple):
    """Totals of a stream.

    Attributes:
        frames: frames shown.
        captured, dropped, under_way: captured = frames + dropped + under_way. Dropped frames gave way to newer ones,
            which happens to a live source's alone; those under way had been captured when the stream ended.
        fps: frames shown per second, from the first to the last.
        latency_ms: {p50, p90, p99} of `end_to_end`, `capture`, `run` and `post` as in `StreamStats`, over the latest
            20,000 frames. Empty if none was shown.
        reconnects: times that the source was lost and came back.
        seconds: from the first frame shown to the last.
    """

    frames: int
    captured: int
    dropped: int
    fps: float
    latency_ms: Dict[str, Dict[str, float]]
    reconnects: int
    seconds: float
    under_way: int


class StreamMeter:
    """Written by the thread that shows frames, read by the one that draws them.

    Attributes:
        shown: frames so far.
        last_post: seconds of post-processing of the latest.
    """

    def __init__(self, live: bool):
        """Start at zero; only the frames of a `live` source have an age: those of a file wait for their turn."""
        self.shown, self.last_post, self._live = 0, 0.0, live
        self._first = self._last = 0.0
        self._recent: Deque[float] = collections.deque(maxlen=64)
        self._seconds = np.full((_KEPT, 4), np.nan)  # a ring, allocated at once: a stream's memory does not grow

    def record(self, end_to_end: float, seconds: Dict[str, float]) -> None:
        """Count a frame as shown now.

        Args:
            end_to_end: from `end_to_end`, when the frame was handed to the sinks.
            seconds: durations of `capture`, `run` and `post`.
        """
        self._last = awake()
        self._first = self._first or self._last
        self._seconds[self.shown % _KEPT] = end_to_end, seconds["capture"], seconds["run"], seconds["post"]
        self.shown += 1
        self.last_post = seconds["post"]
        self._recent.append(self._last)

    def end_to_end(self, captured_at: float, seconds: Dict[str, float]) -> float:
        """Return the seconds since a live frame was captured, or those that the stages took for a file's frame."""
        return awake() - captured_at if self._live else sum(seconds.values())

    def fps(self) -> float:
        """Return the frame rate over the last two seconds, or between the last two frames if they are further apart;
        0.0 before the second frame."""
        times = list(self._recent)
        recent = [end for end in times if end > awake() - _WINDOW_S]
        return _rate(recent if len(recent) > 1 else times[-2:])

    @property
    def span(self) -> Tuple[float, float]:
        """When the first frame and the latest were shown, by `awake`."""
        return self._first, self._last

    def latencies(self) -> np.ndarray:
        """Return (N, 4) seconds of the latest frames: end to end, capture, run, post."""
        return self._seconds[: self.shown]

    def report(self, captured: int, dropped: int, reconnects: int) -> StreamReport:
        """Return the totals of an ended stream."""
        return _report(self.latencies(), self.shown, captured, dropped, reconnects, self._last - self._first)


def total_report(meters: Sequence[StreamMeter], reports: Sequence[StreamReport]) -> StreamReport:
    """Return the totals of all sources of a stream."""
    begun = [meter.span for meter in meters if meter.shown]
    seconds = max(last for _, last in begun) - min(first for first, _ in begun) if begun else 0.0
    rows = np.concatenate([meter.latencies() for meter in meters])
    keys = "frames", "captured", "dropped", "reconnects"
    frames, captured, dropped, reconnects = (sum(getattr(report, key) for report in reports) for key in keys)
    return _report(rows, frames, captured, dropped, reconnects, seconds)


def _report(rows, shown, captured, dropped, reconnects, seconds) -> StreamReport:
    times = 1000.0 * rows
    latency: Dict[str, Dict[str, float]] = {}
    for i, name in enumerate(("end_to_end", "capture", "run", "post") if len(times) else ()):
        latency[name] = {f"p{p}": float(np.percentile(times[:, i], p)) for p in (50, 90, 99)}
    fps = (shown - 1) / seconds if seconds > 0 else 0.0
    return StreamReport(shown, captured, dropped, fps, latency, reconnects, seconds, captured - shown - dropped)


def _rate(times: Sequence[float]) -> float:
    return (len(times) - 1) / max(times[-1] - times[0], 1e-9) if len(times) > 1 else 0.0


class DeviceMonitor:
    """State of the machine, polled every two seconds in a thread of its own: sysfs can take milliseconds.

    Attributes:
        name, temperature_c, throttled: see `deeplab_tf.deploy.device`.
    """

    def __init__(self):
        self.name = device.name()
        self.temperature_c: Optional[float] = None
        self.throttled: Optional[bool] = None

    def watch(self, stopped: threading.Event) -> None:
        """Poll until `stopped` is set."""
        while True:
            self.temperature_c, self.throttled = device.temperature_c(), device.throttled()
            if stopped.wait(2.0):
                return
