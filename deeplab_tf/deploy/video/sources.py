"""`open_source` for sources of all kinds; image files and synthetic street scenes."""

import glob
import os
import re
from typing import List, Optional, Sequence, Set

import numpy as np

from deeplab_tf.core.clock import awake
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import IMAGE_KINDS, IMAGE_SUFFIXES, list_images, read_image
from deeplab_tf.core.image_header import about_image
from deeplab_tf.core.input_files import natural_key
from deeplab_tf.deploy.video.address import Address, parse
from deeplab_tf.deploy.video.camera_source import CameraSource
from deeplab_tf.deploy.video.file_source import VideoFileSource
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Pacer, Source


def open_source(
    uri: str, *, paced: bool = False, retries: Optional[int] = None, loop: bool = False, without: Sequence[str] = ()
) -> Source:
    """Return the source of a URI.

    Args:
        uri: see address.py.
        paced: play a file or images at their own frame rate and drop frames, like a camera.
        retries: attempts in a row to reconnect a lost camera; None: no limit.
        loop: play a file or images again and again.
        without: folders below a folder of images that are not read, such as one that is written to.

    Raises:
        DeepLabError: a wrong URI, no such file or camera, not a video.
    """
    address = parse(uri)
    source: Source
    if address.kind == "images":
        source = ImageSource(_image_paths(address, without), address)
    elif address.kind == "file" and address.location.lower().endswith(IMAGE_SUFFIXES):
        source = ImageSource([address.location], address)
    elif address.kind == "file":
        source = VideoFileSource(address)
    elif address.kind == "sample":
        return SampleSource(address)
    else:
        return CameraSource(address, retries=retries)
    source.live = paced
    return LoopedSource(source, address) if loop else source


def local_files(uri: str, *, without: Sequence[str] = ()) -> List[str]:
    """Return the files and folders of this machine that a source reads, images in the order of its frames; `without` as
    in `open_source`.

    Raises DeepLabError as `open_source` does for a wrong URI, or a folder or pattern without images.
    """
    uri, address = uri.strip(), parse(uri)
    return _files_of(address, without) + [uri[1:]] * uri.startswith("@")


def _files_of(address, without):
    if address.kind == "images":
        return _image_paths(address, without) + [address.location] * os.path.isdir(address.location)
    if address.kind in ("gst", "ffmpeg"):
        words = re.findall(r"\"[^\"]*\"|'[^']*'|[^\s!,|;=\"']+", address.location)
        paths = [re.sub(r"^(\w+:)?file:(//)?|^concat:", "", word.strip("\"'")) for word in words]
        return [found for path in [address.location, *paths] for found in _read_by_a_pipeline(path)]
    return [address.location] if address.kind in ("file", "usb") else []


def _read_by_a_pipeline(path):
    """Return the files that a word of a pipeline names, as FFmpeg and GStreamer number images (%08d); a playlist may
    name any file beside it."""
    found = numbered(path) if _NUMBER.search(path) else glob.glob(glob.escape(path))
    if path.lower().endswith(_PLAYLISTS) and found:
        folder = os.path.dirname(path) or "."
        found += [os.path.join(folder, name) for name in os.listdir(folder)]
    return found


_PLAYLISTS = (".m3u8", ".m3u", ".ffconcat", ".concat", ".txt", ".mpd")


def _check_exists(path, name):
    if not os.path.exists(path):
        raise DeepLabError(f"There is no file {name}.")


def _image_paths(address, without=()) -> List[str]:
    """Return the images of a folder and its subfolders, or of a pattern, in natural order."""
    location = address.location
    if os.path.isdir(location):
        whole, *outside = (os.path.join(os.path.realpath(folder), "") for folder in (location, *without))
        below = tuple(folder for folder in outside if folder != whole and folder.startswith(whole))
        found = list_images(location, recursive=True)
        paths = [path for path in found if not os.path.realpath(path).startswith(below)]
        problem = f"The folder {location} has no image in it ({IMAGE_KINDS})."
    else:
        found = numbered(location) if _NUMBER.search(location) else glob.glob(location, recursive=True)
        found = sorted(found, key=natural_key)
        paths = [path for path in found if path.lower().endswith(IMAGE_SUFFIXES)]
        problem = f"No image matches {address.safe} ({IMAGE_KINDS})."
    if not paths:
        raise DeepLabError(problem)
    return paths


