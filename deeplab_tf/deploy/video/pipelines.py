"""The pipelines that GStreamer and FFmpeg are asked for, as text. Pure functions: nothing is opened here.

On a Jetson the camera's image processor, the decoder and the encoder are reached through NVIDIA's GStreamer elements
(nvarguscamerasrc, nvv4l2decoder, nvvidconv, nvv4l2h264enc: "Accelerated GStreamer", Jetson Linux Developer Guide).
"""

import re
from typing import Dict, Tuple

APPSINK = "appsink drop=true max-buffers=1 sync=false"
"""The end of every live pipeline: it keeps the newest picture and waits for no clock."""

_TO_BGR = "videoconvert ! video/x-raw, format=BGR ! " + APPSINK


def csi(sensor: str, options: Dict[str, object]) -> str:
    """A camera on a Jetson's ribbon cable.

    Args:
        sensor: its number.
        options: width, height, fps; flip: 0 none, 1 counter-clockwise, 2 by 180 degrees, 3 clockwise (nvvidconv's
            flip-method).
    """
    return (
        "nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM), width={width}, height={height}, "
        "framerate={fps}/1, format=NV12 ! "
        "nvvidconv flip-method={flip} ! video/x-raw, format=BGRx ! "
    ).format(sensor=sensor, **options) + _TO_BGR


def rtsp(url: str, *, jetson: bool) -> str:
    """A network camera over RTSP; on a Jetson decoded by its decoder."""
    decode = "nvvidconv ! video/x-raw, format=BGRx ! " if jetson else ""
    return (
        'rtspsrc location="{}" protocols=tcp latency=100 ! decodebin ! '.format(url.replace('"', "%22"))
        + decode
        + _TO_BGR
    )


def own(pipeline: str) -> str:
    """A person's own pipeline; without an appsink it gets the usual end."""
    pipeline = pipeline.strip().rstrip("!").strip()
    return pipeline if re.search(r"\bappsink\b", pipeline) else f"{pipeline} ! {_TO_BGR}"


def own_ffmpeg(text: str) -> Tuple[str, str]:
    """(FFmpeg's options as OpenCV wants them, the input) of `ffmpeg:rtsp_transport=udp max_delay=0
    rtsp://HOST/PATH`."""
    options, rest = [], text.strip()
    while True:
        match = re.match(r"([a-z_]+)=(\S+)\s+(?=\S)", rest)
        if not match:
            return "|".join(options), rest
        options.append("{};{}".format(*match.groups()))
        rest = rest[match.end() :]


def ffmpeg_options(url: str) -> str:
    """FFmpeg's options for a network camera, as OPENCV_FFMPEG_CAPTURE_OPTIONS wants them: no buffering, no reordering
    delay."""
    transport = "rtsp_transport;tcp|" if url.lower().startswith("rtsp") else ""
    return transport + "fflags;nobuffer|flags;low_delay"


def writer(path: str, *, hardware: bool) -> str:
    """Writes H.264 into an .mp4, .mov or .mkv file; with a Jetson's encoder (the Orin Nano has none), else x264."""
    mux = {"mkv": "matroskamux", "mov": "qtmux"}.get(path.lower().rpartition(".")[2], "mp4mux")
    convert = (
        "videoconvert ! video/x-raw, format=BGRx ! nvvidconv ! video/x-raw(memory:NVMM), format=NV12 ! "
        "nvv4l2h264enc bitrate=8000000"
    )
    encode = convert if hardware else "videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency bitrate=8000"
    return f'appsrc ! {encode} ! h264parse ! {mux} ! filesink location="{path}"'
