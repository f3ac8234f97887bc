"""Addresses with secrets in all places: none of them reaches a message, JSON, a traceback or what C libraries print.

Every secret is made of two odd halves around a character, so that a part of it is noticed too.
"""

import traceback

import hypothesis
import pytest
import streams
from click_runner import CliRunner
from generated import check, count, examples, time_limit
from hypothesis import strategies

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy import runtimes
from deeplab_tf.deploy.compare import plan
from deeplab_tf.deploy.video.address import parse
from deeplab_tf.deploy.video.shown_address import shown_arguments

LEFT, RIGHT = "zq7xk", "wv9yp"
PLACES = [
    "rtsp://admin:{}@127.0.0.1:9/live",
    "rtsp://{}@127.0.0.1:9/live",
    "rtsp://{}:{}@[::1]:9/live",
    "RTSP://admin:{}@127.0.0.1:9/Streaming/Channels/101",
    "rtsps://:{}@127.0.0.1:9",
    "rtsp://127.0.0.1:9/user=admin_password={}_channel=1",
    "rtsp://127.0.0.1:9/live/{}",
    "rtsp://127.0.0.1:9/{}/live",
    "rtsp://127.0.0.1:9/live;jwt={}",
    "http://127.0.0.1:9/video.mjpg?access_token={}",
    "http://127.0.0.1:9/video?a=1&auth_token={}&b=2",
    "http://127.0.0.1:9/video?{}",
    "https://127.0.0.1:9/?client_secret={}",
    "http://127.0.0.1:9?X-Amz-Signature={}&sig={}",
    "http://127.0.0.1:9/#session={}",
    "http://admin:{}@/live",
    "http://admin:{}/live",
    "rtsp://admin:{}@127.0.0.1:99999/live",
    "rtsp:/admin:{}@127.0.0.1/live",
    "rtsp:admin:{}@127.0.0.1/live",
    "rtsp//admin:{}@127.0.0.1/live",
    "rtsp ://admin:{}@127.0.0.1/live",
    " rtsp://admin:{}@127.0.0.1:9/live ",
    "rstp://admin:{}@127.0.0.1/live",
    "//admin:{}@127.0.0.1/live",
    "admin:{}@127.0.0.1/live",
    "127.0.0.1/live?token={}",
    "srt://127.0.0.1:9?passphrase={}",
    "rtmp://127.0.0.1/live2/{}",
    "usb://0?password={}",
    "usb://{}",
    "usb://admin:{}@0",
    "csi://{}",
    "csi://0?fps={}",
    "csi://0?{}=1",
    "/dev/video0?secret={}",
    "sample://?token={}",
    "sample://{}?fps=5",
    "sample://?seed=1#{}",
    "file:///nowhere/a.mp4?token={}",
    "file://admin:{}@nas/a.mp4",
    "nowhere/a.mp4?password={}",
    "nowhere/*.png#{}",
    'gst:rtspsrc location="rtsp://admin:{}@127.0.0.1:9/live" user-pw="{}" ! decodebin',
    "gst:souphttpsrc extra-headers=headers,auth={} ! jpegdec",
    "GST:{}",
    "gst:user-pw={}",
    "ffmpeg:headers=Authorization:{} http://127.0.0.1:9/video",
    "ffmpeg:rtsp://admin:{}@127.0.0.1:9/live",
    "ffmpeg:srt://127.0.0.1:9?passphrase={}",
    "ffmpeg:{}",
    "FFMPEG:cookies={} http://127.0.0.1:9/video?jwt={}",
    "@nowhere/admin:{}",
    "@rtsp://admin:{}@127.0.0.1:9/live",
    "{}@{}",
]
BETWEEN = ["", *"-.=&;:@#/?[]% '!|ä", '"', "\\", "\n", "%23"]

