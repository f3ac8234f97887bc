"""The stream: capture, prepare, predict, paint, each in a thread of its own, and the sinks in the caller's.

    source -> [newest or next] -> prepare -> [newest or next] -> run -> [next] -> paint -> [next] -> sinks

Between two of them is a bounded `Channel`. From a live source the first two hold one frame, the newest; from a file
every frame goes through, and the source waits. So the runtime waits for nothing but a frame, and no frame of a camera
waits longer than the runtime takes.

A file's frames are not old, so that what counts are frames a second: there, a runtime that has several `lanes` runs
them all, each in a thread of its own. They take frames in turn, and give them back in that order.
"""

import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.panoptic import Prediction, instance_counts
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.prediction import ImagePrediction
from deeplab_tf.deploy.runtimes import Runtime
from deeplab_tf.deploy.video.channel import WAITING, Channel
from deeplab_tf.deploy.video.frame import Figures, Frame, Shown
from deeplab_tf.deploy.video.meter import DeviceMeter, Meter, Report
from deeplab_tf.deploy.video.painter import Painter
from deeplab_tf.deploy.video.source import Source

_THREAD = "stream-"
_PATIENCE_S = 0.6
"""How long the end waits for threads: a stream that is told to stop has done so within a second."""


class _Work(NamedTuple):
    """A frame on its way."""

    frame: Frame
    input: np.ndarray  # the frame at the network's size
    seconds: Dict[str, float]  # capture, run, post
    prediction: Optional[Prediction] = None
    shown: Optional[Shown] = None


