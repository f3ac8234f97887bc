"""Videos as phones, browsers and recorders make them, made anew with ffmpeg: frames, order, size, times, sound."""

import json
import re
import shutil
import subprocess
import threading

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy import runtimes
from deeplab_tf.deploy.video.container import VideoHeader
from deeplab_tf.deploy.video.file_source import _Clock
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source
from deeplab_tf.deploy.video.upright import Turner
from deeplab_tf.deploy.video.video_header import read_video_header

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
FRAMES = 20
VARIABLE = "settb=1/90000,setpts='if(lt(N,12),N/30,0.4+(N-12)/5)/TB'"  # 12 frames at 30 frames/s, then 8 at 5
TIMES = {
    "constant": [n / 25.0 for n in range(FRAMES)],
    "variable": [n / 30.0 if n < 12 else 0.4 + (n - 12) / 5.0 for n in range(FRAMES)],
}


def ffmpeg(*arguments, data=None):
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def encode(path, *options, size=(64, 128), then=()):
    """Write numbered frames at 25 frames/s, with more inputs and options."""
    raw = b"".join(streams.numbered(n, size).tobytes() for n in range(FRAMES))
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", "25", "-i", "-"]
    ffmpeg(*source, *options, *then, path, data=raw)
    return str(path)


SOUND = ["-f", "lavfi", "-i", "sine=duration=2"]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b_strategy", "0", "-g", "12", "-pix_fmt", "yuv420p"]
VP8 = ["-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M"]
VFR = ["-vf", VARIABLE, "-vsync", "vfr", "-enc_time_base", "1:90000"]
KINDS = {
    "constant.mp4": H264,
    "constant.ts": H264,
    "constant.avi": ["-c:v", "mpeg4"],
    "fragmented.mp4": [*H264, "-movflags", "frag_keyframe+empty_moov+default_base_moof"],
    "live.mkv": [*H264, "-live", "1"],
    "browser.webm": [*VP8, "-live", "1", *VFR],
    "variable.mp4": [*H264, *VFR],
    "variable.mkv": [*H264, *VFR],
    "variable.webm": [*VP8, *VFR],
    "long_sound.mkv": [*SOUND, *H264, "-c:a", "aac"],
    "long_sound.webm": [*SOUND, *VP8, "-c:a", "libopus"],
    "long_sound.mp4": [*SOUND, *H264, "-c:a", "aac"],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """The path of a kind, made once."""
    folder = tmp_path_factory.mktemp("kinds")

    def make(name):
        path = folder / name
        return str(path) if path.exists() else encode(path, *KINDS[name])

    return make


def times_of(name):
    return TIMES["variable" if "variable" in name or "browser" in name else "constant"]


@needs_ffmpeg
@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_frame_comes_in_order_with_its_time(videos, name):
    frames = collect(open_source(videos(name)), 100)
    assert [streams.number_of(frame.image) for frame in frames] == list(range(FRAMES))
    assert [frame.time for frame in frames] == pytest.approx(times_of(name), abs=0.0021)  # Matroska has milliseconds


@pytest.fixture
def stream(tmp_path, monkeypatch):
    """stream(source, name): save a video of it with a fake network; its report, the rows of JSON, the error text."""
    bundle = streams.write_bundle(tmp_path / "bundle")
    monkeypatch.setattr(runtimes, "open_runtime", lambda bundle, *_, **__: streams.FakeRuntime(bundle))

    def run(source, name="out.mp4", *options):
        lines = tmp_path / "a.jsonl"
        options = [
            "--opacity",
            0,
            "--save",
            tmp_path / name,
            "--json-lines",
            lines,
            "--json",
            tmp_path / "a.json",
            *options,
        ]
        result = streams.invoke(bundle, "--source", source, *options)
        assert result.exit_code == 0, result.stderr
        return json.loads((tmp_path / "a.json").read_text()), [
            json.loads(line) for line in lines.read_text().splitlines()
        ]

    return run


@needs_ffmpeg
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"constant.ts", "constant.avi", "fragmented.mp4", "live.mkv"}))
def test_a_saved_video_lasts_as_long_as_its_source(videos, stream, tmp_path, name):
    report, rows = stream(videos(name))
    assert report["frames"] == FRAMES and len(rows) == FRAMES
    assert [row["source_time"] for row in rows] == pytest.approx(times_of(name), abs=0.0021)
    saved = cv2.VideoCapture(str(tmp_path / "out.mp4"), cv2.CAP_FFMPEG)
    frame = 1.0 / saved.get(cv2.CAP_PROP_FPS)
    seconds, last = saved.get(cv2.CAP_PROP_FRAME_COUNT) * frame, times_of(name)[-1]
    # how long the last frame of an MP4 stays is the writer's choice: as the one before it, or as most
    assert last < seconds < last + (last - times_of(name)[-2]) + 1.01 * frame
    shown = [streams.number_of(frame.image[:, :128]) for frame in collect(open_source(str(tmp_path / "out.mp4")), 999)]
    assert sorted(set(shown)) == list(range(FRAMES)) and shown == sorted(shown)
    assert ("sound" in name) == read_video_header(str(tmp_path / "out.mp4")).sound


