"""Headers of Matroska and WebM files (RFC 9559): EBML elements of an id and a length, one in the other."""

import struct
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np

from deeplab_tf.deploy.video.container import VideoHeader

_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_TOP = (_EBML, _SEGMENT, _INFO, _TRACKS, _CLUSTER, 0x114D9B74, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367)
_SCALE, _LENGTH, _ENTRY, _NUMBER, _TYPE, _CODEC, _VIDEO = 0x2AD7B1, 0x4489, 0xAE, 0xD7, 0x83, 0x86, 0xE0
_DEFAULT_DURATION, _PROJECTION, _ROLL = 0x23E383, 0x7670, 0x7675
_TIME, _SIMPLE_BLOCK, _GROUP, _BLOCK, _DURATION = 0xE7, 0xA3, 0xA0, 0xA1, 0x9B
_MAX_HEADER = 1 << 24
_LONGEST_STILL = 5.0
"""Seconds that a file may be longer than its last frame says."""
_MAX_BLOCKS = 50000
"""Blocks that are looked at: of a longer file the rate and the end are OpenCV's."""

_ROLLS = {0: 1, 90: 8, 180: 3, 270: 6}
"""EXIF's orientation by a counter-clockwise turn in degrees."""


def begins(start: bytes) -> bool:
    """Return whether a file that begins so is of this kind."""
    return start[:4] == b"\x1a\x45\xdf\xa3"


def read(file, size: int) -> Optional[VideoHeader]:
    """Return the header of an open file of `size` bytes; None if it has no video."""
    reader = _Reader(file, size)
    reader.walk(0, size)
    video = next((track for track in reader.tracks if track.kind == 1), None)
    if video is None:
        return VideoHeader(cut=True) if reader.cut else None
    times, duration, start = None, None, 0.0
    stamps = np.sort(np.array(video.times, np.float64)) * reader.scale / 1e9
    if len(stamps) and reader.blocks < _MAX_BLOCKS:
        times, start = stamps - stamps[0], float(stamps[0])
        duration = float(times[-1]) + _last_step(video, times, reader)
    sounds = [track for track in reader.tracks if track.kind == 2]
    first = min([start] + [track.times[0] * reader.scale / 1e9 for track in sounds if track.times])
    return VideoHeader(video.codec, video.orientation, times, duration, start - first, bool(sounds), reader.cut)


def _last_step(video, times, reader) -> float:
    """Return the seconds that the last frame stays: until the file's end if the video is alone in it, else its own or
    the usual duration, else that of the frame before."""
    left = reader.length * reader.scale / 1e9 - video.times[0] * reader.scale / 1e9 - float(times[-1])
    if len(reader.tracks) == 1 and 0 < left < _LONGEST_STILL:
        return left
    own = video.last_duration * reader.scale / 1e9 or video.default_duration / 1e9
    return own or (float(times[-1] - times[-2]) if len(times) > 1 else 0.0)


class _Track:
    def __init__(self, data: bytes):
        fields = dict(_elements(data))
        self.number, self.kind = _integer(fields[_NUMBER]), _integer(fields[_TYPE])
        self.codec = fields.get(_CODEC, b"").decode("latin-1").strip("\0")
        self.default_duration = _integer(fields.get(_DEFAULT_DURATION, b""))  # nanoseconds
        self.times: List[int] = []
        self.last_duration = 0
        video = dict(_elements(fields.get(_VIDEO, b"")))
        roll = dict(_elements(video.get(_PROJECTION, b""))).get(_ROLL, b"")
        self.orientation = _ROLLS.get(int(round(_float(roll))) % 360, 1)


class _Reader:
    """Walks the elements of a file, over the data of the blocks.

    Attributes:
        scale: nanoseconds of a tick.
        length: of the file, in ticks; 0.0 if unknown.
        cut: whether an element ends behind the file's end.
    """

    def __init__(self, file, size):
        self._file, self._size = file, size
        self.scale, self.length, self.cut, self.blocks = 1000000, 0.0, False, 0
        self.tracks: List[_Track] = []
        self._cluster = 0
        self._by_number: Dict[int, _Track] = {}

    def walk(self, position: int, end: int) -> None:
        """Look at the elements from a position on."""
        while position < end and self.blocks < _MAX_BLOCKS:
            self._file.seek(position)
            head = self._file.read(12)
            kind, at = _id(head)
            length, at = _length(head, at)
            if kind is None or at > len(head):
                self.cut = True
                return
            body, position = position + at, position + at + (length or 0)
            unknown = length is None and kind in (_SEGMENT, _CLUSTER)
            if unknown:
                position = body  # its children are elements like others here
            whole = position <= self._size
            self.cut = self.cut or not whole
            if kind in (_SEGMENT, _CLUSTER, _GROUP) and not unknown:
                self.walk(body, min(position, self._size))
            elif not unknown and whole:
                self._take(kind, body, length)

    def _take(self, kind, body, length):
        if kind in (_SIMPLE_BLOCK, _BLOCK):
            self._file.seek(body)
            head = self._file.read(min(length, 12))
            number, at = _length(head, 0)
            track = self._by_number.get(number or 0)
            self.blocks += 1
            if track is not None:
                track.times.append(self._cluster + struct.unpack(">h", head[at : at + 2])[0])
                track.last_duration, self._last = 0, track
            return
        if kind not in (_INFO, _TRACKS, _TIME, _DURATION) or length > _MAX_HEADER:
            return
        self._file.seek(body)
        data = self._file.read(length)
        if kind == _INFO:
            fields = dict(_elements(data))
            self.scale = _integer(fields.get(_SCALE, b"")) or self.scale
            self.length = _float(fields.get(_LENGTH, b""))
        elif kind == _TIME:
            self._cluster = _integer(data)
        elif kind == _DURATION and self.blocks:
            self._last.last_duration = _integer(data)
        elif kind == _TRACKS:
            self.tracks = [_Track(body) for kind, body in _elements(data) if kind == _ENTRY]
            self._by_number = {track.number: track for track in self.tracks}


def _id(data: bytes) -> Tuple[Optional[int], int]:
    """Return an element's id and where it ends."""
    width = 9 - data[0].bit_length() if data and data[0] else 9
    return (int.from_bytes(data[:width], "big"), width) if width <= 4 else (None, width)


def _length(data: bytes, at: int) -> Tuple[Optional[int], int]:
    """Return a length and where it ends; None for unknown."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return None, len(data) + 1
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else value, at + width


def _elements(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """Yield (id, content) of the elements in one."""
    position = 0
    while position < len(data):
        head = data[position : position + 12]
        kind, at = _id(head)
        length, at = _length(head, at)
        if kind is None or length is None or position + at + length > len(data):
            return
        yield kind, data[position + at : position + at + length]
        position += at + length


def _integer(data: bytes) -> int:
    return int.from_bytes(data[:8], "big")


def _float(data: bytes) -> float:
    return struct.unpack(">f" if len(data) == 4 else ">d", data)[0] if len(data) in (4, 8) else 0.0
