"""What the parts of a stream hand to each other.

A sink is an object with `write(shown)`, called once a shown frame and in order, and `close()`, called once, also after
an error. It is called from one thread, the same for all sinks; `write` must not wait for whoever looks at what it
writes. It must not change the arrays.
"""

from typing import Dict, List, NamedTuple, Optional

import numpy as np


class Frame(NamedTuple):
    """One picture as a source gives it.

    Attributes:
        index: counts every frame that was captured, from 0; a dropped frame leaves a gap in what is shown.
        captured: time.monotonic() in seconds when it was there to be taken.
        image: (H, W, 3) uint8 RGB.
        seconds: what it took to decode it; for a live source what came after `captured`.
        name: the file of an image, else "".
    """

    index: int
    captured: float
    image: np.ndarray
    seconds: float = 0.0
    name: str = ""


class Figures(NamedTuple):
    """How the stream does, up to and with the frame that it comes with.

    Attributes:
        fps: shown frames a second over the last two seconds or so; 0.0 at the first frame.
        latency_ms: of this frame: `whole` from capture until it is handed to the sinks; in it `capture` (decoding, and
            bringing it to the network's size), `run` (the network, with upload and download) and `post` (instances,
            overlay, legend, figures; taken from the frame before, since this one's is not over). What is left is
            waiting. Where a file's frames run in several lanes at a time, each has a part of the machine, and `run` is
            longer than a frame alone would take. Of a file `whole` is the sum of the three: its frames wait for their
            turn, which says nothing.
        captured, shown, dropped: frames since the start, this one included in shown. Those still on their way are in
            `captured` only; when the stream has ended captured = shown + dropped.
        reconnects: how often the source was lost and came back.
        source: the source's URI without its password.
        runtime: name and precision, such as "onnx int8".
        device: what the machine is called.
        temperature_c: of its hottest zone in degrees Celsius; None where the machine does not tell.
        throttled: whether it runs slower than it could, for heat or power; None where the machine does not tell.
        class_shares: share of the frame's pixels by class id, one a class of the table; what is left of 1 is in no
            class.
        instances: how many single things of each class are seen, by class id; None where the network does not tell them
            apart.
    """

    fps: float
    latency_ms: Dict[str, float]
    captured: int
    shown: int
    dropped: int
    reconnects: int
    source: str
    runtime: str
    device: str
    temperature_c: Optional[float]
    throttled: Optional[bool]
    class_shares: List[float]
    instances: Optional[List[int]] = None


class Shown(NamedTuple):
    """A frame that went through the network, as the sinks get it.

    Attributes:
        index, captured: of its `Frame`.
        image: (H, W, 3) uint8 RGB, the frame as captured, at the source's size.
        label_map: (H, W) uint8 class ids.
        picture: (H', W', 3) uint8 RGB: the frame with the labels over it and the figures on it, a legend to its right
            (so W' > W); both sides are even, as video files want them.
        figures: see `Figures`.
        name: the file of an image, else "".
    """

    index: int
    captured: float
    image: np.ndarray
    label_map: np.ndarray
    picture: np.ndarray
    figures: Figures
    name: str = ""
