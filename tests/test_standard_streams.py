"""Standard input, output and error that are closed, full, or pipes that nobody reads: the work is done all the same."""

import json
import os
import subprocess
import sys

import pytest
import streams
import tiny_bundle

from deeplab_tf.core.image_files import read_ids, write_image

FULL = "Error: The disk is full: the result could not be printed."

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle, two images and a video."""
    folder = tmp_path_factory.mktemp("streams")
    tiny_bundle.write_bundle(folder / "bundle", size=(32, 64))
    for index in range(2):
        write_image(str(folder / "images" / f"{index}.png"), tiny_bundle.frame(index, (32, 64)))
    streams.write_video(folder / "a.mp4", 4)
    return folder


def run(place, command, redirection):
    """`deeplab-tf COMMAND REDIRECTION` by a shell, which can close what Python's subprocess would not."""
    command = f"{sys.executable} -m deeplab_tf {command} {redirection}"
    pipe = subprocess.PIPE
    return subprocess.run(
        ["bash", "-c", "set -o pipefail; " + command],
        cwd=str(place),
        stdout=pipe,
        stderr=pipe,
        env=streams.environment(),
    )


PREDICT = "predict bundle images --format ids --out {out} --json {out}.json"


@pytest.mark.parametrize(
    "redirection, code, printed, last",
    [
        (">&-", 0, False, None),
        ("2>&-", 0, True, None),
        ("<&-", 0, True, None),
        ("<&- >&- 2>&-", 0, False, None),
        ("| true", 0, False, None),
        ("2> >(true)", 0, True, None),
        pytest.param("2>/dev/full", 0, True, None, marks=needs_full),
        pytest.param(">/dev/full", 1, False, FULL, marks=needs_full),
    ],
)
def test_work_is_done_whatever_the_standard_streams_are(place, tmp_path, redirection, code, printed, last):
    result = run(place, PREDICT.format(out=tmp_path / "out"), redirection)
    assert result.returncode == code and (b"Predicted 2 images." in result.stdout) == printed
    assert b"Traceback" not in result.stderr
    if last:
        assert result.stderr.decode().splitlines()[-1] == last
    assert sorted(read_ids(tmp_path / "out" / f"{index}.png").shape for index in range(2)) == [(32, 64)] * 2
    assert json.loads((tmp_path / "out.json").read_text())["images"] == 2


def test_nothing_is_printed_into_a_file_of_the_command(place, tmp_path):
    """The file would get the number of the closed standard error, into which libraries print."""
    out = tmp_path / "a.jsonl"
    result = run(place, f"stream bundle --source a.mp4 --json-lines {out}", "2>&-")
    assert result.returncode == 0 and [json.loads(line)["frame"] for line in out.read_text().splitlines()] == [
        0,
        1,
        2,
        3,
    ]


def test_json_for_a_closed_standard_output_is_refused_before_the_work(place, tmp_path):
    for command in ("predict bundle images --json - --out", "stream bundle --source a.mp4 --json-lines - --save"):
        result = run(place, f"{command} {tmp_path / 'out'}", ">&-")
        assert result.returncode == 2 and not (tmp_path / "out").exists()
        assert result.stderr.decode().splitlines()[-1].endswith("standard output is closed; name a file.")


@needs_full
def test_json_for_a_full_standard_output_is_one_sentence(place, tmp_path):
    result = run(place, f"predict bundle images --json - --out {tmp_path / 'out'}", ">/dev/full")
    assert result.returncode == 1 and result.stderr.decode().splitlines()[-1] == FULL
    assert len(list((tmp_path / "out").iterdir())) >= 2
    result = run(place, "stream bundle --source sample://?seconds=0.1 --json-lines -", ">/dev/full")
    assert result.returncode == 1 and result.stderr.decode().splitlines()[-1].startswith("Error: The disk is full")


def test_endless_stream_ends_well_with_the_reader_of_its_lines(place, tmp_path):
    command = f"stream bundle --source sample://?seconds=0.1 --json-lines - --save {tmp_path / 'a.avi'}"
    result = run(place, command, "| head -3")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 3
    assert (tmp_path / "a.avi").exists() and b"Traceback" not in result.stderr


def test_failures_keep_their_exit_code(place):
    for redirection in ("", "2>&-", ">&-", "2>/dev/full"):
        assert run(place, "predict bundle nothing.png --out out", redirection).returncode == 1
        assert run(place, "predict", redirection).returncode == 2