secrets = strategies.sampled_from(BETWEEN).map(lambda character: LEFT + character + RIGHT)
addresses = strategies.tuples(strategies.sampled_from(PLACES), secrets).map(lambda pair: pair[0].replace("{}", pair[1]))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return streams.write_bundle(tmp_path_factory.mktemp("secrets") / "bundle")


@pytest.fixture(autouse=True)
def fake_runtime(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "missing_runtimes", dict)
    monkeypatch.setattr(plan, "variants", lambda *arguments: [])
    monkeypatch.setattr(runtimes, "open_runtime", lambda bundle, *_, **__: streams.FakeRuntime(bundle))


@pytest.fixture
def hold(capfd):
    """hold(texts...): no secret is in them, nor in what was printed past Python."""

    def hold(*texts):
        for text in texts + tuple(capfd.readouterr()):
            assert LEFT not in text.lower() and RIGHT not in text.lower(), text

    return hold


@hypothesis.given(address=addresses)
@examples(250)
def test_no_command_shows_a_secret(address, bundle, hold, tmp_path_factory):
    lines, report = (tmp_path_factory.getbasetemp() / name for name in ("lines.jsonl", "report.json"))
    stream = ["stream", bundle, "--source", address, "--retries", "0"]
    stream += ["--json-lines", str(lines), "--json", str(report)]
    compare = ["compare", bundle, f"--source={address}", "--json", "-"]
    for arguments in (stream, compare):
        result = check(arguments, counted=address)
        assert result.exit_code in (1, 2)
        hold(result.output, result.stderr, " ".join(shown_arguments(arguments)))
        hold(*[path.read_text() for path in (lines, report) if path.exists()])
    result = CliRunner().invoke(group, [*stream, "-v"])
    hold(result.output, result.stderr)


@hypothesis.given(address=addresses)
@examples(150)
def test_the_python_api_shows_no_secret(address, hold):
    count(address)
    with time_limit(address), pytest.raises(DeepLabError) as error:
        hold(repr(parse(address)), str(parse(address)))
        with deeplab_tf.open_video(address, retries=0) as video:
            list(video)
    trace = traceback.format_exception(error.type, error.value, error.tb)
    hold(str(error.value), repr(error.value), "".join(trace))


WRONG_CALLS = [
    ["stream", "{}", "--source", "BUNDLE"],
    ["stream", "BUNDLE", "--sourc", "{}"],
    ["stream", "BUNDLE", "--sourc={}"],
    ["stream", "BUNDLE", "--source", "rtsp://admin:a", "{}"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "--json", "{}"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "--json-lines", "{}/a/b"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "--frames", "{}"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "--serve", "{}"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "--runtime={}"],
    ["stream", "BUNDLE", "--source", "nowhere.mp4", "{}"],
    ["stream", "BUNDLE", "--{}"],
    ["compare", "BUNDLE", "--source", "sample://?size=64x128", "--frames", "1", "--labels", "{}"],
    ["predict", "{}", "image.png", "--out", "out"],
    ["predict", "BUNDLE", "{}", "--out", "out"],
    ["score", "--pred", "{}", "--truth", "{}"],
    ["{}", "BUNDLE"],
    ["--{}"],
]
URLS = [
    "rtsp://admin:{}@127.0.0.1:9/live",
    "rtsp://127.0.0.1/user=admin_password={}_channel=1",
    "http://127.0.0.1/?access_token={}",
    "rtsp:/admin:{}@127.0.0.1",
    "gst:rtspsrc user-pw={} ! decodebin",
    "ffmpeg:srt://127.0.0.1:9?passphrase={}",
]


@hypothesis.given(strategies.sampled_from(WRONG_CALLS), strategies.sampled_from(URLS), secrets)
@examples(150)
def test_an_address_in_a_wrong_place(bundle, hold, call, url, secret):
    arguments = [word.replace("BUNDLE", bundle).replace("{}", url.replace("{}", secret)) for word in call]
    result = check(arguments, counted=(call, url, secret))
    hold(result.output, result.stderr)
