"""The stream loop: order, drops, latency, the end. The runtime is a fake that takes a given time."""

import threading
import time

import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import meter
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.frame_queue import TIMED_OUT, FrameQueue
from deeplab_tf.deploy.video.loop import Stream
from deeplab_tf.deploy.video.sinks import Sink
from deeplab_tf.deploy.video.source import Source
from deeplab_tf.deploy.video.sources import open_source


class Keep(Sink):
    """Keeps the frames that it gets, and how old they were."""

    def __init__(self, delay=0.0, fail_at=None, act=None):
        self.numbers, self.ages, self.frames, self.closed = [], [], [], 0
        self.delay, self.fail_at, self.act = delay, fail_at, act

    def write(self, frame):
        time.sleep(self.delay)
        self.ages.append(time.monotonic() - frame.captured_at)
        self.numbers.append(frame.number)
        self.frames.append(frame)
        if len(self.numbers) == self.fail_at:
            raise OSError(28, "No space left on device", "a.mp4")
        if self.act:
            self.act(frame)

    def close(self):
        self.closed += 1


class Camera(Source):
    """A live source without a camera: numbered frames at a steady rate."""

    live = True

    def __init__(self, fps, count=None, size=(64, 128)):
        super().__init__(parse("/dev/video0"))
        self.fps, self.count, self.size = fps, count, size

    def run(self, deliver, stopped):
        due, index = time.monotonic(), 0
        while index != self.count and not stopped.wait(max(0.0, due - time.monotonic())):
            if not deliver(time.monotonic(), streams.numbered(index, self.size)):
                return
            due, index = due + 1.0 / self.fps, index + 1


@pytest.fixture
def runtime(tmp_path):
    return streams.fake_runtime(tmp_path / "bundle")


def no_thread_is_left():
    return not [thread for thread in threading.enumerate() if thread.name.startswith("stream-")]


def test_queue_keeps_order_and_waits_for_room():
    queue = FrameQueue(2)
    thread = threading.Thread(target=lambda: [queue.put(i) for i in range(5)] and queue.close())
    thread.start()
    time.sleep(0.05)
    assert list(queue) == [0, 1, 2, 3, 4] and queue.dropped == 0
    thread.join()
    assert queue.get() is None


def test_queue_counts_the_frames_it_replaces():
    queue = FrameQueue(1, drop_oldest=True)
    assert [queue.put(i) for i in range(4)] == [True] * 4
    assert (queue.get(), queue.get(timeout=0.01), queue.dropped) == (3, TIMED_OUT, 3)


def test_aborted_queue_has_nothing_takes_nothing_and_drops_nothing():
    queue = FrameQueue(3)
    queue.put(1)
    queue.put(2)
    queue.abort()
    assert queue.get() is None and not queue.put(3) and queue.dropped == 0


def test_all_frames_of_a_file_are_shown_in_order(tmp_path, runtime):
    runtime.delay = 0.003
    source, sink = open_source(streams.write_video(tmp_path / "a.mp4", 40)), Keep()
    stream = Stream(source, runtime, [sink])
    report = stream.run()
    assert sink.numbers == list(range(40)) and sink.closed == 1
    assert [streams.number_of(frame.image) for frame in sink.frames] == [index % 25 for index in range(40)]
    assert (report.frames, report.captured, report.dropped, stream.dropped) == (40, 40, 0, 0)
    assert [frame.stats.shown for frame in sink.frames] == list(range(1, 41))
    assert set(report.latency_ms) == {"end_to_end", "capture", "run", "post"} and report.latency_ms["run"]["p50"] >= 3.0
    assert no_thread_is_left()


class Lane(streams.FakeRuntime):
    """A fake that notes which frames it got, by their gray value, and takes a time of its own."""

    def __init__(self, bundle, delay):
        super().__init__(bundle, delay)
        self.seen = []

    def upload(self, frame):
        super().upload(frame)
        self.seen.append(streams.number_of(frame))


