"""Reads and writes image files, and refuses every file that would silently become wrong pixels.

Images become 8-bit RGB; label files are read as they stand, or refused. `image_formats` refuses damaged files.

Arrays are RGB, (H, W, 3). Any thread may call any function; decoding releases Python's lock.
"""

import os
from typing import Iterator, List, Sequence, Tuple

import cv2
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_bytes
from deeplab_tf.core.image_formats import ImageFile
from deeplab_tf.core.image_header import parse_header, turn_upright
from deeplab_tf.core.input_files import natural_key, read_bytes
from deeplab_tf.core.listing import each_folder

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Endings of the files that `list_images` returns, in small or capital letters."""
IMAGE_KINDS = "PNG, JPEG, TIFF, WebP or BMP"
"""What they are, for sentences."""
WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Endings of the files that `write_image` writes."""


def read_image(path, *, upright: bool = True) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an image file.

    Gray is repeated in three channels, 16 bits are scaled to 8 (65535 becomes 255), alpha is left out, CMYK is
    converted; `image_header.about_pixels` says so.

    With `upright` they are turned as the file's EXIF orientation says; without, they lie as they are stored.

    Raises DeepLabError, naming the file, if it is missing, empty, truncated, damaged, or no image.
    """
    return decode_image(read_bytes(path), path, upright=upright)


def largest_value(path) -> int:
    """Return the largest value of the colors in an image file, as stored, alpha left out: up to 65535 in 16 bits.

    Raises DeepLabError as `read_image` does.
    """
    return int(_colors(ImageFile(read_bytes(path), path)).max())


def decode_image(data: bytes, name, *, upright: bool = True) -> np.ndarray:
    """Decode the bytes of a file as `read_image` does; errors call it `name`."""
    pixels = _to_rgb(ImageFile(data, name))
    header = parse_header(data) if upright else None
    return pixels if header is None else turn_upright(pixels, header.orientation)


def read_mask(path, *, lossy: bool = False) -> np.ndarray:
    """Return the (H, W) uint8 gray values of a file that is gray, or whose three channels are equal.

    16 bits are scaled to 8 as there, but stay as they are where none is above 255: masks of 0 and 255 are written with
    any bits. With `lossy` it may be a JPEG, whose values are not exact. Raises DeepLabError as `read_image` does.
    """
    file = ImageFile(read_bytes(path), path)
    if file.header.format not in (*_EXACT, "BMP") and not lossy:
        raise DeepLabError(
            f"Mask {path} is a {file.header.format}, whose values are not exact; set data.threshold, such as 128, or "
            "write it as PNG."
        )
    pixels = _colors(file)
    gray = _one_channel(pixels.astype(np.uint8) if pixels.max() <= 255 else _to_8_bits(pixels))
    if gray is None:
        raise DeepLabError(f"Mask {path}: expected gray values, got {file.header} of colors.")
    return gray


def read_ids(path, *, any_gray: bool = False) -> np.ndarray:
    """Return the (H, W) uint8 ids of a label file: an 8-bit PNG with one channel.

    With `any_gray` it may also have other bits, or three equal channels. Raises DeepLabError, naming the file, as
    `read_image` does, and for an id above 255.
    """
    return decode_ids(read_bytes(path), path, any_gray=any_gray)


def decode_ids(data: bytes, name, *, any_gray: bool = False) -> np.ndarray:
    """Decode the bytes of a file as `read_ids` does; errors call it `name`."""
    file = ImageFile(data, name)
    header = file.header
    ids = None
    if header[:3] == ("PNG", "gray", 8) or (any_gray and header.kind != "palette" and header.format in _EXACT):
        ids = _ids(file)
    if ids is None or ids.max() > 255:
        expected = "a PNG" if any_gray else "an 8-bit PNG"
        raise DeepLabError(f"Label file {name}: expected {expected} with one channel of ids, got {header}.")
    return ids.astype(np.uint8, copy=False)


def read_palette_ids(path) -> np.ndarray:
    """Return the (H, W) uint8 indices of a PNG with a palette. Raises DeepLabError as `read_image` does."""
    file = ImageFile(read_bytes(path), path)
    if file.header[:2] != ("PNG", "palette"):
        raise DeepLabError(f"Label file {path}: expected a PNG with a palette, got {file.header}.")
    return _small_values(file.decode_indices(), file.header.bits)


def read_instance_ids(path) -> np.ndarray:
    """Return the (H, W) int32 ids of an instance file: a PNG with one channel of 8 or 16 bits.

    Cityscapes writes class id * 1000 + instance, or the class id alone where a region has no instances.
    Raises DeepLabError, naming the file, as `read_image` does.
    """
    return decode_instance_ids(read_bytes(path), path)


def decode_instance_ids(data: bytes, name) -> np.ndarray:
    """Decode the bytes of a file as `read_instance_ids` does; errors call it `name`."""
    file = ImageFile(data, name)
    header = file.header
    if header[:3] not in (("PNG", "gray", 8), ("PNG", "gray", 16)):
        raise DeepLabError(f"Instance file {name}: expected a PNG with one channel of 8 or 16 bits, got {header}.")
    return file.decode(cv2.IMREAD_UNCHANGED).astype(np.int32)


def read_colors(path) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB colors of a label file: an 8-bit RGB PNG, or one with a palette.

    An alpha channel is left out. A JPEG is refused, because it changes colors. Raises DeepLabError as `read_image`
    does.
    """
    file = ImageFile(read_bytes(path), path)
    header = file.header
    exact = header.format in _EXACT
    if not exact or not (header.kind == "palette" or (header.kind in ("RGB", "RGBA") and header.bits == 8)):
        raise DeepLabError(f"Label file {path}: expected an 8-bit RGB PNG of class colors, got {header}.")
    return _to_rgb(file)


