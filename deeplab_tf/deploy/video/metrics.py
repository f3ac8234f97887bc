"""Figures of a stream for Prometheus, at /metrics of its page; and whether it is well, at /healthz.

Names and units follow https://prometheus.io/docs/practices/naming/. Needs prometheus_client, which is imported when a
stream with a page starts.
"""

import importlib.util
from typing import Any, Iterator, Optional, Tuple

from deeplab_tf.core.clock import awake
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.frame import AnnotatedFrame

MISSING = "The metrics need prometheus_client, which is not installed here: pip install prometheus_client\n"
STALE_S = 10.0
"""Seconds without a frame after which a stream is not well."""
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_COUNTERS = {
    "deeplab_tf_frames_captured": ("captured", "Frames captured since the start."),
    "deeplab_tf_frames_shown": ("shown", "Frames shown since the start."),
    "deeplab_tf_frames_dropped": ("dropped", "Frames that gave way to newer ones."),
    "deeplab_tf_reconnects": ("reconnects", "Times that the source was lost and came back."),
}


class StreamMetrics:
    """Counts a stream's frames; `text` gives what Prometheus reads. Written by one thread, read by another."""

    def __init__(self, table: LabelTable):
        """Take the classes."""
        self._names, self._viewers = table.names, 0
        self._last: Optional[AnnotatedFrame] = None
        self._start = awake()
        self._registry: Any = None
        if importlib.util.find_spec("prometheus_client") is not None:
            from prometheus_client import CollectorRegistry, Histogram

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            latency = Histogram(
                "deeplab_tf_latency_seconds",
                "Latency of each frame, end to end and by stage.",
                ["stage"],
                buckets=_BUCKETS,
                registry=self._registry,
            )
            self._stages = {stage: latency.labels(stage) for stage in ("end_to_end", "capture", "run", "post")}

    def observe(self, frame: AnnotatedFrame) -> None:
        """Count a frame."""
        self._last = frame
        if self._registry is not None:
            for stage, histogram in self._stages.items():
                histogram.observe(frame.stats.latency_ms[stage] / 1000.0)

    def text(self, viewers: int = 0) -> Optional[Tuple[str, bytes]]:
        """Return (content type, metrics); None without prometheus_client."""
        if self._registry is None:
            return None
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        self._viewers = viewers
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def health(self) -> Tuple[bool, dict]:
        """Return whether frames come, and what to say about it."""
        last = self._last
        age = awake() - (self._start if last is None else last.captured_at)
        state = "ok" if last is not None and age < STALE_S else "no frame"
        if last is None and age < STALE_S:
            state = "starting"
        return state == "ok", {"status": state, "seconds_since_frame": round(age, 3) if last is not None else None}

    def collect(self) -> Iterator[Any]:
        """Yield the metrics that are read from the latest frame; called by prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        last = self._last
        yield GaugeMetricFamily("deeplab_tf_viewers", "Viewers of the live video.", value=self._viewers)
        yield GaugeMetricFamily("deeplab_tf_up", "1 while frames come, else 0.", value=int(self.health()[0]))
        if last is None:
            return
        stats = last.stats
        for name, (key, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=getattr(stats, key))
        words = {"source": stats.source, "runtime": stats.runtime, "device": stats.device}
        yield InfoMetricFamily("deeplab_tf_stream", "What the stream shows, and where it runs.", value=words)
        yield GaugeMetricFamily("deeplab_tf_frames_per_second", "Frames shown a second, of late.", value=stats.fps)
        age = max(0.0, awake() - last.captured_at)
        yield GaugeMetricFamily("deeplab_tf_frame_age_seconds", "Age of the latest frame.", value=age)
        if stats.temperature_c is not None:
            text = "Temperature of the machine's hottest zone."
            yield GaugeMetricFamily("deeplab_tf_temperature_celsius", text, value=stats.temperature_c)
        if stats.throttled is not None:
            text = "1 while the machine is slowed down for heat or power."
            yield GaugeMetricFamily("deeplab_tf_throttled", text, value=int(stats.throttled))
        yield self._of_classes("deeplab_tf_class_share", "Share of the frame's pixels.", stats.class_shares)
        if stats.instances is not None:
            yield self._of_classes("deeplab_tf_instances", "Instances in the frame.", stats.instances)
        if stats.zones is not None:
            yield from _of_lines(stats.lines)
            yield from _of_zones(stats.zones)

    def _of_classes(self, name, text, values):
        from prometheus_client.core import GaugeMetricFamily

        family = GaugeMetricFamily(name, text, labels=["class"])
        for label, value in zip(self._names, values):
            family.add_metric([label], float(value))
        return family


def _of_lines(lines):
    from prometheus_client.core import CounterMetricFamily

    text = "Things that crossed a line, forward or backward."
    family = CounterMetricFamily("deeplab_tf_line_crossings", text, labels=["line", "direction", "class"])
    for name, ways in lines.items():
        for way, counts in ways.items():
            for label, count in counts.items():
                family.add_metric([name, way, label], count)
    yield family


def _of_zones(zones):
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

    for kind, text, form in (
        ("entered", "Things that came into a zone.", CounterMetricFamily),
        ("left", "Things that left a zone.", CounterMetricFamily),
        ("inside", "Things in a zone.", GaugeMetricFamily),
    ):
        family = form(f"deeplab_tf_zone_{kind}", text, labels=["zone", "class"])
        for name, zone in zones.items():
            for label, count in zone[kind].items():
                family.add_metric([name, label], count)
        yield family
    dwell = SummaryMetricFamily("deeplab_tf_zone_dwell_seconds", "Visits of a zone that have ended.", labels=["zone"])
    for name, zone in zones.items():
        dwell.add_metric([name], zone["dwell_s"]["visits"], zone["dwell_s"]["total"])
    yield dwell
