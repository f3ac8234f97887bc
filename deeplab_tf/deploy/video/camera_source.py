"""A live source: one thread reads it, a watchdog notices when it stalls or ends, and it is reconnected with backoff."""

import random
import threading
from typing import Callable, Optional

import cv2

from deeplab_tf.core.clock import awake, since_suspension
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import camera
from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.source import Source
from deeplab_tf.deploy.video.upright import Turner


def backoff(attempt: int, first: float = 0.5, longest: float = 30.0) -> float:
    """Return the seconds to wait before attempt 1, 2, ... after a loss: exponential backoff from `first` to `longest`,
    with half of it as jitter so that many devices do not come back at once."""
    return min(longest, first * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1.0)


class CameraSource(Source):
    """A USB, CSI or network camera, or a pipeline."""

    live = True

    def __init__(
        self,
        address: Address,
        *,
        retries: Optional[int] = None,
        stall: float = camera.TIMEOUT_S,
        delay: Callable[[int], float] = backoff,
        open_capture: Callable = camera.open_capture,
    ):
        """Check that the camera exists; `run` opens it.

        Args:
            address: of the camera.
            retries: attempts in a row to reconnect; None: no limit.
            stall: seconds without a frame after which the camera counts as lost; twice that for its first frame.
            delay: seconds to wait before attempt 1, 2, ...
            open_capture: takes the address, returns an object like cv2.VideoCapture.

        Raises:
            DeepLabError: the camera or host does not exist.
        """
        super().__init__(address)
        if open_capture is camera.open_capture:
            camera.check(address)
        self._address, self._retries, self._stall = address, retries, stall
        self._delay, self._open = delay, open_capture
        self._seen = False

    def run(self, deliver, stopped):
        """See `Source.run`. The first connection must succeed; a lost one is retried."""
        attempts, lost = 0, True
        while not stopped.is_set():
            reader = _Reader(self._open, self._address, self._accept(deliver, lost))
            reason = self._watch(reader, stopped)
            if reader.error is not None:
                raise reader.error
            if reason is None:
                return
            if not self._seen:
                raise DeepLabError(reason)
            if reader.frames:
                attempts, lost_at = 0, awake()
            lost = not reader.frames or since_suspension() > self._stall
            if not lost:  # a connection does not outlive a long suspension of this process; the camera is there
                continue
            attempts += 1
            if self._retries is not None and attempts > self._retries:
                seconds = awake() - lost_at
                raise DeepLabError(
                    f"{self.safe}: lost, and not back after {self._retries} attempts in {seconds:.0f} s "
                    f"({reason.rstrip('.')})."
                )
            delay = self._delay(attempts)
            self.say(f"{reason} Attempt {attempts} in {delay:.1f} s.")
            stopped.wait(delay)

    def _accept(self, deliver, lost):
        """Return `deliver` for one connection; its first frame shows that a `lost` camera is back."""
        first = True

        def accept(capture, captured_at, image, seconds):
            nonlocal first
            if first:
                first = False
                fps = capture.get(cv2.CAP_PROP_FPS)
                self.fps = fps if 0 < fps < 1000 else None
                if self._seen and lost:
                    self.reconnects += 1
                    self.say(f"{self.safe}: back.")
                self._seen = True
            return deliver(captured_at, image, seconds, "")

        return accept

    def _watch(self, reader, stopped) -> Optional[str]:
        """Wait until the reader ends or stalls, or `stopped` is set. Return why the camera was lost, else None."""
        reader.start()
        try:
            while not reader.done.wait(0.05):
                if stopped.is_set():
                    return None
                silence = awake() - reader.last
                if silence > self._stall * (1 if reader.frames else 2):
                    return f"{self.safe}: no frame for {silence:.0f} s."
            return reader.reason
        finally:
            reader.abandon()
            reader.join(0.2)


class _Reader(threading.Thread):
    """Reads one connection until it ends or is abandoned; one that hangs in OpenCV ends when that gives up, and
    delivers nothing more.

    Attributes:
        done: set at the end.
        reason: why the camera was lost; None if it was not.
        error: an exception that is a bug.
        last: `awake()` of the last frame, or of the start.
        frames: frames delivered.
    """

    def __init__(self, open_capture, address, accept):
        super().__init__(name="stream-reader", daemon=True)
        self._open, self._address, self._accept = open_capture, address, accept
        self._abandoned, self._delivering = False, threading.Lock()
        self.done, self.last, self.frames = threading.Event(), awake(), 0
        self.reason: Optional[str] = None
        self.error: Optional[BaseException] = None

    def abandon(self):
        """Deliver nothing from now on; wait for a delivery in progress."""
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
            self.reason = f"{self._address.safe}: OpenCV failed (error {error.code})."
        except OSError as error:  # such as no descriptor being free
            self.reason = f"{self._address.safe}: {error.strerror or 'the system failed'}."
        except BaseException as error:
            self.error = error
        finally:
            if capture is not None:
                capture.release()
            self.done.set()

    def _read(self, capture):
        total, turner = capture.get(cv2.CAP_PROP_FRAME_COUNT), Turner(capture)
        while not self._abandoned:
            if not capture.grab():
                complete = total > 0 and self.frames >= total - 1  # a video file over HTTP
                return None if complete else f"{self._address.safe}: it stopped sending."
            captured_at = awake()
            decoded, image = capture.retrieve()
            if not decoded:
                return f"{self._address.safe}: it sent a frame that cannot be decoded."
            image = turner.turn(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            with self._delivering:
                if self._abandoned or not self._accept(capture, captured_at, image, awake() - captured_at):
                    return None
            self.last = awake()
            self.frames += 1
        return None