_EXACT = ("PNG", "TIFF")
"""Formats that keep every value."""


def walk(folder) -> Iterator[Tuple[str, List[str]]]:
    """Yield each folder below a folder, itself first, with the sorted names of its files; see `each_folder`."""
    for parent, names in each_folder(folder):
        yield parent, sorted(names)


def each_image(folder, *, recursive: bool = False) -> Iterator[str]:
    """Yield the paths of the images in a folder, in no order, without hidden files; in memory is one at a time.

    Raises DeepLabError if there is no such folder, or one below it cannot be read.
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DeepLabError(f"There is no folder {folder}.")
    for parent, names in each_folder(folder):
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)
        if not recursive:
            return


def list_images(folder, *, recursive: bool = False) -> List[str]:
    """Return the paths of `each_image` in natural order (frame_2 before frame_10)."""
    return sorted(each_image(folder, recursive=recursive), key=natural_key)


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
    if suffix not in WRITTEN_SUFFIXES:
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


def _to_rgb(file: ImageFile) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels as they lie in the file."""
    return cv2.cvtColor(_to_8_bits(_colors(file)), cv2.COLOR_BGR2RGB)


def _colors(file):
    """Return the (H, W, 3) BGR pixels, uint16 where the file has more than 8 bits, as they lie in the file: versions of
    OpenCV differ in what they turn by an EXIF orientation."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    wide = file.header.bits > 8 and file.header.format != "JPEG"
    return file.decode(flags | cv2.IMREAD_ANYDEPTH if wide else flags)


def _to_8_bits(pixels):
    """Return uint8 pixels as they are, and uint16 ones scaled: 65535 becomes 255."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _one_channel(pixels):
    """Return the first of three channels, or None where they are not equal."""
    first = np.ascontiguousarray(pixels[..., 0])
    return first if all(np.array_equal(first, pixels[..., i]) for i in (1, 2)) else None


def _ids(file):
    """Return the (H, W) values as they stand in the file; None for colors."""
    pixels = file.decode(cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        return _one_channel(pixels)
    return _small_values(pixels, file.header.bits)


def _small_values(pixels, bits):
    """Return values of fewer than 8 bits, which OpenCV scales to 0..255, as they stand in the file."""
    return pixels // (255 // ((1 << bits) - 1)) if bits < 8 else pixels
