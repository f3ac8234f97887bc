"""A stream's panoptic maps in COCO's format, and its video at a server."""

import json
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
import streams
from test_video_sinks import annotated, source

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.panoptic.folders import open_panoptic_folder
from deeplab_tf.deploy.video import publish_sink
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source


@pytest.fixture
def run(monkeypatch, tmp_path):
    return streams.with_fake_runtime(monkeypatch, tmp_path / "bundle")


def test_panoptic_maps_of_a_stream_are_read_again(run, tmp_path):
    """Two bright squares, of a class of things, on a dark ground: two regions, in each of two frames."""
    image = np.full((64, 128, 3), 5, np.uint8)
    image[8:24, 8:24] = image[40:56, 80:112] = 250
    for name in ("a", "b"):
        write_image(str(tmp_path / "images" / f"{name}.png"), image)
    result = run("--source", tmp_path / "images", "--panoptic-out", tmp_path / "out")
    assert result.exit_code == 0 and "connected regions" in result.stderr, result.stderr
    info = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert info["info"]["pq_method"] == "components"
    areas = [sorted(part["area"] for part in each["segments_info"]) for each in info["annotations"]]
    assert areas == [[16 * 16, 16 * 32, 64 * 128 - 16 * 16 - 16 * 32]] * 2
    panoptic = open_panoptic_folder(str(tmp_path / "out")).panoptic_map("b")
    assert panoptic[0, 0] == 0 and {panoptic[10, 10], panoptic[45, 90]} == {2001, 2002}


def test_panoptic_maps_of_a_video_have_its_numbers(run, tmp_path):
    video = streams.write_video(tmp_path / "a.mp4", 3)
    assert run("--source", video, "--panoptic-out", tmp_path / "out").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert names == [f"{number:08d}_panoptic.png" for number in range(3)] + ["panoptic.json"]


@pytest.mark.parametrize("uri", ["http://host/a", "a.mp4", "rtsp://", "udp://host:5000"])
def test_an_address_that_takes_no_video_is_refused(run, uri):
    result = run("--source", "sample://", "--publish", uri)
    assert result.exit_code == 2 and "--publish takes rtsp://HOST/PATH" in result.stderr


def test_missing_ffmpeg_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DeepLabError, match="--publish needs ffmpeg.*apt install"):
        publish_sink.check("rtsp://host/a")


def test_the_command_names_the_kind_of_server():
    rtsp = publish_sink.command("rtsp://host/a", (64, 128), 25.0)
    assert rtsp[-5:] == ["-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://host/a"] and "128x64" in rtsp
    assert publish_sink.command("rtmp://host/a", (64, 128), 25.0)[-3:] == ["-f", "flv", "rtmp://host/a"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_server_gets_the_video(tmp_path):
    """ffmpeg itself stands for the server: it waits for one publisher, and writes what comes into a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"rtmp://127.0.0.1:{probe.getsockname()[1]}/live/a"
    said = []
    sink = publish_sink.PublishSink(uri, source(live=True, fps=20.0), said.append)
    server = None
    try:
        sink.write(annotated(1))
        while not said:  # nobody is there yet: it tries again
            sink.write(annotated(1))
            time.sleep(0.02)
        words = ["ffmpeg", "-v", "quiet", "-y", "-listen", "1", "-f", "flv", "-i", uri, "-c", "copy"]
        server = subprocess.Popen([*words, str(tmp_path / "got.flv")], stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        before = sink.sent
        while sink.sent < before + 40 and time.monotonic() < end:
            sink.write(annotated(9))
            time.sleep(0.1)
        sink.close()
        server.wait(10)
    finally:
        sink.close()
        if server is not None and server.poll() is None:
            server.kill()
            server.wait()
    assert "publishing stopped" in said[0] and "live" in said[0]
    frames = collect(open_source(str(tmp_path / "got.flv")), 1000)
    assert len(frames) > 5 and {streams.number_of(frame.image) for frame in frames} == {9}
    # Of the 40 frames and more, which came slower than the source's 20 a second, each has the time at which it came.
    assert frames[-1].time > 1.5 * len(frames) / 20


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_server_that_never_answers_holds_nothing_up():
    """Nor does it leave an ffmpeg behind, and it is said that nothing was published."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        uri = f"rtmp://127.0.0.1:{server.getsockname()[1]}/live/a"
        sink = publish_sink.PublishSink(uri, source(live=True, fps=20.0), print)
        big = annotated(1)._replace(annotated=np.zeros((480, 640, 3), np.uint8))
        end = time.monotonic() + 20
        while sink._process is None and time.monotonic() < end:
            sink.write(big)
            time.sleep(0.02)
        for _ in range(20):
            sink.write(big)
            time.sleep(0.02)
        process = sink._process
        closing = threading.Thread(target=sink.close, daemon=True)
        closing.start()
        closing.join(20)
        assert not closing.is_alive() and process.poll() is not None
    assert sink.warning.startswith("Nothing was published at rtmp://127.0.0.1")
