"""Generated video files: damaged ones end in one sentence, at once, whatever is wrong with them."""

import os
import subprocess
import sys

import generated
import pytest
import streams
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.deploy import runtimes

NAMES = ("a.mp4", "a.avi", "a.mkv")
WORDS = [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"moov", b"LIST"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle and tiny videos."""
    folder = tmp_path_factory.mktemp("videos")
    streams.write_bundle(folder / "bundle", size=(16, 32))
    for name in NAMES:
        streams.write_video(folder / name, 3, size=(16, 32))
    return folder


change = st.tuples(
    st.sampled_from(["byte", "word", "cut", "end", "double"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255)
)


def damaged(data, changes):
    """The bytes after changes: (kind, where as a share of the length, value)."""
    for kind, where, value in changes:
        at = int(where * len(data))
        if kind == "byte":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif kind == "word":
            data = data[:at] + WORDS[value % len(WORDS)] + data[at + 4 :]
        elif kind == "cut":
            data = data[:at] + data[at + 1 + value :]
        elif kind == "double":
            data = data[:at] + data[at : at + value] + data[at:]
        else:
            data = data[: at + 1]
    return data


@generated.examples(100)
@given(st.sampled_from(NAMES), st.lists(change, min_size=1, max_size=6))
def test_damaged_videos(place, name, changes):
    data = damaged((place / name).read_bytes(), changes)
    source = place / ("damaged" + os.path.splitext(name)[1])
    source.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "open_runtime", lambda bundle, *_, **__: streams.FakeRuntime(bundle))
        generated.check(
            ["stream", place / "bundle", "--source", source, "--frames", "9"], inputs=[source], counted=(name, data)
        )


@generated.examples(20)
@given(st.sampled_from(["a.mp4", "a.avi", "a.mov", "a.txt", "a"]), st.binary(max_size=64))
def test_files_that_are_no_videos(place, name, data):
    source = place / ("no_" + name)
    source.write_bytes(data)
    result = generated.check(["stream", place / "bundle", "--source", source], inputs=[source], counted=(name, data))
    assert result.exit_code == 1 and str(source) in result.stderr


def test_other_things_than_files_are_one_sentence_and_libraries_say_nothing(place):
    os.mkfifo(str(place / "pipe.mp4"))
    os.mkfifo(str(place / "pipe.png"))
    os.mkdir(str(place / "empty"))
    (place / "notes.txt").write_text("no video\n")
    (place / "junk.mp4").write_bytes(bytes(range(256)) * 9)
    for name in ("pipe.mp4", "pipe.png", "empty", "notes.txt", "junk.mp4", "/dev/zero", "/dev/null", "/dev/random"):
        generated.check(["stream", place / "bundle", "--source", place / name])
    command = [sys.executable, "-m", "deeplab_tf", "stream", place / "bundle", "--source", place / "junk.mp4"]
    result = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=streams.environment()
    )
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1 and result.stdout == b"", result.stderr
