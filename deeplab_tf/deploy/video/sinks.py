"""Where a stream's frames go: a window, a folder of images, label files, JSON lines; video_sink.py has video files."""

import errno
import glob
import json
import os
import re
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, TextIO

import cv2

from deeplab_tf.core.clock import awake
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import is_device
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.standard_streams import raise_output_error
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.sink import Sink, make_folder
from deeplab_tf.deploy.video.source import Source
from deeplab_tf.deploy.video.video_sink import CODECS, VideoFileSink, is_video_name


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
        hint = did_you_mean(suffix, CODECS).split("Choose from")[0]
        raise DeepLabError(
            f"--save {path}: a video file ends in {', '.join(sorted(CODECS))}, a folder has no suffix. {hint}".rstrip()
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
        make_folder(folder)

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
    """One JSON object per frame, flushed at once: its number, its time by the clock and in the source, statistics, and
    the share of every class."""

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
            "source": stats.source,
            "source_time": None if frame.time is None else round(frame.time, 4),
            "fps": round(stats.fps, 3),
            "latency_ms": {name: round(ms, 3) for name, ms in stats.latency_ms.items()},
        }
        for key in ("captured", "shown", "dropped", "reconnects", "temperature_c", "throttled"):
            row[key] = getattr(stats, key)
        row["class_shares"] = {name: round(share, 6) for name, share in zip(self._names, stats.class_shares)}
        if stats.instances is not None:
            row["instances"] = {name: count for name, count in zip(self._names, stats.instances) if count}
        if frame.things is not None:
            row["distinct"] = {name: count for name, count in zip(self._names, stats.distinct or ()) if count}
            row["things"] = [
                {"id": thing.id, "class": self._names[thing.class_id], "box": thing.box, "pixels": thing.pixels}
                for thing in frame.things
            ]
        if stats.zones is not None:
            row.update(lines=stats.lines, zones=stats.zones)
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
