"""Parsing of source URIs, and the pipelines that they become: text only."""

import os
import re

import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import pipelines
from deeplab_tf.deploy.video.address import parse


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
        ("gst:videotestsrc !\n\tvideoconvert", "gst", "videotestsrc !  videoconvert"),
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
        ("csi://front", ["number", "csi://0"]),
        ("csi://0?with=3", ["'with'", "'width'"]),
        ("sample://?fps=fast", ["fps", "number"]),
        ("sample://?fps=0", ["fps", "positive", "1000"]),
        ("sample://?seed=-1", ["seed", "positive", "4294967295"]),
        ("sample://?size=10x10", ["32 to 4096", "512x1024"]),
        ("sample://?seconds=nan", ["seconds", "number"]),
        ("sample://?seconds=1e9", ["seconds", "at most 600"]),
        ("sample://street", ["options only"]),
        ("/dev/video0/S3CRET", ["/dev/video0"]),
        ("rtsp:/admin:S3CRET@cam", ["rtsp://"]),
        ("rtsp//admin:S3CRET@cam", ["rtsp://"]),
        ("HTTPS;//admin:S3CRET@cam", ["https://"]),
        ("srt://cam?passphrase=S3CRET", ["'srt://'", "ffmpeg:srt://"]),
        ("admin-S3CRET-S3CRET://cam", ["'...://'"]),
        ("usb://0?password=S3CRET", ["unknown option. Choose from: fps, height, width."]),
        ("usb://0?widthS3CRET=1", ["unknown option. Choose from"]),
        ("usb://admin:S3CRET@0", ["number"]),
        ("rtsp://admin:S3CRET/live", ["rtsp://... is not a URL"]),
        ("rtsp://cam:99999/live", ["rtsp://... is not a URL"]),
        ("rtsp://cam/li\nve", ["line break"]),
    ],
)
def test_wrong_uris_are_refused(uri, facts):
    with pytest.raises(DeepLabError) as error:
        parse(uri)
    for fact in facts:
        assert fact in str(error.value)
    assert "S3CRET" not in str(error.value)


@pytest.mark.parametrize(
    "uri, safe",
    [
        ("rtsp://admin:S3CRET@cam:554/live", "rtsp://cam:554/live"),
        ("rtsp://admin:S3@CRET@cam/Streaming/Channels/101", "rtsp://cam/Streaming/Channels/101"),
        ("rtsp://:S3CRET@[fe80::1]:554/h264.sdp", "rtsp://[fe80::1]:554/h264.sdp"),
        ("rtsp://cam/user=admin_password=S3CRET_channel=1", "rtsp://cam/..."),
        ("rtsp://cam/live/S3CRET/ch1", "rtsp://cam/live/..."),
        ("http://cam/video.mjpg?access_token=S3CRET#S3CRET", "http://cam/video.mjpg"),
        ("HTTP://cam?sig=S3CRET", "HTTP://cam"),
        ('gst:rtspsrc location="rtsp://a:S3CRET@cam/x" user-pw="S3 ! CRET" ! decodebin', "gst:rtspsrc ..."),
        ("gst:location=S3CRET", "gst:..."),
        ("ffmpeg:headers=Authorization:S3CRET http://a:S3CRET@cam/video", "ffmpeg:http://cam/video"),
        ("ffmpeg:srt://cam:9000?passphrase=S3CRET", "ffmpeg:srt://cam:9000"),
        ("ffmpeg:S3CRET", "ffmpeg:..."),
        ("csi://1?fps=60&width=640", "csi://1?fps=60&width=640"),
        ("file:///nothing/a.mp4?token=S3CRET", "file:///nothing/..."),
        ("nothing/a.mp4?token=S3CRET", "nothing/..."),
        ("cam.local/live/S3CRET", "cam.local/..."),
        ("/nothing/a b.mp4", "/nothing/a b.mp4"),
    ],
)
def test_secrets_are_not_shown(uri, safe):
    address = parse(uri)
    assert address.safe == safe and repr(address) == str(address) == f"Address('{safe}')"


def test_a_file_that_exists_is_shown_as_it_is_called(tmp_path):
    (tmp_path / "day=1@home?.mp4").write_text("")
    assert parse(str(tmp_path / "day=1@home?.mp4")).safe == str(tmp_path / "day=1@home?.mp4")


@pytest.mark.parametrize(
    "password, encoded",
    [
        ("p@ss", "p%40ss"),
        ("p[s]s", "p%5Bs%5Ds"),
        ("p\"s's s", "p%22s%27s%20s"),
        ("100%", "100%25"),
        ("p%23s", "p%23s"),
        ("pä:s", "p%C3%A4:s"),
    ],
)
def test_a_password_is_encoded_for_the_camera(password, encoded):
    assert parse(f"rtsp://admin:{password}@cam/live").location == f"rtsp://admin:{encoded}@cam/live"


@pytest.mark.parametrize("odd, code", [("#", "%23"), ("/", "%2F"), ("?", "%3F"), ("/?", "%2F %3F")])
def test_a_password_that_hides_the_host_gets_the_code_to_write(odd, code):
    for uri in (f"rtsp://admin:pa{odd}ss@cam/live", f"rtsp://admin:12{odd}34@cam:554", f"rtsp://pa{odd}ss@cam"):
        with pytest.raises(DeepLabError, match=re.escape(f"write {' '.join(odd)} in the password as {code} ")) as error:
            parse(uri)
        assert not re.search("admin|12|34|ss@|cam", str(error.value))


def test_the_address_in_a_file_of_ones_own(tmp_path):
    place = tmp_path / "camera"
    place.write_text("# at the door\n\n rtsp://admin:S3CRET@cam/live \n")
    place.chmod(0o600)
    assert parse(f"@{place}") == parse("rtsp://admin:S3CRET@cam/live")


@pytest.mark.parametrize(
    "mode, content, fact",
    [
        (0o640, b"rtsp://admin:S3CRET@cam", "(mode 640), which holds a secret: chmod 600 {}"),
        (0o604, b"rtsp://admin:S3CRET@cam", "chmod 600 {}"),
        (0o600, b"", "{} must hold one line, and has 0."),
        (0o600, b"rtsp://a:S3CRET@cam\nrtsp://b:S3CRET@cam", "{} must hold one line, and has 2."),
        (0o600, b"\xffS3CRET", "{} is not text in UTF-8."),
        (0o600, b"@S3CRET", "{} must hold the address itself"),
    ],
)
def test_a_file_that_is_not_private_or_holds_no_address(tmp_path, mode, content, fact):
    place = tmp_path / "camera"
    place.write_bytes(content)
    place.chmod(mode)
    with pytest.raises(DeepLabError) as error:
        parse(f"@{place}")
    assert fact.format(place) in str(error.value) and "S3CRET" not in str(error.value)


def test_a_place_that_is_no_private_file(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"), 0o600)
    for path, fact in (("pipe", "not a file"), ("nothing", "No such file"), ("", "Is a directory")):
        with pytest.raises(DeepLabError, match=fact):
            parse(f"@{tmp_path / path}")


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
