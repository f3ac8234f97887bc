"""`read_video_header` for the containers that are read here."""

import os
import struct
from typing import Optional

from deeplab_tf.deploy.video import avi, matroska, mp4
from deeplab_tf.deploy.video.container import VideoHeader


def read_video_header(path: str) -> Optional[VideoHeader]:
    """Return the header of an MP4, MOV, Matroska, WebM or AVI file; None for another or a damaged one."""
    try:
        with open(path, "rb") as file:
            start, size = file.read(12), os.path.getsize(path)
            for container in (mp4, matroska, avi):
                if container.begins(start):
                    return container.read(file, size)
    except (struct.error, ValueError, LookupError, OverflowError, EOFError, MemoryError, OSError, RecursionError):
        return None
    return None
