"""Parsing of a source's URI; nothing is opened here.

0   /dev/video0   usb://0?width=1280&height=720&fps=30     a USB camera
csi://0?width=1280&height=720&fps=30&flip=2                a Jetson's CSI camera
rtsp://USER:PASSWORD@HOST/PATH   http://HOST/PATH          a network camera
street.mp4   images/   "images/*.png"                      a video file, a folder of images, a pattern
sample://?size=512x1024&fps=30&seed=1                      synthetic street scenes
gst:v4l2src ! videoconvert   ffmpeg:udp://0.0.0.0:5000     a GStreamer pipeline, an FFmpeg input
"""

import os
import re
from typing import Any, Dict, NamedTuple
from urllib.parse import parse_qsl

from deeplab_tf.core.errors import DeepLabError, did_you_mean

_KINDS = dict.fromkeys(("rtsp", "rtsps", "http", "https"), "network")
_KINDS.update({kind: kind for kind in ("usb", "csi", "file", "sample", "gst", "ffmpeg")})
"""The kind of source by URI scheme."""

_OPTIONS: Dict[str, Dict[str, Any]] = {
    "usb": {"width": 0, "height": 0, "fps": 0},
    "csi": {"width": 1280, "height": 720, "fps": 30, "flip": 0},
    "sample": {"size": "512x1024", "fps": 30, "seed": 1, "scene": 0, "seconds": 2.0},
}
"""Options of each kind by name, with their defaults, whose type they have; 0 leaves the choice to the camera."""


class Address(NamedTuple):
    """A parsed source URI.

    Attributes:
        kind: usb, csi, network, file, images, sample, gst or ffmpeg.
        location: the device, number, URL, path, pattern or pipeline.
        options: all options of the kind; `size` is (height, width).
        safe: the URI without passwords, for everything that is shown or written.
    """

    kind: str
    location: str
    options: Dict[str, Any]
    safe: str


def parse(uri: str) -> Address:
    """Parse a source URI.

    Raises:
        DeepLabError: an unknown scheme or option, or a value of the wrong type.
    """
    uri = os.fspath(uri).strip()
    if not uri:
        raise DeepLabError("The source is empty; name a camera (0), a file, a folder or a URI such as sample://.")
    if uri.isdigit():
        return _with_options(uri, "usb", "/dev/video" + uri, "")
    if uri.startswith("/dev/video"):
        device, _, query = uri.partition("?")
        return _with_options(uri, "usb", device, query)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)(://|:(?=.))", uri)
    if not scheme or (scheme.group(2) == ":" and scheme.group(1) not in ("gst", "ffmpeg")):
        return _path(uri, uri)
    return _by_scheme(uri, scheme.group(1).lower(), uri[scheme.end() :])


def _by_scheme(uri, scheme, rest):
    kind = _KINDS.get(scheme)
    if kind is None:
        raise DeepLabError(f"Unknown kind of source '{scheme}://'. {did_you_mean(scheme, _KINDS)}")
    if kind == "file":
        return _path(uri, rest)
    if kind == "network":
        return Address(kind, uri, {}, hide_passwords(uri))
    if kind in ("gst", "ffmpeg"):
        return Address(kind, rest, {}, hide_passwords(uri))
    location, _, query = rest.partition("?")
    if kind in ("usb", "csi"):
        location = location or "0"
        if not location.isdigit():
            raise DeepLabError(f"Source {uri}: expected the camera's number after {scheme}://, got '{location}'.")
    return _with_options(uri, kind, "/dev/video" + location if kind == "usb" else location, query)


def _path(uri, path):
    path = os.path.expanduser(path)
    is_images = os.path.isdir(path) or (not os.path.exists(path) and re.search(r"[*?\[]", path))
    return Address("images" if is_images else "file", path, {}, uri)


def _with_options(uri, kind, location, query):
    options = dict(_OPTIONS[kind])
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in options:
            raise DeepLabError(f"Source {uri}: unknown option '{name}'. {did_you_mean(name, options)}")
        try:
            value = options[name] = type(options[name])(text)
        except ValueError:
            raise DeepLabError(f"Source {uri}: the option {name} must be a number, got '{text}'.") from None
        if not isinstance(value, str) and (value < 0 or value == 0 and name in ("fps", "seconds")):
            raise DeepLabError(f"Source {uri}: the option {name} must be positive, got {text}.")
    if "size" in options:
        options["size"] = _size(uri, options["size"])
    return Address(kind, location, options, uri)


def _size(uri, text):
    match = re.match(r"(\d+)x(\d+)$", text.lower())
    if not match or not all(32 <= int(side) <= 4096 for side in match.groups()):
        raise DeepLabError(
            f"Source {uri}: the option size must be height x width, each 32 to 4096, such as 512x1024; got '{text}'."
        )
    return int(match.group(1)), int(match.group(2))


_USER = re.compile(r"(//[^:@/\s\"']*):[^\s\"']*@")
_NAMED = re.compile(
    r"(?i)\b((?:user-?pw|pass(?:word|wd)?|pwd|pw|token|secret|api_?key|key|auth)\s*=\s*)(\"[^\"]*\"|'[^']*'|[^&\s;|\"']+)"
)


def hide_passwords(text: str) -> str:
    """Replace each password by ***: between user and host of a URL, and after names such as password= or token=.

    Everything from a URL's first colon after its user up to the last @ counts as password, so that one with an @ or a
    slash in it is hidden completely.
    """
    return _NAMED.sub(r"\1***", _USER.sub(r"\1:***@", text))
