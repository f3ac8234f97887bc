"""Live cameras that are killed, restarted and stalled: losses are noticed, counted, and given up after the retries."""

import threading
import time

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.camera_source import CameraSource, backoff


def quick(attempt):
    return backoff(attempt, 0.05, 0.2)


class FakeCapture:
    """In the place of cv2.VideoCapture where there is no camera: gives its frames, then ends, hangs or raises."""

    def __init__(self, frames, then="end"):
        self.left, self.then, self.released = frames, then, False

    def get(self, key):
        return 30.0 if key == cv2.CAP_PROP_FPS else -1.0

    def grab(self):
        if self.left:
            self.left -= 1
            return True
        if self.then == "hang":
            time.sleep(0.6)
        if self.then == "bug":
            raise ZeroDivisionError("in the camera's thread")
        return False

    def retrieve(self):
        return True, np.zeros((4, 6, 3), np.uint8)

    def release(self):
        self.released = True


def camera(captures, **options):
    """A source that opens these captures in turn; a DeepLabError among them is raised instead."""
    waiting = list(captures)

    def open_capture(address):
        capture = waiting.pop(0) if waiting else DeepLabError("out of cameras.")
        if isinstance(capture, Exception):
            raise capture
        return capture

    options.setdefault("delay", quick)
    return CameraSource(parse("0"), open_capture=open_capture, **options)


def run(source, count=10**6):
    seen = []

    def deliver(captured_at, image, seconds, name):
        seen.append(captured_at)
        return len(seen) < count

    source.run(deliver, threading.Event())
    return seen


def test_backoff_doubles_up_to_a_limit_with_jitter():
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (500, 6.0)):
        delays = [backoff(attempt, 1.0, 6.0) for _ in range(200)]
        assert longest / 2 <= min(delays) < 0.6 * longest and 0.9 * longest < max(delays) <= longest


def test_lost_camera_is_reconnected_and_counted():
    captures = [FakeCapture(3), FakeCapture(2), DeepLabError("unplugged."), FakeCapture(4)]
    source, said = camera(captures, retries=2), []
    source.say = said.append
    with pytest.raises(DeepLabError, match="lost.* 2 attempts .*out of cameras"):
        run(source)
    assert source.reconnects == 2
    assert all(capture.released for capture in captures if isinstance(capture, FakeCapture))
    assert [line for line in said if "back." in line] == ["0: back."] * 2
    assert any("unplugged. Attempt 2 in" in line for line in said)


def test_camera_that_never_opened_is_an_error():
    with pytest.raises(DeepLabError, match="unplugged"):
        run(camera([DeepLabError("unplugged."), FakeCapture(3)]))


def test_stalled_camera_is_abandoned():
    stuck = FakeCapture(2, then="hang")
    source = camera([stuck, FakeCapture(3)], stall=0.2, retries=0)
    with pytest.raises(DeepLabError, match="0 attempts"):
        run(source)
    source = camera([FakeCapture(2, then="hang"), FakeCapture(50)], stall=0.2)
    assert len(run(source, 10)) == 10 and source.reconnects == 1
    time.sleep(0.6)
    assert stuck.released


def test_camera_is_released_when_no_more_frames_are_wanted():
    capture = FakeCapture(1000)
    assert len(run(camera([capture]), 5)) == 5
    assert capture.released


def test_exception_in_the_reader_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        run(camera([FakeCapture(1, then="bug")]))


def test_killed_server_is_reconnected():
    threads = threading.active_count()
    with streams.NetworkCamera(fps=60.0) as network:
        source = CameraSource(parse(network.url), delay=quick)
        seen, stopped = [], threading.Event()
        thread = threading.Thread(target=source.run, args=(lambda *frame: seen.append(frame) or True, stopped))
        thread.start()
        for _ in range(3):
            seen.clear()
            wait_until(lambda: len(seen) > 5)
            network.kill()
            time.sleep(0.15)
            network.start()
        wait_until(lambda: source.reconnects == 3)
        stopped.set()
        thread.join(2.0)
    assert not thread.is_alive() and source.reconnects == 3
    wait_until(lambda: threading.active_count() == threads)


def test_stalled_server_is_noticed():
    with streams.NetworkCamera() as network:
        source, said = CameraSource(parse(network.url), delay=quick, stall=0.3), []
        source.say = said.append
        stopped = threading.Event()
        thread = threading.Thread(target=source.run, args=(lambda *frame: True, stopped))
        thread.start()
        wait_until(lambda: source.fps is not None)
        network.stall()
        wait_until(lambda: any("no frame for" in line for line in said))
        stopped.set()
        thread.join(2.0)
        assert not thread.is_alive()


def wait_until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
