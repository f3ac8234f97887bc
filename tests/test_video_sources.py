"""Video files, images and synthetic streets as sources: every frame, in order; errors of one sentence."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy.video import camera
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source


def numbers(frames):
    return [streams.number_of(frame.image) for frame in frames]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_file_gives_every_frame_in_order(tmp_path, name):
    source = open_source(streams.write_video(tmp_path / name, 24, fps=12.5))
    assert (source.live, source.total, source.fps) == (False, 24, 12.5)
    frames = collect(source, 100)
    assert numbers(frames) == list(range(24))
    assert [frame.number for frame in frames] == list(range(24))
    assert frames[0].image.shape == (64, 128, 3)


def test_file_is_rgb(tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 250), np.uint8))  # BGR: red
    writer.release()
    red = collect(open_source(str(tmp_path / "a.avi")), 1)[0].image[0, 0]
    assert red[0] > 200 and red[1] < 50 and red[2] < 50


def test_file_can_be_read_twice_and_left_early(tmp_path):
    source = open_source(streams.write_video(tmp_path / "a.mp4", 10))
    assert numbers(collect(source, 3)) == [0, 1, 2]
    assert numbers(collect(source, 100)) == list(range(10))


def test_paced_file_plays_in_real_time(tmp_path):
    source = open_source(streams.write_video(tmp_path / "a.mp4", 10, fps=50.0), paced=True)
    assert source.live
    start = time.monotonic()
    frames = collect(source, 100)
    assert numbers(frames) == list(range(10))
    assert 0.17 < time.monotonic() - start < 3.0  # nine periods of 20 ms, and opening the file on a busy machine
    steps = np.diff([frame.captured_at for frame in frames])
    assert 0.015 < np.median(steps) < 0.05


def test_images_are_sorted_and_keep_their_sizes(tmp_path):
    for name, size in (("b.png", (40, 60)), ("a.jpg", (30, 20)), ("c.png", (40, 60))):
        write_image(str(tmp_path / name), np.full(size + (3,), 7, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    frames = collect(open_source(str(tmp_path)), 10)
    assert [os.path.basename(frame.name) for frame in frames] == ["a.jpg", "b.png", "c.png"]
    assert [frame.image.shape[:2] for frame in frames] == [(30, 20), (40, 60), (40, 60)]
    assert [os.path.basename(frame.name) for frame in collect(open_source(str(tmp_path / "*.png")), 10)] == [
        "b.png",
        "c.png",
    ]
    assert len(collect(open_source(str(tmp_path / "b.png")), 10)) == 1


def test_sample_plays_forwards_and_backwards():
    source = open_source("sample://?size=32x64&fps=20&seed=3&seconds=0.15")
    frames = [frame.image for frame in collect(source, 8)]  # three are drawn: 0 1 2 1 0 1 2 1
    assert source.live and source.fps == 20.0
    assert not np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[1], frames[2])
    for index, same in ((3, 1), (4, 0), (5, 1), (6, 2), (7, 1)):
        assert np.array_equal(frames[index], frames[same])


def test_sample_source_shows_the_scenes_of_sample():
    from deeplab_tf.synth import draw_scene

    frame = collect(open_source("sample://?size=32x64&seed=3&scene=2&seconds=0.01"), 1)[0]
    assert np.array_equal(frame.image, draw_scene(3, 2, (32, 64)).image)


def test_stopped_source_ends():
    stopped, seen = threading.Event(), []

    def deliver(captured_at, *_):
        seen.append(captured_at)
        stopped.set()
        return True

    open_source("sample://?size=32x64&seconds=0.01").run(deliver, stopped)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "uri, facts",
    [
        ("nothing.mp4", ["no file", "nothing.mp4"]),
        ("nothing/*.png", ["No image matches", "nothing/*.png", "TIFF"]),
        ("nothing.png", ["no file", "nothing.png"]),
        ("/dev/video97", ["no camera", "/dev/video97", "this machine has"]),
        ("http://127.0.0.1:9/live", ["http://127.0.0.1:9/live", "127.0.0.1, port 9", "Connection refused"]),
        ("rtsp://user:secret@127.0.0.1:9/live", ["rtsp://127.0.0.1:9/live", "127.0.0.1, port 9"]),
        ("rtsp://nowhere.invalid/live", ["no host", "nowhere.invalid"]),
        ("http:///live", ["http:///live", "URL"]),
        ("rtsp://" + 70 * "h" + "/live", ["no host"]),
    ],
)
def test_missing_source_is_one_sentence(uri, facts):
    with pytest.raises(DeepLabError) as error:
        collect(open_source(uri), 1)
    assert all(fact in str(error.value) for fact in facts) and len(str(error.value).splitlines()) == 1


def test_gstreamer_sources_need_it_in_opencv(monkeypatch):
    monkeypatch.setattr(camera, "has_gstreamer", lambda: False)
    for uri in ("csi://0", "gst:videotestsrc"):
        with pytest.raises(DeepLabError, match="OpenCV with GStreamer"):
            open_source(uri)
    monkeypatch.setattr(camera, "has_gstreamer", lambda: True)
    camera.check(parse("csi://0"))


@pytest.mark.parametrize("content, fact", [(b"", "a.mp4 is empty"), (b"no video at all" * 100, "a.mp4 is not a video")])
def test_file_that_is_no_video_is_refused(tmp_path, content, fact):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DeepLabError, match=fact):
        open_source(str(tmp_path / "a.mp4"))


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DeepLabError, match=r"no image in it \(PNG, JPEG, TIFF, WebP or BMP\)"):
        open_source(str(tmp_path))


def test_truncated_avi_reports_how_much_was_read(tmp_path):
    whole = tmp_path / "whole.avi"
    streams.write_video(whole, 60)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(str(cut))
    read = []
    with pytest.raises(DeepLabError, match=r"cut\.avi.*middle") as error:
        source.run(lambda captured_at, image, *_: read.append(image) or True, threading.Event())
    assert 20 < len(read) < 40
    assert f"{len(read)} of the 60 frames" in str(error.value)


def test_truncated_mp4_is_refused(tmp_path):
    whole = tmp_path / "whole.mp4"
    streams.write_video(whole, 60)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DeepLabError, match="cut.mp4.*cut off"):
        open_source(str(cut))


READ = """
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source
try:
    print(len(collect(open_source({!r}), 3)))
except Exception as error:
    print(error)
"""


def test_passwords_are_never_printed():
    with streams.NetworkCamera() as network:
        wrong, closed = network.url.replace("127.0.0.1", "nowhere.invalid"), "http://user:secret@127.0.0.1:9/live"
        for uri, expected in (
            (network.url, b"3"),
            (wrong, b"no host"),
            (closed, b"nothing answers"),
            ("ffmpeg:" + closed, b"cannot open"),
        ):
            command = [sys.executable, "-c", READ.format(uri)]
            result = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=streams.environment()
            )
            assert expected in result.stdout and b"secret" not in result.stdout
        assert network.seen  # it did reach the camera
