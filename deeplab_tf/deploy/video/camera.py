"""Opening of USB, CSI and network cameras and of pipelines with OpenCV, with the reason if one cannot be opened."""

import glob
import os
import re
import socket
import threading
from typing import List

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import pipelines
from deeplab_tf.deploy.video.address import Address
from deeplab_tf.deploy.video.shown_address import split_url

TIMEOUT_S = 5.0
"""Seconds for a network camera to answer, and to send its next frame."""

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_environment = threading.Lock()

# FFmpeg's and GStreamer's messages, and so OpenCV's, hold the address, password and all
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
if hasattr(cv2, "setLogLevel"):  # since OpenCV 4.5; before, the command line sets OPENCV_LOG_LEVEL
    cv2.setLogLevel(0)


def fourcc(code: str) -> int:
    """Return the number of a four-character codec, such as "MJPG"."""
    return int.from_bytes(code.encode("ascii"), "little")


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer: JetPack's is, wheels from PyPI are not."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def is_jetson() -> bool:
    """Return whether this machine runs Jetson Linux."""
    return os.path.exists("/etc/nv_tegra_release")


def check(address: Address) -> None:
    """Raise DeepLabError if the camera or host does not exist or OpenCV cannot reach it. Connects to nothing."""
    if address.kind == "usb" and not os.path.exists(address.location):
        found = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        raise DeepLabError(f"There is no camera {address.location}; this machine has {found}.")
    if address.kind in ("csi", "gst") and not has_gstreamer():
        raise DeepLabError(
            f"{address.kind}: needs an OpenCV with GStreamer; this one ({cv2.__version__}) has none. On a Jetson, pip "
            "uninstall opencv-python to get JetPack's."
        )
    if address.kind == "network":
        host, port = _host(address)
        try:
            socket.getaddrinfo(host, port)
        except (OSError, UnicodeError):  # UnicodeError: of a name that is too long
            raise DeepLabError(f"{address.safe}: there is no host {host}.") from None


def _host(address):
    """Return (host, port) of a network camera."""
    url = split_url(address.location)
    return url.host, url.port or _PORTS[url.scheme.lower()]


def open_capture(address: Address) -> "cv2.VideoCapture":
    """Return an open cv2.VideoCapture. Raise DeepLabError, with the reason if it can be found, if that fails."""
    check(address)
    capture = _capture(address)
    if not capture.isOpened():
        raise DeepLabError(_reason(address))
    return capture


def _capture(address):
    location = address.location
    if address.kind == "usb":
        return _open_usb(address)
    if address.kind == "csi":
        return cv2.VideoCapture(pipelines.csi(location, address.options), cv2.CAP_GSTREAMER)
    if address.kind == "gst":
        return cv2.VideoCapture(pipelines.custom(location), cv2.CAP_GSTREAMER)
    if address.kind == "ffmpeg":
        options, location = pipelines.custom_ffmpeg(location)
        return _open_ffmpeg(location, options)
    if location.lower().startswith("rtsp") and is_jetson() and has_gstreamer():
        return cv2.VideoCapture(pipelines.rtsp(location, jetson=True), cv2.CAP_GSTREAMER)
    return _open_ffmpeg(location, pipelines.ffmpeg_options(location))


def _open_usb(address):
    capture = cv2.VideoCapture(int(re.sub(r"\D", "", address.location)), cv2.CAP_V4L2)
    properties = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}
    if any(address.options.values()):
        capture.set(cv2.CAP_PROP_FOURCC, fourcc("MJPG"))  # uncompressed, USB 2 carries 720p at 10 frames/s only
    for name, key in properties.items():
        if address.options[name]:
            capture.set(key, address.options[name])
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _open_ffmpeg(location, options):
    with _environment:  # the only way to pass FFmpeg's options through OpenCV
        before = os.environ.get(_OPTIONS_VARIABLE)
        if options and before is None:
            os.environ[_OPTIONS_VARIABLE] = options
        try:
            capture = cv2.VideoCapture()
            timeouts = _timeouts()
            capture.open(location, cv2.CAP_FFMPEG, timeouts) if timeouts else capture.open(location, cv2.CAP_FFMPEG)
        finally:
            if before is None:
                os.environ.pop(_OPTIONS_VARIABLE, None)
    return capture


def _timeouts() -> List[int]:
    """Return OpenCV's timeout parameters; none before 4.5, where FFmpeg gives up after 30 seconds."""
    found: List[int] = []
    for name in ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC"):
        if hasattr(cv2, name):
            found += [getattr(cv2, name), int(TIMEOUT_S * 1000)]
    return found


def _reason(address) -> str:
    if address.kind == "usb":
        return (
            f"The camera {address.safe} cannot be opened: another program uses it, it is no camera, or permission is "
            "missing."
        )
    if address.kind == "csi":
        return f"The camera {address.safe} cannot be opened: check its cable, and restart nvargus-daemon."
    if address.kind == "gst":
        return f"GStreamer cannot run the pipeline {address.safe}; try it with gst-launch-1.0."
    if address.kind == "ffmpeg":
        return f"FFmpeg cannot open {address.safe}."
    host, port = _host(address)
    try:  # only now: some cameras take a single connection, and an earlier probe would have been it
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or f"no answer in {TIMEOUT_S:.0f} s"
        return f"{address.safe}: nothing answers at {host}, port {port} ({reason})."
    return f"{address.safe}: the host answers, but sends no video that OpenCV can read: wrong path, user or password?"
