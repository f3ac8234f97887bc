"""A stream's frames as live video over RTSP or RTMP, encoded and sent by ffmpeg."""

import contextlib
import shutil
import subprocess
import threading
from typing import Any, Callable, List

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.camera_source import backoff
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.frame_queue import TIMED_OUT, FrameQueue
from deeplab_tf.deploy.video.shown_address import shown, split_url
from deeplab_tf.deploy.video.sink import Sink
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Source

_FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv"}
_MAX_FPS = 60.0
_PATIENCE_S = 1.0
_FLUSHED_AFTER_S = 0.5
_PIPE_BYTES = 1 << 16


def check(uri: str) -> None:
    """Raise DeepLabError for an address that nothing can be published at, or without ffmpeg."""
    scheme = uri.partition("://")[0].lower()
    if scheme not in _FORMATS or "://" not in uri or not split_url(uri).host:
        raise DeepLabError("--publish takes rtsp://HOST/PATH or rtmp://HOST/PATH, of a server that takes video.")
    if shutil.which("ffmpeg") is None:
        raise DeepLabError("--publish needs ffmpeg, which is not installed here: apt install ffmpeg")


def command(uri: str, size, fps: float, encoder: str = "libx264") -> List[str]:
    """Return ffmpeg's command for frames of `size` (height, width), raw RGB on its standard input."""
    height, width = size
    kind = _FORMATS[split_url(uri).scheme.lower()]
    words = ["ffmpeg", "-nostdin", "-v", "quiet", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    words += ["-framerate", f"{fps:g}", "-use_wallclock_as_timestamps", "1", "-i", "pipe:0", "-an", "-c:v", encoder]
    if encoder == "libx264":
        words += ["-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"]
    words += ["-g", str(max(1, int(round(2 * fps)))), "-f", kind]
    return words + (["-rtsp_transport", "tcp"] if kind == "rtsp" else []) + [uri]


class PublishSink(Sink):
    """Sends the newest frame, in a thread of its own: a slow or lost server costs frames there and nothing here. Lost,
    it is connected to again.

    Attributes:
        sent: how many frames ffmpeg has taken.
        published: whether it has reached the server: it takes the first frame before it connects.
    """

    def __init__(self, uri: str, source: Source, say: Callable[[str], object]):
        """Take the address, the source, whose frame rate it has, and what to tell the user with. Raise DeepLabError as
        `check` does."""
        check(uri)
        self._uri, self._source, self._say = uri, source, say
        self._newest, self._closed = FrameQueue(1, drop_oldest=True), threading.Event()
        self._process: Any = None  # the thread's own, but for `kill`
        self.sent, self.failures, self.published = 0, 0, False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def write(self, frame: AnnotatedFrame) -> None:
        self._newest.put(frame.annotated)

    def close(self) -> None:
        self._newest.close()
        self._thread.join(_PATIENCE_S)
        self._closed.set()
        process = self._process
        if process is not None and self._thread.is_alive():
            process.kill()  # a server that takes nothing lets a write wait without end
        self._thread.join()
        if self.sent and not self.published:
            self.warning = f"Nothing was published at {shown(self._uri)}: ffmpeg could not connect."

    def _run(self):
        try:
            self._publish()
        finally:
            self._end()

    def _publish(self):
        size, taken = None, 0
        while not self._closed.is_set():
            image = self._newest.get(timeout=0.1)
            if image is None:
                return
            if image is TIMED_OUT:
                continue
            if self._process is None or image.shape != size:
                self._end()
                size, taken = image.shape, 0
                self._start(size)
                if self._closed.is_set():
                    return
            try:
                self._process.stdin.write(image.tobytes())
                self._process.stdin.flush()
            except OSError:
                self._lost()
                continue
            self.sent, taken = self.sent + 1, taken + 1
            self.published |= taken > 2 + _PIPE_BYTES // image.nbytes

    def _start(self, size):
        fps = min(self._source.fps or DEFAULT_FPS, _MAX_FPS)
        words = command(self._uri, size[:2], fps)
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True
        )

    def _lost(self):
        self._end()
        if self._closed.is_set():
            return
        self.failures += 1
        delay = backoff(self.failures)
        self._say(f"{shown(self._uri)}: publishing stopped. Attempt {self.failures} in {delay:.1f} s.")
        self._closed.wait(delay)

    def _end(self):
        """Let ffmpeg send what it has, for a moment."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            self.published |= process.wait(_FLUSHED_AFTER_S) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None