def marked(path, *options):
    """Encode frames with a white corner, top left."""
    image = np.full((64, 128, 3), 60, np.uint8)
    image[:24, :40] = 240
    raw = image.tobytes() * 3
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x64", "-r", "25", "-i", "-"]
    ffmpeg(*source, *H264, *options, path, data=raw)


@needs_ffmpeg
@pytest.mark.parametrize("degrees, suffix", [(90, ".mp4"), (180, ".mov"), (270, ".mp4")])
def test_frames_are_turned_as_players_show_them(tmp_path, degrees, suffix):
    stored, turned = tmp_path / "stored.mp4", str(tmp_path / ("turned" + suffix))
    marked(stored)
    version = int(re.search(rb"version n?(\d+)", ffmpeg("-version"))[1])
    before = ["-display_rotation:v", degrees] if version > 5 else []
    after = [] if version > 5 else ["-metadata:s:v:0", f"rotate={degrees}"]
    ffmpeg(*before, "-i", stored, "-c", "copy", *after, turned)
    size = (64, 128) if degrees == 180 else (128, 64)
    pixels = ffmpeg("-i", turned, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    expected = np.frombuffer(pixels, np.uint8).reshape(size + (3,))
    frames = collect(open_source(turned), 5)
    assert [frame.image.shape for frame in frames] == [size + (3,)] * 3
    assert np.abs(frames[0].image.astype(int) - expected).max() < 12


class Capture:
    """In the place of cv2.VideoCapture: one that turns frames by itself, knows by how much, or knows nothing."""

    def __init__(self, degrees, automatic, obeys=True):
        self.degrees, self.automatic, self.obeys = degrees, automatic, obeys

    def get(self, key):
        return float(self.automatic if key == cv2.CAP_PROP_ORIENTATION_AUTO else self.degrees)

    def set(self, key, value):
        self.automatic = value if self.obeys else self.automatic
        return self.obeys


@pytest.mark.parametrize(
    "capture, in_file, expected",
    [
        (Capture(90, 0), None, 6),
        (Capture(90, 1), None, 6),
        (Capture(90, 1, obeys=False), None, 1),  # OpenCV turns them
        (Capture(270, -1), None, 8),
        (Capture(-1, -1), None, 1),  # a backend that knows no rotation
        (Capture(0, 0), 8, 8),  # the file's word counts
        (Capture(0, 1, obeys=False), 8, 1),
    ],
)
def test_frames_are_turned_once_on_every_opencv(capture, in_file, expected):
    assert Turner(capture, in_file).orientation == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_photos(orientation):
    from deeplab_tf.core.image_header import turn_upright

    image, turner = np.random.RandomState(0).randint(0, 256, (3, 5, 3)).astype(np.uint8), Turner(Capture(0, 0))
    turner.orientation = orientation
    assert np.array_equal(turner.turn(image), turn_upright(image, orientation))


@needs_ffmpeg
def test_a_trimmed_mp4_is_whole(videos, tmp_path):
    """Trimmed at 0.52 s without encoding anew: the file begins at the key frame 12 (0.48 s), its edit list at 13."""
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.52", "-i", videos("constant.mp4"), "-c", "copy", trimmed)
    source = open_source(str(trimmed))
    frames = collect(source, 100)
    assert [streams.number_of(frame.image) for frame in frames] == list(range(13, FRAMES)) and source.total == 7
    assert [frame.time for frame in frames] == pytest.approx([n / 25.0 for n in range(7)], abs=0.001)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["long_sound.mkv", "browser.webm", "constant.mp4", "constant.avi"])
def test_a_file_that_is_cut_off_is_said(videos, tmp_path, name):
    whole, cut = videos(name), tmp_path / name
    if name.endswith(".mp4"):  # with the header first
        ffmpeg("-i", whole, "-c", "copy", "-movflags", "faststart", cut)
        whole = str(cut)
    with open(whole, "rb") as file:
        data = file.read()
    cut.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(DeepLabError, match="ends in the middle"):
        collect(open_source(str(cut)), 100)


