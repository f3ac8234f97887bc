"""Where a stream goes: a window, a video file, a folder of pictures, label files, lines of JSON. See frame.py for what
a sink is."""

import json
import os
import sys
import time
from typing import Callable

import cv2

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video import camera, pipelines
from deeplab_tf.deploy.video.frame import Shown
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Source

_CODES = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
_MOST_FPS = 60.0
_LONGEST_GAP_S = 5.0


def save(path: str, source: Source):
    """The sink of `--save`: a video file by its suffix, a folder of pictures where there is none.

    Raises DeepLabError for another suffix, and for a place that cannot be written.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _CODES and not os.path.isdir(path):
        return VideoFile(path, source)
    if suffix and not os.path.isdir(path) and not path.endswith(os.sep):
        message = "--save {}: a video file ends in {}, a folder has no suffix. {}"
        raise DeepLabError(
            message.format(path, ", ".join(sorted(_CODES)), did_you_mean(suffix, _CODES)).split(" Choose from")[0]
        )
    return ImageFolder(path)


class Window:
    """A window on this machine's screen; Escape, q or closing it ends the stream."""

    _ESCAPE = (27, ord("q"), ord("Q"))

    def __init__(self, title: str, stop: Callable):
        """
        Args:
            title: of the window; only one window of each can be open.
            stop: called when a person ends it.

        Raises:
            DeepLabError: no screen here, or an OpenCV without windows.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DeepLabError(
                "--show needs a screen, and this session has none (DISPLAY is not set); use --serve 8080 and a browser."
            )
        self._title, self._stop = title, stop
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            message = (
                "--show needs an OpenCV with windows, and this one ({}) has none: take opencv-python, or "
                "--serve 8080 and a browser."
            )
            raise DeepLabError(message.format(cv2.__version__)) from error
        self._sized = False

    def write(self, shown: Shown) -> None:
        if not self._sized:
            cv2.resizeWindow(self._title, shown.picture.shape[1], shown.picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, cv2.cvtColor(shown.picture, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in self._ESCAPE or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._stop()

    def close(self) -> None:
        cv2.destroyAllWindows()


class VideoFile:
    """A video file that plays at the speed of life.

    From a file it has each frame once, at the file's rate. From a live source frames come irregularly: each is
    repeated, or left out, so that it stands where it was captured; of a gap, as when the source was lost, five seconds
    are kept.

    It is written as NAME.part.SUFFIX and gets its name at the end, also after an error or Ctrl-C; so under its name
    there is never half a file, and what a power cut leaves is not taken for a whole one.
    """

    def __init__(self, path: str, source: Source):
        """Raises DeepLabError where the folder cannot be made or written."""
        self._path, self._source = path, source
        stem, suffix = os.path.splitext(path)
        self._part, self._code = f"{stem}.part{suffix}", _CODES[suffix.lower()]
        self._writer = self._size = None
        self._written, self._start, self._fps = 0, 0.0, DEFAULT_FPS
        _make_folder(os.path.dirname(path) or ".")

    def write(self, shown: Shown) -> None:
        size = shown.picture.shape[1::-1]
        if self._writer is None:
            self._fps = min(self._source.fps or DEFAULT_FPS, _MOST_FPS)
            self._writer, self._size, self._start = self._open(size), size, shown.captured
        if size != self._size:
            message = "{}: the frames change from {}x{} to {}x{}, which a video file cannot; save them into a folder."
            raise DeepLabError(message.format(self._path, *(self._size[::-1] + size[::-1])))
        picture = cv2.cvtColor(shown.picture, cv2.COLOR_RGB2BGR)
        for _ in range(self._times(shown.captured)):
            self._writer.write(picture)
            self._written += 1

    def _times(self, captured: float) -> int:
        if not self._source.live:
            return 1
        longest = int(_LONGEST_GAP_S * self._fps)
        times = int(round((captured - self._start) * self._fps)) + 1 - self._written
        if times > longest:  # the clock of the file goes on from here
            self._start += (times - longest) / self._fps
        return max(0, min(longest, times))

    def _open(self, size):
        writer = cv2.VideoWriter(self._part, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*self._code), self._fps, size)
        if not writer.isOpened() and camera.has_gstreamer():
            for hardware in (True, False) if camera.is_jetson() else (False,):
                writer = cv2.VideoWriter(
                    pipelines.writer(self._part, hardware=hardware), cv2.CAP_GSTREAMER, 0, self._fps, size
                )
                if writer.isOpened():
                    break
        if not writer.isOpened():
            raise DeepLabError(f"OpenCV cannot write {self._path} at {size[1]}x{size[0]}; try .avi, or a folder.")
        return writer

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        _check_written(self._part, self._written)
        os.replace(self._part, self._path)


def _check_written(path, frames):
    """OpenCV's writer reports no error, as of a full disk: so the file is opened and its frames are counted by its
    header."""
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    there = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if there < frames - 1:
        message = "{} was not written whole ({} of {} frames): is the disk full?"
        raise DeepLabError(message.format(path, max(0, there), frames))


class ImageFolder:
    """One JPEG picture a frame: NAME_overlay.jpg of an image file, else 00000012.jpg by its number."""

    def __init__(self, folder: str):
        """Raises DeepLabError where the folder cannot be made or written."""
        self._folder, self._stems = folder, set()  # type: str, Set[str]
        _make_folder(folder)

    def write(self, shown: Shown) -> None:
        write_image(self._place(shown, "_overlay.jpg" if shown.name else ".jpg"), shown.picture)

    def _place(self, shown: Shown, ending: str) -> str:
        number = f"{shown.index:08d}"
        stem = os.path.splitext(os.path.basename(shown.name))[0] if shown.name else number
        if shown.name:
            stem = f"{stem}_{number}" if stem in self._stems else stem  # a pattern may find one name in several folders
            self._stems.add(stem)
        return os.path.join(self._folder, stem + ending)

    def close(self) -> None:
        """Every picture is whole already."""


class LabelFolder(ImageFolder):
    """One PNG file of class ids a frame, at the frame's own size: NAME.png of an image file, else 00000012.png."""

    def __init__(self, folder: str, label_stride: int = 1):
        """Raises DeepLabError where the folder cannot be made or written."""
        super().__init__(folder)
        self._label_stride = label_stride

    def write(self, shown: Shown) -> None:
        write_image(
            self._place(shown, ".png"), resize_labels(shown.label_map, shown.image.shape[:2], self._label_stride)
        )


