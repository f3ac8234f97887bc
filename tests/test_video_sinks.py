"""What a stream leaves behind: video files, pictures, label files, lines of JSON, and the picture that is drawn."""

import json
import os

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core import draw
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_ids, read_image
from deeplab_tf.deploy.video import sinks
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.frame import Figures, Shown
from deeplab_tf.deploy.video.notify import Notify
from deeplab_tf.deploy.video.painter import Painter, line
from deeplab_tf.deploy.video.source import Source, collect
from deeplab_tf.deploy.video.sources import open_source

LATENCY = {"end_to_end": 45.2, "capture": 3.0, "run": 33.0, "post": 2.0}
FIGURES = Figures(
    29.84, LATENCY, 456, 333, 123, 0, "sample://", "fake float32", "a machine", None, None, [0.25, 0.5, 0.25]
)


def shown(index=0, captured=0.0, size=(64, 128), name=""):
    image = streams.numbered(index, size)
    label_map = np.full((size[0] // 4, size[1] // 4), index % 3, np.uint8)
    return Shown(index, captured, image, label_map, image, FIGURES, name)


def source(live=False, fps=10.0):
    made = Source(parse("a.mp4"))
    made.live, made.fps = live, fps
    return made


def write(sink, frames):
    for frame in frames:
        sink.write(frame)
    sink.close()


def read(path):
    return [streams.number_of(frame.image) for frame in collect(open_source(str(path)), 10**6)]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.mov"])
def test_a_video_file_has_every_frame_of_a_file_at_its_rate(tmp_path, name):
    write(sinks.save(str(tmp_path / name), source(fps=12.5)), [shown(i, captured=100.0 + 7 * i) for i in range(8)])
    assert read(tmp_path / name) == list(range(8))
    assert open_source(str(tmp_path / name)).fps == pytest.approx(12.5)


def test_a_video_of_a_live_source_plays_at_the_speed_of_life(tmp_path):
    # at 10 frames a second: 1 is late by a tenth, 2 comes too early for a place of its own, 3 is at 0.5 s
    times = {0: 50.0, 1: 50.2, 2: 50.22, 3: 50.5}
    write(sinks.save(str(tmp_path / "a.avi"), source(live=True)), [shown(i, captured) for i, captured in times.items()])
    assert read(tmp_path / "a.avi") == [0, 1, 1, 3, 3, 3]


def test_of_a_gap_in_a_live_source_five_seconds_are_kept(tmp_path):
    times = {0: 50.0, 1: 50.1, 2: 950.0, 3: 950.1}
    write(sinks.save(str(tmp_path / "a.avi"), source(live=True)), [shown(i, captured) for i, captured in times.items()])
    assert read(tmp_path / "a.avi") == [0, 1] + [2] * 50 + [3]


def test_a_video_file_gets_its_name_when_it_is_whole(tmp_path):
    sink = sinks.save(str(tmp_path / "a.mp4"), source())
    sink.write(shown(0))
    assert os.listdir(str(tmp_path)) == ["a.part.mp4"]
    sink.close()
    sink.close()
    assert os.listdir(str(tmp_path)) == ["a.mp4"]
    write(sinks.save(str(tmp_path / "b.mp4"), source()), [])  # nothing was shown
    assert os.listdir(str(tmp_path)) == ["a.mp4"]


def test_a_video_file_that_lacks_frames_is_an_error_and_keeps_its_other_name(tmp_path):
    sink = sinks.save(str(tmp_path / "a.avi"), source())
    sink.write(shown(0))
    sink._written = 100  # as if the disk had been full
    with pytest.raises(DeepLabError, match="was not written whole"):
        sink.close()
    assert os.listdir(str(tmp_path)) == ["a.part.avi"]


def test_a_video_file_refuses_frames_of_another_size(tmp_path):
    sink = sinks.save(str(tmp_path / "a.mp4"), source())
    sink.write(shown(0))
    with pytest.raises(DeepLabError, match="the frames change from 64x128 to 32x48, which a video file cannot"):
        sink.write(shown(1, size=(32, 48)))
    sink.close()
    assert read(tmp_path / "a.mp4") == [0]


def test_save_says_what_it_can_write(tmp_path):
    with pytest.raises(
        DeepLabError, match=r"ends in .avi, .mkv, .mov, .mp4, a folder has no suffix. Did you mean '.mp4'\?"
    ):
        sinks.save(str(tmp_path / "a.mp5"), source())
    (tmp_path / "file").write_text("")
    with pytest.raises(DeepLabError, match="Cannot make the folder"):
        sinks.save(str(tmp_path / "file"), source())
    with pytest.raises(DeepLabError, match="Cannot make the folder"):
        sinks.save(str(tmp_path / "file" / "a.mp4"), source())
    (tmp_path / "a.folder").mkdir()
    assert isinstance(sinks.save(str(tmp_path / "a.folder"), source()), sinks.ImageFolder)


def test_pictures_are_named_by_number_or_by_their_file(tmp_path):
    write(sinks.save(str(tmp_path / "out"), source()), [shown(7), shown(8, name="x/b.png"), shown(9, name="y/b.png")])
    assert sorted(os.listdir(str(tmp_path / "out"))) == ["00000007.jpg", "b_00000009_overlay.jpg", "b_overlay.jpg"]
    assert streams.number_of(read_image(str(tmp_path / "out" / "00000007.jpg"))) == 7


def test_label_files_have_the_size_of_the_frame(tmp_path):
    frame = shown(0, size=(30, 50))
    frame = frame._replace(label_map=np.array([[0, 1], [2, 255]], np.uint8))
    write(sinks.LabelFolder(str(tmp_path)), [frame])
    ids = read_ids(str(tmp_path / "00000000.png"))
    assert ids.shape == (30, 50)
    assert ids[0, 0] == 0 and ids[0, -1] == 1 and ids[-1, 0] == 2 and ids[-1, -1] == 255


def test_lines_of_json(tmp_path):
    path = tmp_path / "a.jsonl"
    sink = sinks.JsonLines(str(path), streams.TABLE)
    sink.write(shown(3))
    row = json.loads(path.read_text())  # at once, not at the end
    sink.close()
    assert row["frame"] == 3 and row["class_shares"] == {"dark": 0.25, "grey": 0.5, "bright": 0.25}
    assert (row["captured"], row["shown"], row["dropped"], row["latency_ms"]["run"]) == (456, 333, 123, 33.0)
    assert "instances" not in row, "the network does not tell things apart"
    sink = sinks.JsonLines(str(path), streams.TABLE)
    sink.write(shown(4)._replace(figures=FIGURES._replace(instances=[0, 0, 5])))
    sink.close()
    assert json.loads(path.read_text().splitlines()[-1])["instances"] == {"bright": 5}
    with pytest.raises(DeepLabError, match="Cannot write"):
        sinks.JsonLines(str(tmp_path), streams.TABLE)


def test_a_window_needs_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeepLabError, match="--show needs a screen, and this session has none"):
        sinks.Window("title", stop=None)


@pytest.mark.skipif(
    "GUI:                           NONE" not in cv2.getBuildInformation(), reason="this OpenCV has windows"
)
def test_a_window_needs_an_opencv_with_windows(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(DeepLabError, match="--show needs an OpenCV with windows"):
        sinks.Window("title", stop=None)


@pytest.mark.parametrize("size", [(64, 128), (101, 77), (129, 131), (33, 20)])
def test_the_picture_is_the_overlay_with_a_legend_and_has_even_sides(size):
    image = np.random.RandomState(0).randint(0, 256, size + (3,)).astype(np.uint8)
    label_map = np.random.RandomState(1).randint(0, 3, (16, 32)).astype(np.uint8)
    picture = Painter(streams.TABLE).paint(image, label_map)
    assert picture.shape[0] == size[0] + size[0] % 2 and picture.shape[1] % 2 == 0
    assert np.array_equal(picture[: size[0], : size[1]], draw.overlay(image, label_map, streams.TABLE))
    if size[0] >= 96:
        colors = {tuple(color) for color in picture[:, size[1] :].reshape(-1, 3).tolist()}
        assert {label.color for label in streams.TABLE} <= colors


def test_figures_are_written_along_the_top_alone():
    image = np.full((256, 512, 3), 100, np.uint8)
    label_map = np.zeros((64, 128), np.uint8)
    painter = Painter(streams.TABLE)
    plain, written = painter.paint(image, label_map), painter.paint(image, label_map, FIGURES)
    rows = np.flatnonzero((plain != written).any(axis=(1, 2)))
    assert rows.min() == 0 and rows.max() < 30
    assert written[: rows.max()].max() > 200  # white letters
    assert np.array_equal(image, np.full((256, 512, 3), 100, np.uint8))


def test_figures_as_a_line():
    assert line(FIGURES) == "29.8 frames/s   latency 45 ms   dropped 123 of 456"
    hot = FIGURES._replace(reconnects=2, temperature_c=71.5, throttled=True)
    assert line(hot).endswith("   reconnects 2   72 C   THROTTLED")


def test_shares_of_classes_leave_out_what_is_in_none():
    label_map = np.array([[0, 0, 1, 255]], np.uint8)
    assert Painter(streams.TABLE).shares(label_map) == [0.5, 0.25, 0.0]


def test_systemd_is_told_where_it_listens(tmp_path, monkeypatch):
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify = Notify()
        notify.ready()
        notify.pulse()
        notify.pulse()  # within the same second
        notify.stopping()
        assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    monkeypatch.delenv("NOTIFY_SOCKET")
    Notify().ready()
