"""One source of a stream with what belongs to it alone: its sinks, figures, things and pictures."""

from typing import Any, Dict, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.clock import awake
from deeplab_tf.core.panoptic import instance_counts
from deeplab_tf.core.panoptic.zones import Regions
from deeplab_tf.core.prediction import ImagePrediction
from deeplab_tf.core.smoothing import Smoother
from deeplab_tf.deploy.runtimes import Runtime
from deeplab_tf.deploy.video.follower import Follower
from deeplab_tf.deploy.video.frame import AnnotatedFrame, StreamStats, VideoFrame
from deeplab_tf.deploy.video.meter import DeviceMonitor, StreamMeter, StreamReport
from deeplab_tf.deploy.video.renderer import OverlayRenderer
from deeplab_tf.deploy.video.sink import Sink
from deeplab_tf.deploy.video.source import Source


class Work(NamedTuple):
    """A frame in flight."""

    feed: int  # which source's
    frame: VideoFrame
    input: np.ndarray  # of `prediction.prepare`
    seconds: Dict[str, float]  # capture, run, post
    prediction: Any = None  # a Prediction
    stride: int = 1
    annotated: Any = None  # an AnnotatedFrame


class Shown(NamedTuple):
    """How frames are shown; see `Stream`."""

    opacity: float = 0.5
    panoptic: bool = False
    track: bool = False
    trails: bool = False
    smooth: bool = False
    regions: Optional[Regions] = None


class Feed:
    """One source of a stream.

    Attributes:
        name: of the source, unique in the stream.
        source, sinks, meter, renderer, follower: its own; `follower` is None if things are not tracked.
        captured, rendered: frames so far.
        done: whether `limit` frames are shown.
        refused: frames that came to be shown after that.
    """

    def __init__(
        self,
        source: Source,
        sinks: Sequence[Sink],
        runtime: Runtime,
        shown: Shown,
        *,
        limit: Optional[int] = None,
        name: str = "",
    ):
        """Take the source, where its frames go, the network, how they are shown, how many (None: all), and its name
        (else its URI)."""
        self.source, self.sinks, self.name = source, list(sinks), name or source.safe
        self._runtime, self._limit = runtime, limit
        self._panoptic = shown.panoptic or shown.track
        self.follower = Follower(runtime.table, trails=shown.trails, regions=shown.regions) if shown.track else None
        self._smoother = Smoother() if shown.smooth else None
        self.renderer = OverlayRenderer(runtime.table, shown.opacity, runtime.label_stride)
        self.meter = StreamMeter(source.live)
        self.captured = self.rendered = self.refused = 0
        self.done = False
        self._first_at: Optional[float] = None

    def capture(self, captured_at, image, seconds=0.0, name="", time=None, duration=None) -> VideoFrame:
        """Return the next frame; arguments are those of `source.Deliver`."""
        self._first_at = captured_at if self._first_at is None else self._first_at
        time = captured_at - self._first_at if time is None else time
        frame = VideoFrame(self.captured, captured_at, image, seconds, name, time, duration)
        self.captured += 1
        return frame

    def wants_more(self) -> bool:
        """Return whether the source shall go on: of a file no more frames than will be shown."""
        return not self.done and (self.source.live or self.captured != self._limit)

    def annotate(self, work: Work, dropped: int, device: DeviceMonitor) -> AnnotatedFrame:
        """Return the next frame with its prediction, drawn.

        Args:
            work: with its prediction.
            dropped: frames of this source so far.
            device: the state of the machine.
        """
        start, frame = awake(), work.frame
        self.rendered += 1
        work = self._smoothed(work)
        label_map, panoptic = self._maps(work)
        outlined = None if work.prediction.center is None else panoptic  # of regions nothing is counted or drawn
        things = None if self.follower is None else self.follower.update(panoptic, frame.time or 0.0)
        stats = self._stats(work, outlined, dropped, device)
        canvas = self.renderer.render(frame.image, label_map, stats, None if things is not None else outlined)
        if self.follower is not None and things is not None:
            height, width = frame.image.shape[:2]
            self.follower.draw(canvas[:height, :width], panoptic, things)
        work.seconds["post"] = awake() - start
        return AnnotatedFrame(
            frame.number,
            frame.captured_at,
            frame.image,
            label_map,
            canvas,
            stats,
            frame.name,
            frame.time,
            frame.duration,
            panoptic,
            things,
            work.feed,
        )

    def _smoothed(self, work):
        """Hold the labels of the network against flicker; they have no logits then."""
        if self._smoother is None:
            return work
        labels = self._smoother.smooth(work.frame.image, work.prediction.label_map)
        return work._replace(prediction=work.prediction._replace(label_map=labels, logits=None))

    def _maps(self, work):
        """Return the label map at the frame's size and, where the network predicts instances or a map is wanted, the
        panoptic map."""
        runtime, size = self._runtime, work.frame.image.shape[:2]
        sized = ImagePrediction(work.prediction, runtime.table, size, label_stride=work.stride)
        wanted = self._panoptic or work.prediction.center is not None
        return sized.label_map, sized.panoptic if wanted else None

    def _stats(self, work, panoptic, dropped, device) -> StreamStats:
        post, follower = self.meter.last_post, self.follower  # of the frame before: this one's is not over
        end_to_end = self.meter.end_to_end(work.frame.captured_at, work.seconds) + post
        latency = dict(work.seconds, post=post, end_to_end=end_to_end)
        return StreamStats(
            fps=self.meter.fps(),
            latency_ms={name: 1000.0 * seconds for name, seconds in latency.items()},
            captured=self.captured,
            shown=self.rendered,  # none is dropped behind the renderer
            dropped=dropped,
            reconnects=self.source.reconnects,
            source=self.name,
            runtime=f"{self._runtime.name} {self._runtime.precision}",
            device=device.name,
            temperature_c=device.temperature_c,
            throttled=device.throttled,
            class_shares=self.renderer.class_shares(work.prediction.label_map),
            instances=None if panoptic is None else instance_counts(panoptic, self._runtime.table),
            distinct=None if follower is None else follower.distinct,
            lines=None if follower is None else follower.lines,
            zones=None if follower is None else follower.zones,
        )

    def show(self, work: Work) -> None:
        """Hand a frame to the sinks, unless enough were shown."""
        if self.done:
            self.refused += 1
            return
        end_to_end = self.meter.end_to_end(work.frame.captured_at, work.seconds)
        for sink in self.sinks:
            sink.write(work.annotated)
        self.meter.record(end_to_end, work.seconds)
        self.done = self.meter.shown == self._limit

    def is_stuck(self, dropped: int) -> bool:
        """Return whether a frame is under way, of which `dropped` are not."""
        return self.captured != self.meter.shown + dropped + self.refused

    def report(self, dropped: int) -> StreamReport:
        """Return the totals so far."""
        return self.meter.report(self.captured, dropped, self.source.reconnects)