def test_lanes_share_the_frames_of_a_file_in_order(tmp_path, runtime):
    lanes = [Lane(runtime.bundle, delay) for delay in (0.002, 0.02, 0.0)]
    runtime.lanes, sink = lambda: lanes, Keep()
    report = Stream(open_source(streams.write_video(tmp_path / "a.mp4", 20)), runtime, [sink]).run()
    assert sink.numbers == list(range(20)) and report.dropped == 0
    assert [streams.number_of(frame.image) for frame in sink.frames] == list(range(20))
    assert [lane.seen for lane in lanes] == [list(range(first, 20, 3)) for first in (0, 1, 2)] and runtime.runs == 0
    assert no_thread_is_left()


def test_lanes_run_at_the_same_time(tmp_path, runtime):
    lanes, meeting = [Lane(runtime.bundle, 0.0) for _ in range(3)], threading.Barrier(3, timeout=20)
    for lane in lanes:
        lane.run = meeting.wait  # goes on when all three are in a run, and breaks when they never are
    runtime.lanes = lambda: lanes
    assert Stream(open_source(streams.write_video(tmp_path / "a.mp4", 24)), runtime, []).run().frames == 24


def test_failing_lane_ends_the_stream(tmp_path, runtime):
    lanes = [Lane(runtime.bundle, 0.01), Lane(runtime.bundle, 0.01)]
    lanes[1].fail_at = 3
    runtime.lanes = lambda: lanes
    stream = Stream(open_source(streams.write_video(tmp_path / "a.mp4", 20)), runtime, [Keep()])
    with pytest.raises(ValueError, match="the network broke"):
        stream.run()
    assert no_thread_is_left()


def test_end_closes_lanes_but_not_the_runtime(tmp_path, runtime):
    closed, lane = [], Lane(runtime.bundle, 0.0)
    lane.close, runtime.close = lambda: closed.append("lane"), lambda: closed.append("runtime")
    runtime.lanes = lambda: [runtime, lane]
    Stream(open_source(streams.write_video(tmp_path / "a.mp4", 6)), runtime, []).run()
    assert closed == ["lane"]


def test_failure_to_open_lanes_closes_the_sinks(tmp_path, runtime):
    def fail():
        raise DeepLabError("no memory for it")

    runtime.lanes, sink = fail, Keep()
    stream = Stream(open_source(streams.write_video(tmp_path / "a.mp4", 6)), runtime, [sink])
    with pytest.raises(DeepLabError, match="no memory for it"):
        stream.run()
    assert sink.closed == 1 and (stream.report().frames, stream.dropped) == (0, 0) and no_thread_is_left()


def test_live_source_uses_one_lane(runtime):
    runtime.lanes = lambda: pytest.fail("asked for lanes")
    assert Stream(Camera(100.0, 5), runtime, []).run().captured == 5


def test_labels_and_class_shares_belong_to_their_frame(tmp_path, runtime):
    sink = Keep()
    Stream(open_source(streams.write_video(tmp_path / "a.mp4", 24)), runtime, [sink]).run()
    for index, frame in enumerate(sink.frames):
        expected = (5 + 10 * index) // 86  # the fake's class of a gray value, see FakeRuntime
        assert frame.label_map.shape == (64, 128) and (frame.label_map == expected).mean() > 0.95
        assert frame.stats.class_shares[expected] > 0.95


def test_frames_are_resized_to_the_network(tmp_path, runtime):
    sink = Keep()
    Stream(open_source(streams.write_video(tmp_path / "a.mp4", 3, size=(120, 160))), runtime, [sink]).run()
    assert runtime.frame.shape == (64, 128, 3)
    assert sink.frames[0].image.shape == (120, 160, 3) and sink.frames[0].annotated.shape[0] == 120


def test_frame_limit_of_a_file(tmp_path, runtime):
    report = Stream(open_source(streams.write_video(tmp_path / "a.mp4", 30)), runtime, [], frames=7).run()
    assert (report.frames, report.captured, report.dropped) == (7, 7, 0)


