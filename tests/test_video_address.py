"""URIs of sources, taken apart, and the pipelines that they become: text only."""

import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video import pipelines
from deeplab_tf.deploy.video.address import hide_passwords, parse


@pytest.mark.parametrize(
    "uri, kind, place",
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
        ("pictures/*.png", "images", "pictures/*.png"),
        ("sample://", "sample", ""),
        ("gst:videotestsrc ! videoconvert", "gst", "videotestsrc ! videoconvert"),
        ("ffmpeg:udp://0.0.0.0:5000", "ffmpeg", "udp://0.0.0.0:5000"),
    ],
)
def test_each_kind_of_source_is_told_by_its_uri(uri, kind, place):
    assert parse(uri)[:2] == (kind, place)


def test_a_folder_is_a_source_of_images_and_a_file_with_a_star_in_its_name_is_a_file(tmp_path):
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
    "uri, message",
    [
        ("rstp://cam/live", "no kind of source 'rstp://'. Did you mean 'rtsp'?"),
        ("smaple://", "Did you mean 'sample'?"),
        ("", "The source is empty"),
        ("csi://front", "expected the camera's number after csi://, got 'front'"),
        ("csi://0?with=3", "there is no option 'with'. Did you mean 'width'?"),
        ("sample://?fps=fast", "the option fps must be a number, got 'fast'"),
        ("sample://?fps=0", "the option fps must be positive, got 0"),
        ("sample://?seed=-1", "the option seed must be positive, got -1"),
        ("sample://?size=10x10", "height x width, each 32 to 4096, such as 512x1024; got '10x10'"),
    ],
)
def test_wrong_uris_say_what_was_meant(uri, message):
    with pytest.raises(DeepLabError) as error:
        parse(uri)
    assert message in str(error.value)


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
def test_passwords_are_hidden_whole(text, safe):
    assert hide_passwords(text) == safe
    if ":/" in text and not text.startswith(("gst", "ffmpeg")):
        assert parse(text).safe == safe and parse(text).place == text


def test_the_pipeline_of_a_ribbon_camera():
    assert pipelines.csi("0", parse("csi://0?width=1920&height=1080&fps=60").options) == (
        "nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM), width=1920, height=1080, framerate=60/1, "
        "format=NV12 ! "
        "nvvidconv flip-method=0 ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def test_the_pipeline_of_a_network_camera():
    assert pipelines.rtsp("rtsp://cam/live", jetson=True) == (
        'rtspsrc location="rtsp://cam/live" protocols=tcp latency=100 ! decodebin ! nvvidconv ! '
        "video/x-raw, format=BGRx ! "
        "videoconvert ! video/x-raw, format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )
    assert "nvvidconv" not in pipelines.rtsp("rtsp://cam/live", jetson=False)
    assert '"rtsp://cam/a%22 ! filesink"' in pipelines.rtsp('rtsp://cam/a" ! filesink', jetson=False)


def test_ones_own_pipeline_gets_an_end_where_it_has_none():
    assert (
        pipelines.own("videotestsrc ! ")
        == "videotestsrc ! videoconvert ! video/x-raw, format=BGR ! " + pipelines.APPSINK
    )
    assert pipelines.own("videotestsrc ! appsink") == "videotestsrc ! appsink"


def test_ones_own_options_of_ffmpeg_stand_before_the_input():
    assert pipelines.own_ffmpeg("rtsp://cam/x?a=b") == ("", "rtsp://cam/x?a=b")
    assert pipelines.own_ffmpeg("rtsp_transport=udp max_delay=0 rtsp://cam/x") == (
        "rtsp_transport;udp|max_delay;0",
        "rtsp://cam/x",
    )
    assert pipelines.own_ffmpeg("my file.ts") == ("", "my file.ts")


def test_options_of_ffmpeg_by_protocol():
    assert pipelines.ffmpeg_options("rtsp://cam") == "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
    assert pipelines.ffmpeg_options("http://cam") == "fflags;nobuffer|flags;low_delay"


def test_the_pipeline_that_writes_a_file():
    assert pipelines.writer("a.mp4", hardware=False) == (
        "appsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency bitrate=8000 ! h264parse ! mp4mux ! "
        'filesink location="a.mp4"'
    )
    assert "nvv4l2h264enc" in pipelines.writer("a.mkv", hardware=True) and "matroskamux" in pipelines.writer(
        "a.mkv", hardware=True
    )
