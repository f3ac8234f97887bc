"""Figures of a stream for Prometheus, at /metrics of its page; and whether it is well, at /healthz.

Names and units follow https://prometheus.io/docs/practices/naming/. Needs prometheus_client, which is imported when a
stream with a page starts.
"""

import importlib.util
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from deeplab_tf.core.clock import awake
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.frame import AnnotatedFrame

MISSING = "The metrics need prometheus_client, which is not installed here: pip install prometheus_client\n"
STALE_S = 10.0
"""Seconds without a frame after which a stream is not well."""
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_STAGES = ("end_to_end", "capture", "run", "post")
_STATES = ("ok", "starting", "no frame")
_COUNTERS = {
    "deeplab_tf_frames_captured": ("captured", "Frames captured since the start."),
    "deeplab_tf_frames_shown": ("shown", "Frames shown since the start."),
    "deeplab_tf_frames_dropped": ("dropped", "Frames that gave way to newer ones."),
    "deeplab_tf_reconnects": ("reconnects", "Times that the source was lost and came back."),
}


class StreamMetrics:
    """Counts a stream's frames; `text` gives what Prometheus reads. Written by one thread, read by another."""

    def __init__(self, table: LabelTable, sources: Sequence[str] = ("",)):
        """Take the classes, and the names of the sources."""
        self._names, self._sources, self._viewers = table.names, list(sources), 0
        self._last: List[Optional[AnnotatedFrame]] = [None] * len(self._sources)
        self._start = awake()
        self._registry: Any = None
        if importlib.util.find_spec("prometheus_client") is not None:
            from prometheus_client import CollectorRegistry, Histogram

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            latency = Histogram(
                "deeplab_tf_latency_seconds",
                "Latency of each frame, end to end and by stage.",
                ["source", "stage"],
                buckets=_BUCKETS,
                registry=self._registry,
            )
            self._latency = latency

    def observe(self, frame: AnnotatedFrame) -> None:
        """Count a frame."""
        self._last[frame.feed] = frame
        if self._registry is not None:
            for stage in _STAGES:
                self._latency.labels(frame.stats.source, stage).observe(frame.stats.latency_ms[stage] / 1000.0)

    def text(self, viewers: int = 0) -> Optional[Tuple[str, bytes]]:
        """Return (content type, metrics); None without prometheus_client."""
        if self._registry is None:
            return None
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        self._viewers = viewers
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def health(self) -> Tuple[bool, dict]:
        """Return whether frames come, of any source, and what to say about it."""
        found = {self._name(i): self._health(i) for i in range(len(self._last))}
        best = min(found.values(), key=lambda each: _STATES.index(each["status"]))
        return best["status"] == "ok", dict(best, sources=found) if len(found) > 1 else best

    def _name(self, i):
        last = self._last[i]
        return self._sources[i] if last is None else last.stats.source

    def _health(self, i) -> Dict[str, Any]:
        last = self._last[i]
        age = awake() - (self._start if last is None else last.captured_at)
        state = "no frame" if age >= STALE_S else "starting" if last is None else "ok"
        return {"status": state, "seconds_since_frame": None if last is None else round(age, 3)}

    def collect(self) -> Iterator[Any]:
        """Yield the metrics that are read from the latest frames; called by prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        yield GaugeMetricFamily("deeplab_tf_viewers", "Viewers of the live video.", value=self._viewers)
        up = GaugeMetricFamily("deeplab_tf_up", "1 while frames come, else 0.", labels=["source"])
        for i in range(len(self._last)):
            up.add_metric([self._name(i)], int(self._health(i)["status"] == "ok"))
        yield up
        frames = [last for last in self._last if last is not None]
        if not frames:
            return
        for name, (key, text) in _COUNTERS.items():
            values: List[tuple] = [(frame, [], getattr(frame.stats, key)) for frame in frames]
            yield _family(CounterMetricFamily, name, text, [], values)
        info = InfoMetricFamily("deeplab_tf_stream", "What the stream shows, and where it runs.", labels=["source"])
        for frame in frames:
            info.add_metric([frame.stats.source], {"runtime": frame.stats.runtime, "device": frame.stats.device})
        yield info
        fps: List[tuple] = [(frame, [], frame.stats.fps) for frame in frames]
        yield _family(GaugeMetricFamily, "deeplab_tf_frames_per_second", "Frames shown a second, of late.", [], fps)
        ages: List[tuple] = [(frame, [], max(0.0, awake() - frame.captured_at)) for frame in frames]
        yield _family(GaugeMetricFamily, "deeplab_tf_frame_age_seconds", "Age of the latest frame.", [], ages)
        yield from _of_machine(max(frames, key=lambda frame: frame.captured_at).stats)
        yield self._of_classes("deeplab_tf_class_share", "Share of the frame's pixels.", frames, "class_shares")
        if any(frame.stats.instances is not None for frame in frames):
            yield self._of_classes("deeplab_tf_instances", "Instances in the frame.", frames, "instances")
        if any(frame.stats.zones is not None for frame in frames):
            yield _of_lines(frames)
            yield from _of_zones(frames)

    def _of_classes(self, name, text, frames, key):
        from prometheus_client.core import GaugeMetricFamily

        rows = [
            (frame, [label], float(value))
            for frame in frames
            if getattr(frame.stats, key) is not None
            for label, value in zip(self._names, getattr(frame.stats, key))
        ]
        return _family(GaugeMetricFamily, name, text, ["class"], rows)


def _family(kind, name, text, labels, rows):
    """Return a metric with the label `source` and others, of rows of (frame, their values, number)."""
    family = kind(name, text, labels=["source", *labels])
    for frame, values, number in rows:
        family.add_metric([frame.stats.source, *values], number)
    return family


def _of_machine(stats):
    from prometheus_client.core import GaugeMetricFamily

    if stats.temperature_c is not None:
        text = "Temperature of the machine's hottest zone."
        yield GaugeMetricFamily("deeplab_tf_temperature_celsius", text, value=stats.temperature_c)
    if stats.throttled is not None:
        text = "1 while the machine is slowed down for heat or power."
        yield GaugeMetricFamily("deeplab_tf_throttled", text, value=int(stats.throttled))


def _of_lines(frames):
    from prometheus_client.core import CounterMetricFamily

    rows = [
        (frame, [name, way, label], count)
        for frame in frames
        for name, ways in (frame.stats.lines or {}).items()
        for way, counts in ways.items()
        for label, count in counts.items()
    ]
    text = "Things that crossed a line, forward or backward."
    return _family(CounterMetricFamily, "deeplab_tf_line_crossings", text, ["line", "direction", "class"], rows)


def _of_zones(frames):
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

    zones = [(frame, name, zone) for frame in frames for name, zone in (frame.stats.zones or {}).items()]
    for kind, text, form in (
        ("entered", "Things that came into a zone.", CounterMetricFamily),
        ("left", "Things that left a zone.", CounterMetricFamily),
        ("inside", "Things in a zone.", GaugeMetricFamily),
    ):
        rows = [(frame, [name, label], count) for frame, name, zone in zones for label, count in zone[kind].items()]
        yield _family(form, f"deeplab_tf_zone_{kind}", text, ["zone", "class"], rows)
    text = "Visits of a zone that have ended."
    dwell = SummaryMetricFamily("deeplab_tf_zone_dwell_seconds", text, labels=["source", "zone"])
    for frame, name, zone in zones:
        dwell.add_metric([frame.stats.source, name], zone["dwell_s"]["visits"], zone["dwell_s"]["total"])
    yield dwell
