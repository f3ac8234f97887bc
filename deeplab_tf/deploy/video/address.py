"""Parsing of a source's URI; nothing is opened here but a file that holds the URI.

0   /dev/video0   usb://0?width=1280&height=720&fps=30     a USB camera
csi://0?width=1280&height=720&fps=30&flip=2                a Jetson's CSI camera
rtsp://USER:PASSWORD@HOST/PATH   http://HOST/PATH          a network camera
street.mp4   images/   "images/*.png"   frame_%05d.png     a video file, a folder of images, patterns
sample://?size=512x1024&fps=30&seed=1                      synthetic street scenes
gst:v4l2src ! videoconvert   ffmpeg:udp://0.0.0.0:5000     a GStreamer pipeline, an FFmpeg input
@FILE                                                      the URI in a file that only its owner can read
"""

import difflib
import math
import os
import re
from typing import Any, Dict, NamedTuple
from urllib.parse import parse_qsl, quote

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.private_files import read_private
from deeplab_tf.deploy.video import shown_address
from deeplab_tf.deploy.video.shown_address import shown

_KINDS = dict.fromkeys(("rtsp", "rtsps", "http", "https"), "network")
_KINDS.update({kind: kind for kind in ("usb", "csi", "file", "sample", "gst", "ffmpeg")})
"""The kind of source by URI scheme."""

_OF_FFMPEG = ("rtmp", "rtmps", "rtp", "srt", "tcp", "udp")

_OPTIONS: Dict[str, Dict[str, Any]] = {
    "usb": {"width": 0, "height": 0, "fps": 0},
    "csi": {"width": 1280, "height": 720, "fps": 30, "flip": 0},
    "sample": {"size": "512x1024", "fps": 30, "seed": 1, "scene": 0, "seconds": 2.0},
}
"""Options of each kind by name, with their defaults, whose type they have; 0 leaves the choice to the camera."""

_MOST = {"width": 16384, "height": 16384, "fps": 1000, "flip": 7, "seed": 2**32 - 1, "scene": 10**6, "seconds": 600}
"""The largest value of each option that is a number."""


class Address(NamedTuple):
    """A parsed source URI.

    Attributes:
        kind: usb, csi, network, file, images, sample, gst or ffmpeg.
        location: the device, number, URL, path, pattern or pipeline; never to be shown.
        options: all options of the kind; `size` is (height, width).
        safe: the URI without secrets, for everything that is shown or written; see shown_address.py.
    """

    kind: str
    location: str
    options: Dict[str, Any]
    safe: str

    def __repr__(self) -> str:
        return f"Address({self.safe!r})"


def parse(uri: str) -> Address:
    """Parse a source URI.

    Raises:
        DeepLabError: an unknown scheme or option, a value of the wrong type or out of range, a URL without a host, a
            file of the URI that others can read. No sentence holds more of the URI than `shown` gives.
    """
    uri = os.fspath(uri).strip()
    if re.match("(?i)gst:", uri):  # which may be written in several lines
        uri = re.sub(r"[\r\n\t]", " ", uri)
    if not uri:
        raise DeepLabError("The source is empty; name a camera (0), a file, a folder or a URI such as sample://.")
    if re.search(r"[\0-\x1f\x7f\uD800-\uDC7F\uDD00-\uDFFF]", uri):
        raise DeepLabError("The source holds a line break or another character that no address has; leave it out.")
    if uri.startswith("@"):
        return parse(_read_uri(uri[1:]))
    if re.match(r"[0-9]{1,3}$", uri):
        return _with_options(uri, "usb", "/dev/video" + uri, "")
    if uri.startswith("/dev/video"):
        device, _, query = uri.partition("?")
        if not re.match(r"/dev/video[0-9]{1,3}$", device):
            raise DeepLabError("A camera's device is /dev/video and a number, such as /dev/video0.")
        return _with_options(uri, "usb", device, query)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", uri) or re.match(r"(?i)(gst|ffmpeg):(?=.)", uri)
    if scheme:
        return _by_scheme(uri, scheme.group(1).lower(), uri[scheme.end() :])
    mistyped = shown_address.MISTYPED.match(uri)
    if mistyped and not os.path.exists(uri):
        start = mistyped.group(1).lower()
        raise DeepLabError(f"The address must begin with {start}:// (with : and two slashes), without blanks in it.")
    return _path(uri, uri)


