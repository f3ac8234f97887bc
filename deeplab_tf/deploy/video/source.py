"""The base class of all sources of frames."""

import threading
from typing import Callable, List, Optional

from deeplab_tf.core.clock import awake
from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.frame import VideoFrame

DEFAULT_FPS = 25.0
"""Frame rate of a source that reports none: images played with --paced, and videos written from them."""

Deliver = Callable[..., bool]
"""Takes captured_at, image, seconds, name and, of a file, time and duration as in `VideoFrame`; returns whether more
frames are wanted."""


class Source:
    """Captures frames.

    Attributes:
        safe: its URI without passwords.
        live: True: the newest frame wins; False: every frame, in order.
        fps: frames per second as the source reports it; None if unknown, or not yet known.
        total: number of frames; None if unknown, or endless.
        duration: seconds from the first frame to the end of the last; None if unknown.
        sound: the file whose sound belongs to the frames; "" for none.
        sound_delay: seconds from the first frame to the first sound; negative where the sound begins first.
        folder: of image files, below which saved frames keep their subfolders; "" for other sources.
        reconnects: times that the source was lost and came back.
        say: called with a message for the user: what was lost, what came back.
        warnings: what a report on the frames must say, a sentence each.
    """

    live = False
    fps: Optional[float] = None
    total: Optional[int] = None
    duration: Optional[float] = None
    folder = sound = ""
    sound_delay = 0.0
    reconnects = 0

    def __init__(self, address: Address):
        self.safe = address.safe
        self.say: Callable[[str], object] = lambda text: None
        self.warnings: List[str] = []

    def run(self, deliver: Deliver, stopped: threading.Event) -> None:
        """Call `deliver` for each frame until the source ends, it returns False, or `stopped` is set.

        `deliver` may be called from another thread, never from two at once.

        Raises:
            DeepLabError: the source failed, such as a file that ends in the middle or a lost camera.
        """
        raise NotImplementedError


class Pacer:
    """Waits until a frame is due; does nothing for a source that is not live."""

    def __init__(self, live: bool, stopped: threading.Event):
        self._live, self._stopped, self._start = live, stopped, awake()

    def wait(self, time: float) -> None:
        """Wait until `time` seconds after the start."""
        if self._live:
            now = awake()
            if now > self._start + time + 1.0:  # the machine slept or could not keep up: no burst to make up for it
                self._start = now - time
            self._stopped.wait(max(0.0, self._start + time - now))


def collect(source: Source, count: int) -> List[VideoFrame]:
    """Return the first `count` frames of a source, or all if it has fewer."""
    frames: List[VideoFrame] = []

    def deliver(captured_at, image, seconds=0.0, name="", time=None, duration=None):
        if len(frames) < count:
            frames.append(VideoFrame(len(frames), captured_at, image, seconds, name, time, duration))
        return len(frames) < count

    source.run(deliver, threading.Event())
    return frames
