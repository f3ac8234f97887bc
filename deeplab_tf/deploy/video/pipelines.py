"""Pipeline descriptions for GStreamer and options for FFmpeg, as text; nothing is opened here.

A Jetson's camera, decoder and encoder are reached through NVIDIA's GStreamer elements (nvarguscamerasrc,
nvv4l2decoder, nvvidconv, nvv4l2h264enc: "Accelerated GStreamer", Jetson Linux Developer Guide).
"""

import re
from typing import Any, Dict, List, Tuple

APPSINK = "appsink drop=true max-buffers=1 sync=false"
"""End of every live pipeline: keeps the newest frame and waits for no clock."""

_TO_BGR = "videoconvert ! video/x-raw, format=BGR ! " + APPSINK


def csi(sensor: str, options: Dict[str, Any]) -> str:
    """Return the pipeline of a Jetson's CSI camera.

    Args:
        sensor: number of the camera.
        options: width, height, fps, and flip as nvvidconv's flip-method (0 none, 1 counter-clockwise, 2 by 180 degrees,
            3 clockwise).
    """
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM), width={options['width']}, "
        f"height={options['height']}, framerate={options['fps']}/1, format=NV12 ! "
        f"nvvidconv flip-method={options['flip']} ! video/x-raw, format=BGRx ! {_TO_BGR}"
    )


def rtsp(url: str, *, jetson: bool) -> str:
    """Return the pipeline of an RTSP camera; a Jetson decodes in hardware."""
    location, convert = url.replace('"', "%22"), "nvvidconv ! video/x-raw, format=BGRx ! " if jetson else ""
    return f'rtspsrc location="{location}" protocols=tcp latency=100 ! decodebin ! {convert}{_TO_BGR}'


def custom(pipeline: str) -> str:
    """Return a user's pipeline, with the usual end if it has no appsink."""
    pipeline = pipeline.strip().rstrip("!").strip()
    return pipeline if re.search(r"\bappsink\b", pipeline) else f"{pipeline} ! {_TO_BGR}"


def custom_ffmpeg(text: str) -> Tuple[str, str]:
    """Return (options for OpenCV, input) of a text such as `rtsp_transport=udp max_delay=0 rtsp://HOST/PATH`."""
    options: List[str] = []
    rest = text.strip()
    while True:
        match = re.match(r"([a-z_]+)=(\S+)\s+(?=\S)", rest)
        if not match:
            return "|".join(options), rest
        options.append(f"{match.group(1)};{match.group(2)}")
        rest = rest[match.end() :]


def ffmpeg_options(url: str) -> str:
    """Return a network camera's value of OPENCV_FFMPEG_CAPTURE_OPTIONS: no buffering, no reordering delay."""
    transport = "rtsp_transport;tcp|" if url.lower().startswith("rtsp") else ""
    return transport + "fflags;nobuffer|flags;low_delay"


def writer(path: str, *, hardware: bool) -> str:
    """Return the pipeline that writes H.264 into an .mp4, .mov or .mkv file, by a Jetson's encoder (an Orin Nano has
    none) or by x264."""
    mux = {"mkv": "matroskamux", "mov": "qtmux"}.get(path.lower().rpartition(".")[2], "mp4mux")
    if hardware:
        encode = (
            "videoconvert ! video/x-raw, format=BGRx ! nvvidconv ! video/x-raw(memory:NVMM), format=NV12 ! "
            "nvv4l2h264enc bitrate=8000000"
        )
    else:
        encode = "videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency bitrate=8000"
    return f'appsrc ! {encode} ! h264parse ! {mux} ! filesink location="{path}"'
