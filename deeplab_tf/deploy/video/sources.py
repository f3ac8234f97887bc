"""Where frames come from: video files, images, drawn streets; cameras are in live.py."""

import glob
import os
import time
from typing import List, Optional

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import IMAGE_SUFFIXES, list_images, read_image
from deeplab_tf.deploy.video.address import Address, parse
from deeplab_tf.deploy.video.live import Live
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Source

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's lines on stderr hold the URL, password and all


def open_source(uri: str, *, paced: bool = False, retries: Optional[int] = None) -> Source:
    """The source that a URI names.

    Args:
        uri: see address.py.
        paced: a file or images come at their own speed, and frames are dropped, as if they were a camera's.
        retries: how often in a row a lost camera is tried again; None: for ever.

    Raises:
        DeepLabError: a wrong URI, no such file or camera, not a video.
    """
    address = parse(uri)
    if address.kind == "file":
        source = (
            Images([address.place], address) if address.place.lower().endswith(IMAGE_SUFFIXES) else VideoFile(address)
        )
    elif address.kind == "images":
        source = Images(_image_paths(address.place), address)
    elif address.kind == "sample":
        return Sample(address)
    else:
        return Live(address, retries=retries)
    source.live = paced
    return source


class _Pace:
    """Waits until the next frame is due; does nothing for a source that is not live."""

    def __init__(self, fps, live, stopped):
        self.period, self.live, self.stopped = 1.0 / fps, live, stopped
        self.due = time.monotonic()

    def wait(self):
        if self.live:
            now = time.monotonic()
            if now > self.due + 1.0:  # the machine slept or could not keep up: no burst to make up for it
                self.due = now
            self.stopped.wait(max(0.0, self.due - now))
            self.due += self.period


class VideoFile(Source):
    """A video file, by OpenCV with FFmpeg."""

    def __init__(self, address: Address):
        super().__init__(address)
        self._path = address.place
        capture = self._open()
        fps, total = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        self.fps = fps if 0 < fps < 1000 else None
        self.total = int(total) if total > 0 else None

    def _open(self):
        if not os.path.exists(self._path):
            raise DeepLabError(f"There is no file {self._path}.")
        if not os.access(self._path, os.R_OK):
            raise DeepLabError(f"{self._path} cannot be read: permission denied.")
        if os.path.getsize(self._path) == 0:
            raise DeepLabError(f"{self._path} is empty (0 bytes); copy it again.")
        capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG)
        if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) <= 0:
            message = (
                "{} is not a video that OpenCV can read: another kind of file, or one that was cut off; copy "
                "it again or convert it."
            )
            raise DeepLabError(message.format(self._path))
        return capture

    def run(self, deliver, stopped):
        capture, read, more = self._open(), 0, True
        pace = _Pace(self.fps or DEFAULT_FPS, self.live, stopped)
        try:
            while more and not stopped.is_set():
                start = time.monotonic()
                if not capture.grab():  # decodes
                    break
                pace.wait()
                captured = time.monotonic() if self.live else start
                there, image = capture.retrieve()
                if not there:
                    break
                image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
                seconds = time.monotonic() - captured  # of a file all of it, of a paced one what came after it was due
                read, more = read + 1, deliver(captured, image, seconds, "")
        finally:
            capture.release()
        if more and not stopped.is_set():
            self._check_end(read)

    def _check_end(self, read):
        """Headers without an index estimate the number from length and rate, so a hundredth (but at least one frame)
        may be missing."""
        if self.total is not None and read < self.total - max(1, self.total // 100):
            message = (
                "{} ends in the middle: {} of the {} frames that its header announces could be read; copy it again."
            )
            raise DeepLabError(message.format(self._path, read, self.total))


def _image_paths(place) -> List[str]:
    """The images of a folder or of a pattern, sorted."""
    if os.path.isdir(place):
        paths, what = list_images(place), "The folder {} has no PNG or JPEG image in it."
    else:
        paths = [path for path in sorted(glob.glob(place, recursive=True)) if path.lower().endswith(IMAGE_SUFFIXES)]
        what = "No PNG or JPEG image matches {}."
    if not paths:
        raise DeepLabError(what.format(place))
    return paths


class Images(Source):
    """Image files, in the order of their names; they may differ in size."""

    def __init__(self, paths: List[str], address: Address):
        super().__init__(address)
        self.total, self._paths = len(paths), paths
        if not os.path.exists(paths[0]):
            raise DeepLabError(f"There is no file {paths[0]}.")

    def run(self, deliver, stopped):
        pace = _Pace(DEFAULT_FPS, self.live, stopped)
        for path in self._paths:
            start = time.monotonic()
            image = read_image(path)
            seconds = time.monotonic() - start
            pace.wait()
            if stopped.is_set() or not deliver(
                time.monotonic() if self.live else start, image, 0.0 if self.live else seconds, path
            ):
                return


class Sample(Source):
    """A drive through drawn streets, without end: some seconds of it are drawn first, then played forwards and
    backwards.

    Drawing takes about a tenth of a second a frame, too long to do it live.
    """

    live = True

    def __init__(self, address: Address):
        super().__init__(address)
        self.fps, self._options = float(address.options["fps"]), address.options
        self._drawn = []  # type: List[np.ndarray]

    def prepare(self, stopped) -> None:
        """Draws, which takes some seconds; `run` does it where it was not done. Left early when the threading.Event
        `stopped` is set."""
        from deeplab_tf.core.progress import progress
        from deeplab_tf.synth import draw_scene

        options = self._options
        count = max(1, int(round(options["seconds"] * self.fps)))
        with progress(count - len(self._drawn), "sample", unit="frames drawn") as bar:
            while len(self._drawn) < count and not stopped.is_set():
                time_s = len(self._drawn) / self.fps
                self._drawn.append(draw_scene(options["seed"], options["scene"], options["size"], time=time_s).image)
                bar.advance()

    def run(self, deliver, stopped):
        if not self._drawn:
            self.prepare(stopped)
        if not self._drawn:
            return
        turn, i = self._drawn + self._drawn[-2:0:-1], 0
        pace = _Pace(self.fps, True, stopped)
        while True:
            pace.wait()
            if stopped.is_set() or not deliver(time.monotonic(), turn[i % len(turn)], 0.0, ""):
                return
            i += 1
