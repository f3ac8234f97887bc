"""Parsing of source URIs, and the pipelines that they become: text only."""

import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import pipelines
from deeplab_tf.deploy.video.address import hide_passwords, parse


@pytest.mark.parametrize(
    "uri, kind, location",
    [
        ("0", "usb", "/dev/video0"),
        ("/dev/video2", "usb", "/dev/video2"),
        ("usb://1", "usb", "/dev/video1"),
        ("csi://1", "csi", "1"),
        ("csi://", "csi", "0"),
        ("rtsp://cam/live", "network", "rtsp://cam/live"),
        ("HTTP://cam/a?b=c", "network", "HTTP://cam/a?b=c"),
        ("street.mp4", "file", "street.mp4"),
        ("file:///data/street.mp4", "file", "/data/street.mp4"),
        ("C:street.mp4", "file", "C:street.mp4"),
        ("images/*.png", "images", "images/*.png"),
        ("sample://", "sample", ""),
        ("gst:videotestsrc ! videoconvert", "gst", "videotestsrc ! videoconvert"),
        ("ffmpeg:udp://0.0.0.0:5000", "ffmpeg", "udp://0.0.0.0:5000"),
    ],
)
def test_kind_of_source(uri, kind, location):
    assert parse(uri)[:2] == (kind, location)


def test_folders_hold_images_and_a_file_with_a_star_is_a_file(tmp_path):
    (tmp_path / "a*.mp4").write_text("")
    assert parse(str(tmp_path)).kind == "images"
    assert parse(str(tmp_path / "a*.mp4")).kind == "file"


def test_options_have_the_type_of_their_defaults():
    assert parse("sample://?size=64x128&fps=5&seed=7").options == {
        "size": (64, 128),
        "fps": 5,
        "seed": 7,
        "scene": 0,
        "seconds": 2.0,
    }
    assert parse("/dev/video0?width=1280").options == {"width": 1280, "height": 0, "fps": 0}
    assert parse("csi://0?flip=2").options == {"width": 1280, "height": 720, "fps": 30, "flip": 2}


@pytest.mark.parametrize(
    "uri, facts",
    [
        ("rstp://cam/live", ["'rstp://'", "'rtsp'"]),
        ("smaple://", ["'smaple://'", "'sample'"]),
        ("", ["empty"]),
        ("csi://front", ["number", "'front'"]),
        ("csi://0?with=3", ["'with'", "'width'"]),
        ("sample://?fps=fast", ["fps", "number", "'fast'"]),
        ("sample://?fps=0", ["fps", "positive", "0"]),
        ("sample://?seed=-1", ["seed", "positive", "-1"]),
        ("sample://?size=10x10", ["32 to 4096", "512x1024", "'10x10'"]),
    ],
)
def test_wrong_uris_are_refused(uri, facts):
    with pytest.raises(DeepLabError) as error:
        parse(uri)
    for fact in facts:
        assert fact in str(error.value)


@pytest.mark.parametrize(
    "text, safe",
    [
        ("rtsp://admin:secret@cam:554/live", "rtsp://admin:***@cam:554/live"),
        ("rtsp://admin:se@c/ret@cam/live", "rtsp://admin:***@cam/live"),
        ("rtsp://:secret@cam/live", "rtsp://:***@cam/live"),
        ("rtsp://cam:554/live", "rtsp://cam:554/live"),
        ("http://cam/v?user=a&pwd=secret&size=1", "http://cam/v?user=a&pwd=***&size=1"),
        ("http://cam/v?api_key=secret", "http://cam/v?api_key=***"),
        (
            'gst:rtspsrc location="rtsp://a:secret@cam/x" user-pw="se cret"',
            'gst:rtspsrc location="rtsp://a:***@cam/x" user-pw=***',
        ),
        ("ffmpeg:rtsp_transport=udp rtsp://a:secret@cam/x", "ffmpeg:rtsp_transport=udp rtsp://a:***@cam/x"),
    ],
)
def test_passwords_are_hidden_completely(text, safe):
    assert hide_passwords(text) == safe
    if ":/" in text and not text.startswith(("gst", "ffmpeg")):
        assert parse(text).safe == safe and parse(text).location == text


def test_csi_pipeline():
    assert pipelines.csi("0", parse("csi://0?width=1920&height=1080&fps=60").options) == (
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM), width=1920, height=1080, framerate=60/1, "
        "format=NV12 ! "
        "nvvidconv flip-method=0 ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def test_rtsp_pipeline():
    assert pipelines.rtsp("rtsp://cam/live", jetson=True) == (
        'rtspsrc location="rtsp://cam/live" protocols=tcp latency=100 ! decodebin ! nvvidconv ! '
        "video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )
    assert "nvvidconv" not in pipelines.rtsp("rtsp://cam/live", jetson=False)
    assert '"rtsp://cam/a%22 ! filesink"' in pipelines.rtsp('rtsp://cam/a" ! filesink', jetson=False)


def test_custom_pipeline_gets_an_appsink():
    assert (
        pipelines.custom("videotestsrc ! ")
        == "videotestsrc ! videoconvert ! video/x-raw, format=BGR ! " + pipelines.APPSINK
    )
    assert pipelines.custom("videotestsrc ! appsink") == "videotestsrc ! appsink"


def test_custom_ffmpeg_options_precede_the_input():
    assert pipelines.custom_ffmpeg("rtsp://cam/x?a=b") == ("", "rtsp://cam/x?a=b")
    assert pipelines.custom_ffmpeg("rtsp_transport=udp max_delay=0 rtsp://cam/x") == (
        "rtsp_transport;udp|max_delay;0",
        "rtsp://cam/x",
    )
    assert pipelines.custom_ffmpeg("my file.ts") == ("", "my file.ts")


def test_ffmpeg_options_by_protocol():
    assert pipelines.ffmpeg_options("rtsp://cam") == "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
    assert pipelines.ffmpeg_options("http://cam") == "fflags;nobuffer|flags;low_delay"


def test_writer_pipeline():
    assert pipelines.writer("a.mp4", hardware=False) == (
        "appsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency bitrate=8000 ! h264parse ! mp4mux ! "
        'filesink location="a.mp4"'
    )
    assert "nvv4l2h264enc" in pipelines.writer("a.mkv", hardware=True) and "matroskamux" in pipelines.writer(
        "a.mkv", hardware=True
    )
