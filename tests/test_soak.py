"""Kill a real RTSP server under a running stream: the ten-minute soak of tools/check/soak_stream.py, in seconds."""

import json
import os
import subprocess
import sys

import pytest
import streams

TOOL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "check", "soak_stream.py")
SYSTEM_PYTHON = os.environ.get("SYSTEM_PYTHON", "/usr/bin/python3")
HAS_SERVER = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
    "Gst.init(None); "
    "assert Gst.ElementFactory.find('rtpjpegpay')"
)


def has_server():
    try:
        return (
            subprocess.call([SYSTEM_PYTHON, "-c", HAS_SERVER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            == 0
        )
    except OSError:
        return False


@pytest.mark.skipif(
    not has_server(), reason="no GStreamer RTSP server here; tools/check/rtsp_server.py says what to install"
)
def test_stream_outlives_its_camera(tmp_path):
    bundle = streams.write_bundle(tmp_path / "bundle")
    command = [
        sys.executable,
        TOOL,
        bundle,
        "--minutes",
        "0.2",
        "--kills",
        "2",
        "--size",
        "64x128",
        "--program",
        streams.__file__,
    ]
    command += ["--json", str(tmp_path / "soak.json")]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=streams.environment(FAKE_DELAY="0.01")
    )
    assert result.returncode == 0, result.stdout.decode()
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["reconnects"] == 2 and found["problems"] == []
