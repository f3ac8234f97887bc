"""What the stages of a stream pass to each other."""

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from deeplab_tf.core.panoptic.tracking import Thing


class VideoFrame(NamedTuple):
    """A frame as a source captured it.

    Attributes:
        number: counts captured frames from 0; a dropped frame leaves a gap in what is shown.
        captured_at: `core.clock.awake()` in seconds when the frame was available: time.monotonic() without suspensions.
        image: (H, W, 3) uint8 RGB.
        seconds: decoding time; for a live source, the part of it after `captured_at`.
        name: path of an image file, else "".
        time: seconds from the source's first frame to this one: a file's own, else since the first capture. None where
            a source has not said it yet.
        duration: seconds until a file's next frame; None if unknown.
    """

    number: int
    captured_at: float
    image: np.ndarray
    seconds: float = 0.0
    name: str = ""
    time: Optional[float] = None
    duration: Optional[float] = None


class StreamStats(NamedTuple):
    """Stream statistics up to and including this frame.

    Attributes:
        fps: frames shown per second over the last two seconds or so; 0.0 at the first frame.
        latency_ms: of this frame: `end_to_end`, from capture until it is handed to the sinks, and its parts `capture`
            (decoding and resizing), `run` (inference with upload and download) and `post` (instances and drawing;
            measured on the previous frame). The rest is waiting. For a file, `end_to_end` is the sum of the three:
            its frames wait for their turn. `run` is longer while several lanes share the machine.
        captured, shown, dropped: frames since the start; `shown` includes this one. Frames under way count in
            `captured` only.
        reconnects: times that the source was lost and came back.
        source: URI of the source without passwords; with a number where several have the same one.
        runtime: name and precision, such as "onnx int8".
        device: name of the machine.
        temperature_c: of its hottest zone in degrees Celsius; None if unknown.
        throttled: whether the machine is slowed down for heat or power; None if unknown.
        class_shares: share of the frame's pixels by class id; what is missing to 1 is unlabeled.
        instances: instance count by class id; None for semantic-only networks.
        distinct: how many different things of each class were seen so far, by class id; None if they are not tracked.
        lines, zones: counts of `deeplab_tf.core.panoptic.zones.RegionCounter`; None if there are none.
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
    distinct: Optional[List[int]] = None
    lines: Optional[Dict[str, Dict[str, Any]]] = None
    zones: Optional[Dict[str, Dict[str, Any]]] = None


class AnnotatedFrame(NamedTuple):
    """A frame with its prediction, as sinks receive it.

    Attributes:
        number, captured_at, name, time, duration: of its `VideoFrame`.
        image: (H, W, 3) uint8 RGB, the frame as captured, at the source's size.
        label_map: (H, W) uint8 class ids.
        annotated: (H', W', 3) uint8 RGB: the frame under the class colors, statistics along its top and a legend to its
            right (so W' > W); both sides are even, as video codecs require.
        stats: statistics of the stream.
        panoptic: (H, W) int32 panoptic map at the source's size; None if the network predicts no instances and no sink
            asked for one.
        things: those of the panoptic map with their numbers; None if they are not tracked.
        feed: which of the stream's sources it is from, counted from 0.
    """

    number: int
    captured_at: float
    image: np.ndarray
    label_map: np.ndarray
    annotated: np.ndarray
    stats: StreamStats
    name: str = ""
    time: Optional[float] = None
    duration: Optional[float] = None
    panoptic: Optional[np.ndarray] = None
    things: Optional[List[Thing]] = None
    feed: int = 0
