"""What every source of frames has in common."""

import threading
from typing import List

from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.frame import Frame

DEFAULT_FPS = 25.0
"""For sources that announce none: images played with --paced, and files written from them."""


class Source:
    """Gives frames.

    Attributes:
        safe: its URI without passwords.
        live: True: the newest frame wins; False: every frame, in order.
        fps: frames a second as it announces them; None where it does not, or not yet.
        total: how many frames it will give; None where nobody knows.
        reconnects: how often it was lost and came back.
        say: called with a line for a person: what was lost, what came back.
    """

    live = False
    fps = total = None
    reconnects = 0

    def __init__(self, address: Address):
        self.safe = address.safe
        self.say = lambda text: None

    def run(self, deliver, stopped) -> None:
        """Calls `deliver` for each frame until there are no more, it returns False, or `stopped` is set.

        Args:
            deliver: takes captured, image, seconds and name as in `Frame`; may be called from another thread, never
                from two at once.
            stopped: a threading.Event.

        Raises:
            DeepLabError: what a person should know: a file that ends in the middle, a camera that is lost.
        """
        raise NotImplementedError


def collect(source: Source, count: int) -> List[Frame]:
    """The first `count` frames of a source, all of them if it has fewer."""
    frames = []  # type: List[Frame]

    def deliver(captured, image, seconds=0.0, name=""):
        if len(frames) < count:
            frames.append(Frame(len(frames), captured, image, seconds, name))
        return len(frames) < count

    source.run(deliver, threading.Event())
    return frames
