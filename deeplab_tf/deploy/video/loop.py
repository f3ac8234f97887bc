"""The stream loop: capture, prepare, run and render, each in a thread of its own, and the sinks in the caller's.

    source -> [newest or next] -> prepare -> [newest or next] -> run -> [next] -> render -> [next] -> sinks

The stages are joined by bounded queues. From a live source the first two hold one frame, the newest; from a file every
frame goes through, and the source waits. So the runtime waits for nothing but a frame, and no frame of a camera waits
longer than the runtime takes.

For a file, throughput counts and not latency: a runtime that has several `lanes` runs them all, each in a thread of its
own. They take frames in turn, and return them in that order.

Several sources have a capture thread and a place in the first queue each, and share the other stages: the frames are
taken from these places in turn. Frames are dropped there alone, before anything is done with them.
"""

import functools
import threading
import time
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from deeplab_tf.core.clock import awake
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic.zones import Regions
from deeplab_tf.core.prediction import prepare, run_prepared
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy.runtimes import Runtime
from deeplab_tf.deploy.video.fair_queue import FairQueue
from deeplab_tf.deploy.video.feed import Feed, Shown, Work
from deeplab_tf.deploy.video.frame_queue import TIMED_OUT, FrameQueue
from deeplab_tf.deploy.video.meter import DeviceMonitor, StreamReport, total_report
from deeplab_tf.deploy.video.sinks import Sink
from deeplab_tf.deploy.video.source import Source

_THREAD = "stream-"
_PATIENCE_S = 0.6
"""How long the end waits for threads: a stopped stream ends within a second."""


