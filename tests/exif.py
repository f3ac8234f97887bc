"""Image files that are stored turned."""

import struct
import zlib

import cv2
import numpy as np


def turned(pixels, orientation, kind="jpeg", order="<"):
    """The bytes of a file whose pixels, (H, W, 3) RGB, are stored as they are, with an EXIF orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    block = mark + struct.pack(order + "I", 8) + entry
    suffix, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 100]) if kind == "jpeg" else (".png", [])
    data = cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]), options)[1].tobytes()
    if kind == "jpeg":
        segment = b"Exif\0\0" + block
        return data[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(segment) + 2) + segment + data[2:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    return data[:33] + chunk + data[33:]  # behind IHDR
