"""Structure of TIFF, WebP and BMP files, as far as a header must say it: size, kind, pages, and their end."""

import struct
from typing import Dict, NamedTuple, Optional, Set, Tuple

ORIENTATION_TAG = 0x0112
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types of the numbers that matter here: byte, short, long, and BigTIFF's."""
_TIFF_KINDS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "RGB"}
_WITH_ALPHA = {"gray": (2, "gray + alpha"), "RGB": (4, "RGBA")}
_TAGS = {
    "subfile": 254,
    "width": 256,
    "height": 257,
    "bits": 258,
    "compression": 259,
    "color": 262,
    "offsets": 273,
    "orientation": ORIENTATION_TAG,
    "samples": 277,
    "lengths": 279,
    "tile_offsets": 324,
    "tile_lengths": 325,
    "alpha": 338,
    "sample_format": 339,
}
_MAX_PAGES = 10_000


class Structure(NamedTuple):
    """What a file says of its pixels."""

    format: str  # "TIFF", "TIFF of JPEG", "WebP" or "BMP"
    size: Tuple[int, int]  # height, width as stored
    kind: str  # as `image_header.ImageHeader.kind`; "float" for floating-point numbers
    bits: int
    orientation: int
    pages: int  # images of full size
    end: int  # bytes that the file has, at least
    plain: Tuple[int, ...] = ()  # where a number must become 1 so that decoders give the pixels as stored


def parse(data: bytes) -> Optional[Structure]:
    """Return the structure of a file's bytes, or of its first ones; None for other formats. Raise struct.error where it
    is not in them."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return _bmp(data) if data[:2] == b"BM" and len(data) > 30 else None


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in a TIFF block: in its first directory, a short. 1 where it is absent or absurd."""
    exif = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for i in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * i)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


class _Directory:
    """A directory of a TIFF (TIFF 6.0, section 2): its tags, and where the next one is."""

    def __init__(self, data: bytes, at: int, order: str, big: bool):
        word, entry = ("Q", 20) if big else ("I", 12)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        start = at + (8 if big else 2)
        self._data, self._order, self._inline = data, order, 8 if big else 4
        self._entries: Dict[int, Tuple[str, int, int]] = {}
        for i in range(min(count, 4096)):
            tag, kind, number = struct.unpack_from(order + "HH" + word, data, start + entry * i)
            if kind in _TIFF_TYPES:
                self._entries.setdefault(
                    tag, (_TIFF_TYPES[kind], number, start + entry * i + 4 + struct.calcsize(word))
                )
        (self.next,) = struct.unpack_from(order + word, data, start + entry * count)
        self._word = word

    def place(self, name: str) -> Optional[int]:
        """Return where the numbers of a tag stand."""
        if _TAGS[name] not in self._entries:
            return None
        kind, number, at = self._entries[_TAGS[name]]
        if struct.calcsize(kind) * number > self._inline:
            (at,) = struct.unpack_from(self._order + self._word, self._data, at)
        return at

    def numbers(self, name: str) -> Tuple[int, ...]:
        """Return the numbers of a tag; none where it is absent."""
        at = self.place(name)
        if at is None:
            return ()
        kind, number, _ = self._entries[_TAGS[name]]
        if number * struct.calcsize(kind) > len(self._data):
            raise struct.error("the data ends")
        return struct.unpack_from(f"{self._order}{number}{kind}", self._data, at)

    def number(self, name: str, default: int) -> int:
        """Return the first number of a tag."""
        return (self.numbers(name) or (default,))[0]

    def end(self) -> int:
        """Return where the last of the pixels ends."""
        offsets = self.numbers("offsets") or self.numbers("tile_offsets")
        lengths = self.numbers("lengths") or self.numbers("tile_lengths")
        return max([offset + length for offset, length in zip(offsets, lengths)], default=0)


def _tiff(data):
    order, big = "<" if data[:1] == b"I" else ">", 43 in data[2:4]
    at, pages, end = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0], 0, 0
    seen: Set[int] = set()
    first = None
    while at and at not in seen and len(seen) < _MAX_PAGES:
        seen.add(at)
        page = _Directory(data, at, order, big)
        pages += not page.number("subfile", 0) & 5  # a smaller copy of another page, or its mask
        first, end = first or page, page.end() if first is None else end
        at = page.next
    if first is None:
        raise struct.error("no directory")
    kind = _TIFF_KINDS.get(first.number("color", 1), "unknown")
    samples, alpha = _WITH_ALPHA.get(kind, (0, kind))
    kind = alpha if first.number("samples", 1) == samples else kind
    bits = first.number("bits", 1)
    orientation = first.number("orientation", 1)
    plain = [first.place(name) for name in ("orientation", "alpha")]  # by which OpenCV turns, or multiplies, pixels
    return Structure(
        "TIFF of JPEG" if first.number("compression", 1) in (6, 7) else "TIFF",
        (first.number("height", 0), first.number("width", 0)),
        "float" if first.number("sample_format", 1) == 3 or bits > 16 else kind,
        bits,
        orientation if 1 <= orientation <= 8 else 1,
        max(pages, 1),
        end,
        tuple(at for at in plain if at is not None),
    )


def _webp(data):
    """See RFC 9649."""
    (length,) = struct.unpack_from("<I", data, 4)
    position, size, alpha, animated, orientation = 12, None, False, False, 1
    while position + 8 <= min(len(data), length + 8):
        kind, count = struct.unpack_from("<4sI", data, position)
        at = position + 8
        if kind == b"VP8X":
            flags, wide, high = data[at], data[at + 4 : at + 7], data[at + 7 : at + 10]
            size = int.from_bytes(high, "little") + 1, int.from_bytes(wide, "little") + 1
            alpha, animated = bool(flags & 16), bool(flags & 2)
        elif kind == b"VP8L" and size is None:
            (word,) = struct.unpack_from("<I", data, at + 1)
            size, alpha = ((word >> 14 & 0x3FFF) + 1, (word & 0x3FFF) + 1), bool(word >> 28 & 1)
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, at + 6)
            size = height & 0x3FFF, width & 0x3FFF
        elif kind == b"EXIF":
            orientation = exif_orientation(data[at : at + count])
        position = at + count + count % 2
    if size is None or (position > len(data) and position <= length + 8):
        raise struct.error("the data ends")
    return Structure("WebP", size, "RGBA" if alpha else "RGB", 8, orientation, 2 if animated else 1, length + 8)


def _bmp(data):
    start, header = struct.unpack_from("<II", data, 10)
    if header < 40:
        return None
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    end = start + (width * depth + 31) // 32 * 4 * abs(height) if compression in (0, 3) else start
    kind, bits = ("palette", depth) if depth <= 8 else ("RGB", 8)
    return Structure("BMP", (abs(height), width), kind, bits, 1, 1, end)
