"""A video file as a source: every frame, upright, with its time."""

import os
from typing import Optional

import cv2
import numpy as np

from deeplab_tf.core.clock import awake
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.container import VideoHeader, no_decoder
from deeplab_tf.deploy.video.source import DEFAULT_FPS, Pacer, Source
from deeplab_tf.deploy.video.upright import Turner
from deeplab_tf.deploy.video.video_header import read_video_header

_NEAR_S = 0.002  # Matroska's times are rounded to milliseconds
_COMMON = ("H.264", "H.265", "MPEG-4", "FMP4", "Motion JPEG", "VP8", "VP9")
"""Codecs of which an OpenCV that opens a file has a decoder."""


class VideoFileSource(Source):
    """A video file, decoded by OpenCV with FFmpeg."""

    def __init__(self, address: Address):
        super().__init__(address)
        self._path = address.location
        self._header: Optional[VideoHeader] = None
        capture = self._open()
        header = self._header or VideoHeader()
        fps = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self.fps = fps if 0 < fps < 1000 else None
        if self.fps is None or not header.has_rate(self.fps):
            self.fps = header.fps or self.fps
        if header.times is not None:
            self.total, self.duration = len(header.times), header.duration
        if header.sound:
            self.sound, self.sound_delay = self._path, -header.start

    def _open(self):
        path = self._path
        if not os.path.exists(path):
            raise DeepLabError(f"There is no file {self.safe}.")
        if not os.access(path, os.R_OK):
            raise DeepLabError(f"{path} cannot be read: permission denied.")
        if not os.path.isfile(path):
            raise DeepLabError(f"{path} is a pipe or a device; name a video file, a folder of images or a camera.")
        if os.path.getsize(path) == 0:
            raise DeepLabError(f"{path} is empty (0 bytes); copy it again.")
        self._header = header = self._header or read_video_header(path)
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) <= 0:
            if header is not None and header.codec and not header.cut:
                raise no_decoder(path, header.codec_name, cv2.__version__)
            raise DeepLabError(
                f"{path} is not a video that OpenCV can read, or was cut off; copy it again or convert it."
            )
        return capture

    def run(self, deliver, stopped):
        capture, read, more = self._open(), 0, True
        turner = Turner(capture, None if self._header is None else self._header.orientation)
        pacer, clock = Pacer(self.live, stopped), _Clock(self._header or VideoHeader(), self.fps or DEFAULT_FPS)
        try:
            while more and not stopped.is_set():
                start = awake()
                if not capture.grab():  # decodes
                    break
                time, duration = clock.at(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
                pacer.wait(time)
                captured_at = awake() if self.live else start
                decoded, image = capture.retrieve()
                if not decoded:
                    break
                image = turner.turn(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image))
                read, more = read + 1, deliver(captured_at, image, awake() - captured_at, "", time, duration)
        finally:
            capture.release()
        if more and not stopped.is_set():
            self._check_end(read)

    def _check_end(self, read):
        """Raise DeepLabError unless the file was whole: cut off, damaged, or of a codec that is not there."""
        header = self._header or VideoHeader()
        if read == 0:
            if header.codec and not header.cut and header.codec_name not in _COMMON:
                raise no_decoder(self._path, header.codec_name, cv2.__version__)
            raise DeepLabError(f"{self._path} is a video without a frame that can be read; copy it again.")
        counted = not header.codec.startswith("V_")  # Matroska does not say how many there are
        if header.cut and not (counted and self.total and read >= self.total):
            of_all = f"{read} of the {self.total} frames that its header announces" if counted else f"{read} frames"
            raise DeepLabError(f"{self._path} ends in the middle: {of_all} could be read; copy it again.")
        if counted and self.total and read < self.total - max(1, self.total // 100):
            raise DeepLabError(
                f"{self._path} is damaged: {read} of the {self.total} frames that its header announces could be "
                "decoded; copy it again."
            )


class _Clock:
    """The time of each frame in turn: the header's, at the place where OpenCV says that the frame is; without a header
    OpenCV's while it advances, else that of the frame rate."""

    def __init__(self, header: VideoHeader, fps: float):
        self._times, self._step = header.times, 1.0 / fps
        self._end, self._next, self._last = header.duration, 0, -1.0 / fps
        self._first: Optional[float] = None

    def at(self, reported: float):
        """Return (time, duration or None) in seconds of the next frame, from what OpenCV reports for it."""
        if self._first is None:
            self._first = reported
        reported -= self._first
        if self._times is None or self._next >= len(self._times):
            near = self._last + 0.1 * self._step < reported < self._last + 3600.0
            self._last = reported if near and self._times is None else self._last + self._step
            return max(self._last, 0.0), None
        index = int(np.searchsorted(self._times, reported - _NEAR_S))
        if not (self._next < index < len(self._times) and abs(self._times[index] - reported) < _NEAR_S):
            index = self._next
        self._next, time = index + 1, float(self._times[index])
        following = float(self._times[index + 1]) if index + 1 < len(self._times) else self._end
        self._last = time
        return time, None if following is None else max(0.0, following - time)
