"""Files, images and drawn streets as sources: every frame, in order; what is wrong is one sentence."""

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
def test_a_file_gives_every_frame_in_order(tmp_path, name):
    source = open_source(streams.write_video(tmp_path / name, 24, fps=12.5))
    assert (source.live, source.total, source.fps) == (False, 24, 12.5)
    frames = collect(source, 100)
    assert numbers(frames) == list(range(24))
    assert [frame.index for frame in frames] == list(range(24))
    assert frames[0].image.shape == (64, 128, 3)


def test_a_file_is_rgb(tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 250), np.uint8))  # BGR: red
    writer.release()
    red = collect(open_source(str(tmp_path / "a.avi")), 1)[0].image[0, 0]
    assert red[0] > 200 and red[1] < 50 and red[2] < 50


def test_a_file_can_be_read_twice_and_left_early(tmp_path):
    source = open_source(streams.write_video(tmp_path / "a.mp4", 10))
    assert numbers(collect(source, 3)) == [0, 1, 2]
    assert numbers(collect(source, 100)) == list(range(10))


def test_a_paced_file_takes_its_own_time(tmp_path):
    source = open_source(streams.write_video(tmp_path / "a.mp4", 10, fps=50.0), paced=True)
    assert source.live
    start = time.monotonic()
    frames = collect(source, 100)
    assert numbers(frames) == list(range(10))
    assert 0.17 < time.monotonic() - start < 3.0  # nine periods of 20 ms, and opening the file on a busy machine
    steps = np.diff([frame.captured for frame in frames])
    assert 0.015 < np.median(steps) < 0.05


def test_images_come_by_name_and_keep_their_sizes(tmp_path):
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


def test_drawn_streets_move_forwards_and_backwards():
    source = open_source("sample://?size=32x64&fps=20&seed=3&seconds=0.15")
    frames = [frame.image for frame in collect(source, 8)]  # three are drawn: 0 1 2 1 0 1 2 1
    assert source.live and source.fps == 20.0
    assert not np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[1], frames[2])
    for index, same in ((3, 1), (4, 0), (5, 1), (6, 2), (7, 1)):
        assert np.array_equal(frames[index], frames[same])


def test_drawn_streets_are_the_scenes_of_sample():
    from deeplab_tf.synth import draw_scene

    frame = collect(open_source("sample://?size=32x64&seed=3&scene=2&seconds=0.01"), 1)[0]
    assert np.array_equal(frame.image, draw_scene(3, 2, (32, 64)).image)


def test_a_source_that_is_stopped_ends():
    stopped, seen = threading.Event(), []

    def deliver(captured, image, seconds, name):
        seen.append(captured)
        stopped.set()
        return True

    open_source("sample://?size=32x64&seconds=0.01").run(deliver, stopped)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "uri, message",
    [
        ("nothing.mp4", "There is no file nothing.mp4."),
        ("nothing/*.png", "No PNG or JPEG image matches nothing/*.png."),
        ("nothing.png", "There is no file nothing.png."),
        ("/dev/video97", "There is no camera /dev/video97; this machine has "),
        (
            "http://127.0.0.1:9/live",
            "http://127.0.0.1:9/live: nothing answers at 127.0.0.1, port 9 (Connection refused).",
        ),
        (
            "rtsp://user:secret@127.0.0.1:9/live",
            "rtsp://user:***@127.0.0.1:9/live: nothing answers at 127.0.0.1, port 9",
        ),
        ("rtsp://nowhere.invalid/live", "there is no host nowhere.invalid."),
        ("http:///live", "is not a URL"),
    ],
)
def test_what_is_not_there_is_one_sentence(uri, message):
    with pytest.raises(DeepLabError) as error:
        collect(open_source(uri), 1)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_gstreamer_is_asked_for_only_where_opencv_has_it(monkeypatch):
    monkeypatch.setattr(camera, "has_gstreamer", lambda: False)
    for uri in ("csi://0", "gst:videotestsrc"):
        with pytest.raises(DeepLabError, match="needs an OpenCV with GStreamer"):
            open_source(uri)
    monkeypatch.setattr(camera, "has_gstreamer", lambda: True)
    camera.check(parse("csi://0"))


@pytest.mark.parametrize(
    "content, message", [(b"", "is empty"), (b"no video at all" * 100, "is not a video that OpenCV can read")]
)
def test_a_file_that_is_no_video_is_refused(tmp_path, content, message):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DeepLabError, match=message):
        open_source(str(tmp_path / "a.mp4"))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DeepLabError, match="has no PNG or JPEG image in it"):
        open_source(str(tmp_path))


def test_a_file_that_ends_in_the_middle_says_how_far_it_went(tmp_path):
    whole = tmp_path / "whole.avi"
    streams.write_video(whole, 60)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(str(cut))
    read = []
    with pytest.raises(
        DeepLabError, match=r"ends in the middle: \d+ of the 60 frames that its header announces"
    ) as error:
        source.run(lambda captured, image, seconds, name: read.append(image) or True, threading.Event())
    assert 20 < len(read) < 40
    assert f"{len(read)} of the 60" in str(error.value)


def test_an_mp4_file_that_was_cut_off_is_refused(tmp_path):
    whole = tmp_path / "whole.mp4"
    streams.write_video(whole, 60)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DeepLabError, match="or one that was cut off"):
        open_source(str(cut))


READ = """
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source
try:
    print(len(collect(open_source({!r}), 3)))
except Exception as error:
    print(error)
"""


def test_passwords_reach_no_line_that_the_process_prints():
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
