"""Reads and writes image files, and refuses every file that would silently become wrong pixels.

OpenCV decodes what it can: a 16-bit image loses its low byte, an RGBA image its alpha channel, and a damaged file comes
back half gray. So each file is checked before it is decoded: the header for bits and channels, the end for truncation,
and the checksum of every chunk of a PNG for damage. A JPEG has no checksums: only its header and end are checked.

Arrays are RGB, (H, W, 3). Any thread may call any function; decoding releases Python's lock.
"""

import os
import struct
import zlib
from typing import Iterator, List, NamedTuple, Sequence, Set, Tuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_bytes
from deeplab_tf.core.image_header import parse_header, turn_upright

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Endings of the files that `list_images` returns, in small or capital letters."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_PNG_COLOR_TYPES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray + alpha", 6: "RGBA"}
_JPEG_COMPONENTS = {1: "gray", 3: "RGB", 4: "CMYK"}


class _Header(NamedTuple):
    format: str  # "PNG" or "JPEG"
    kind: str  # a value of _PNG_COLOR_TYPES or _JPEG_COMPONENTS
    bits: int  # for one channel of one pixel

    def __str__(self) -> str:
        return f"{self.bits}-bit {self.kind} {self.format}"


def read_image(path, *, upright: bool = True) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an 8-bit RGB PNG, or of a JPEG.

    With `upright` they are turned as the file's EXIF orientation says; without, they lie as they are stored.

    Raises DeepLabError, naming the file, if it is missing, empty, truncated, damaged, or of another kind (16-bit, gray,
    RGBA, palette).
    """
    return decode_image(_read_bytes(path), path, upright=upright)


def decode_image(data: bytes, name, *, upright: bool = True) -> np.ndarray:
    """Decode the bytes of a file as `read_image` does; errors call it `name`."""
    header = _check(data, name)
    if (header.kind, header.bits) != ("RGB", 8):
        raise DeepLabError(f"Image {name}: expected 8-bit RGB, got {header}; convert it.")
    pixels, turned = _decode_rgb(data, name), parse_header(data) if upright else None
    return pixels if turned is None or turned.orientation == 1 else turn_upright(pixels, turned.orientation)


def read_ids(path) -> np.ndarray:
    """Return the (H, W) uint8 ids of a label file: an 8-bit PNG with one channel.

    Raises DeepLabError, naming the file, as `read_image` does.
    """
    return decode_ids(_read_bytes(path), path)


def decode_ids(data: bytes, name) -> np.ndarray:
    """Decode the bytes of a file as `read_ids` does; errors call it `name`."""
    header = _check(data, name)
    if header != ("PNG", "gray", 8):
        raise DeepLabError(f"Label file {name}: expected an 8-bit PNG with one channel of ids, got {header}.")
    return _decode(data, name, cv2.IMREAD_UNCHANGED)


def read_instance_ids(path) -> np.ndarray:
    """Return the (H, W) int32 ids of an instance file: a PNG with one channel of 8 or 16 bits.

    Cityscapes writes class id * 1000 + instance, or the class id alone where a region has no instances.
    Raises DeepLabError, naming the file, as `read_image` does.
    """
    return decode_instance_ids(_read_bytes(path), path)


def decode_instance_ids(data: bytes, name) -> np.ndarray:
    """Decode the bytes of a file as `read_instance_ids` does; errors call it `name`."""
    header = _check(data, name)
    if header not in (("PNG", "gray", 8), ("PNG", "gray", 16)):
        raise DeepLabError(f"Instance file {name}: expected a PNG with one channel of 8 or 16 bits, got {header}.")
    return _decode(data, name, cv2.IMREAD_UNCHANGED).astype(np.int32)


def read_colors(path) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB colors of a label file: an 8-bit RGB PNG, or one with a palette.

    A JPEG is refused, because it changes colors. Raises DeepLabError as `read_image` does.
    """
    data = _read_bytes(path)
    header = _check(data, path)
    if header.format != "PNG" or not (header.kind == "palette" or (header.kind, header.bits) == ("RGB", 8)):
        raise DeepLabError(f"Label file {path}: expected an 8-bit RGB PNG of class colors, got {header}.")
    return _decode_rgb(data, path)


def walk(folder) -> Iterator[Tuple[str, List[str]]]:
    """Yield each folder below a folder, itself first, with the names of its files.

    Links are followed, but no folder is visited twice; its own name goes before that of a link. Raises DeepLabError for
    a folder that cannot be listed.
    """
    folders = [os.fspath(folder)]
    links: List[str] = []
    seen: Set[Tuple[int, int]] = set()
    while folders or links:
        parent = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(parent) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            below = [entry for entry in entries if entry.is_dir()]
        except OSError as error:
            raise DeepLabError(f"Cannot list the folder {error.filename}: {error.strerror}.") from None
        folders += [entry.path for entry in reversed(below) if not entry.is_symlink()]
        links += [entry.path for entry in below if entry.is_symlink()]
        yield parent, [entry.name for entry in entries if not entry.is_dir()]


