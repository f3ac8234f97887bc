"""The sound of a source's file in a saved video: copied by ffmpeg, where it is installed."""

import contextlib
import os
import shutil
import subprocess
from typing import List, Optional

from deeplab_tf.core.files import replacing
from deeplab_tf.deploy.video.source import Source

_LEAST_DELAY_S = 0.04
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}


def add_sound(path: str, source: Source, seconds: float) -> Optional[str]:
    """Copy the sound of a source into the video at `path`.

    Args:
        path: of a video without sound; replaced.
        source: whose `sound` is a file.
        seconds: length of the video. Where it ends before its source, its sound does too.

    Returns:
        A sentence for the user about sound that is missing or encoded anew; None if it was copied as it is.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return f"The saved video has no sound: to copy that of {source.safe}, install ffmpeg (apt install ffmpeg)."
    for codec in ("copy", "aac"):
        with contextlib.suppress(_Failed), replacing(path) as joined:
            _join(ffmpeg, codec, path, joined, source, seconds)
            return None if codec == "copy" else f"The sound of {source.safe} is encoded anew, as AAC."
    return f"The saved video has no sound: ffmpeg cannot read that of {source.safe}."


class _Failed(Exception):
    pass


def _join(ffmpeg, codec, path, joined, source, seconds) -> None:
    """Write the video with sound. Raise _Failed if ffmpeg does."""
    command: List[str] = [ffmpeg, "-nostdin", "-v", "quiet", "-y"]
    if -source.sound_delay > _LEAST_DELAY_S:
        command += ["-itsoffset", f"{-source.sound_delay:.6f}"]
    command += ["-i", "file:" + path, "-i", "file:" + source.sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy"]
    command += ["-c:a", codec]
    if source.duration is None or seconds < source.duration - 1.0 / (source.fps or 25.0):
        command += ["-t", f"{max(0.0, -source.sound_delay) + seconds:.6f}"]
    command += ["-f", _FORMATS[os.path.splitext(path)[1].lower()], "file:" + joined]
    with open(os.devnull, "r+b") as nothing:
        try:  # in a session of its own: a Ctrl-C that ends the stream must not end this
            result = subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        except OSError as error:
            raise _Failed() from error
    if result.returncode:
        raise _Failed()
