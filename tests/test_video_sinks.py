"""What a stream writes: video files, images, label files, JSON lines; and the annotated frame."""

import json
import os
import socket

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core import draw
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_ids, read_image
from deeplab_tf.deploy.video import sinks
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.frame import AnnotatedFrame, StreamStats
from deeplab_tf.deploy.video.renderer import OverlayRenderer, status_line
from deeplab_tf.deploy.video.source import Source, collect
from deeplab_tf.deploy.video.sources import open_source
from deeplab_tf.deploy.video.systemd import SystemdNotifier

LATENCY = {"end_to_end": 45.2, "capture": 3.0, "run": 33.0, "post": 2.0}
STATS = StreamStats(
    29.84, LATENCY, 456, 333, 123, 0, "sample://", "fake float32", "a machine", None, None, [0.25, 0.5, 0.25]
)


def annotated(number=0, captured_at=0.0, size=(64, 128), name=""):
    image = streams.numbered(number, size)
    label_map = np.full((size[0] // 4, size[1] // 4), number % 3, np.uint8)
    return AnnotatedFrame(number, captured_at, image, label_map, image, STATS, name)


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
def test_video_of_a_file_has_all_its_frames_and_its_rate(tmp_path, name):
    write(
        sinks.save(str(tmp_path / name), source(fps=12.5)), [annotated(i, captured_at=100.0 + 7 * i) for i in range(8)]
    )
    assert read(tmp_path / name) == list(range(8))
    assert open_source(str(tmp_path / name)).fps == pytest.approx(12.5)


def record(path, times):
    """The numbers of a live video's frames, which were captured at these times."""
    write(sinks.save(str(path), source(live=True)), [annotated(i, time) for i, time in enumerate(times)])
    return read(path)


def test_video_of_a_live_source_plays_in_real_time(tmp_path):
    # at 10 frames a second: 1 is late by a tenth, 2 comes too early for a place of its own, 3 is at 0.5 s
    assert record(tmp_path / "a.avi", [50.0, 50.2, 50.22, 50.5]) == [0, 1, 1, 3, 3, 3]


def test_video_keeps_five_seconds_of_a_gap(tmp_path):
    assert record(tmp_path / "a.avi", [50.0, 50.1, 950.0, 950.1]) == [0, 1] + [2] * 50 + [3]


def test_video_gets_its_name_when_complete(tmp_path):
    sink = sinks.save(str(tmp_path / "a.mp4"), source())
    sink.write(annotated(0))
    assert os.listdir(str(tmp_path)) == ["a.part.mp4"]
    sink.close()
    sink.close()
    assert os.listdir(str(tmp_path)) == ["a.mp4"]


def test_no_video_without_frames(tmp_path):
    write(sinks.save(str(tmp_path / "a.mp4"), source()), [])
    assert os.listdir(str(tmp_path)) == []


def test_incomplete_video_is_an_error_and_stays_a_part_file(tmp_path):
    sink = sinks.save(str(tmp_path / "a.avi"), source())
    sink.write(annotated(0))
    sink._written = 100  # as if the disk had been full
    with pytest.raises(DeepLabError, match="a.part.avi.*1 of 100"):
        sink.close()
    assert os.listdir(str(tmp_path)) == ["a.part.avi"]


def test_video_refuses_frames_of_another_size(tmp_path):
    sink = sinks.save(str(tmp_path / "a.mp4"), source())
    sink.write(annotated(0))
    with pytest.raises(DeepLabError, match="a.mp4.*64x128.*32x48"):
        sink.write(annotated(1, size=(32, 48)))
    sink.close()
    assert read(tmp_path / "a.mp4") == [0]


def test_save_refuses_another_suffix(tmp_path):
    with pytest.raises(DeepLabError, match=r"a\.mp5.*\.avi, \.mkv, \.mov, \.mp4.*'\.mp4'"):
        sinks.save(str(tmp_path / "a.mp5"), source())


@pytest.mark.parametrize("path", ["file", "file/a.mp4"])
def test_save_refuses_a_folder_that_is_a_file(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeepLabError, match=f"Cannot make the folder {tmp_path / 'file'}"):
        sinks.save(str(tmp_path / path), source())


def test_save_takes_a_folder_with_a_suffix(tmp_path):
    (tmp_path / "a.folder").mkdir()
    assert isinstance(sinks.save(str(tmp_path / "a.folder"), source()), sinks.ImageFolderSink)


def test_images_are_named_by_number_or_file(tmp_path):
    write(
        sinks.save(str(tmp_path / "out"), source()),
        [annotated(7), annotated(8, name="x/b.png"), annotated(9, name="y/b.png")],
    )
    assert sorted(os.listdir(str(tmp_path / "out"))) == ["00000007.jpg", "b_00000009_overlay.jpg", "b_overlay.jpg"]
    assert streams.number_of(read_image(str(tmp_path / "out" / "00000007.jpg"))) == 7


def test_label_files_have_the_frame_size(tmp_path):
    frame = annotated(0, size=(30, 50))
    frame = frame._replace(label_map=np.array([[0, 1], [2, 255]], np.uint8))
    write(sinks.LabelFolderSink(str(tmp_path)), [frame])
    ids = read_ids(str(tmp_path / "00000000.png"))
    assert ids.shape == (30, 50)
    assert ids[0, 0] == 0 and ids[0, -1] == 1 and ids[-1, 0] == 2 and ids[-1, -1] == 255


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    sink = sinks.JsonLinesSink(str(path), streams.TABLE)
    sink.write(annotated(3))
    row = json.loads(path.read_text())  # at once, not at the end
    sink.close()
    assert row["frame"] == 3 and row["class_shares"] == {"dark": 0.25, "gray": 0.5, "bright": 0.25}
    assert (row["captured"], row["shown"], row["dropped"], row["latency_ms"]["run"]) == (456, 333, 123, 33.0)
    assert "instances" not in row, "a semantic-only network has no instances"


def test_json_lines_count_instances(tmp_path):
    frame = annotated(4)._replace(stats=STATS._replace(instances=[0, 0, 5]))
    write(sinks.JsonLinesSink(str(tmp_path / "a.jsonl"), streams.TABLE), [frame])
    assert json.loads((tmp_path / "a.jsonl").read_text())["instances"] == {"bright": 5}


def test_json_lines_refuse_a_folder(tmp_path):
    with pytest.raises(DeepLabError, match="Cannot write"):
        sinks.JsonLinesSink(str(tmp_path), streams.TABLE)


def test_window_needs_a_screen(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeepLabError, match="--show.*screen.*--serve"):
        sinks.WindowSink("title", stop=None)


@pytest.mark.skipif(
    "GUI:                           NONE" not in cv2.getBuildInformation(), reason="this OpenCV has windows"
)
def test_window_needs_an_opencv_with_windows(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(DeepLabError, match="--show.*OpenCV.*windows"):
        sinks.WindowSink("title", stop=None)


@pytest.mark.parametrize("size", [(64, 128), (101, 77), (129, 131), (33, 20)])
def test_annotated_frame_is_overlay_and_legend_with_even_sides(size):
    image = np.random.RandomState(0).randint(0, 256, size + (3,)).astype(np.uint8)
    label_map = np.random.RandomState(1).randint(0, 3, (16, 32)).astype(np.uint8)
    canvas = OverlayRenderer(streams.TABLE).render(image, label_map)
    assert canvas.shape[0] == size[0] + size[0] % 2 and canvas.shape[1] % 2 == 0
    assert np.array_equal(canvas[: size[0], : size[1]], draw.overlay(image, label_map, streams.TABLE))
    if size[0] >= 96:
        colors = {tuple(color) for color in canvas[:, size[1] :].reshape(-1, 3).tolist()}
        assert {label.color for label in streams.TABLE} <= colors


def test_stats_are_written_along_the_top():
    image = np.full((256, 512, 3), 100, np.uint8)
    label_map = np.zeros((64, 128), np.uint8)
    renderer = OverlayRenderer(streams.TABLE)
    plain, written = renderer.render(image, label_map), renderer.render(image, label_map, STATS)
    rows = np.flatnonzero((plain != written).any(axis=(1, 2)))
    assert rows.min() == 0 and rows.max() < 30
    assert written[: rows.max()].max() > 200  # white letters
    assert np.array_equal(image, np.full((256, 512, 3), 100, np.uint8))


def test_status_line():
    assert status_line(STATS) == "29.8 frames/s   latency 45 ms   dropped 123 of 456"
    hot = STATS._replace(reconnects=2, temperature_c=71.5, throttled=True)
    assert status_line(hot).endswith("   reconnects 2   72 C   THROTTLED")


def test_class_shares_leave_out_unlabeled_pixels():
    label_map = np.array([[0, 0, 1, 255]], np.uint8)
    assert OverlayRenderer(streams.TABLE).class_shares(label_map) == [0.5, 0.25, 0.0]


def test_systemd_is_notified(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = SystemdNotifier()
        notifier.ready()
        notifier.heartbeat()
        notifier.heartbeat()  # within the same second
        notifier.stopping()
        assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_systemd_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    SystemdNotifier().ready()


def test_a_video_is_recorded_by_one_process(tmp_path):
    path = str(tmp_path / "a.mp4")
    first = sinks.save(path, source())
    with pytest.raises(DeepLabError, match="Another process is recording"):
        sinks.save(path, source())
    write(first, [annotated(i) for i in range(3)])
    assert read(path) == [0, 1, 2] and os.listdir(str(tmp_path)) == ["a.mp4"]


def test_a_recording_that_was_cut_short_stays(tmp_path):
    (tmp_path / "a.part.mp4").write_bytes(b"cut short")
    write(sinks.save(str(tmp_path / "a.mp4"), source()), [annotated(0)])
    assert (tmp_path / "a.part.mp4").read_bytes() == b"cut short" and read(tmp_path / "a.mp4") == [0]


def test_a_video_without_a_frame_leaves_nothing(tmp_path):
    sinks.save(str(tmp_path / "a.mp4"), source()).close()
    assert os.listdir(str(tmp_path)) == []
