"""Headers of MP4 and MOV files (ISO/IEC 14496-12): boxes of a length and a name, one in the other.

A track's samples have decoding durations (stts) and offsets from decoding to display (ctts); its edit list (elst) says
which of them are shown, and when. A fragmented file repeats that in each moof box.
"""

import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from deeplab_tf.deploy.video.container import VideoHeader

_MAX_HEADER = 1 << 28
_MAX_SAMPLES = 1 << 25
_TOP = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_WHOLE = (*_TOP, b"moof", b"styp", b"sidx", b"mfra", b"uuid", b"meta", b"udta")
"""Boxes that a file may end in the middle of; what has another name is rubbish behind the last box."""

_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF's orientation by the signs of a display matrix (a, b, c, d): x' = ax + cy, y' = bx + dy, y downwards."""


def begins(start: bytes) -> bool:
    """Return whether a file that begins so is of this kind."""
    return start[4:8] in _TOP


def read(file, size: int) -> Optional[VideoHeader]:
    """Return the header of an open file of `size` bytes; None if it has no video."""
    moov, fragments, cut = _top_boxes(file, size)
    if moov is None:
        return VideoHeader(cut=True) if cut else None
    boxes = dict(_boxes(moov))
    tracks = [_Track(body) for name, body in _boxes(moov) if name == b"trak"]
    video = next((track for track in tracks if track.kind == b"vide"), None)
    if video is None:
        return None
    scale = struct.unpack(">I", boxes[b"mvhd"][12:16] if boxes[b"mvhd"][0] == 0 else boxes[b"mvhd"][20:24])[0]
    defaults = _fragment_defaults(boxes.get(b"mvex", b""), video.number)
    for fragment in fragments:
        video.add_fragment(fragment, defaults)
    times, duration, start = video.shown(scale)
    starts = [track.delay(scale) for track in tracks if track.kind in (b"vide", b"soun")]
    return VideoHeader(
        codec=video.codec,
        orientation=video.orientation,
        times=times,
        duration=duration,
        start=start - min(starts + [start]),
        sound=any(track.kind == b"soun" for track in tracks),
        cut=cut,
    )


def _top_boxes(file, size) -> Tuple[Optional[bytes], List[bytes], bool]:
    """Return the moov box, the moof boxes, and whether a box ends behind the file's end."""
    moov: Optional[bytes] = None
    fragments: List[bytes] = []
    position, header = 0, 0
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        skipped = 8
        if length == 1:
            length, skipped = struct.unpack(">Q", file.read(8))[0], 16
        elif length == 0:  # to the end of the file
            length = size - position
        if length < skipped:
            raise ValueError("a box without its own head")
        if position + length > size:
            return moov, fragments, moov is None or name in _WHOLE
        if name in (b"moov", b"moof"):
            header += length
            if header > _MAX_HEADER:
                raise ValueError("a header of more than 256 MB")
            body = file.read(length - skipped)
            if name == b"moov":
                moov = body
            else:
                fragments.append(body)
        position += length
    return moov, fragments, moov is None


