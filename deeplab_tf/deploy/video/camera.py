"""Opens cameras, network cameras and pipelines with OpenCV, and says why one did not open."""

import glob
import os
import re
import socket
import threading
from typing import List, Optional, Tuple
from urllib.parse import urlsplit

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import pipelines
from deeplab_tf.deploy.video.address import Address

TIMEOUT_S = 5.0
"""What a network camera has to answer in, and to send the next picture in."""

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_environment = threading.Lock()


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer; wheels from PyPI are not, JetPack's is."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def is_jetson() -> bool:
    """Whether NVIDIA's Jetson Linux runs here."""
    return os.path.exists("/etc/nv_tegra_release")


def check(address: Address) -> None:
    """Raises DeepLabError where the camera, the host or what it takes to reach it is certainly not there. Connects to
    nothing."""
    if address.kind == "usb" and not os.path.exists(address.place):
        there = sorted(glob.glob("/dev/video*"))
        hint = "this machine has {}".format(", ".join(there)) if there else "this machine has none"
        raise DeepLabError(f"There is no camera {address.place}; {hint}.")
    if address.kind in ("csi", "gst") and not has_gstreamer():
        message = (
            "{} needs an OpenCV with GStreamer; this one ({}) has none. On a Jetson, pip uninstall "
            "opencv-python to get JetPack's."
        )
        raise DeepLabError(message.format(address.kind + ":", cv2.__version__))
    if address.kind == "network":
        host, port = _host(address)
        try:
            socket.getaddrinfo(host, port)
        except socket.gaierror:
            raise DeepLabError(f"{address.safe}: there is no host {host}.") from None


def _host(address) -> Tuple[str, int]:
    """(host, port) of a URL. Raises DeepLabError if it names none."""
    try:
        url = urlsplit(address.place)
        host, port = url.hostname, url.port or _PORTS[url.scheme.lower()]
    except ValueError:
        host = None
    if not host:
        raise DeepLabError(f"{address.safe} is not a URL: expected such as rtsp://HOST/PATH.")
    return host, port


def _why_not(address) -> str:
    """Why a network camera did not open. It is asked only now: some take one connection only, and an earlier look would
    have been it."""
    host, port = _host(address)
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or f"no answer in {TIMEOUT_S:.0f} s"
        return f"{address.safe}: nothing answers at {host}, port {port} ({reason})."
    return f"{address.safe}: the host answers, but sends no video that OpenCV can read: wrong path, user or password?"


def open_capture(address: Address) -> "cv2.VideoCapture":
    """An open cv2.VideoCapture. Raises DeepLabError, with the reason where it can be found out, if OpenCV cannot open
    it."""
    check(address)
    if address.kind == "usb":
        capture = _open_usb(address)
    elif address.kind == "csi":
        capture = cv2.VideoCapture(pipelines.csi(address.place, address.options), cv2.CAP_GSTREAMER)
    elif address.kind == "gst":
        capture = cv2.VideoCapture(pipelines.own(address.place), cv2.CAP_GSTREAMER)
    elif address.kind == "ffmpeg":
        options, place = pipelines.own_ffmpeg(address.place)
        capture = _open_ffmpeg(place, options)
    elif address.place.lower().startswith("rtsp") and is_jetson() and has_gstreamer():
        capture = cv2.VideoCapture(pipelines.rtsp(address.place, jetson=True), cv2.CAP_GSTREAMER)
    else:
        capture = _open_ffmpeg(address.place, pipelines.ffmpeg_options(address.place))
    if not capture.isOpened():
        raise DeepLabError(_why(address))
    return capture


def _open_usb(address):
    capture = cv2.VideoCapture(int(re.sub(r"\D", "", address.place)), cv2.CAP_V4L2)
    options = address.options
    if options["width"] or options["height"] or options["fps"]:
        capture.set(
            cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG")
        )  # uncompressed, USB 2 carries 720p at 10 frames/s only
    for name, key in (
        ("width", cv2.CAP_PROP_FRAME_WIDTH),
        ("height", cv2.CAP_PROP_FRAME_HEIGHT),
        ("fps", cv2.CAP_PROP_FPS),
    ):
        if options[name]:
            capture.set(key, options[name])
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _open_ffmpeg(place, options):
    with _environment:  # OpenCV takes FFmpeg's options from there only
        before = os.environ.get(_OPTIONS_VARIABLE)
        if options and before is None:
            os.environ[_OPTIONS_VARIABLE] = options
        try:
            capture = cv2.VideoCapture()
            timeouts = _timeouts()
            capture.open(place, cv2.CAP_FFMPEG, timeouts) if timeouts else capture.open(place, cv2.CAP_FFMPEG)
        finally:
            if before is None:
                os.environ.pop(_OPTIONS_VARIABLE, None)
    return capture


def _timeouts() -> Optional[List[int]]:
    """OpenCV's parameters for them; before 4.5 there are none, and FFmpeg gives up after 30 seconds."""
    keys = [getattr(cv2, f"CAP_PROP_{name}_TIMEOUT_MSEC", None) for name in ("OPEN", "READ")]
    if None in keys:
        return None
    return [keys[0], int(TIMEOUT_S * 1000), keys[1], int(TIMEOUT_S * 1000)]


def _why(address):
    if address.kind == "usb":
        return (
            f"The camera {address.safe} cannot be opened: another program has it, it is no camera, or "
            f"permission is missing."
        )
    if address.kind == "csi":
        return f"The camera {address.safe} cannot be opened: look at its cable, and restart nvargus-daemon."
    if address.kind == "gst":
        return f"GStreamer cannot run the pipeline {address.safe}; try it with gst-launch-1.0."
    if address.kind == "ffmpeg":
        return f"FFmpeg cannot open {address.safe}."
    return _why_not(address)
