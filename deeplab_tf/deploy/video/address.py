"""What `--source` says: which kind of source, where, with which options. Nothing is opened here.

0   /dev/video0   usb://0?width=1280&height=720&fps=30     a USB camera
csi://0?width=1280&height=720&fps=30&flip=2                a camera on a Jetson's ribbon cable
rtsp://USER:PASSWORD@HOST/PATH   http://HOST/PATH          a network camera
street.mp4   pictures/   "pictures/*.png"                  a video file, a folder of images, a pattern
sample://?size=512x1024&fps=30&seed=1                      drawn streets
gst:v4l2src ! videoconvert   ffmpeg:udp://0.0.0.0:5000     a GStreamer pipeline, an input of FFmpeg
"""

import os
import re
from typing import Dict, NamedTuple
from urllib.parse import parse_qsl

from deeplab_tf.core.errors import DeepLabError, did_you_mean

_SCHEMES = {
    "usb": "usb",
    "csi": "csi",
    "rtsp": "network",
    "rtsps": "network",
    "http": "network",
    "https": "network",
    "file": "file",
}
_SCHEMES.update(sample="sample", gst="gst", ffmpeg="ffmpeg")

_CAMERA = {"width": 0, "height": 0, "fps": 0}
_OPTIONS = {
    "usb": _CAMERA,
    "csi": {"width": 1280, "height": 720, "fps": 30, "flip": 0},
    "sample": {"size": "512x1024", "fps": 30, "seed": 1, "scene": 0, "seconds": 2.0},
}
"""The options of each kind with their defaults, whose type they have; 0 leaves the choice to the camera."""


class Address(NamedTuple):
    """A source's URI, taken apart.

    Attributes:
        kind: usb, csi, network, file, images, sample, gst or ffmpeg.
        place: the device, number, URL, path, pattern or pipeline.
        options: every option of the kind, those that were not given with their defaults.
        safe: the URI without passwords, for everything that is shown or written.
    """

    kind: str
    place: str
    options: Dict[str, object]
    safe: str


def parse(uri: str) -> Address:
    """Takes a URI apart.

    Raises DeepLabError for an unknown scheme (and says which was meant), an unknown option, or a value of the wrong
    kind.
    """
    uri = os.fspath(uri).strip()
    if not uri:
        raise DeepLabError("The source is empty; name a camera (0), a file, a folder or a URI such as sample://.")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)(://|:(?=.))", uri)
    if uri.isdigit():
        return _with_options(uri, "usb", "/dev/video" + uri, "")
    if uri.startswith("/dev/video"):
        place, _, query = uri.partition("?")
        return _with_options(uri, "usb", place, query)
    if not scheme or (scheme.group(2) == ":" and scheme.group(1) not in ("gst", "ffmpeg")):
        return _path(uri, uri)
    return _by_scheme(uri, scheme.group(1).lower(), uri[scheme.end() :])


def _by_scheme(uri, scheme, rest):
    kind = _SCHEMES.get(scheme)
    if kind is None:
        raise DeepLabError(f"There is no kind of source '{scheme}://'. {did_you_mean(scheme, _SCHEMES)}")
    if kind == "file":
        return _path(uri, rest)
    if kind == "network":
        return Address(kind, uri, {}, hide_passwords(uri))
    if kind in ("gst", "ffmpeg"):
        return Address(kind, rest, {}, hide_passwords(uri))
    place, _, query = rest.partition("?")
    if kind in ("usb", "csi") and not (place or "0").isdigit():
        raise DeepLabError(f"Source {uri}: expected the camera's number after {scheme}://, got '{place}'.")
    if kind == "usb":
        place = "/dev/video" + (place or "0")
    elif kind == "csi":
        place = place or "0"
    return _with_options(uri, kind, place, query)


def _path(uri, path):
    path = os.path.expanduser(path)
    is_images = os.path.isdir(path) or (not os.path.exists(path) and re.search(r"[*?\[]", path))
    return Address("images" if is_images else "file", path, {}, uri)


def _with_options(uri, kind, place, query):
    options = dict(_OPTIONS[kind])
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in options:
            raise DeepLabError(f"Source {uri}: there is no option '{name}'. {did_you_mean(name, options)}")
        try:
            options[name] = type(options[name])(text)
        except ValueError:
            raise DeepLabError(f"Source {uri}: the option {name} must be a number, got '{text}'.") from None
        if (
            options[name] in (0, 0.0)
            and name in ("fps", "seconds")
            or not isinstance(options[name], str)
            and options[name] < 0
        ):
            raise DeepLabError(f"Source {uri}: the option {name} must be positive, got {text}.")
    if "size" in options:
        options["size"] = _size(uri, options["size"])
    return Address(kind, place, options, uri)


def _size(uri, text):
    match = re.match(r"(\d+)x(\d+)$", text.lower())
    if not match or not all(32 <= int(side) <= 4096 for side in match.groups()):
        message = "Source {}: the option size must be height x width, each 32 to 4096, such as 512x1024; got '{}'."
        raise DeepLabError(message.format(uri, text))
    return int(match.group(1)), int(match.group(2))


_USER = re.compile(r"(//[^:@/\s\"']*):[^\s\"']*@")
_NAMED = re.compile(
    r"(?i)\b((?:user-?pw|pass(?:word|wd)?|pwd|pw|token|secret|api_?key|key|auth)\s*=\s*)(\"[^\"]*\"|'[^']*'|[^&\s;|\"']+)"
)


def hide_passwords(text: str) -> str:
    """The text with *** for each password: between user and host of a URL, and after names such as password=, user-pw=
    or token=.

    Everything from a URL's first colon after its user up to the last @ counts as password, so that one with an @ or a
    slash in it is hidden whole.
    """
    return _NAMED.sub(r"\1***", _USER.sub(r"\1:***@", text))