class Stream:
    """Runs a network on one source or several and shows the results; call `run` once.

    Attributes:
        feeds: the sources, each with its figures.
    """

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
        more: Sequence[Tuple[Source, Sequence[Sink]]] = (),
    ):
        """Connect the parts.

        Args:
            source: from `open_source`.
            runtime: a loaded network.
            sinks: where frames go; `run` closes them.
            frames: number of frames to show of each source; None: until it ends.
            heartbeat: called several times a second while no frame is stuck in the stream; for a watchdog.
            opacity: of the class colors, see `OverlayRenderer`.
            panoptic: make panoptic maps also of a network that predicts no instances, of connected regions.
            track: number the things of these maps, the same from frame to frame.
            trails: draw where they came from.
            smooth: hold labels against flicker, see `core.smoothing`.
            regions: lines and zones in which they are counted.
            more: further sources with their sinks; a sink may be in several lists.
        """
        self._runtime, self._heartbeat = runtime, heartbeat
        shown = Shown(opacity, panoptic, track, trails, smooth, regions)
        given = [(source, sinks), *more]
        names = unique_names([each.safe for each, _ in given])
        self.feeds = [Feed(*each, runtime, shown, limit=frames, name=name) for each, name in zip(given, names)]
        self._device = DeviceMonitor()
        self._stopped = threading.Event()
        self._failure: Optional[BaseException] = None
        self._lanes: List[Predictor] = []
        self._queues: List[FrameQueue] = []
        self._threads: List[threading.Thread] = []
        self._to_prepare = FairQueue([1] * len(given), [True] * len(given))

    def stop(self) -> None:
        """End the stream soon; for signal handlers and other threads."""
        self._stopped.set()

    @property
    def dropped(self) -> int:
        """Frames that were captured and replaced by newer ones before their turn; none of a file."""
        return sum(self.dropped_of(i) for i in range(len(self.feeds)))

    def dropped_of(self, feed: int) -> int:
        """Return how many of these are of one source; with several, none is dropped behind the first queue."""
        return self._to_prepare.dropped[feed] + sum(queue.dropped for queue in self._queues)

    def run(self) -> StreamReport:
        """Stream until all sources have ended or shown enough frames, `stop` is called, or a stage fails; then close
        the sinks.

        Raises:
            whatever failed first, in any thread; frames shown before are in the sinks. One of several sources that is
            lost does not end the others.
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
        """Return the totals so far, of all sources."""
        reports = self.reports()
        return reports[0] if len(reports) == 1 else total_report([feed.meter for feed in self.feeds], reports)

    def reports(self) -> List[StreamReport]:
        """Return the totals of each source so far."""
        return [feed.report(self.dropped_of(i)) for i, feed in enumerate(self.feeds)]

    def hanging_threads(self) -> List[str]:
        """Return the names of threads that have not ended, as in a runtime or a camera that hangs: only the end of the
        process stops them."""
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(_THREAD)]

    def _start(self):
        each_live = [feed.source.live for feed in self.feeds]
        live, alone = any(each_live), len(self.feeds) == 1
        self._lanes = [self._runtime] if live else list(self._runtime.lanes())
        self._to_prepare = FairQueue([1 if each else 2 for each in each_live], each_live)
        size = 1 if live else 2
        self._to_run = [FrameQueue(size, drop_oldest=live and alone) for _ in self._lanes]
        self._to_render, self._to_show = [FrameQueue(1) for _ in self._lanes], FrameQueue(1)
        self._queues = [*self._to_run, *self._to_render, self._to_show]
        stages: Dict[str, Callable[[], None]] = {
            "prepare": self._prepare,
            "render": self._render,
            "device": functools.partial(self._device.watch, self._stopped),
        }
        stages.update({f"capture-{i + 1}": functools.partial(self._capture, i) for i in range(len(self.feeds))})
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

    def _capture(self, number):
        source = self.feeds[number].source
        try:
            source.run(functools.partial(self._deliver, number), self._stopped)
        except DeepLabError as error:  # the source's end: earlier frames are still shown
            self._failure = self._failure or error
            if len(self.feeds) > 1 and not self._stopped.is_set():
                source.say(f"{error} The other sources go on.")
        finally:
            self._to_prepare.close(number)

    def _deliver(self, number, *captured) -> bool:
        feed = self.feeds[number]
        if feed.done:
            return False
        taken = self._to_prepare.put((number, feed.capture(*captured)), number)
        return taken and not self._stopped.is_set() and feed.wants_more()

    def _prepare(self):
        for turn, (number, frame) in enumerate(self._to_prepare):
            start = awake()
            image = prepare(self._runtime, frame.image)
            work = Work(number, frame, image, {"capture": frame.seconds + awake() - start})
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
            annotated = self.feeds[work.feed].annotate(work, self.dropped_of(work.feed), self._device)
            self._to_show.put(work._replace(annotated=annotated))
        self._to_show.close()

    def _show(self):
        while not self._stopped.is_set():
            work = self._to_show.get(timeout=0.1)
            if work is None:
                return
            if work is not TIMED_OUT:
                self.feeds[work.feed].show(work)
                if all(feed.done for feed in self.feeds):
                    return
            stuck = work is TIMED_OUT and any(feed.is_stuck(self.dropped_of(i)) for i, feed in enumerate(self.feeds))
            if self._heartbeat is not None and not stuck:
                self._heartbeat()

    def _end(self):
        """Close the sinks first, so that what was shown is safe whatever a thread still does; then the extra lanes."""
        self._stopped.set()
        self._to_prepare.abort()
        for queue in self._queues:
            queue.abort()
        for sink in each_once(feed.sinks for feed in self.feeds):
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


def unique_names(names: Sequence[str]) -> List[str]:
    """Return names with the number of those that are given more than once, such as `rtsp://HOST/... (2)`."""
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def each_once(sinks: Iterable[Sequence[Sink]]) -> List[Sink]:
    """Return the sinks of several sources, each once."""
    return list({id(sink): sink for own in sinks for sink in own}.values())


def _in_turn(queues):
    """Yield one item of each queue in turn, until the queue whose turn it is has ended: then all have."""
    while True:
        for queue in queues:
            item = queue.get()
            if item is None:
                return
            yield item
