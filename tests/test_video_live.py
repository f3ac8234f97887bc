"""A network camera that is killed, started again and stalled: every loss is seen, counted, and given up after so many
attempts."""

import threading
import time

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.live import Backoff, Live

QUICK = Backoff(0.05, 0.2)


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


def live(captures, **options):
    """A source that opens these, one after the other; a DeepLabError among them is raised instead."""
    waiting = list(captures)

    def open_capture(address):
        capture = waiting.pop(0) if waiting else DeepLabError("no camera any more.")
        if isinstance(capture, Exception):
            raise capture
        return capture

    options.setdefault("backoff", QUICK)
    return Live(parse("0"), open_capture=open_capture, **options)


def run(source, count=10**6):
    seen = []

    def deliver(captured, image, seconds, name):
        seen.append(captured)
        return len(seen) < count

    source.run(deliver, threading.Event())
    return seen


def test_backoff_doubles_up_to_its_longest_with_half_of_it_as_jitter():
    backoff = Backoff(1.0, 6.0)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (500, 6.0)):
        delays = [backoff.delay(attempt) for _ in range(200)]
        assert longest / 2 <= min(delays) < 0.6 * longest and 0.9 * longest < max(delays) <= longest


def test_a_lost_camera_is_opened_again_and_every_return_is_counted():
    captures = [FakeCapture(3), FakeCapture(2), DeepLabError("unplugged."), FakeCapture(4)]
    source, said = live(captures, retries=2), []
    source.say = said.append
    with pytest.raises(DeepLabError, match=r"/dev/video0|0: lost, and not back after 2 attempts .*no camera any more"):
        run(source)
    assert source.reconnects == 2
    assert all(capture.released for capture in captures if isinstance(capture, FakeCapture))
    assert [line for line in said if "back." in line] == ["0: back."] * 2
    assert any("unplugged. Attempt 2 in" in line for line in said)


def test_a_camera_that_never_opened_is_an_error_at_once():
    with pytest.raises(DeepLabError, match="unplugged"):
        run(live([DeepLabError("unplugged."), FakeCapture(3)]))


def test_a_stalled_camera_is_left_and_its_late_frames_are_not_taken():
    stuck = FakeCapture(2, then="hang")
    source = live([stuck, FakeCapture(3)], stall=0.2, retries=0)
    with pytest.raises(DeepLabError, match="not back after 0 attempts"):
        run(source)
    source = live([FakeCapture(2, then="hang"), FakeCapture(50)], stall=0.2)
    assert len(run(source, 10)) == 10 and source.reconnects == 1
    time.sleep(0.6)
    assert stuck.released


def test_the_camera_ends_when_its_frames_are_refused():
    capture = FakeCapture(1000)
    assert len(run(live([capture]), 5)) == 5
    assert capture.released


def test_a_bug_in_the_cameras_thread_comes_out():
    with pytest.raises(ZeroDivisionError):
        run(live([FakeCapture(1, then="bug")]))


def test_a_real_server_killed_three_times_gives_three_reconnects():
    threads = threading.active_count()
    with streams.NetworkCamera(fps=60.0) as network:
        source = Live(parse(network.url), backoff=QUICK)
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


def test_a_server_that_stops_sending_is_noticed():
    with streams.NetworkCamera() as network:
        source, said = Live(parse(network.url), backoff=QUICK, stall=0.3), []
        source.say = said.append
        stopped = threading.Event()
        thread = threading.Thread(target=source.run, args=(lambda *frame: True, stopped))
        thread.start()
        wait_until(lambda: source.fps is not None)
        network.stall()
        wait_until(lambda: any("no picture for" in line for line in said))
        stopped.set()
        thread.join(2.0)
        assert not thread.is_alive()


def wait_until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