def _read_uri(path):
    uri = read_private(path, shown(path))
    if uri.startswith("@"):
        raise DeepLabError(f"{shown(path)} must hold the address itself, not the name of another file.")
    return uri


def _by_scheme(uri, scheme, rest):
    kind = _KINDS.get(scheme)
    if kind is None:
        hint = f"FFmpeg may open it as ffmpeg:{scheme}://..." if scheme in _OF_FFMPEG else did_you_mean(scheme, _KINDS)
        raise DeepLabError(f"Unknown kind of source '{shown_address.scheme(scheme)}'. {hint}")
    if kind == "file":
        return _path(uri, rest)
    if kind == "network":
        return Address(kind, _url(uri), {}, shown(uri))
    if kind in ("gst", "ffmpeg"):
        return Address(kind, rest, {}, shown(uri))
    location, _, query = rest.partition("?")
    if kind == "sample" and location:
        raise DeepLabError("sample:// takes options only, such as sample://?size=512x1024.")
    if kind in ("usb", "csi"):
        location = location or "0"
        if not re.match(r"[0-9]{1,3}$", location):
            raise DeepLabError(f"The source must have the camera's number after {scheme}://, such as {scheme}://0.")
    return _with_options(uri, kind, "/dev/video" + location if kind == "usb" else location, query)


def _url(uri):
    """Return a network camera's URL as FFmpeg and GStreamer read it: user and password percent-encoded."""
    url = shown_address.split_url(uri)
    if "@" in url.tail:
        odd = " ".join(sorted(set(re.findall(r"[/?#\\]", url.authority + url.tail.rpartition("@")[0]))))
        codes = " ".join(f"%{ord(character):02X}" for character in odd.split())
        raise DeepLabError(
            f"{shown(uri)}: write {odd} in the password as {codes} (and an @ that is not the one before the host as "
            "%40), so that the host is clear."
        )
    if url.host is None:
        raise DeepLabError(f"{shown(uri)} is not a URL: expected such as rtsp://HOST/PATH.")
    if not url.credentials:
        return uri
    # a % that begins no code stands for itself
    credentials = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", url.credentials)
    return f"{url.scheme}://{quote(credentials, ':%!$&()*+,;=~', errors='surrogateescape')}@{url.place}{url.tail}"


def _path(uri, path):
    path = os.path.expanduser(path)
    is_images = os.path.isdir(path) or (not os.path.exists(path) and re.search(r"[*?\[]|%0?\d*d", path))
    return Address("images" if is_images else "file", path, {}, uri if os.path.exists(path) else shown(uri))


def _with_options(uri, kind, location, query):
    source, options = f"Source {shown(uri)}", dict(_OPTIONS[kind])
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in options:
            close = difflib.get_close_matches(name, options, n=1, cutoff=0.65)
            unknown = f"unknown option '{name}'" if close and name.isalpha() else "unknown option"
            raise DeepLabError(f"{source}: {unknown}. {did_you_mean(name if close else '', options)}")
        options[name] = _number(source, name, text, type(options[name])) if name in _MOST else _size(source, text)
    if isinstance(options.get("size"), str):
        options["size"] = _size(source, options["size"])
    return Address(kind, location, options, shown(uri))


def _number(source, name, text, kind):
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise DeepLabError(f"{source}: the option {name} must be a number.")
    if not 0 <= value <= _MOST[name] or (value == 0 and name in ("fps", "seconds")):
        raise DeepLabError(f"{source}: the option {name} must be positive and at most {_MOST[name]}.")
    return value


def _size(source, text):
    match = re.match(r"([0-9]{1,4})x([0-9]{1,4})$", text.lower())
    if not match or not all(32 <= int(side) <= 4096 for side in match.groups()):
        raise DeepLabError(f"{source}: the option size must be height x width, each 32 to 4096, such as 512x1024.")
    return int(match.group(1)), int(match.group(2))
