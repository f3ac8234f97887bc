"""What is shown of an address, in messages, logs, pages, JSON, titles and this program's line in the list of processes.

An allow-list: what is shown is put together from parts that cannot be secret. Of a URL these are scheme, host and port,
and a path as far as it consists of the words that cameras use, such as /live/ch1 or /Streaming/Channels/101. A stream
key, a token, a user and a password look like nothing in particular, so that nothing else is shown; `...` stands for it.
"""

import os
import re
from itertools import takewhile
from typing import List, NamedTuple, Optional, Sequence

MISTYPED = re.compile(r"(?i)(rtsps?|https?|usb|csi|sample|rtmps?|srt|udp|tcp|rtp)\s*(?:[:;]|//|\\)")
"""The start of an address in which :// is mistyped; or not, so match :// first."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\\]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]+)(?::([0-9]{1,5}))?")
_CAMERA = re.compile(r"(?i)(/dev/video[0-9]{1,3}|[0-9]{1,3}|(?:usb|csi)://[0-9]{0,3}|sample://)(?:$|\?(.*))", re.DOTALL)
_OPTION = re.compile(r"(?:width|height|fps|flip|size|seed|scene|seconds)=[0-9x.]{1,10}")
_SEGMENT = re.compile(
    r"(?i)(?:live|stream(?:ing)?|videos?|cam(?:era)?|ch|channels?|main|sub|media|profile|mjpe?g|mpeg4|h26[45]|onvif|"
    r"axis-(?:media|cgi)|image|img|cgi-bin|index|playlist|unicast|av)?[_-]?[0-9]{0,3}"
    r"(?:\.(?:sdp|mjpe?g|amp|cgi|mp4|mkv|m3u8|ts|jpe?g))?"
)
_NOT_PLAIN = re.compile(r"[^\w ./~+,()*\[\]{}-]")
_LONGEST_PATH = 200
HIDDEN = "..."


class Url(NamedTuple):
    """Parts of a URL; `host` is None where it has no clear one.

    authority is what stands between // and the next of / ? # backslash, tail what follows; credentials and place are
    what the last @ of the authority parts.
    """

    scheme: str
    authority: str
    credentials: str
    place: str
    host: Optional[str]
    port: Optional[int]
    tail: str


def split_url(url: str) -> Url:
    """Return the parts of a URL, which must have a scheme and ://."""
    match = _URL.match(url)
    if match is None:
        raise ValueError("not a URL")  # without it: it may be a secret
    name, authority, tail = match.groups()
    credentials, _, place = authority.rpartition("@")
    host = _HOST.fullmatch(place)
    port = int(host.group(2)) if host and host.group(2) else None
    clear = host is not None and "@" not in tail and (port is None or 0 < port < 65536)
    return Url(name, authority, credentials, place, host.group(1).strip("[]") if host and clear else None, port, tail)


def shown(uri: str) -> str:
    """Return what may be shown of a URI, whatever is wrong with it; of a path that exists, everything."""
    uri = uri.strip()
    if uri.startswith("@"):
        return "@" + _shown_path(uri[1:])
    pipeline = re.match(r"(?i)(gst|ffmpeg):(?!//)", uri)
    if pipeline:
        return pipeline.group() + _shown_pipeline(pipeline.group(1).lower(), uri[pipeline.end() :])
    camera = _CAMERA.match(uri)
    if camera:
        options = [option for option in (camera.group(2) or "").split("&") if _OPTION.fullmatch(option)]
        return camera.group(1) + ("?" + "&".join(options) if options else "")
    if re.match(r"(?i)(usb|csi|sample)://", uri):
        return uri[: uri.index("/")] + "//" + HIDDEN
    if re.match(r"(?i)file://", uri):
        return uri[:7] + _shown_path(uri[7:])
    return _shown_url(uri) if _URL.match(uri) else _shown_path(uri)


def scheme(name: str) -> str:
    """Return what may be shown of a scheme, with ://."""
    return (name if re.fullmatch(r"[A-Za-z][A-Za-z0-9+]{0,9}", name) else HIDDEN) + "://"


def _shown_pipeline(kind, text):
    """Return an FFmpeg input's URL as it may be shown, or the source of a GStreamer pipeline."""
    if kind == "gst":
        element = re.match(r"\s*([a-z0-9]{1,20}(?:src|bin))(?=\s|!|$)", text)
        return f"{element.group(1)} {HIDDEN}" if element else HIDDEN
    last = text.split()[-1] if text.strip() else ""
    return _shown_url(last) if _URL.match(last) else HIDDEN


def _shown_url(uri):
    url = split_url(uri)
    if url.host is None and url.authority:
        return scheme(url.scheme) + HIDDEN
    segments = re.split(r"[?#]", url.tail)[0].split("/")
    plain = list(takewhile(_SEGMENT.fullmatch, segments))
    return scheme(url.scheme) + url.place + "/".join(plain + [HIDDEN] * (len(plain) < len(segments)))


def _shown_path(path):
    """Return a path that exists, else as much of it as cannot be a network address."""
    path = os.path.expanduser(path)
    if _exists(path):
        return path
    if MISTYPED.match(path):
        return HIDDEN
    plain = _NOT_PLAIN.split(path, 1)[0]
    host = re.match(r"[^/]*[^/.]\.[^/]+/", path)  # or a folder with a dot in its name
    if host and not _exists(host.group()):
        plain = plain[: host.end()]
    if plain == path and len(path) <= _LONGEST_PATH:
        return path
    return plain[: plain.rfind("/", 0, _LONGEST_PATH) + 1] + HIDDEN


def _exists(path):
    try:
        return os.path.exists(path)
    except ValueError:  # Python 3.6 and 3.7, where a character can be in no path
        return False


def shown_arguments(arguments: Sequence[str]) -> List[str]:
    """Return a command line as it may be shown: with `shown` of each source, and of whatever else looks like one."""
    return [_shown_argument(before, argument) for before, argument in zip(["", *arguments], arguments)]


def _shown_argument(before, argument):
    if not argument.startswith("--"):
        return _shown_value(before, argument)
    option, equals, value = argument.partition("=")
    if _looks_like_address(option):
        return HIDDEN
    return option + equals + (_shown_value(option, value) if equals else "")


def _shown_value(option, value):
    if option == "--token":
        return value if value == "auto" or value.startswith("@") else HIDDEN
    return shown(value) if option == "--source" or _looks_like_address(value) else value


def _looks_like_address(text):
    return (
        re.search(r"://|.@|\?[^/]*=|:/+[^/]", text) or MISTYPED.match(text) or re.match(r"(?i)\s*(gst|ffmpeg):", text)
    )


def hide(message: str, arguments: Sequence[str]) -> str:
    """Return a message without what must not be shown of a command line's arguments, also where click or the system
    repeats them in quotes, as a path, or in part."""
    for argument, safe in sorted(zip(arguments, shown_arguments(arguments)), key=lambda pair: -len(pair[0])):
        if safe == argument:
            continue
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        for form in (argument, value, repr(value)[1:-1], os.path.normpath(value)):
            if len(form) > 3:
                message = message.replace(form, safe)
        for part in argument.split("/") + re.split(r"[/\s=]", argument):
            if len(part) > 3 and not part.isalpha() and part not in safe:
                message = message.replace(part, HIDDEN)
    return message