@pytest.mark.parametrize("act", ["end", "limit", "stop"])
def test_captured_is_shown_dropped_or_under_way(runtime, act):
    runtime.delay = 0.05  # five times slower than the camera's 100 frames/s
    stream = Stream(
        Camera(100.0, 60 if act == "end" else None), runtime, [Keep()], frames=8 if act == "limit" else None
    )
    if act == "stop":
        threading.Timer(0.5, stream.stop).start()
    report = stream.run()
    assert no_thread_is_left()
    assert report.captured == report.frames + report.dropped + report.under_way
    assert stream.dropped == report.dropped > 10  # as the queues counted them, one by one
    # 2 in queues before the runtime, 3 behind it, and one in the hands of each of five threads
    assert report.under_way == 0 if act == "end" else 0 <= report.under_way <= 10
    assert report.frames == 8 if act == "limit" else report.frames >= 2


def test_latency_stays_bounded_with_a_slow_runtime(runtime):
    runtime.delay = 0.1
    sink = Keep()
    Stream(Camera(50.0), runtime, [sink], frames=30).run()
    # a frame waits for less than a period (20 ms), then takes the run (100 ms) and some ms of rendering; on a busy
    # machine more. Were none dropped, each would be 80 ms older than the one before: 2.4 s at the end.
    assert np.percentile(sink.ages, 25) < 1.25 * 0.1 + 0.02
    assert np.median(sink.ages[-10:]) < 0.5
    assert np.median(np.diff(sink.numbers)) >= 5  # about every fifth frame: the newest each time


def test_latency_stays_bounded_with_a_slow_sink(runtime):
    sink = Keep(delay=0.08)
    Stream(Camera(50.0), runtime, [sink], frames=25).run()
    # two frames wait before the sink (in the queue and in the renderer's hand), two before the renderer; without drops
    # the age would grow by 60 ms a frame, to 1.5 s
    assert np.median(sink.ages[-8:]) < 5 * 0.08 + 0.1


def test_stages_overlap(tmp_path, runtime):
    runtime.delay = 0.03
    report = Stream(open_source(streams.write_video(tmp_path / "a.mp4", 40)), runtime, [Keep(delay=0.03)]).run()
    assert report.seconds < 0.9 * 39 * 0.06  # of what it would be one after the other


