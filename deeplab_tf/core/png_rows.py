"""PNG files of any height, read and written some rows at a time: no more than those are in memory.

Rows are decompressed here and decoded by OpenCV, as a PNG of their own below the row before them. OpenCV's limits hold
for those rows alone: 2^20 pixels of width, and 2^30 pixels (OPENCV_IO_MAX_IMAGE_PIXELS).
"""

import struct
import zlib
from typing import Iterator, List, Optional, Sequence

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_header import read_header

MAX_WIDTH = 1 << 20
"""Of OpenCV."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = 1 << 20
"""Bytes of a chunk; OpenCV warns of some that are larger."""
_PIECE = 1 << 16
"""Bytes read and decompressed at a time."""


class PngRows:
    """The rows of an 8-bit RGB PNG, from the first to the last.

    Attributes:
        size: height, width.
    """

    def __init__(self, path: str):
        """Open a file that `is_readable`. Raises DeepLabError for one that is damaged, here or in `read`."""
        self._path = path
        with open(path, "rb") as file:
            header = file.read(len(_SIGNATURE) + 25)
        width, height = struct.unpack_from(">II", header, len(_SIGNATURE) + 8)
        if width > MAX_WIDTH:
            raise DeepLabError(f"{path} is {width} pixels wide, and OpenCV decodes at most {MAX_WIDTH}.")
        self.size = (height, width)
        self._rows = np.zeros((0, width, 3), np.uint8)  # from row `_top` on
        self._top = 0
        self._before: Optional[np.ndarray] = None  # the last row that was decoded
        self._pixels = _Pixels(path, height * (1 + 3 * width))

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, rows `top` up to `bottom`; `top` never goes back."""
        self._rows, self._top = self._rows[top - self._top :], top
        missing = bottom - top - len(self._rows)
        if missing > 0:
            self._rows = np.concatenate([self._rows, self._next(missing)])
        return self._rows[: bottom - top]

    def _next(self, count):
        width = self.size[1]
        length = 1 + 3 * width
        raw = self._pixels.take(count * length)
        if max(raw[::length]) > 4:
            raise _damaged(self._path, "it holds a row with a filter that does not exist")
        if self._before is not None:
            raw = b"\0" + self._before.tobytes() + raw
        rows = len(raw) // length
        stored = zlib.compress(raw, 0)
        parts = [_SIGNATURE, *_header(rows, width, 8, 2)]
        for start in range(0, len(stored), _CHUNK):
            parts += _chunk(b"IDAT", stored[start : start + _CHUNK])
        data = b"".join([*parts, *_chunk(b"IEND", b"")])
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None or pixels.shape != (rows, width, 3):
            raise _damaged(self._path, "it cannot be decoded")
        decoded = cv2.cvtColor(pixels[rows - count :], cv2.COLOR_BGR2RGB)
        self._before = decoded[-1].copy()
        return decoded


def is_readable(path: str) -> bool:
    """Return whether a file is an 8-bit RGB PNG that `PngRows` reads: not interlaced, and stored upright."""
    with open(path, "rb") as file:
        head = file.read(len(_SIGNATURE) + 25)
    if not head.startswith(_SIGNATURE) or len(head) < 33 or head[12:16] != b"IHDR":
        return False
    if struct.unpack_from(">BBBBB", head, 24) != (8, 2, 0, 0, 0):  # bits, RGB, compression, filters, not interlaced
        return False
    header = read_header(path)
    return header is not None and header.orientation == 1


class _Pixels:
    """The decompressed bytes of a PNG's pixels, of which there must be `total`."""

    def __init__(self, path: str, total: int):
        self._path, self._left = path, total
        self._pieces, self._waiting = _image_data(path), b""
        self._stream = zlib.decompressobj()

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; behind the last, the file's end is checked."""
        parts = []
        self._left -= count
        try:
            while count:
                piece = self._stream.decompress(self._waiting, count)
                self._waiting = self._stream.unconsumed_tail
                parts.append(piece)
                count -= len(piece)
                if not piece and not self._waiting:
                    self._waiting = self._next_piece()
            if self._left == 0:
                self._check_end()
        except zlib.error as error:
            raise _damaged(self._path, "its pixels cannot be decompressed") from error
        return b"".join(parts)

    def _next_piece(self):
        piece = None if self._stream.eof else next(self._pieces, None)
        if piece is None:
            raise _damaged(self._path, "it holds fewer pixels than its header says")
        return piece

    def _check_end(self):
        more = self._stream.decompress(self._waiting, 1)
        for piece in self._pieces:
            more += b"" if more else self._stream.decompress(self._stream.unconsumed_tail + piece, 1)
        if more or self._stream.unused_data:
            raise _damaged(self._path, "it holds more pixels than its header says")
        if not self._stream.eof:
            raise _damaged(self._path, "its pixels end too early")


def _image_data(path) -> Iterator[bytes]:
    """Yield the content of the IDAT chunks in pieces, each chunk's checksum checked behind its last."""
    with open(path, "rb") as file:
        file.seek(len(_SIGNATURE))
        while True:
            head = file.read(8)
            if len(head) < 8:
                raise _truncated(path)
            length, kind = struct.unpack(">I4s", head)
            crc, left = zlib.crc32(kind), length
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise _truncated(path)
                crc, left = zlib.crc32(piece, crc), left - len(piece)
                if kind == b"IDAT":
                    yield piece
            if file.read(4) != struct.pack(">I", crc & 0xFFFFFFFF):
                raise _damaged(path, "a checksum in it does not match")
            if kind == b"IEND":
                return


def _damaged(path, what):
    return DeepLabError(f"{path} is damaged ({what}); copy it again.")


def _truncated(path):
    return DeepLabError(f"{path} is truncated (it ends in the middle of the image); copy it again.")


class PngWriter:
    """Writes a PNG row by row; `close` it, or its file is no PNG."""

    def __init__(self, path: str, size: Sequence[int], *, channels: int = 1, bits: int = 8):
        """
        Args:
            path: the file.
            size: height, width.
            channels: 1 (gray) or 3 (RGB).
            bits: of a channel, 8 or 16.
        """
        height, width = size
        self._kind = np.dtype(np.uint8 if bits == 8 else ">u2")
        self._stream = zlib.compressobj(3)
        self._before = np.zeros(width * channels * self._kind.itemsize, np.uint8)
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._file.write(b"".join([_SIGNATURE, *_header(height, width, bits, 0 if channels == 1 else 2)]))

    def write(self, rows: np.ndarray) -> None:
        """Append (n, W) or (n, W, 3) rows, each as its difference from the one above (filter 2, section 9.2)."""
        values = np.ascontiguousarray(rows, self._kind).view(np.uint8).reshape(len(rows), -1)
        filtered = np.empty((len(values), 1 + values.shape[1]), np.uint8)
        filtered[:, 0] = 2
        filtered[0, 1:] = values[0] - self._before
        np.subtract(values[1:], values[:-1], out=filtered[1:, 1:])
        self._before = values[-1].copy()
        self._put(self._stream.compress(filtered.tobytes()))

    def _put(self, data):
        if data:
            self._file.write(b"".join(_chunk(b"IDAT", data)))

    def close(self) -> None:
        """Write the rest."""
        if not self._file.closed:
            self._put(self._stream.flush())
            self._file.write(b"".join(_chunk(b"IEND", b"")))
            self._file.close()


def _header(height, width, bits, color):
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))


def _chunk(kind, content) -> List[bytes]:
    crc = zlib.crc32(content, zlib.crc32(kind)) & 0xFFFFFFFF
    return [struct.pack(">I", len(content)), kind, content, struct.pack(">I", crc)]
