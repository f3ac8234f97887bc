"""A live source: one thread reads it, a watchdog notices when it stalls or ends, and it is opened again, ever less
often."""

import random
import threading
import time
from typing import Callable, Optional

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import camera
from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.source import Source


class Backoff:
    """How long to wait before the next attempt: twice as long each time, with jitter so that many devices do not come
    back at once."""

    def __init__(self, first: float = 0.5, longest: float = 30.0):
        """Seconds before the second attempt, and before any late one; at least half of it is always waited."""
        self.first, self.longest = first, longest

    def delay(self, attempt: int) -> float:
        """Seconds to wait before attempt 1, 2, ... after a loss."""
        return min(self.longest, self.first * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1.0)


class Live(Source):
    """A camera, a network camera or a pipeline."""

    live = True

    def __init__(
        self,
        address: Address,
        *,
        retries: Optional[int] = None,
        stall: float = camera.TIMEOUT_S,
        backoff: Optional[Backoff] = None,
        open_capture: Callable = camera.open_capture,
    ):
        """
        Args:
            address: of the source.
            retries: attempts in a row after a loss, before it is given up; None: for ever.
            stall: seconds without a frame after which a source counts as lost; twice that for its first frame.
            backoff: waits between attempts.
            open_capture: takes the address, gives what behaves like cv2.VideoCapture.

        Raises:
            DeepLabError: the camera or host is not there. That a source cannot be opened shows in `run`.
        """
        super().__init__(address)
        if open_capture is camera.open_capture:
            camera.check(address)
        self._address, self._retries, self._stall = address, retries, stall
        self._backoff, self._open = backoff or Backoff(), open_capture
        self._seen = False

    def run(self, deliver, stopped):
        """See `Source.run`. The first connection must succeed; a lost one is tried again."""
        attempts = 0
        while not stopped.is_set():
            reader = _Reader(self._open, self._address, self._accept(deliver))
            reason = self._watch(reader, stopped)
            if reader.error is not None:
                raise reader.error
            if reason is None:
                return
            if not self._seen:
                raise DeepLabError(reason)
            if reader.frames:
                attempts, lost_at = 0, time.monotonic()
            attempts += 1
            if self._retries is not None and attempts > self._retries:
                message = "{}: lost, and not back after {} attempts in {:.0f} s ({})."
                raise DeepLabError(
                    message.format(self.safe, self._retries, time.monotonic() - lost_at, reason.rstrip("."))
                )
            delay = self._backoff.delay(attempts)
            self.say(f"{reason} Attempt {attempts} in {delay:.1f} s.")
            stopped.wait(delay)

    def _accept(self, deliver):
        """`deliver` for one connection; its first frame tells that a lost source is back."""
        state = {"new": True}

        def accept(capture, captured, image, seconds):
            if state["new"]:
                state["new"] = False
                fps = capture.get(cv2.CAP_PROP_FPS)
                self.fps = fps if 0 < fps < 1000 else None
                if self._seen:
                    self.reconnects += 1
                    self.say(f"{self.safe}: back.")
                self._seen = True
            return deliver(captured, image, seconds, "")

        return accept

    def _watch(self, reader, stopped) -> Optional[str]:
        """Waits until the reader ends, stalls or is to end; a sentence why it was lost, None where it was not."""
        reader.start()
        try:
            while not reader.done.wait(0.05):
                if stopped.is_set():
                    return None
                if time.monotonic() - reader.last > self._stall * (1 if reader.frames else 2):
                    return f"{self.safe}: no picture for {time.monotonic() - reader.last:.0f} s."
            return reader.reason
        finally:
            reader.abandon()
            reader.join(0.2)


class _Reader(threading.Thread):
    """Reads one connection until it ends or is abandoned; one that hangs in OpenCV ends when that gives up, and
    delivers nothing more.

    Attributes:
        done: set at the end. Then `reason` says why the source was lost (None: it was not), `error` holds a bug's
            exception.
        last: time.monotonic() of the last frame, or of the start.
        frames: how many were delivered.
    """

    def __init__(self, open_capture, address, accept):
        super().__init__(name="stream-reader", daemon=True)
        self._open, self._address, self._accept = open_capture, address, accept
        self._abandoned, self._delivering = False, threading.Lock()
        self.done, self.last, self.frames = threading.Event(), time.monotonic(), 0
        self.reason, self.error = None, None  # type: Optional[str], Optional[BaseException]

    def abandon(self):
        """From now on nothing is delivered. Waits for a delivery that is under way."""
        self._abandoned = True
        with self._delivering:
            pass

    def run(self):
        capture = None
        try:
            capture = self._open(self._address)
            self.reason = self._read(capture)
        except DeepLabError as error:
            self.reason = str(error)
        except cv2.error as error:
            self.reason = f"{self._address.safe}: OpenCV failed ({error.err})."
        except BaseException as error:
            self.error = error
        finally:
            if capture is not None:
                capture.release()
            self.done.set()

    def _read(self, capture):
        total = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        while not self._abandoned:
            if not capture.grab():
                whole = total > 0 and self.frames >= total - 1  # a video file over HTTP
                return None if whole else f"{self._address.safe}: it stopped sending."
            captured = time.monotonic()
            there, image = capture.retrieve()
            if not there:
                return f"{self._address.safe}: it sent a picture that cannot be decoded."
            image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            with self._delivering:
                if self._abandoned or not self._accept(capture, captured, image, time.monotonic() - captured):
                    return None
            self.last = time.monotonic()
            self.frames += 1
        return None