@pytest.mark.parametrize("part", ["source", "runtime", "sink", "renderer"])
def test_any_failing_stage_ends_the_stream_at_once(tmp_path, runtime, part, monkeypatch):
    source, other = Camera(100.0), Keep()
    sink = Keep(fail_at=4 if part == "sink" else None)
    stream = Stream(source, runtime, [sink, other])
    expected = OSError
    if part == "runtime":
        runtime.fail_at, expected = 4, ValueError
    if part == "source":
        monkeypatch.setattr(
            streams, "numbered", lambda index, size: np.zeros(size + (1 // (4 - index) + 3,), np.uint8)[..., :3]
        )
        expected = ZeroDivisionError
    if part == "renderer":
        monkeypatch.setattr(stream.feeds[0].renderer, "class_shares", lambda label_map: [][0])
        expected = IndexError
    start = time.monotonic()
    with pytest.raises(expected):
        stream.run()
    assert time.monotonic() - start < 1.5
    assert sink.closed == other.closed == 1 and no_thread_is_left()
    report = stream.report()
    assert report.captured == report.frames + report.dropped + report.under_way


def test_frames_before_a_source_failed_are_shown(runtime):
    class Ends(Camera):
        def run(self, deliver, stopped):
            super().run(deliver, stopped)
            raise DeepLabError("it ends in the middle.")

    source = Ends(1000.0, 12)
    source.live = False
    runtime.delay, sink = 0.01, Keep()
    with pytest.raises(DeepLabError, match="in the middle"):
        Stream(source, runtime, [sink]).run()
    assert sink.numbers == list(range(12))


def test_failing_close_leaves_the_other_sinks_closed(runtime):
    class Broken(Keep):
        def close(self):
            raise DeepLabError("not written whole.")

    sink = Keep()
    with pytest.raises(DeepLabError, match="not written whole"):
        Stream(Camera(100.0, 3), runtime, [Broken(), sink]).run()
    assert sink.closed == 1


def test_hanging_runtime_does_not_delay_the_end(runtime):
    runtime.delay = 2.0
    stream = Stream(Camera(100.0), runtime, [Keep()])
    threading.Timer(0.2, stream.stop).start()
    start = time.monotonic()
    report = stream.run()
    assert time.monotonic() - start < 1.4  # of 0.8, and 2.0 if it were waited for
    assert stream.hanging_threads() == ["stream-run-1"] and report.dropped > 0
    assert report.captured == report.dropped + report.under_way
    time.sleep(2.0)
    assert no_thread_is_left()


def test_runtime_with_labels_of_another_size_is_refused(runtime):
    runtime.label_stride = 8
    runtime.download = lambda: {"labels": np.zeros((16, 32), np.int32)}
    with pytest.raises(DeepLabError, match="fake.*16x32.*8x16"):
        Stream(Camera(100.0, 3), runtime, []).run()


def test_report_covers_the_latest_frames(monkeypatch):
    monkeypatch.setattr(meter, "_KEPT", 10)
    clock = [0.0]
    monkeypatch.setattr(meter, "awake", lambda: clock[0])
    counts = meter.StreamMeter(live=True)
    for index in range(25):
        clock[0] = index + 1.0  # a frame is shown every second, half a second after its capture
        parts = {"capture": 0.1, "run": 0.001 * index, "post": 0.2}
        counts.record(counts.end_to_end(index + 0.5, parts), parts)
    report = counts.report(captured=30, dropped=3, reconnects=2)
    assert (report.frames, report.dropped, report.under_way, report.fps, report.seconds) == (25, 3, 2, 1.0, 24.0)
    assert report.latency_ms["end_to_end"]["p99"] == pytest.approx(500.0) and report.latency_ms["post"][
        "p50"
    ] == pytest.approx(200.0)
    assert report.latency_ms["run"]["p50"] == pytest.approx(19.5)  # median of 15 ... 24 ms


def test_end_to_end_latency_of_a_file_is_the_sum_of_its_stages(runtime):
    source, sink = Camera(1000.0, 20), Keep(delay=0.02)
    source.live = False
    report = Stream(source, runtime, [sink]).run()
    parts = [sum(frame.stats.latency_ms[name] for name in ("capture", "run", "post")) for frame in sink.frames]
    assert [frame.stats.latency_ms["end_to_end"] for frame in sink.frames] == pytest.approx(parts)
    assert report.latency_ms["end_to_end"]["p50"] < 1000 * np.median(sink.ages)


def test_reconnects_reach_stats_and_report(runtime):
    class Returns(Camera):
        def run(self, deliver, stopped):
            self.reconnects = 2
            super().run(deliver, stopped)

    sink = Keep()
    assert Stream(Returns(100.0, 3), runtime, [sink]).run().reconnects == 2
    assert sink.frames[-1].stats.reconnects == 2


def heartbeats(source, runtime):
    beats = []
    Stream(source, runtime, [], heartbeat=lambda: beats.append(1)).run()
    return len(beats)


def test_heartbeat_while_frames_flow(runtime):
    source = Camera(1000.0, 20)
    source.live = False
    assert heartbeats(source, runtime) >= 20


def test_heartbeat_without_frames(runtime):
    class Silent(Camera):
        def run(self, deliver, stopped):
            stopped.wait(0.5)

    assert heartbeats(Silent(1.0), runtime) >= 2


def test_no_heartbeat_while_a_frame_is_stuck(runtime):
    runtime.delay = 0.5
    assert heartbeats(Camera(1.0, 1), runtime) <= 2  # before it came, and when it was shown