def _boxes(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    """Yield (name, content) of the boxes in a box."""
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        skipped = 8
        if length == 1:
            length, skipped = struct.unpack_from(">Q", data, position + 8)[0], 16
        length = length or len(data) - position
        if length < skipped or position + length > len(data):
            return
        yield name, data[position + skipped : position + length]
        position += length


def _inside(data: bytes, *names: bytes) -> bytes:
    """Return the content of a box by its path."""
    for name in names:
        data = dict(_boxes(data))[name]
    return data


def _table(data: bytes, columns: int, signed: bool = False) -> np.ndarray:
    """Return the rows of a table that begins with version, flags and its length."""
    count = struct.unpack(">I", data[4:8])[0]
    found = np.frombuffer(data, ">i4" if signed else ">u4", count * columns, 8)
    return found.reshape(-1, columns).astype(np.int64)


def _repeated(runs: np.ndarray, count: int) -> np.ndarray:
    """Return `count` values of a table of (times, value); the last goes on."""
    if runs[:, 0].sum() > _MAX_SAMPLES or count > _MAX_SAMPLES:
        raise ValueError("more samples than any video has")
    values = np.repeat(runs[:, 1], runs[:, 0])[:count]
    return np.pad(values, (0, count - len(values)), "edge") if len(values) else np.zeros(count, np.int64)


class _Track:
    """One track: picture or sound."""

    def __init__(self, data: bytes):
        boxes = dict(_boxes(data))
        self._boxes, head = boxes, boxes[b"tkhd"]
        at = 20 if head[0] else 12
        self.number = struct.unpack(">I", head[at : at + 4])[0]
        self.kind = _inside(boxes[b"mdia"], b"hdlr")[8:12]
        self.orientation = _orientation(head[-44:-8])
        media = _inside(boxes[b"mdia"], b"mdhd")
        self.scale = struct.unpack(">I", media[20:24] if media[0] else media[12:16])[0] or 1
        self.codec, self._edits = "", self._edit_list()
        self._display = self._end = np.zeros(0, np.int64)
        if self.kind == b"vide":
            self._read_samples(dict(_boxes(_inside(boxes[b"mdia"], b"minf", b"stbl"))))

    def _edit_list(self) -> List[Tuple[int, int]]:
        """Return (duration in the movie's time scale, media time or -1 for nothing) of each edit."""
        if b"edts" not in self._boxes:
            return []
        data = dict(_boxes(self._boxes[b"edts"])).get(b"elst", b"\0" * 8)
        form, size = (">Qq4x", 20) if data[0] else (">Ii4x", 12)
        count = min(struct.unpack(">I", data[4:8])[0], (len(data) - 8) // size)
        return [struct.unpack_from(form, data, 8 + i * size) for i in range(count)]

    def _read_samples(self, table: Dict[bytes, bytes]) -> None:
        entry = table[b"stsd"]
        self.codec = entry[12:16].decode("latin-1").strip("\0 ")
        sizes = table.get(b"stsz") or table[b"stz2"]
        steps = _repeated(_table(table[b"stts"], 2), struct.unpack(">I", sizes[8:12])[0])
        offsets = np.zeros(len(steps), np.int64)
        if b"ctts" in table:
            offsets = _repeated(_table(table[b"ctts"], 2, signed=True), len(steps))
        self._add(np.cumsum(steps) - steps, steps, offsets)

    def _add(self, decoding, steps, offsets) -> None:
        self._display = np.concatenate([self._display, decoding + offsets])
        self._end = np.concatenate([self._end, decoding + offsets + steps])

    def add_fragment(self, fragment: bytes, defaults: int) -> None:
        """Append the samples of a moof box."""
        for name, body in _boxes(fragment):
            parts = list(_boxes(body)) if name == b"traf" else []
            head = dict(parts).get(b"tfhd", b"")
            if not head or struct.unpack(">I", head[4:8])[0] != self.number:
                continue
            step, at = _fragment_step(head, defaults), int(self._end.max()) if len(self._end) else 0
            decode = dict(parts).get(b"tfdt")
            if decode:
                at = struct.unpack(">Q", decode[4:12])[0] if decode[0] else struct.unpack(">I", decode[4:8])[0]
            for part, run in parts:
                if part == b"trun":
                    steps, offsets = _run(run, step)
                    self._add(at + np.cumsum(steps) - steps, steps, offsets)
                    at += int(steps.sum())

    def delay(self, scale: int) -> float:
        """Return the seconds that the track begins after the movie."""
        waits = 0
        for duration, media_time in self._edits:
            if media_time >= 0:
                break
            waits += duration
        return waits / float(scale or 1)

    def shown(self, scale: int) -> Tuple[Optional[np.ndarray], Optional[float], float]:
        """Return the times of the frames that are shown, the seconds until the last ends, and the first one's time."""
        if not len(self._display):
            return None, None, 0.0
        order = np.argsort(self._display, kind="stable")
        begin, end, at = self._display[order] / self.scale, self._end[order] / self.scale, 0.0
        end[:-1] = begin[1:]  # a frame stays until the next
        edits = [(duration / float(scale or 1), media_time) for duration, media_time in self._edits]
        if not any(media_time >= 0 for _, media_time in edits):
            return begin - begin[0], float(end[-1] - begin[0]), float(begin[0]) + self.delay(scale)
        times, last = [], 0.0
        for duration, media_time in edits:
            if media_time < 0:
                at += duration
                continue
            first = media_time / float(self.scale)
            until = first + duration if duration > 0 else np.inf
            # an edit's end is rounded to the movie's time scale
            inside = (begin >= first - 1e-6) & (begin < until - 0.5 / max(scale, 1))
            if inside.any():
                times.append(begin[inside] - first + at)
                last = at + min(float(end[inside][-1]) - first, float(until) - first)
            at += duration
        if not times:
            return None, None, 0.0
        found = np.concatenate(times)
        return found - found[0], max(0.0, last - float(found[0])), float(found[0])


def _orientation(matrix: bytes) -> int:
    a, b, _, c, d = struct.unpack(">5i", matrix[:20])
    largest = max(map(abs, (a, b, c, d))) or 1
    signs: Any = tuple(int(round(value / largest)) for value in (a, b, c, d))
    return _ORIENTATIONS.get(signs, 1)


def _fragment_defaults(mvex: bytes, number: int) -> int:
    """Return the duration of a fragment's sample where nothing else says."""
    for name, body in _boxes(mvex):
        if name == b"trex" and struct.unpack(">I", body[4:8])[0] == number:
            return struct.unpack(">I", body[12:16])[0]
    return 0


def _fragment_step(head: bytes, default: int) -> int:
    flags = struct.unpack(">I", head[:4])[0]
    at = 8 + 8 * bool(flags & 1) + 4 * bool(flags & 2)
    return struct.unpack(">I", head[at : at + 4])[0] if flags & 8 else default


def _run(data: bytes, step: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the durations and display offsets of a trun box."""
    flags, count = struct.unpack(">II", data[:8])
    at = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
    columns = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    if count > _MAX_SAMPLES:
        raise ValueError("more samples than any video has")
    rows: Any = np.frombuffer(data, ">i4", count * len(columns), at).reshape(count, len(columns)).astype(np.int64)
    steps = rows[:, columns.index(0x100)] if 0x100 in columns else np.full(count, step, np.int64)
    return steps, rows[:, columns.index(0x800)] if 0x800 in columns else np.zeros(count, np.int64)