class JsonLines:
    """One JSON object a frame, a line each, at once on disk: its number, time, figures, and the share of every
    class."""

    def __init__(self, path: str, table: LabelTable):
        """`path` is replaced; "-" is standard output. Raises DeepLabError where it cannot be written."""
        self._names, self._path = table.names, path
        self._clock = time.time() - time.monotonic()
        try:
            self._file = sys.stdout if path == "-" else open(path, "w", encoding="utf-8")  # noqa: SIM115 (until close)
        except OSError as error:
            raise DeepLabError(f"Cannot write {path}: {error.strerror}.") from error

    def write(self, shown: Shown) -> None:
        figures = shown.figures
        row = {"frame": shown.index, "time": round(self._clock + shown.captured, 4), "name": shown.name or None}
        row.update(
            fps=round(figures.fps, 3), latency_ms={name: round(ms, 3) for name, ms in figures.latency_ms.items()}
        )
        row.update(
            captured=figures.captured, shown=figures.shown, dropped=figures.dropped, reconnects=figures.reconnects
        )
        row.update(temperature_c=figures.temperature_c, throttled=figures.throttled)
        row["class_shares"] = {name: round(share, 6) for name, share in zip(self._names, figures.class_shares)}
        if figures.instances is not None:
            row["instances"] = {name: count for name, count in zip(self._names, figures.instances) if count}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not sys.stdout:
            self._file.close()


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DeepLabError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise DeepLabError(f"The folder {folder} cannot be written: permission denied.")
