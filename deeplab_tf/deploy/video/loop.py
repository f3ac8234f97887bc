"""The stream loop: capture, prepare, run and render, each in a thread of its own, and the sinks in the caller's.

    source -> [newest or next] -> prepare -> [newest or next] -> run -> [next] -> render -> [next] -> sinks

The stages are joined by bounded queues. From a live source the first two hold one frame, the newest; from a file every
frame goes through, and the source waits. So the runtime waits for nothing but a frame, and no frame of a camera waits
longer than the runtime takes.

For a file, throughput counts and not latency: a runtime that has several `lanes` runs them all, each in a thread of its
own. They take frames in turn, and return them in that order.
"""

import functools
import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.clock import awake
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic import Prediction, instance_counts
from deeplab_tf.core.panoptic.zones import Regions
from deeplab_tf.core.prediction import ImagePrediction, prepare, run_prepared
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.core.smoothing import Smoother
from deeplab_tf.deploy.runtimes import Runtime
from deeplab_tf.deploy.video.follower import Follower
from deeplab_tf.deploy.video.frame import AnnotatedFrame, StreamStats, VideoFrame
from deeplab_tf.deploy.video.frame_queue import TIMED_OUT, FrameQueue
from deeplab_tf.deploy.video.meter import DeviceMonitor, StreamMeter, StreamReport
from deeplab_tf.deploy.video.renderer import OverlayRenderer
from deeplab_tf.deploy.video.sinks import Sink
from deeplab_tf.deploy.video.source import Source

_THREAD = "stream-"
_PATIENCE_S = 0.6
"""How long the end waits for threads: a stopped stream ends within a second."""


class _Work(NamedTuple):
    """A frame in flight."""

    frame: VideoFrame
    input: np.ndarray  # of `prediction.prepare`
    seconds: Dict[str, float]  # capture, run, post
    prediction: Optional[Prediction] = None
    stride: int = 1
    annotated: Optional[AnnotatedFrame] = None


