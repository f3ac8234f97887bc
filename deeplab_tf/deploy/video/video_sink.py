"""A video file of a stream's frames."""

import contextlib
import fcntl
import glob
import itertools
import os
from typing import Any, Optional, Tuple

import cv2

from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.files import is_locked, put_in_place
from deeplab_tf.deploy.video import camera, pipelines
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.sink import Sink, make_folder
from deeplab_tf.deploy.video.sound import add_sound
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Source

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""The codec of each kind of video file, by its suffix."""
_MAX_LIVE_FPS = 60.0
_MAX_FPS = 240.0
_MAX_GAP_S = 5.0


def is_video_name(path: str) -> bool:
    """Return whether `--save` of this path is a video file, and not a folder."""
    return os.path.splitext(path)[1].lower() in CODECS and not os.path.isdir(path)


def part_name(path: str) -> str:
    """Return where a video is recorded: NAME.part.SUFFIX; if a file has that name, NAME.2.part.SUFFIX, and so on."""
    stem, suffix = os.path.splitext(path)
    names = itertools.chain([f"{stem}.part{suffix}"], (f"{stem}.{i}.part{suffix}" for i in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def _reserve(path: str) -> Tuple[str, int]:
    """Make the file `part_name` of a video; return its name and a descriptor, whose lock ends with the process. Raise
    DeepLabError if another process is recording the video."""
    stem, suffix = os.path.splitext(path)
    for there in glob.glob(f"{glob.escape(stem)}.*part{glob.escape(suffix)}"):
        if os.path.isfile(there) and is_locked(there):
            raise DeepLabError(f"Another process is recording {path}; wait for it, or name another file.")
    while True:
        name = part_name(path)
        try:
            descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            continue  # another process came between
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return name, descriptor


class VideoFileSink(Sink):
    """A video file that plays as long as its source.

    Its frame rate is constant: frames are repeated or dropped so that each is shown at the time at which it was
    captured, or at which its source file shows it. A gap in a live source, as when a camera is lost, is cut to five
    seconds. ffmpeg copies the sound of a source file.

    It is recorded as `part_name`, which stays visible (unlike the hidden file of `core.files.replacing`): a recording
    cut short by a power failure or a full disk is worth keeping. `close` renames it.
    """

    def __init__(self, path: str, source: Source):
        """Raise DeepLabError if the folder cannot be made or written."""
        self._path, self._source = path, source
        self._codec = CODECS[os.path.splitext(path)[1].lower()]
        self._writer: Optional[Any] = None
        self._size = (0, 0)  # width, height
        self._written, self._start, self._fps = 0, 0.0, DEFAULT_FPS
        make_folder(os.path.dirname(path) or ".")
        self._descriptor: Optional[int]
        self._part, self._descriptor = _reserve(path)

    def write(self, frame: AnnotatedFrame) -> None:
        height, width = frame.annotated.shape[:2]
        if self._writer is None:
            self._fps = min(self._source.fps or DEFAULT_FPS, _MAX_LIVE_FPS if self._source.live else _MAX_FPS)
            self._size, self._start = (width, height), self._position(frame)
            self._writer = self._open()
        if (width, height) != self._size:
            raise DeepLabError(
                f"{self._path}: the frames change from {self._size[1]}x{self._size[0]} to {height}x{width}, which a "
                "video file cannot; save them into a folder."
            )
        image = cv2.cvtColor(frame.annotated, cv2.COLOR_RGB2BGR)
        for _ in range(self._repeats(frame)):
            self._writer.write(image)
            self._written += 1

    def _position(self, frame: AnnotatedFrame) -> float:
        """Return the seconds at which a frame belongs, of any clock."""
        if frame.time is not None:
            return frame.time
        return frame.captured_at if self._source.live else self._written / self._fps

    def _repeats(self, frame: AnnotatedFrame) -> int:
        """Return how often a frame is written so that the video goes on until the frame's end."""
        duration = 1.0 / self._fps if frame.duration is None else frame.duration
        end = self._position(frame) + duration - self._start
        repeats = int(round(end * self._fps - 1e-3)) - self._written  # a half is rounded down, whatever is before
        longest = int(_MAX_GAP_S * self._fps)
        if self._source.live and repeats > longest:  # the clock of the file goes on from here
            self._start += (repeats - longest) / self._fps
            repeats = longest
        return max(1 - self._written, 0, repeats)  # the first is never left out

    def _open(self):
        fps, size = self._fps, self._size
        writer = cv2.VideoWriter(self._part, cv2.CAP_FFMPEG, camera.fourcc(self._codec), fps, size)
        if not writer.isOpened() and camera.has_gstreamer():
            for hardware in (True, False) if camera.is_jetson() else (False,):
                pipeline = pipelines.writer(self._part, hardware=hardware)
                writer = cv2.VideoWriter(pipeline, cv2.CAP_GSTREAMER, 0, fps, size)
                if writer.isOpened():
                    break
        if not writer.isOpened():
            raise DeepLabError(f"OpenCV cannot write {self._path} at {size[1]}x{size[0]}; try .avi, or a folder.")
        return writer

    def close(self) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if self._writer is None:  # no frame came
                os.unlink(self._part)
                return
            self._writer.release()
            self._writer = None
            _check_written(self._part, self._written)
            if self._source.sound:
                self.warning = add_sound(self._part, self._source, self._written / self._fps)
            try:
                put_in_place(self._part, self._path)
            except WrongCall as error:
                raise WrongCall(f"{error} The recording is in {self._part}.") from error
        finally:
            os.close(descriptor)


def _check_written(path, frames):
    """Count the frames by the file's header: OpenCV's writer reports no error, such as a full disk."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if found < frames - 1:
        raise DeepLabError(f"{path} is incomplete ({max(0, found)} of {frames} frames): is the disk full?")