_NUMBER = re.compile(r"%(0\d+|\d*)d")


def numbered(pattern: str) -> List[str]:
    """Return the files that a pattern such as frame_%05d.png names: %d any number, %05d one of at least five digits."""
    folder, name = os.path.split(pattern)
    parts = _NUMBER.split(name)
    form = "".join(
        (rf"(?:\d{{{int(part)}}}|[1-9]\d{{{int(part)},}})" if int(part or 0) else r"\d+") if i % 2 else re.escape(part)
        for i, part in enumerate(parts)
    )
    places = glob.glob(_NUMBER.sub("*", glob.escape(folder))) if folder else ["."]
    found = (os.path.join(place if folder else "", each) for place in places for each in _names(place))
    return [path for path in found if re.fullmatch(form, os.path.basename(path))]


def _names(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


class ImageSource(Source):
    """Image files in the given order; they may differ in size."""

    def __init__(self, paths: List[str], address: Address):
        super().__init__(address)
        self.total, self._paths = len(paths), paths
        self.folder = address.location if os.path.isdir(address.location) else ""
        _check_exists(paths[0], self.safe)
        if os.path.exists(paths[0]) and not os.path.isfile(paths[0]):
            raise DeepLabError(f"{paths[0]} is a pipe or a device; name an image file.")

    def run(self, deliver, stopped):
        pacer = Pacer(self.live, stopped)
        said: Set[str] = set()
        for number, path in enumerate(self._paths):
            start = awake()
            image = read_image(path)
            for sentence in about_image(path, said):
                self.warnings = [*self.warnings, sentence]
                self.say(f"Warning: {sentence}")
            seconds = awake() - start
            time = number / DEFAULT_FPS
            pacer.wait(time)
            captured_at, seconds = (awake(), 0.0) if self.live else (start, seconds)
            if stopped.is_set() or not deliver(captured_at, image, seconds, path, time, 1.0 / DEFAULT_FPS):
                return


class LoopedSource(Source):
    """Plays a source that ends again and again; its frames are counted on."""

    def __init__(self, source: Source, address: Address):
        super().__init__(address)
        self._source = source
        self.live, self.fps, self.folder = source.live, source.fps, source.folder

    def run(self, deliver, stopped):
        more, frames, begin, end = True, 1, 0.0, 0.0

        def count(captured_at, image, seconds, name, time, duration):
            nonlocal more, frames, end
            more, frames = deliver(captured_at, image, seconds, name, begin + time, duration), frames + 1
            end = begin + time + (duration or 1.0 / (self.fps or DEFAULT_FPS))
            return more

        while more and frames and not stopped.is_set():
            frames, begin = 0, end  # without any frame it would spin
            self._source.run(count, stopped)


class SampleSource(Source):
    """An endless drive through synthetic streets. Drawing a frame takes longer than showing it, so some seconds are
    drawn first, then played forwards and backwards."""

    live = True

    def __init__(self, address: Address):
        super().__init__(address)
        self._fps, self._options = float(address.options["fps"]), address.options
        self.fps = self._fps
        self._drawn: List[np.ndarray] = []

    def prepare(self, stopped) -> None:
        """Draw the scenes, until done or the threading.Event `stopped` is set; `run` does so otherwise."""
        from deeplab_tf.core.progress import progress
        from deeplab_tf.synth import draw_scene

        options = self._options
        count = max(1, int(round(options["seconds"] * self._fps)))
        with progress(count - len(self._drawn), "sample", unit="frames drawn") as bar:
            while len(self._drawn) < count and not stopped.is_set():
                time_s = len(self._drawn) / self._fps
                self._drawn.append(draw_scene(options["seed"], options["scene"], options["size"], time=time_s).image)
                bar.advance()

    def run(self, deliver, stopped):
        if not self._drawn:
            self.prepare(stopped)
        if not self._drawn:
            return
        loop, i = self._drawn + self._drawn[-2:0:-1], 0
        pacer = Pacer(True, stopped)
        while True:
            pacer.wait(i / self._fps)
            if stopped.is_set() or not deliver(awake(), loop[i % len(loop)], 0.0, ""):
                return
            i += 1
