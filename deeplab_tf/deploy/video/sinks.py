"""Where a stream's frames go: a window, a video file, a folder of images, label files, JSON lines."""

import contextlib
import errno
import fcntl
import glob
import itertools
import json
import os
import re
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, TextIO, Tuple

import cv2

from deeplab_tf.core.clock import awake
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError, WrongCall, did_you_mean
from deeplab_tf.core.files import is_device, is_locked, put_in_place, remove_parts
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.standard_streams import raise_output_error
from deeplab_tf.deploy.video import camera, pipelines
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Source

_CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_MAX_FPS = 60.0
_MAX_GAP_S = 5.0


class Sink:
    """Receives a stream's frames; all sinks of a stream are called from one thread."""

    def write(self, frame: AnnotatedFrame) -> None:
        """Take the next frame, in order. Must not wait for a viewer, nor change the arrays."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish; called once, also after an error."""


def is_video_name(path: str) -> bool:
    """Return whether `--save` of this path is a video file, and not a folder."""
    return os.path.splitext(path)[1].lower() in _CODECS and not os.path.isdir(path)


def save(path: str, source: Source) -> Sink:
    """Return the sink of `--save`: a video file by its suffix, a folder of images if there is none.

    Raises:
        DeepLabError: another suffix, or a place that cannot be written.
    """
    if "://" in path:
        raise DeepLabError("--save writes a file or a folder of this machine, and was given an address.")
    suffix = os.path.splitext(path)[1].lower()
    is_folder = os.path.isdir(path)
    if is_video_name(path):
        return VideoFileSink(path, source)
    if suffix and not is_folder and not path.endswith(os.sep):
        hint = did_you_mean(suffix, _CODECS).split("Choose from")[0]
        raise DeepLabError(
            f"--save {path}: a video file ends in {', '.join(sorted(_CODECS))}, a folder has no suffix. {hint}".rstrip()
        )
    return ImageFolderSink(path, source.folder)


class WindowSink(Sink):
    """A window on this machine's screen; Escape, q or closing it ends the stream."""

    _ESCAPE = (27, ord("q"), ord("Q"))

    def __init__(self, title: str, stop: Callable[[], object]):
        """Open the window.

        Args:
            title: of the window; only one window of each can be open.
            stop: called when the user ends it.

        Raises:
            DeepLabError: no screen, or an OpenCV without windows.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeepLabError(
                "--show needs a screen, and this session has none (DISPLAY is not set); use --serve 8080 and a browser."
            )
        self._title, self._stop, self._sized = title, stop, False
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise DeepLabError(
                f"--show needs an OpenCV with windows, and this one ({cv2.__version__}) has none: take opencv-python, "
                "or --serve 8080 and a browser."
            ) from error

    def write(self, frame: AnnotatedFrame) -> None:
        if not self._sized:
            cv2.resizeWindow(self._title, frame.annotated.shape[1], frame.annotated.shape[0])
            self._sized = True
        cv2.imshow(self._title, cv2.cvtColor(frame.annotated, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in self._ESCAPE or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._stop()

    def close(self) -> None:
        cv2.destroyAllWindows()


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
    """A video file that plays in real time.

    A file's frames are written once each, at the file's rate. A live source's come irregularly: each is repeated or
    left out so that it stands where it was captured; of a gap, as when the source was lost, five seconds are kept.

    It is recorded as `part_name`, which stays visible (unlike the hidden file of `core.files.replacing`): a recording
    cut short by a power failure or a full disk is worth keeping. `close` renames it.
    """

    def __init__(self, path: str, source: Source):
        """Raise DeepLabError if the folder cannot be made or written."""
        self._path, self._source = path, source
        self._codec = _CODECS[os.path.splitext(path)[1].lower()]
        self._writer: Optional[Any] = None
        self._size = (0, 0)  # width, height
        self._written, self._start, self._fps = 0, 0.0, DEFAULT_FPS
        _make_folder(os.path.dirname(path) or ".")
        self._descriptor: Optional[int]
        self._part, self._descriptor = _reserve(path)

    def write(self, frame: AnnotatedFrame) -> None:
        height, width = frame.annotated.shape[:2]
        if self._writer is None:
            self._fps = min(self._source.fps or DEFAULT_FPS, _MAX_FPS)
            self._size, self._start = (width, height), frame.captured_at
            self._writer = self._open()
        if (width, height) != self._size:
            raise DeepLabError(
                f"{self._path}: the frames change from {self._size[1]}x{self._size[0]} to {height}x{width}, which a "
                "video file cannot; save them into a folder."
            )
        image = cv2.cvtColor(frame.annotated, cv2.COLOR_RGB2BGR)
        for _ in range(self._repeats(frame.captured_at)):
            self._writer.write(image)
            self._written += 1

    def _repeats(self, captured_at: float) -> int:
        if not self._source.live:
            return 1
        longest = int(_MAX_GAP_S * self._fps)
        repeats = int(round((captured_at - self._start) * self._fps)) + 1 - self._written
        if repeats > longest:  # the clock of the file goes on from here
            self._start += (repeats - longest) / self._fps
        return max(0, min(longest, repeats))

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


class ImageFolderSink(Sink):
    """One JPEG per frame: NAME_overlay.jpg for an image file, else 00000012.jpg by its number."""

    NAMED, NUMBERED = "_overlay.jpg", ".jpg"

    def __init__(self, folder: str, source_folder: str = ""):
        """
        Args:
            folder: where they are written.
            source_folder: the images' folder, whose subfolders are kept; "" keeps none.

        Raises:
            DeepLabError: the folder cannot be made or written.
        """
        self._folder, self._source_folder = folder, source_folder
        self._stems: Set[str] = set()
        _make_folder(folder)

    def write(self, frame: AnnotatedFrame) -> None:
        write_image(self._path(frame), frame.annotated)

    @classmethod
    def paths(cls, folder: str, images: Sequence[str], source_folder: str = "") -> List[str]:
        """Return the files that a sink of this folder writes for these image files; for a video, of which the number
        of frames is not known, those that are there and have such names."""
        names = [_stem(path, source_folder) + cls.NAMED for path in images]
        if names:
            return [os.path.join(folder, name) for name in names]
        return glob.glob(os.path.join(glob.escape(folder), "[0-9]" * 8 + cls.NUMBERED))

    def _path(self, frame: AnnotatedFrame) -> str:
        stem = number = f"{frame.number:08d}"
        if frame.name:
            stem = _stem(frame.name, self._source_folder)
            if stem in self._stems:  # a pattern may find one name in several folders
                stem = f"{stem}_{number}"
            self._stems.add(stem)
        return os.path.join(self._folder, stem + (self.NAMED if frame.name else self.NUMBERED))


class LabelFolderSink(ImageFolderSink):
    """One PNG of class ids per frame, at the frame's size: NAME.png for an image file, else 00000012.png."""

    NAMED = NUMBERED = ".png"

    def __init__(self, folder: str, label_stride: int = 1, source_folder: str = ""):
        """Take the labels' stride, and the rest as `ImageFolderSink` does."""
        super().__init__(folder, source_folder)
        self._label_stride = label_stride

    def write(self, frame: AnnotatedFrame) -> None:
        height, width = frame.image.shape[:2]
        write_image(self._path(frame), resize_labels(frame.label_map, (height, width), self._label_stride))