@needs_ffmpeg
def test_a_missing_codec_is_named_with_the_command_that_converts(tmp_path):
    path = encode(tmp_path / "it's.mp4", *["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"])
    with pytest.raises(DeepLabError) as error:
        if len(collect(open_source(path), 100)) == FRAMES:
            pytest.skip("this OpenCV decodes AV1")
    assert "it's.mp4 holds AV1 video" in str(error.value) and cv2.__version__ in str(error.value)
    subprocess.run(str(error.value).split("convert it: ")[1].replace("ffmpeg ", "ffmpeg -v error "), shell=True)
    converted = collect(open_source(str(tmp_path / "it's_h264.mp4")), 100)
    assert [streams.number_of(frame.image) for frame in converted] == list(range(FRAMES))


@needs_ffmpeg
def test_sound_ends_with_a_stream_that_ends_early(videos, stream, tmp_path):
    report, _ = stream(videos("long_sound.mkv"), "out.mkv", "--frames", "10")
    assert report["warnings"] == []
    text = subprocess.run(["ffmpeg", "-i", str(tmp_path / "out.mkv")], stderr=subprocess.PIPE).stderr.decode()
    assert "Audio: aac" in text and re.search(r"Duration: 00:00:00\.[34]", text), text


@needs_ffmpeg
def test_sound_is_encoded_anew_where_the_container_does_not_take_it(videos, stream, tmp_path):
    report, _ = stream(videos("long_sound.webm"), "out.avi")
    assert "encoded anew" in report["warnings"][0] and read_video_header(str(tmp_path / "out.avi")).sound


@needs_ffmpeg
def test_missing_ffmpeg_is_said_where_there_is_sound(videos, stream, monkeypatch):
    loud, silent = videos("long_sound.mp4"), videos("constant.mp4")
    monkeypatch.setenv("PATH", "")
    assert "has no sound" in stream(loud)[0]["warnings"][0] and stream(silent, "b.mp4")[0]["warnings"] == []


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("", [1, 2, 10, 100000]),
        ("frame_%05d.png", [10, 100000]),
        ("frame_%d.png", [1, 2, 10, 100000]),
        ("frame_%02d.png", [10, 100000]),
    ],
)
def test_image_sequences_are_in_natural_order(tmp_path, pattern, expected):
    for name, number in (("1", 1), ("2", 2), ("00010", 10), ("100000", 100000), ("x", 7)):
        write_image(str(tmp_path / f"frame_{name}.png"), np.full((8, 8, 3), number % 251, np.uint8))
    (tmp_path / "frame_x.png").unlink()
    frames = collect(open_source(str(tmp_path / pattern)), 10)
    if pattern == "frame_%02d.png":
        expected = [100000]
    assert [int(re.search(r"_(\d+)\.", frame.name)[1]) for frame in frames] == expected
    assert [frame.time for frame in frames] == [n / 25.0 for n in range(len(expected))]


def test_a_pattern_without_files_is_one_sentence(tmp_path):
    with pytest.raises(DeepLabError, match="No image matches"):
        open_source(str(tmp_path / "frame_%05d.png"))


def test_the_last_frames_have_times_where_opencv_says_none():
    """OpenCV 4.5 reports 0 for the frames that a decoder gives at the end of a file."""
    clock = _Clock(VideoHeader(times=np.array([0.0, 0.1, 0.2, 0.9]), duration=1.0), 10.0)
    found = [clock.at(reported) for reported in (5.0, 5.1, 0.0, 0.0)]
    assert [time for time, _ in found] == [0.0, 0.1, 0.2, 0.9]
    assert [duration for _, duration in found] == pytest.approx([0.1, 0.1, 0.7, 0.1])


def test_a_frame_that_is_no_picture_does_not_shift_the_times_after_it():
    clock = _Clock(VideoHeader(times=np.array([0.0, 0.1, 0.2, 0.9]), duration=1.0), 10.0)
    assert [clock.at(reported)[0] for reported in (0.0, 0.2, 0.9)] == [0.0, 0.2, 0.9]


def test_a_source_without_times_has_those_of_its_rate(tmp_path):
    clock = _Clock(VideoHeader(), 10.0)
    assert [clock.at(reported)[0] for reported in (0.0, 0.0, 0.3, 0.1)] == pytest.approx([0.0, 0.1, 0.3, 0.4])


def test_loops_go_on_in_time(tmp_path):
    source, times = open_source(streams.write_video(tmp_path / "a.avi", 3, fps=10.0), loop=True), []
    source.run(lambda *frame: times.append(frame[4]) or len(times) < 7, threading.Event())
    assert times == pytest.approx([n / 10.0 for n in range(7)], abs=1e-6)