def list_images(folder, *, recursive: bool = False) -> List[str]:
    """Return the paths of the images in a folder, sorted, without hidden files.

    Raises DeepLabError if there is no such folder, or one below it cannot be read.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DeepLabError(f"There is no folder {folder}.")
    found = []
    for parent, files in walk(folder):
        found += [
            os.path.join(parent, name)
            for name in files
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
        if not recursive:
            break
    return sorted(found)


def write_image(path, array: np.ndarray) -> None:
    """Write pixels to a PNG, or to a JPEG if `path` ends so, whole or not at all; its folder is made if needed.

    Args:
        array: (H, W, 3) RGB uint8 or (H, W) uint8; for PNG also (H, W) uint16.
    """
    path = os.fspath(path)
    write_bytes(path, encode_image(array, os.path.splitext(path)[1].lower(), path))


def encode_image(array: np.ndarray, suffix: str, name="the image") -> bytes:
    """Return the bytes of the file that `write_image` writes; `suffix` is .png, .jpg or .jpeg."""
    array = np.asarray(array)
    one_channel, rgb = array.ndim == 2, array.ndim == 3 and array.shape[-1] == 3
    wide = one_channel and array.dtype == np.uint16 and suffix == ".png"
    if suffix not in IMAGE_SUFFIXES:
        raise DeepLabError(f"{name}: an image file is .png or .jpg, not '{suffix}'.")
    if not (one_channel or rgb) or not (array.dtype == np.uint8 or wide) or array.size == 0:
        raise DeepLabError(f"{name}: cannot write {array.dtype} {array.shape} as {suffix}.")
    if rgb:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    try:
        encoded, data = cv2.imencode(suffix, array)
    except cv2.error:
        encoded = False
    if not encoded:
        hint = "; write it as .png" if suffix != ".png" else ""
        height, width = array.shape[:2]
        raise DeepLabError(f"{name}: OpenCV cannot encode {height}x{width} pixels as {suffix}{hint}.")
    return data.tobytes()


def resize_image(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return the image at `size` (height, width); itself if it has that size.

    Each axis is averaged over areas where it shrinks and interpolated linearly where it grows. Training, evaluation and
    prediction all use this function, so that a network gets the pixels it was trained on.

    Args:
        image: (H, W, 3) or (H, W), uint8 or float32.
    """
    height, width = size
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    if image.shape[:2] != smaller:
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _read_bytes(path) -> bytes:
    try:
        with open(os.fspath(path), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise DeepLabError(f"There is no file {path}.") from None
    except OSError as error:
        raise DeepLabError(f"{path} cannot be read: {error.strerror}.") from error
    if not data:
        raise DeepLabError(f"{path} is empty (0 bytes); copy it again.")
    return data


def _check(data: bytes, name) -> _Header:
    if data.startswith(_PNG_SIGNATURE):
        return _check_png(data, name)
    if data.startswith(_JPEG_SIGNATURE):
        return _check_jpeg(data, name)
    raise DeepLabError(f"{name} is not a PNG or JPEG image.")


def _check_png(data: bytes, name) -> _Header:
    """Walk the chunks: length, type, content, CRC of type and content (PNG specification, section 5.3)."""
    view, position, end, kind = memoryview(data), len(_PNG_SIGNATURE), len(data), b""
    if data[12:16] != b"IHDR":
        raise DeepLabError(f"{name} is a damaged PNG (it has no header); copy it again.")
    while kind != b"IEND":
        if position + 12 > end:
            raise _truncated(name)
        length, kind = struct.unpack_from(">I4s", data, position)
        crc_at = position + 8 + length
        if crc_at + 4 > end:
            raise _truncated(name)
        if zlib.crc32(view[position + 4 : crc_at]) & 0xFFFFFFFF != struct.unpack_from(">I", data, crc_at)[0]:
            raise DeepLabError(f"{name} is damaged (a checksum in it does not match); copy it again.")
        position = crc_at + 4
    bits, color_type = data[24], data[25]  # in IHDR
    return _Header("PNG", _PNG_COLOR_TYPES.get(color_type, "unknown"), bits)


def _check_jpeg(data: bytes, name) -> _Header:
    """Walk the marker segments up to the first scan; after it comes the end marker, which no scan can contain."""
    position, header = 2, None
    while True:
        if position + 10 > len(data):
            raise _truncated(name)
        marker, length = struct.unpack_from(">xBH", data, position)
        if data[position] != 0xFF or marker == 0xD9:
            raise DeepLabError(f"{name} is a damaged JPEG; copy it again.")
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame, of any coding
            header = _Header("JPEG", _JPEG_COMPONENTS.get(data[position + 9], "unknown"), data[position + 4])
        position += 2 + length
        if marker == 0xDA:  # start of scan
            break
    if data.rfind(b"\xff\xd9", position) < 0:
        raise _truncated(name)
    if header is None:
        raise DeepLabError(f"{name} is a damaged JPEG; copy it again.")
    return header


def _truncated(name) -> DeepLabError:
    return DeepLabError(f"{name} is truncated (it ends in the middle of the image); copy it again.")


def _decode(data: bytes, name, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DeepLabError(f"{name} cannot be decoded: {error.err}.") from error
    if pixels is None:
        raise DeepLabError(f"{name} is damaged and cannot be decoded; copy it again.")
    return pixels


def _decode_rgb(data: bytes, name) -> np.ndarray:
    """Decode as stored: versions of OpenCV differ in what they turn by an EXIF orientation."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.cvtColor(_decode(data, name, flags), cv2.COLOR_BGR2RGB)