class Stream:
    """Shows what a runtime sees in a source; `run` does it once."""

    def __init__(
        self,
        source: Source,
        runtime: Runtime,
        sinks: Sequence,
        *,
        frames: Optional[int] = None,
        pulse: Optional[Callable] = None,
    ):
        """
        Args:
            source: from `open_source`.
            runtime: a loaded network.
            sinks: see frame.py. `run` closes them.
            frames: ends after so many; None: with the source.
            pulse: called several times a second while the stream is alive, that is while no frame is stuck in it; for a
                watchdog.
        """
        self._source, self._runtime, self._sinks = source, runtime, list(sinks)
        self._limit, self._pulse = frames, pulse
        self._painter = Painter(runtime.table, label_stride=runtime.label_stride)
        self._meter, self._device = Meter(source.live), DeviceMeter()
        self._stopped = threading.Event()
        self._failure = None  # type: Optional[BaseException]
        self._lanes = []  # type: List[Runtime]
        self._channels = []  # type: List[Channel]
        self._threads = []  # type: List[threading.Thread]
        self._count = self._painting = 0  # frames captured, frames painted

    def stop(self) -> None:
        """Ends the stream soon; for signal handlers and other threads."""
        self._stopped.set()

    @property
    def dropped(self) -> int:
        """Frames that were captured and will not be shown, as the channels counted them."""
        return sum(channel.dropped for channel in self._channels)

    def run(self) -> Report:
        """Streams until the source ends, so many frames are shown, `stop` is called, or something fails; then closes
        the sinks.

        Raises:
            whatever failed first, in any thread; what was shown until then is in the sinks.
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

    def report(self) -> Report:
        """What was done until now."""
        return self._meter.report(self._count, self._source.reconnects)

    def left(self) -> List[str]:
        """Names of threads of streams that have not ended, as a runtime or a camera that hangs: only the end of the
        process stops them."""
        return [thread.name for thread in threading.enumerate() if thread.name.startswith(_THREAD)]

    def _start(self):
        live = self._source.live
        self._lanes = [self._runtime] if live else list(self._runtime.lanes())
        size = 1 if live else 2
        self._captured, self._painted = Channel(size, newest=live), Channel(1)
        self._prepared = [Channel(size, newest=live) for _ in self._lanes]
        self._predicted = [Channel(1) for _ in self._lanes]
        self._channels = [self._captured] + self._prepared + self._predicted + [self._painted]
        stages = {"capture": self._capture, "prepare": self._prepare, "paint": self._paint}
        stages["device"] = lambda: self._device.watch(self._stopped)
        for number in range(len(self._lanes)):
            stages[f"run-{number + 1}"] = lambda lane=number: self._predict(lane)
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
        except DeepLabError as error:  # the source's end: what it gave before is still shown
            self._failure = self._failure or error
        finally:
            self._captured.close()

    def _deliver(self, captured, image, seconds=0.0, name="") -> bool:
        frame = Frame(self._count, captured, image, seconds, name)
        self._count += 1
        taken = self._captured.put(frame)
        return taken and not self._stopped.is_set() and (self._source.live or self._count != self._limit)

    def _prepare(self):
        for turn, frame in enumerate(self._captured):
            start = time.monotonic()
            small = resize_image(frame.image, self._runtime.size)
            work = _Work(frame, small, {"capture": frame.seconds + time.monotonic() - start})
            self._prepared[turn % len(self._lanes)].put(work)
        for channel in self._prepared:
            channel.close()

    def _predict(self, lane):
        expected = tuple(side // self._runtime.label_stride for side in self._runtime.size)
        for work in self._prepared[lane]:
            start = time.monotonic()
            prediction = self._lanes[lane].predict(work.input)
            work.seconds["run"] = time.monotonic() - start
            if prediction.label_map.shape != expected:
                found, wanted = ("x".join(map(str, shape)) for shape in (prediction.label_map.shape, expected))
                message = "The runtime {} gives labels of {}, but its bundle says {}; convert the run again."
                raise DeepLabError(message.format(self._runtime.name, found, wanted))
            self._predicted[lane].put(work._replace(prediction=prediction))
        self._predicted[lane].close()

    def _paint(self):
        for work in _in_turn(self._predicted):
            start, frame = time.monotonic(), work.frame
            self._painting += 1
            label_map, panoptic = self._label_map(work), self._panoptic(work.prediction)
            figures = self._figures(work, panoptic)
            picture = self._painter.paint(frame.image, label_map, figures, panoptic)
            work.seconds["post"] = time.monotonic() - start
            shown = Shown(frame.index, frame.captured, frame.image, label_map, picture, figures, frame.name)
            self._painted.put(work._replace(shown=shown))
        self._painted.close()

    def _label_map(self, work):
        """The label map at the frame's size."""
        runtime, size = self._runtime, work.frame.image.shape[:2]
        return ImagePrediction(work.prediction, runtime.table, size, label_stride=runtime.label_stride).label_map

    def _panoptic(self, prediction):
        """The panoptic map, where the network predicts instances."""
        if prediction.center is None:
            return None
        return to_panoptic(prediction, self._runtime.table, stride=self._runtime.label_stride)[0]

    def _figures(self, work, panoptic) -> Figures:
        post = self._meter.last_post  # of the frame before: this one's is not over
        latency = dict(
            work.seconds, post=post, end_to_end=self._meter.end_to_end(work.frame.captured, work.seconds) + post
        )
        return Figures(
            fps=self._meter.rate(),
            latency_ms={name: 1000.0 * seconds for name, seconds in latency.items()},
            captured=self._count,
            shown=self._painting,  # none is dropped behind the painter
            dropped=self.dropped,
            reconnects=self._source.reconnects,
            source=self._source.safe,
            runtime=f"{self._runtime.name} {self._runtime.precision}",
            device=self._device.name,
            temperature_c=self._device.temperature_c,
            throttled=self._device.throttled,
            class_shares=self._painter.shares(work.prediction.label_map),
            instances=None if panoptic is None else instance_counts(panoptic, self._runtime.table),
        )

    def _show(self):
        while not self._stopped.is_set():
            work = self._painted.get(timeout=0.1)
            if work is None:
                return
            if work is not WAITING:
                whole = self._meter.end_to_end(work.frame.captured, work.seconds)
                for sink in self._sinks:
                    sink.write(work.shown)
                self._meter.note(whole, work.seconds)
                if self._meter.shown == self._limit:
                    return
            if self._pulse is not None and (work is not WAITING or self._count == self._meter.shown + self.dropped):
                self._pulse()

    def _end(self):
        """The sinks first: then what was shown is safe, whatever a thread still does. Lanes beside the runtime are
        closed, too."""
        self._stopped.set()
        for channel in self._channels:
            channel.abort()
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


def _in_turn(channels):
    """One item of each channel after the other, until the channel whose turn it is has ended: then all have."""
    while True:
        for channel in channels:
            item = channel.get()
            if item is None:
                return
            yield item
