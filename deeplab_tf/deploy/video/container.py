"""What the header of a video file says: codec, display rotation, the time of each frame, sound, whether it is cut off.

OpenCV does not tell: it counts frames that are not there, knows no rotation before 4.5, and no time of the last frames
of some files. So the containers of cameras, phones and browsers are read here; of others, OpenCV's word is taken.
"""

import os
import shlex
from typing import NamedTuple, Optional

import numpy as np

from deeplab_tf.core.errors import DeepLabError

_CODEC_NAMES = {
    "av01": "AV1",
    "av1": "AV1",
    "avc1": "H.264",
    "avc3": "H.264",
    "h264": "H.264",
    "x264": "H.264",
    "mpeg4/iso/avc": "H.264",
    "hev1": "H.265",
    "hvc1": "H.265",
    "hevc": "H.265",
    "mpegh/iso/hevc": "H.265",
    "dvh1": "Dolby Vision",
    "dvhe": "Dolby Vision",
    "vvc1": "H.266",
    "vvi1": "H.266",
    "mpegi/iso/vvc": "H.266",
    "vp8": "VP8",
    "vp80": "VP8",
    "vp9": "VP9",
    "vp90": "VP9",
    "vp09": "VP9",
    "mp4v": "MPEG-4",
    "mpeg4/iso/asp": "MPEG-4",
    "encv": "encrypted",
    "prores": "ProRes",
    "apcn": "ProRes",
    "apch": "ProRes",
    "ap4h": "ProRes",
    "mjpg": "Motion JPEG",
}
"""A codec as people know it, by its name in the file, in lowercase."""


class VideoHeader(NamedTuple):
    """A video file as its header describes it.

    Attributes:
        codec: name in the file, such as avc1 or V_AV1; "" if unknown.
        orientation: how a frame must be turned for display, as EXIF counts: 1 (not at all) to 8.
        times: seconds from the first frame to each, in order of display; None if the container does not say.
        duration: seconds from the first frame to the end of the last; None if unknown.
        start: seconds by which the video begins later than the file.
        sound: whether there is any.
        cut: whether the file ends before its container does.
    """

    codec: str = ""
    orientation: int = 1
    times: Optional[np.ndarray] = None
    duration: Optional[float] = None
    start: float = 0.0
    sound: bool = False
    cut: bool = False

    @property
    def codec_name(self) -> str:
        """The codec as people know it, such as AV1; "" if unknown."""
        name = self.codec[2:] if self.codec.startswith("V_") else self.codec
        return _CODEC_NAMES.get(name.lower(), name)

    @property
    def fps(self) -> Optional[float]:
        """The frame rate at which nine frames in ten have a place of their own; None if the times are unknown."""
        steps = np.zeros(0) if self.times is None else np.diff(self.times)
        steps = steps[steps > 0]
        if not len(steps):
            return None
        fps = 1.0 / float(np.percentile(steps, 10))
        whole = max(1.0, round(fps))  # Matroska's times are rounded to milliseconds
        return whole if abs(fps - whole) < 0.015 * whole else fps

    def has_rate(self, fps: float) -> bool:
        """Return whether each frame stands within half a frame of its place at a constant rate."""
        if self.times is None or not len(self.times):
            return True
        places = np.arange(len(self.times)) / fps
        return float(np.abs(self.times - places).max()) < 0.5 / fps


def no_decoder(path: str, codec: str, version: str) -> DeepLabError:
    """Return the error of a video whose codec OpenCV lacks, with the command that converts it."""
    stem, suffix = os.path.splitext(path)
    target = f"{stem}_h264{suffix if suffix.lower() in ('.mp4', '.mkv', '.mov') else '.mp4'}"
    command = f"ffmpeg -i {shlex.quote(path)} -c:v libx264 {shlex.quote(target)}"
    return DeepLabError(f"{path} holds {codec} video, which OpenCV {version} here cannot decode; convert it: {command}")