class Stream:
    """Runs a network on a source and shows the results; call `run` once."""

    def __init__(
        self,
        source: Source,
        runtime: Runtime,
        sinks: Sequence[Sink],
        *,
        frames: Optional[int] = None,
        heartbeat: Optional[Callable[[], None]] = None,
        opacity: float = 0.5,
        panoptic: bool = False,
        track: bool = False,
        trails: bool = False,
        smooth: bool = False,
        regions: Optional[Regions] = None,
    ):
        """Connect the parts.

        Args:
            source: from `open_source`.
            runtime: a loaded network.
            sinks: where frames go; `run` closes them.
            frames: number of frames to show; None: until the source ends.
            heartbeat: called several times a second while no frame is stuck in the stream; for a watchdog.
            opacity: of the class colors, see `OverlayRenderer`.
            panoptic: make panoptic maps also of a network that predicts no instances, of connected regions.
            track: number the things of these maps, the same from frame to frame.
            trails: draw where they came from.
            smooth: hold labels against flicker, see `core.smoothing`.
            regions: lines and zones in which they are counted.
        """
        self._source, self._runtime, self._sinks = source, runtime, list(sinks)
        self._limit, self._heartbeat, self._panoptic = frames, heartbeat, panoptic or track
        self.follower = Follower(runtime.table, trails=trails, regions=regions) if track else None
        self._smoother = Smoother() if smooth else None
        self._renderer = OverlayRenderer(runtime.table, opacity, runtime.label_stride)
        self._meter, self._device = StreamMeter(source.live), DeviceMonitor()
        self._stopped = threading.Event()
        self._failure: Optional[BaseException] = None
        self._lanes: List[Predictor] = []
        self._queues: List[FrameQueue] = []
        self._threads: List[threading.Thread] = []
        self._captured = self._rendered = 0  # frames
        self._first_at: Optional[float] = None

    def stop(self) -> None:
        """End the stream soon; for signal handlers and other threads."""
        self._stopped.set()

    @property
    def dropped(self) -> int:
        """Frames that were captured and replaced by newer ones before their turn; none of a file."""
        return sum(queue.dropped for queue in self._queues)

    def run(self) -> StreamReport:
        """Stream until the source ends, enough frames are shown, `stop` is called, or a stage fails; then close the
        sinks.

        Raises:
            whatever failed first, in any thread; frames shown before are in the sinks.
        """
        try:
            self._start()
            self._show()
        except BaseException as error:  # raised again below, when the sinks are closed
            self._fail(error)
        self._end()
        if self._failure is not None:
            raise self._failure
        return self.report()

    def report(self) -> StreamReport:
        """Return the totals so far."""
        return self._meter.report(self._captured, self.dropped, self._source.reconnects)

    def hanging_threads(self) -> List[str]:
        """Return the names of threads that have not ended, as in a runtime or a camera that hangs: only the end of the
        process stops them."""
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(_THREAD)]

    def _start(self):
        live = self._source.live
        self._lanes = [self._runtime] if live else list(self._runtime.lanes())
        size = 1 if live else 2
        self._to_prepare, self._to_show = FrameQueue(size, drop_oldest=live), FrameQueue(1)
        self._to_run = [FrameQueue(size, drop_oldest=live) for _ in self._lanes]
        self._to_render = [FrameQueue(1) for _ in self._lanes]
        self._queues = [self._to_prepare, *self._to_run, *self._to_render, self._to_show]
        stages: Dict[str, Callable[[], None]] = {
            "capture": self._capture,
            "prepare": self._prepare,
            "render": self._render,
            "device": functools.partial(self._device.watch, self._stopped),
        }
        stages.update({f"run-{lane + 1}": functools.partial(self._predict, lane) for lane in range(len(self._lanes))})
        for name, stage in stages.items():
            thread = threading.Thread(target=self._guarded, args=(stage,), name=_THREAD + name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _guarded(self, stage):
        try:
            stage()
        except BaseException as error:  # whatever it is, the caller's thread raises it
            self._fail(error)

    def _fail(self, error):
        self._failure = self._failure or error
        self._stopped.set()

    def _capture(self):
        try:
            self._source.run(self._deliver, self._stopped)
        except DeepLabError as error:  # the source's end: earlier frames are still shown
            self._failure = self._failure or error
        finally:
            self._to_prepare.close()

    def _deliver(self, captured_at, image, seconds=0.0, name="", time=None, duration=None) -> bool:
        self._first_at = captured_at if self._first_at is None else self._first_at
        time = captured_at - self._first_at if time is None else time
        frame = VideoFrame(self._captured, captured_at, image, seconds, name, time, duration)
        self._captured += 1
        taken = self._to_prepare.put(frame)
        return taken and not self._stopped.is_set() and (self._source.live or self._captured != self._limit)

    def _prepare(self):
        for turn, frame in enumerate(self._to_prepare):
            start = awake()
            image = prepare(self._runtime, frame.image)
            work = _Work(frame, image, {"capture": frame.seconds + awake() - start})
            self._to_run[turn % len(self._lanes)].put(work)
        for queue in self._to_run:
            queue.close()

    def _predict(self, lane):
        expected = tuple(side // self._runtime.label_stride for side in self._runtime.size)
        for work in self._to_run[lane]:
            start = awake()
            prediction, stride = run_prepared(self._lanes[lane], work.input, work.frame.image.shape[:2])
            work.seconds["run"] = awake() - start
            if self._runtime.mode == "stretch" and prediction.label_map.shape != expected:
                found, wanted = ("x".join(map(str, shape)) for shape in (prediction.label_map.shape, expected))
                raise DeepLabError(
                    f"The runtime {self._runtime.name} returns labels of {found}, but its bundle says {wanted}; "
                    "convert the run again."
                )
            self._to_render[lane].put(work._replace(prediction=prediction, stride=stride))
        self._to_render[lane].close()

    def _render(self):
        for work in _in_turn(self._to_render):
            start, frame = awake(), work.frame
            self._rendered += 1
            work = self._smoothed(work)
            label_map, panoptic = self._maps(work)
            outlined = None if work.prediction.center is None else panoptic  # of regions nothing is counted or drawn
            things = None if self.follower is None else self.follower.update(panoptic, frame.time)
            stats = self._stats(work, outlined)
            canvas = self._renderer.render(frame.image, label_map, stats, None if things is not None else outlined)
            if self.follower is not None and things is not None:
                height, width = frame.image.shape[:2]
                self.follower.draw(canvas[:height, :width], panoptic, things)
            work.seconds["post"] = awake() - start
            annotated = AnnotatedFrame(
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
            )
            self._to_show.put(work._replace(annotated=annotated))
        self._to_show.close()

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

    def _stats(self, work, panoptic) -> StreamStats:
        post = self._meter.last_post  # of the frame before: this one's is not over
        end_to_end = self._meter.end_to_end(work.frame.captured_at, work.seconds) + post
        latency = dict(work.seconds, post=post, end_to_end=end_to_end)
        return StreamStats(
            fps=self._meter.fps(),
            latency_ms={name: 1000.0 * seconds for name, seconds in latency.items()},
            captured=self._captured,
            shown=self._rendered,  # none is dropped behind the renderer
            dropped=self.dropped,
            reconnects=self._source.reconnects,
            source=self._source.safe,
            runtime=f"{self._runtime.name} {self._runtime.precision}",
            device=self._device.name,
            temperature_c=self._device.temperature_c,
            throttled=self._device.throttled,
            class_shares=self._renderer.class_shares(work.prediction.label_map),
            instances=None if panoptic is None else instance_counts(panoptic, self._runtime.table),
            distinct=None if self.follower is None else self.follower.distinct,
            lines=None if self.follower is None else self.follower.lines,
            zones=None if self.follower is None else self.follower.zones,
        )

    def _show(self):
        while not self._stopped.is_set():
            work = self._to_show.get(timeout=0.1)
            if work is None:
                return
            if work is not TIMED_OUT:
                end_to_end = self._meter.end_to_end(work.frame.captured_at, work.seconds)
                for sink in self._sinks:
                    sink.write(work.annotated)
                self._meter.record(end_to_end, work.seconds)
                if self._meter.shown == self._limit:
                    return
            stuck = work is TIMED_OUT and self._captured != self._meter.shown + self.dropped
            if self._heartbeat is not None and not stuck:
                self._heartbeat()

    def _end(self):
        """Close the sinks first, so that what was shown is safe whatever a thread still does; then the extra lanes."""
        self._stopped.set()
        for queue in self._queues:
            queue.abort()
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # the other sinks are closed all the same
                self._fail(error)
        end = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for lane in self._lanes:
            if lane is not self._runtime:
                lane.close()


def _in_turn(queues):
    """Yield one item of each queue in turn, until the queue whose turn it is has ended: then all have."""
    while True:
        for queue in queues:
            item = queue.get()
            if item is None:
                return
            yield item
