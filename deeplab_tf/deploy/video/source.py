"""The base class of all sources of frames."""

import threading
from typing import Callable, List, Optional

import numpy as np

from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.frame import VideoFrame

DEFAULT_FPS = 25.0
"""Frame rate of a source that reports none: images played with --paced, and videos written from them."""

Deliver = Callable[[float, np.ndarray, float, str], bool]
"""Takes captured_at, image, seconds and name as in `VideoFrame`; returns whether more frames are wanted."""


class Source:
    """Captures frames.

    Attributes:
        safe: its URI without passwords.
        live: True: the newest frame wins; False: every frame, in order.
        fps: frames per second as the source reports it; None if unknown, or not yet known.
        total: number of frames; None if unknown, or endless.
        folder: of image files, below which saved frames keep their subfolders; "" for other sources.
        reconnects: times that the source was lost and came back.
        say: called with a message for the user: what was lost, what came back.
        warnings: what a report on the frames must say, a sentence each.
    """

    live = False
    fps: Optional[float] = None
    total: Optional[int] = None
    folder = ""
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


def collect(source: Source, count: int) -> List[VideoFrame]:
    """Return the first `count` frames of a source, or all if it has fewer."""
    frames: List[VideoFrame] = []

    def deliver(captured_at, image, seconds=0.0, name=""):
        if len(frames) < count:
            frames.append(VideoFrame(len(frames), captured_at, image, seconds, name))
        return len(frames) < count

    source.run(deliver, threading.Event())
    return frames
