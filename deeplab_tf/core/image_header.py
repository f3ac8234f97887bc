"""Headers of image files: size and EXIF orientation, without their pixels.

A photo's EXIF orientation says how its pixels must be turned to be upright. Label files have none, and label tools
differ: some draw on the upright photo, some on the pixels as they are stored.
"""

import os
import struct
from typing import List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from deeplab_tf.core import other_formats
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.input_files import open_file
from deeplab_tf.core.other_formats import exif_orientation

PNG_KINDS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray + alpha", 6: "RGBA"}
JPEG_KINDS = {1: "gray", 3: "RGB", 4: "CMYK"}

_SCALED = "{}-bit and scaled to 8 bits ({} becomes 255)"
WIDE = _SCALED.format(16, 65535)
"""What `about_pixels` says of 16 bits."""
_HEAD = 1 << 16
"""Bytes that hold the header of almost every file."""
_TAIL = 1 << 10
_ENDS = (b"IEND\xaeB`\x82", b"\xff\xd9")
"""What stands in the last bytes of a whole PNG and JPEG."""


class ImageHeader(NamedTuple):
    """What a file says of its pixels."""

    format: str  # "PNG", "JPEG", "TIFF", "TIFF of JPEG", "WebP" or "BMP"
    size: Tuple[int, int]  # height, width as stored
    kind: str  # "gray", "RGB", "palette", "gray + alpha", "RGBA", "CMYK" or "unknown"
    bits: int  # for one channel of one pixel
    orientation: int  # EXIF: 1 (upright) to 8
    whole: bool = True  # ends as such a file does; unknown for a file's first bytes
    pages: int = 1  # images in the file

    @property
    def upright_size(self) -> Tuple[int, int]:
        """Height and width once the pixels are turned upright."""
        return self.size[::-1] if self.orientation > 4 else self.size


def read_header(path) -> Optional[ImageHeader]:
    """Return the header of an image file; None for one that cannot be read, or is no image."""
    try:
        with open_file(path) as file:
            head = file.read(_HEAD)
            header = parse_header(head) or parse_header(head + file.read())
            if header is None:
                return None
            if header.format not in ("PNG", "JPEG"):
                return header._replace(whole=_end(head + file.read()) <= os.fstat(file.fileno()).st_size)
            file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
            return header._replace(whole=any(end in tail for end in _ENDS))
    except DeepLabError:
        return None


def parse_header(data: bytes) -> Optional[ImageHeader]:
    """Return the header of a file's bytes, or of its first ones; None where it is not in them."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        found = other_formats.parse(data)
        if found is not None and min(found.size) > 0:
            return ImageHeader(*found[:5], whole=True, pages=found.pages)
    except struct.error:  # the data ends
        pass
    return None


def _end(data):
    """Return how many bytes a file has, at least, that is neither PNG nor JPEG."""
    try:
        found = other_formats.parse(data)
    except struct.error:
        found = None
    return float("inf") if found is None else found.end


def _png(data):
    width, height = struct.unpack_from(">II", data, 16)
    position, orientation = 8, 1
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        if kind == b"IDAT":
            break
        position += 12 + length
    return ImageHeader("PNG", (height, width), PNG_KINDS.get(data[25], "unknown"), data[24], orientation)


def _jpeg(data):
    position, frame, orientation = 2, None, None
    while True:
        marker, length = struct.unpack_from(">xBH", data, position)
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan
            if frame is None:
                return None
            bits, height, width, channels = frame
            kind = JPEG_KINDS.get(channels, "unknown")
            return ImageHeader("JPEG", (height, width), kind, bits, orientation or 1)
        if marker == 0xE1 and orientation is None and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[position + 10 : position + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            frame = struct.unpack_from(">BHHB", data, position + 4)
        position += 2 + length


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array (H, W) or (H, W, 3) as stored, turned as an EXIF orientation says."""
    if orientation == 1:
        return pixels
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def lies_upright(header: ImageHeader, image, label_size: Sequence[int], label) -> bool:
    """Return whether a label lies on the upright pixels of its image rather than on those as stored.

    Args:
        header: of the image.
        image, label: paths, for the error.
        label_size: height, width of the label.

    Raises:
        DeepLabError: the image is stored turned, and the label's size does not say that it is upright.
    """
    if header.orientation == 1:
        return False
    if tuple(label_size) == header.size:
        raise DeepLabError(about_orientation(header, image, label))
    return tuple(label_size) == header.upright_size


def about_orientation(header: ImageHeader, image, label) -> str:
    """Return the sentence that a label may lie on its image either way; its arguments are those of `lies_upright`."""
    return (
        f"Photo {image} is stored turned (EXIF orientation {header.orientation}), and its label {label} may lie on "
        "the pixels as stored or on the upright ones. Say which in the recipe of a folder (label_orientation: stored "
        "or upright), or, if as stored, remove the photo's orientation tag; if upright, turn the photo's pixels "
        "(mogrify -auto-orient)."
    )


def about_pixels(header: ImageHeader) -> Tuple[str, ...]:
    """Return what is done to the pixels of an image so that they are 8-bit RGB, as ends of a sentence; nothing for
    gray, whose channel is repeated."""
    said = []
    if header.bits > 8:
        said.append(_SCALED.format(header.bits, (1 << header.bits) - 1))
    if header.kind.endswith(("alpha", "RGBA")):
        said.append(f"{header.kind}, whose alpha channel is left out")
    if header.kind == "CMYK":
        said.append("CMYK and converted to RGB without its color profile")
    return tuple(said)


def about_image(path, said: Set[str]) -> List[str]:
    """Return a sentence for each thing to know about an image before its labels are used, without those in `said`.

    Args:
        said: what has been said so far, of any image; filled here.
    """
    header = read_header(path)
    if header is None:
        return []
    found = {each: f"{path} is {each}; so are other images like it." for each in about_pixels(header)}
    if header.orientation != 1:
        found["turned"] = (
            f"{path} is stored turned (EXIF orientation {header.orientation}): such images are turned upright, and so "
            "is what is predicted for them."
        )
    new = [sentence for each, sentence in found.items() if each not in said]
    said.update(found)
    return new