class JsonLinesSink(Sink):
    """One JSON object per frame, flushed at once: its number, time, statistics, and the share of every class."""

    _BEGINNING = re.compile(rb'\{"frame": \d+, "time": [\d.]+, "name": ')

    def __init__(
        self, path: str, table: LabelTable, stop: Callable[[], object] = lambda: None, *, overwrite: bool = False
    ):
        """
        Args:
            path: of the file, "-" for standard output. It is opened with the first frame.
            table: the classes.
            stop: called when nobody reads them any more, such as head.
            overwrite: replace what is there, instead of continuing it.

        Raises:
            DeepLabError: the file cannot be written.
        """
        self._path, self._names, self._stop, self._mode = path, table.names, stop, "w" if overwrite else "a"
        self._file: Optional[TextIO] = sys.stdout if path == "-" else None
        if self._file is None:
            _check_writable(path)

    @classmethod
    def wrote(cls, path: str) -> bool:
        """Return whether a file holds the lines of such a sink."""
        with open(path, "rb") as file:
            return cls._BEGINNING.match(file.read(100)) is not None

    def write(self, frame: AnnotatedFrame) -> None:
        stats = frame.stats
        row: Dict[str, Any] = {
            "frame": frame.number,
            "time": round(time.time() - awake() + frame.captured_at, 4),
            "name": frame.name or None,
            "fps": round(stats.fps, 3),
            "latency_ms": {name: round(ms, 3) for name, ms in stats.latency_ms.items()},
        }
        for key in ("captured", "shown", "dropped", "reconnects", "temperature_c", "throttled"):
            row[key] = getattr(stats, key)
        row["class_shares"] = {name: round(share, 6) for name, share in zip(self._names, stats.class_shares)}
        if stats.instances is not None:
            row["instances"] = {name: count for name, count in zip(self._names, stats.instances) if count}
        if self._file is None:
            self._file = self._open()
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            if self._file is sys.stdout:
                raise_output_error()
        except BrokenPipeError:
            self._stop()

    def _open(self):
        file = open(self._path, self._mode, encoding="utf-8")  # noqa: SIM115 (until close)
        if self._mode == "a" and not is_device(self._path) and not _ends_with_newline(self._path):
            file.write("\n")  # after half a line of a process that was killed
        return file

    def close(self) -> None:
        if self._file not in (None, sys.stdout):
            self._file.close()


def _ends_with_newline(path):
    """Return whether a file is empty, or ends with a whole line."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")


def _check_writable(path: str) -> None:
    place = path if os.path.exists(path) else os.path.dirname(path) or "."
    problem = errno.EISDIR if os.path.isdir(path) else None if os.access(place, os.W_OK) else errno.EACCES
    if not os.path.exists(place):
        problem = errno.ENOENT
    if problem is not None:
        raise DeepLabError(f"Cannot write {path}: {os.strerror(problem)}.")


def _stem(path: str, source_folder: str) -> str:
    """Return the name of an image file without suffix, below the folder of the source if it is one."""
    return os.path.splitext(os.path.relpath(path, source_folder) if source_folder else os.path.basename(path))[0]


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DeepLabError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise DeepLabError(f"The folder {folder} cannot be written: permission denied.")
    remove_parts(folder)
