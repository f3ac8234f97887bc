"""A video source as an iterator of frames; `deeplab_tf.open_video` makes one."""

import threading
from typing import Iterator, List, Optional

import numpy as np

from deeplab_tf.deploy.video.frame_queue import FrameQueue
from deeplab_tf.deploy.video.source import Source

_PATIENCE_S = 2.0
"""How long `close` waits for a camera to let go."""


class VideoReader:
    """Iterates over the frames of a source, (H, W, 3) uint8 RGB arrays; once.

    A file gives every frame; a camera its newest, and drops those that come while the last one is in use. A lost camera
    is reconnected.

    Example:
        with deeplab_tf.open_video("rtsp://camera/street") as video:
            for result in model.predict(video):
                print(result.class_shares())

    Attributes:
        live: whether frames may be dropped.
        fps: frames per second that the source announces; None if it does not.
        total: number of frames; None if it is not known.
    """

    def __init__(self, source: Source):
        self.live, self.fps, self.total = source.live, source.fps, source.total
        self._source, self._stopped = source, threading.Event()
        self._queue = FrameQueue(1 if source.live else 2, drop_oldest=source.live)
        self._failure: Optional[BaseException] = None
        self._threads: List[threading.Thread] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        if not self._threads:
            self._threads = [threading.Thread(target=self._run, name="video-reader", daemon=True)]
            self._threads[0].start()
        yield from self._queue
        if self._failure is not None:
            raise self._failure

    def _run(self):
        try:
            self._source.run(self._deliver, self._stopped)
        except BaseException as error:  # raised where the frames are read
            self._failure = error
        finally:
            self._queue.close()

    def _deliver(self, captured_at, image, *rest):
        return self._queue.put(image) and not self._stopped.is_set()

    def close(self) -> None:
        """Let the camera or file go; leaving a `with` block does it."""
        self._stopped.set()
        self._queue.abort()
        for thread in self._threads:
            thread.join(_PATIENCE_S)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error) -> None:
        self.close()
