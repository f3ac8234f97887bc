"""Checks PNG and JPEG files byte by byte and decodes them: whole files give their pixels, all others one error.

OpenCV decodes what it can: of a damaged file some pixels are gray, or another image's rows, and nobody is told.

A PNG is decompressed here: its checksums, the filter of every row and the number of bytes must be right. OpenCV then
gets the decompressed rows, so that nothing is decompressed twice.

A JPEG has no checksums. Its segments and markers are checked, and that its scan ends exactly with the last pixel:
damage shifts that end in most cases. Damage that does not is seen by no decoder; nor is most in a progressive JPEG.
"""

import functools
import os
import re
import struct
import threading
import zlib
from typing import Any, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

import cv2
import numpy as np

from deeplab_tf.core import other_formats
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_header import JPEG_KINDS, PNG_KINDS

MAX_PIXELS = 1 << 27
"""A larger image is refused before it is decoded: a few bytes can say that they are a billion pixels."""
MAX_PIXELS_VARIABLE = "DEEPLAB_TF_MAX_PIXELS"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, and steps of rows and columns in the passes of an interlaced PNG."""
_LAST_FILTER = 4
_STORED = 0xFFFF
"""Bytes in an uncompressed block of a zlib stream, at most."""
_STEP = 1 << 13
"""Bytes that are decompressed at a time, which bounds the memory that a bomb gets."""
_COMPRESSED_WELL = 16
"""Where rows are this many times as large as in the file, decompressing them again costs least."""

_END_OF_IMAGE = b"\xff\xd9"
_BETWEEN_SCANS = {0xC4, 0xDA, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
"""Markers of segments that may follow a scan of several: tables, the next scan, comments, applications' data."""
_SPARE = bytes(8)
"""What libjpeg reads ahead of the last bits of a scan."""
_REMEMBERED = 1 << 17


class Header(NamedTuple):
    """What a file says of its pixels."""

    format: str  # as `image_header.ImageHeader.format`
    kind: str  # as `image_header.ImageHeader.kind`
    bits: int  # for one channel of one pixel
    size: Tuple[int, int]  # height, width

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.kind} {self.format}"


class ImageFile:
    """A file whose structure has been checked.

    Attributes:
        header: see `Header`.
    """

    def __init__(self, data: bytes, name):
        """Raise DeepLabError, naming the file, unless it is one image whose structure is whole."""
        self._name, self._data = name, data
        self._part: Union[_Png, _Jpeg, _Other]
        if data.startswith(_PNG_SIGNATURE):
            self._part = _Png(data, name)
        elif data.startswith(_JPEG_SIGNATURE):
            self._part = _Jpeg(data, name)
        else:
            self._part = _Other(data, name)
        self.header: Header = self._part.header

    def decode(self, flags: int) -> np.ndarray:
        """Return the pixels as OpenCV does with `flags`. Raises DeepLabError for damage, and above the pixel limit."""
        self._check_pixels()
        return self._part.decode(flags)

    def decode_indices(self) -> np.ndarray:
        """Return the (H, W) uint8 indices of a PNG with a palette; those of fewer than 8 bits are scaled to 0..255."""
        self._check_pixels()
        return _Png(_indices_as_gray(self._data), self._name).decode(cv2.IMREAD_UNCHANGED)

    def _check_pixels(self):
        limit, (height, width) = _pixel_limit(), self.header.size
        if height * width > limit:
            raise DeepLabError(
                f"{self._name} has {height}x{width} pixels, and at most {limit} are decoded; if that is meant, set the "
                f"environment variable {MAX_PIXELS_VARIABLE}={height * width}."
            )


def _pixel_limit():
    text = os.environ.get(MAX_PIXELS_VARIABLE, "")
    if not text:
        return MAX_PIXELS
    if not re.match(r"[0-9]{1,18}$", text) or int(text) == 0:
        raise DeepLabError(f"{MAX_PIXELS_VARIABLE} must be a number of pixels, such as {MAX_PIXELS}; got '{text}'.")
    return int(text)


def _damaged(name, what) -> DeepLabError:
    return DeepLabError(f"{name} is damaged ({what}); copy it again.")


def _truncated(name) -> DeepLabError:
    return DeepLabError(f"{name} is truncated (it ends in the middle of the image); copy it again.")


