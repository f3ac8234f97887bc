"""Headers of AVI files: chunks of a name and a length in RIFF lists. An empty chunk repeats the frame before it."""

import struct
from typing import List, Optional, Tuple

import numpy as np

from deeplab_tf.deploy.video.container import VideoHeader

_MAX_INDEX = 1 << 28


def begins(start: bytes) -> bool:
    """Return whether a file that begins so is of this kind."""
    return start[:4] == b"RIFF" and start[8:12] == b"AVI "


def read(file, size: int) -> Optional[VideoHeader]:
    """Return the header of an open file of `size` bytes; None if it has no video."""
    reader = _Reader(file, size)
    reader.walk(0, size)
    video = next((i for i, (kind, _) in enumerate(reader.streams) if kind == b"vids"), None)
    if video is None:
        return None
    codec, scale, rate, length = struct.unpack("<4x4s12xII4xI", reader.streams[video][1][:36])
    step, filled = scale / float(rate or 1), np.ones(length if length < 1 << 25 else 0, bool)
    if reader.index is not None and reader.parts == 1:  # a part of more than 1 GB has an index of its own
        own = np.isin(reader.index["name"], [b"%02d%s" % (video, kind) for kind in (b"dc", b"db")])
        filled = reader.index["size"][own] > 0
    times = np.flatnonzero(filled) * step
    return VideoHeader(
        codec=codec.decode("latin-1").strip("\0 "),
        times=times - times[0] if len(times) and step > 0 else None,
        duration=len(filled) * step if step > 0 else None,
        sound=any(kind == b"auds" for kind, _ in reader.streams),
        cut=reader.cut,
    )


class _Reader:
    def __init__(self, file, size):
        self._file, self._size = file, size
        self.streams: List[Tuple[bytes, bytes]] = []
        self.index: Optional[np.ndarray] = None
        self.cut, self.parts = False, 0

    def walk(self, position: int, end: int) -> None:
        while position + 8 <= end:
            self._file.seek(position)
            name, length = struct.unpack("<4sI", self._file.read(8))
            if position + 8 + length > self._size:
                self.cut = True
            following = position + 8 + length + length % 2
            if name in (b"RIFF", b"LIST"):
                self.parts += name == b"RIFF"
                kind = self._file.read(4)
                if kind != b"movi":
                    self.walk(position + 12, min(following, self._size))
            elif name == b"strh":
                data = self._file.read(min(length, 64))
                self.streams.append((data[:4], data))
            elif name == b"idx1" and length < _MAX_INDEX:
                data = self._file.read(length)
                layout = np.dtype([("name", "S4"), ("flags", "<u4"), ("offset", "<u4"), ("size", "<u4")])
                self.index = np.frombuffer(data[: len(data) // 16 * 16], layout)
            position = following
