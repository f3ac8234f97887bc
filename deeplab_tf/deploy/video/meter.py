"""Counts what a stream does: rates and latencies of the frames that were shown."""

import collections
import threading
import time
from typing import Dict, NamedTuple

import numpy as np

from deeplab_tf.deploy import device

_KEPT = 20000
_WINDOW_S = 2.0


class Report(NamedTuple):
    """What a stream did.

    Attributes:
        frames: that were shown.
        captured, dropped: captured = frames + dropped.
        fps: shown frames a second, from the first to the last.
        latency_ms: {p50, p90, p99} of `whole` (from capture until it is handed to the sinks; of a file the sum of the
            others), `capture`, `run` and `post`, as in `Figures`; of the latest 20,000 frames. Empty where none was
            shown.
        reconnects: how often the source was lost and came back.
        seconds: from the first frame shown to the last.
    """

    frames: int
    captured: int
    dropped: int
    fps: float
    latency_ms: Dict[str, Dict[str, float]]
    reconnects: int
    seconds: float


class Meter:
    """Written by the thread that shows, read by the one that paints.

    Attributes:
        shown: frames until now.
        last_post: seconds that the latest took to be painted.
    """

    def __init__(self, live: bool):
        """`live`: whether a frame has an age; those of a file wait for their turn, which says nothing."""
        self.shown, self.last_post, self._live = 0, 0.0, live
        self._first = self._last = 0.0
        self._recent = collections.deque(maxlen=64)  # type: collections.deque
        self._seconds = np.full(
            (_KEPT, 4), np.nan
        )  # a ring; all of it from the start, so that a stream's memory does not grow

    def note(self, whole: float, seconds: Dict[str, float]) -> None:
        """A frame was shown just now.

        Args:
            whole: from `whole`, when the frame was handed to the sinks.
            seconds: what `capture`, `run` and `post` took.
        """
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._seconds[self.shown % _KEPT] = whole, seconds["capture"], seconds["run"], seconds["post"]
        self.shown += 1
        self.last_post = seconds["post"]
        self._recent.append(self._last)

    def end_to_end(self, captured: float, seconds: Dict[str, float]) -> float:
        """Seconds since a frame was captured; of a file's frame what its parts took until now."""
        return time.monotonic() - captured if self._live else sum(seconds.values())

    def rate(self) -> float:
        """Frames a second over the last two seconds (or the last two frames, where they are further apart); 0.0 before
        the second."""
        ends = list(self._recent)
        recent = [end for end in ends if end > time.monotonic() - _WINDOW_S]
        return _rate(recent if len(recent) > 1 else ends[-2:])

    def report(self, captured: int, reconnects: int) -> Report:
        """After the end: `captured` frames were not all shown, the others are dropped."""
        times = 1000.0 * self._seconds[: self.shown]
        latency = {}  # type: Dict[str, Dict[str, float]]
        for i, name in enumerate(("end_to_end", "capture", "run", "post") if len(times) else ()):
            latency[name] = {f"p{p}": float(np.percentile(times[:, i], p)) for p in (50, 90, 99)}
        seconds = self._last - self._first
        fps = (self.shown - 1) / seconds if seconds > 0 else 0.0
        return Report(self.shown, captured, captured - self.shown, fps, latency, reconnects, seconds)


def _rate(ends):
    return (len(ends) - 1) / max(ends[-1] - ends[0], 1e-9) if len(ends) > 1 else 0.0


class DeviceMeter:
    """What the machine says of itself, asked every two seconds by a thread of its own: sysfs can take milliseconds.

    Attributes:
        name, temperature_c, throttled: see `deeplab_tf.deploy.device`.
    """

    def __init__(self):
        self.name = device.name()
        self.temperature_c, self.throttled = None, None

    def watch(self, stopped: threading.Event) -> None:
        """Asks until `stopped` is set."""
        while True:
            self.temperature_c, self.throttled = device.temperature_c(), device.throttled()
            if stopped.wait(2.0):
                return