def _imdecode(data: bytes, name, flags: int) -> Any:
    """Return the pixels; None if OpenCV gives up."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DeepLabError(f"{name} cannot be decoded: {error.err}.") from error


class _Memory:
    """Files that were found whole, by length and checksum, so that training examines each but once."""

    def __init__(self):
        self._keys: Set[Tuple[int, int]] = set()
        self._lock = threading.Lock()

    def __contains__(self, data: bytes) -> bool:
        return (len(data), zlib.crc32(data)) in self._keys

    def add(self, data: bytes) -> None:
        with self._lock:
            if len(self._keys) >= _REMEMBERED:
                self._keys.clear()
            self._keys.add((len(data), zlib.crc32(data)))


_whole = _Memory()


class _Png:
    """See the PNG specification, third edition."""

    def __init__(self, data: bytes, name):
        self._bytes, self._name = data, name
        self._compressed: List[memoryview] = []
        self._kept: List[bytes] = []  # chunks that OpenCV needs
        kinds = [kind for kind, _ in self._chunks(data)]
        if max(map(kinds.count, (b"IHDR", b"PLTE"))) > 1 or not self._compressed:
            raise _damaged(name, "its parts are not those of a PNG")

    def _chunks(self, data) -> Iterator[Tuple[bytes, memoryview]]:
        """Walk the chunks: length, type, content, CRC of type and content (section 5.3)."""
        view, position, kind = memoryview(data), len(_PNG_SIGNATURE), b""
        while kind != b"IEND":
            if position + 12 > len(data):
                raise _truncated(self._name)
            length, kind = struct.unpack_from(">I4s", data, position)
            crc_at = position + 8 + length
            if position == len(_PNG_SIGNATURE) and (kind, length) != (b"IHDR", 13):
                raise _damaged(self._name, "it has no header")
            if crc_at + 4 > len(data):
                raise _truncated(self._name)
            if zlib.crc32(view[position + 4 : crc_at]) & 0xFFFFFFFF != struct.unpack_from(">I", data, crc_at)[0]:
                raise _damaged(self._name, "a checksum in it does not match")
            content = view[position + 8 : crc_at]
            self._take(kind, content, data[position : crc_at + 4] if kind in (b"IHDR", b"PLTE") else b"")
            yield kind, content
            position = crc_at + 4

    def _take(self, kind, content, whole):
        if kind == b"IHDR":
            self._read_header(content)
        if kind == b"IDAT":
            self._compressed.append(content)
        elif kind == b"PLTE" and (len(content) % 3 or not 3 <= len(content) <= 768):
            raise _damaged(self._name, "its palette is none")
        elif kind[0] & 0x20 == 0 and kind not in (b"IHDR", b"PLTE", b"IEND"):  # a capital letter: critical
            raise _damaged(self._name, "it holds a part that no PNG has")
        if whole:
            self._kept.append(whole)

    def _read_header(self, content):
        width, height, bits, color, compression, filtering, interlacing = struct.unpack(">IIBBBBB", content)
        known = bits in _PNG_BITS.get(color, ()) and (compression, filtering) == (0, 0) and interlacing in (0, 1)
        if not known or not 1 <= min(width, height) <= max(width, height) < 1 << 31:
            raise _damaged(self._name, "its header is none")
        self.header = Header("PNG", PNG_KINDS[color], bits, (height, width))
        depth = bits * _PNG_CHANNELS[color]
        sizes = [(height, width)]
        if interlacing:
            sizes = [(-(-(height - y) // down), -(-(width - x) // right)) for y, x, down, right in _ADAM7]
        self._passes = [(rows, 1 + (columns * depth + 7) // 8) for rows, columns in sizes if rows > 0 and columns > 0]

    def decode(self, flags):
        if self.header.kind == "palette" and len(self._kept) < 2:
            raise _damaged(self._name, "it has no palette")
        known = self._bytes in _whole
        pixels = _imdecode(self._bytes if known else self._checked(), self._name, flags)
        if pixels is None or pixels.shape[:2] != self.header.size:
            raise _damaged(self._name, "it cannot be decoded")
        if not known:
            _whole.add(self._bytes)
        return pixels

    def _checked(self) -> bytes:
        """Check the compressed rows; return the file, or one with decompressed rows where that is decoded faster."""
        size = sum(count * length for count, length in self._passes)
        keep = size < _COMPRESSED_WELL * sum(map(len, self._compressed))
        position, adler, blocks = 0, 1, [b"\x78\x01"]  # a zlib stream of stored blocks (RFC 1950 and 1951)
        for piece in self._rows():
            if position + len(piece) > size:
                raise _damaged(self._name, "it holds more pixels than its header says")
            self._check_filters(piece, position)
            position += len(piece)
            for start in range(0, len(piece) if keep else 0, _STORED):
                block = piece[start : start + _STORED]
                blocks += [struct.pack("<BHH", 0, len(block), len(block) ^ _STORED), block]
                adler = zlib.adler32(block, adler)
        if position < size:
            raise _damaged(self._name, "it holds fewer pixels than its header says")
        if not keep:
            return self._bytes
        blocks += [struct.pack("<BHH", 1, 0, _STORED), struct.pack(">I", adler & 0xFFFFFFFF)]
        return b"".join([_PNG_SIGNATURE, *self._kept, *_chunk(b"IDAT", blocks), *_chunk(b"IEND", [])])

    def _rows(self) -> Iterator[bytes]:
        """Yield the decompressed rows, each after its filter, in pieces of any size."""
        stream = zlib.decompressobj()
        try:
            for content in self._compressed:
                for start in range(0, len(content), _STEP):
                    yield stream.decompress(content[start : start + _STEP])
        except zlib.error as error:
            raise _damaged(self._name, "its pixels cannot be decompressed") from error
        if not stream.eof:
            raise _damaged(self._name, "its pixels end too early")

    def _check_filters(self, piece, position):
        first = 0
        for count, length in self._passes:
            last = first + count * length
            start = first + max(0, -(-(position - first) // length)) * length
            filters = piece[start - position : max(0, last - position) : length]
            if filters and max(filters) > _LAST_FILTER:
                raise _damaged(self._name, f"it holds a row with the filter {max(filters)}, which does not exist")
            first = last


def _indices_as_gray(data: bytes) -> bytes:
    """Return a PNG with a palette, whose structure is whole, as one whose gray values are the indices."""
    start, kept = len(_PNG_SIGNATURE), [_PNG_SIGNATURE]
    header = bytearray(data[start + 8 : start + 21])
    header[9] = 0  # the kind of color: gray
    kept += _chunk(b"IHDR", [bytes(header)])
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        kept += [data[start:end]] if kind in (b"IDAT", b"IEND") else []
        start = len(data) if kind == b"IEND" else end
    return b"".join(kept)


def _chunk(kind, parts):
    crc = functools.reduce(lambda before, part: zlib.crc32(part, before), parts, zlib.crc32(kind)) & 0xFFFFFFFF
    return [struct.pack(">I", sum(map(len, parts))), kind, *parts, struct.pack(">I", crc)]


class _Jpeg:
    """See ITU-T T.81, annex B."""

    def __init__(self, data: bytes, name):
        self._name, self._data = name, data
        self._coding: Optional[int] = None
        self._interval = 0  # blocks of all components between two restart markers
        position, components = self._segments()
        if self._coding is None:
            raise _damaged(name, "it has no header")
        self._is_plain: bool = self._coding in (0xC0, 0xC1) and components == self._components
        self._end: int = self._scans(position)

    def _segments(self) -> Tuple[int, int]:
        """Walk the segments up to the first scan; return where it starts and how many components it has."""
        data, position, marker = self._data, 2, 0
        while marker != 0xDA:  # start of scan
            if position + 10 > len(data):
                raise _truncated(self._name)
            marker, length = struct.unpack_from(">xBH", data, position)
            if marker == 0xFF:  # a fill byte
                position += 1
                continue
            if data[position] != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
                raise _damaged(self._name, "one of its segments is none")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame, of any coding
                self._read_frame(marker, position + 4)
            if marker == 0xDD:
                (self._interval,) = struct.unpack_from(">H", data, position + 4)
            position += 2 + length
        return position, data[position - length + 2]

    def _read_frame(self, marker, position):
        bits, height, width, self._components = struct.unpack_from(">BHHB", self._data, position)
        sampling = self._data[position + 7 : position + 6 + 3 * self._components : 3]
        if self._coding is not None or min(height, width) == 0 or len(sampling) != self._components or not sampling:
            raise _damaged(self._name, "its header is none")
        down, right = max(8 * (each & 15) for each in sampling), max(8 * (each >> 4) for each in sampling)
        if min(down, right) == 0:
            raise _damaged(self._name, "its header is none")
        self._coding, self._blocks = marker, -(-height // down) * -(-width // right)
        self.header = Header("JPEG", JPEG_KINDS.get(self._components, "unknown"), bits, (height, width))

    def _scans(self, position) -> int:
        """Walk the markers in and between the scans; return where the end marker is."""
        values = np.frombuffer(self._data, np.uint8)
        markers = np.flatnonzero(values[:-1] == 0xFF)
        markers = markers[(values[markers + 1] != 0) & (values[markers + 1] != 0xFF)]  # those are data and filling
        restarts = 0
        for at in markers.tolist():
            marker = self._data[at + 1]
            if at < position:  # within a segment
                continue
            if 0xD0 <= marker <= 0xD7 and self._interval and marker - 0xD0 == restarts % 8:
                restarts += 1
            elif marker == 0xD9:
                break
            elif self._is_plain or marker not in _BETWEEN_SCANS or at + 6 > len(self._data):
                raise _damaged(self._name, "there is a marker among its pixels")
            else:
                length, interval = struct.unpack_from(">HH", self._data, at + 2)
                self._interval = interval if marker == 0xDD else self._interval
                position, restarts = at + 2 + length, 0
        else:
            raise _truncated(self._name)
        if self._is_plain and self._interval and restarts != (self._blocks - 1) // self._interval:
            raise _damaged(self._name, "a marker among its pixels is missing")
        return at

    def decode(self, flags):
        if self._is_plain and _incomplete() is not None:
            pixels = _decode_scan(self._data[: self._end], flags, self._name)
        else:
            pixels = _imdecode(self._data, self._name, flags)
        if pixels is None or pixels.shape[:2] != self.header.size:
            raise _damaged(self._name, "its data ends before its pixels do")
        return pixels


class _Other:
    """A TIFF, WebP or BMP file, of which OpenCV decodes all, and finds some damage."""

    def __init__(self, data: bytes, name):
        try:
            found = other_formats.parse(data)
        except struct.error:
            raise _truncated(name) from None
        if found is None:
            raise DeepLabError(f"{name} is not a PNG or JPEG image, nor TIFF, WebP or BMP.")
        if found.end > len(data):
            raise _truncated(name)
        if min(found.size) < 1:
            raise _damaged(name, "its header is none")
        if found.pages > 1:
            kind = "an animation" if found.format == "WebP" else f"{found.pages} pages"
            raise DeepLabError(
                f"{name} holds {kind}, and an image file must hold one image; write each to a file of its own, such as "
                f"with: magick {os.path.basename(str(name))} image_%03d.png"
            )
        if found.kind in ("float", "unknown"):
            raise DeepLabError(
                f"{name} is a {found.bits}-bit {found.format} whose values have no known range; write it with 8 or 16 "
                "bits, gray or RGB."
            )
        self._data, self._name, self._plain = data, name, found.plain
        self.header = Header(found.format, found.kind, found.bits, found.size)

    def decode(self, flags):
        data, one = self._data, b"\1\0" if self._data[:1] == b"I" else b"\0\1"
        for at in self._plain:
            data = data[:at] + one + data[at + 2 :]
        pixels = _imdecode(data, self._name, flags)
        if pixels is None or pixels.shape[:2] != self.header.size:
            raise _damaged(self._name, "it cannot be decoded")
        return pixels


def _decode_scan(data: bytes, flags: int, name) -> Optional[np.ndarray]:
    """Decode a JPEG without its end marker; None if its scan ends too early.

    Without that marker libjpeg waits for more bytes where they do not suffice, and makes up none.

    Raises:
        DeepLabError: the scan ends too late.
    """
    pixels = _imdecode(data + _SPARE, name, flags)
    if pixels is not None and _is_incomplete(pixels):
        whole = _imdecode(data + _END_OF_IMAGE, name, flags)
        pixels = whole if np.array_equal(whole, pixels) else None
    if pixels is None or data in _whole:
        return pixels
    if not _needs_its_end(data.rstrip(b"\0\xff"), name):  # cameras pad with such bytes
        raise _damaged(name, "its pixels end before its data does")
    _whole.add(data)
    return pixels


def _needs_its_end(data, name) -> bool:
    """Return whether a scan without its last byte is incomplete."""
    return _is_incomplete(_imdecode(data[:-1], name, cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION))


def _is_incomplete(pixels):
    """Return whether these may be the pixels of a scan that ends too early."""
    return pixels is None or (_incomplete() == "repeats" and _repeats_its_end(pixels))


def _repeats_its_end(pixels):
    return len(pixels) < 2 or np.array_equal(pixels[-1], pixels[-2])


@functools.lru_cache(maxsize=None)
def _incomplete() -> Optional[str]:
    """Return what this OpenCV does where a scan without an end marker ends too early, tried on an image of noise.

    "gives up" (4.11) or "repeats" the rows before (4.5); None if it does something else.
    """
    noise = np.random.RandomState(0).randint(0, 256, (48, 32, 3)).astype(np.uint8)
    scan = cv2.imencode(".jpg", noise)[1].tobytes()[: -len(_END_OF_IMAGE)]
    whole, waiting = (_imdecode(scan + end, "", cv2.IMREAD_COLOR) for end in (_END_OF_IMAGE, _SPARE))
    cuts = [_imdecode(scan[:-1], "", flags) for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_GRAYSCALE_8)]
    if not np.array_equal(whole, waiting):
        return None
    if all(cut is None for cut in cuts):
        return "gives up"
    return "repeats" if all(cut is not None and _repeats_its_end(cut) for cut in cuts) else None
