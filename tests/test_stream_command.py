"""`deeplab-tf stream` end to end, with a fake runtime."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import streams

from deeplab_tf.core.files import files_below
from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy import runtimes
from deeplab_tf.deploy.video.sources import open_source


@pytest.fixture
def bundle(tmp_path):
    return streams.write_bundle(tmp_path / "bundle")


@pytest.fixture
def run(monkeypatch):
    """run(bundle, options...): the command in this process."""
    monkeypatch.setattr(
        runtimes, "open_runtime", lambda bundle, name="auto", precision=None, **_: streams.FakeRuntime(bundle)
    )
    return streams.invoke


def test_file_to_all_outputs(tmp_path, bundle, run):
    video, out = streams.write_video(tmp_path / "a.mp4", 20), tmp_path / "out"
    options = ["--save", out / "a.mp4", "--labels-out", out / "ids"]
    options += ["--json-lines", tmp_path / "a.jsonl", "--json", tmp_path / "a.json"]
    result = run(bundle, "--source", video, *options)
    assert result.exit_code == 0, result.stderr
    assert all(fact in result.stdout for fact in ("20 frames", "0 of 20 dropped", str(out / "a.mp4")))
    assert open_source(str(out / "a.mp4")).total == 20 and len(list((out / "ids").glob("*.png"))) == 20
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 20
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["frames"], report["captured"], report["dropped"], report["reconnects"]) == (20, 20, 0, 0)
    assert report["fps"] > 0 and set(report["latency_ms"]["end_to_end"]) == {"p50", "p90", "p99"}
    assert (report["source"], report["runtime"], report["precision"]) == (video, "fake", "float32")


def visible(folder):
    return [name for name in files_below(folder) if not os.path.basename(name).startswith(".")]


def test_folder_is_read_with_its_subfolders_and_keeps_them(tmp_path, bundle, run):
    source, out = tmp_path / "images", tmp_path / "images" / "out"
    for name in ("b/1.png", "a/1.png", "2.jpg", ".hidden.png", "out/old.png"):
        write_image(str(source / name), streams.numbered(1))
    result = run(bundle, "--source", source, "--save", out, "--labels-out", tmp_path / "ids", "--json-lines", "-")
    assert result.exit_code == 0, result.stderr
    names = [os.path.relpath(json.loads(line)["name"], str(source)) for line in result.stdout.splitlines()]
    assert names == ["2.jpg", "a/1.png", "b/1.png"]  # no hidden file, and none of --save
    assert visible(out) == ["2_overlay.jpg", "a/1_overlay.jpg", "b/1_overlay.jpg", "old.png"]
    assert visible(tmp_path / "ids") == ["2.png", "a/1.png", "b/1.png"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_loop_counts_on_and_ends_at_a_number_of_frames(tmp_path, bundle, run, kind):
    source, lines = tmp_path / "images", tmp_path / "a.jsonl"
    for index in range(3):
        write_image(str(source / f"{index}.png"), streams.numbered(index))
    if kind == "file":
        source = streams.write_video(tmp_path / "a.mp4", 3)
    out = tmp_path / "a.avi"
    options = ["--loop", "--frames", 8, "--save", out, "--json-lines", lines, "--json", tmp_path / "a.json"]
    result = run(bundle, "--source", source, *options)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(8)) and rows[-1]["shown"] == 8
    shares = [row["class_shares"] for row in rows]
    assert shares[:3] == shares[3:6] and shares[:2] == shares[6:]
    report = json.loads((tmp_path / "a.json").read_text())
    assert [report[key] for key in ("frames", "captured", "dropped", "under_way")] == [8, 8, 0, 0]
    assert open_source(str(out)).total == 8


@pytest.mark.parametrize(
    "options, fact",
    [
        (["--source", "sample://"], "does not end by itself"),
        (["--source", "/dev/video0"], "does not end by itself"),
        (["--source", "a.mp4", "--save", "b.mp4"], "--save with --loop would never end"),
        (["--source", "a.mp4", "--labels-out", "b"], "--labels-out with --loop would never end"),
    ],
)
def test_loop_without_sense_is_a_wrong_call(bundle, run, options, fact):
    result = run(bundle, "--loop", *options)
    assert result.exit_code == 2 and fact in result.stderr


def test_page_of_a_source_that_ends_names_the_loop(tmp_path, bundle, run):
    video = streams.write_video(tmp_path / "a.mp4", 3)
    hint = "--loop plays it again and again."
    assert hint in run(bundle, "--source", video, "--serve", "0").stderr
    assert hint not in run(bundle, "--source", video, "--serve", "0", "--loop", "--frames", "5").stderr


def test_json_lines_alone_on_standard_output(tmp_path, bundle, run):
    result = run(bundle, "--source", streams.write_video(tmp_path / "a.mp4", 4), "--json-lines", "-")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame"] for row in rows] == [0, 1, 2, 3] and "4 frames" in result.stderr


def test_frame_limit_of_a_live_source(tmp_path, bundle, run):
    result = run(bundle, "--source", "sample://?size=64x128&seconds=0.1", "--frames", 5, "--json", tmp_path / "a.json")
    report = json.loads((tmp_path / "a.json").read_text())
    assert result.exit_code == 0 and report["frames"] == 5
    assert report["captured"] == 5 + report["dropped"] + report["under_way"]


def test_truncated_file_keeps_its_frames_and_exits_1(tmp_path, bundle, run):
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    streams.write_video(whole, 60)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = run(bundle, "--source", cut, "--save", tmp_path / "out.avi", "--json", tmp_path / "a.json")
    assert result.exit_code == 1
    assert "cut.avi" in result.stderr and "of the 60 frames" in result.stderr
    report = json.loads((tmp_path / "a.json").read_text())
    assert open_source(str(tmp_path / "out.avi")).total == report["frames"] == report["captured"] > 20


@pytest.mark.parametrize(
    "options, code, facts",
    [
        (["--source", "rstp://cam"], 2, ["'rstp://'", "'rtsp'"]),
        (["--source", "sample://?fsp=3"], 2, ["'fsp'", "'fps'"]),
        (["--source", "nothing.mp4"], 1, ["nothing.mp4"]),
        (["--source", "97"], 1, ["/dev/video97"]),
        (["--source", "sample://", "--runtime", "onxx"], 2, ["'onxx'", "'onnx'"]),
        (["--source", "sample://", "--precision", "int9"], 2, ["'int9'", "'int8'"]),
        (["--source", "sample://", "--serve", "door"], 2, ["'door'", "[HOST:]PORT"]),
        (["--source", "sample://", "--serve", "70000"], 2, ["'70000'", "[HOST:]PORT"]),
        (["--source", "sample://", "--serve", "0", "--token", "abcdefgh"], 2, ["command line", "DEEPLAB_TF_TOKEN"]),
        (["--source", "sample://", "--serve", "0", "--token", "@nothing"], 2, ["nothing cannot be read"]),
        (["--source", "sample://", "--token", "auto"], 2, ["--serve"]),
        (["--source", "sample://", "--save", "rtsp://user:secret@nas/a.mp4"], 1, ["--save", "an address"]),
        (["--source", "sample://", "--save", "a.mp5"], 1, ["a.mp5", "'.mp4'"]),
        (["--source", "sample://", "--show"], 1, ["--show", "screen"]),
        (["--source", "sample://", "--frames", "0"], 2, ["0"]),
        ([], 2, ["--source"]),
    ],
)
def test_wrong_calls_are_one_sentence(bundle, run, monkeypatch, options, code, facts):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = run(bundle, *options)
    assert result.exit_code == code and all(fact in result.stderr for fact in facts)
    assert "Traceback" not in result.stderr
    if code == 1:
        assert len(result.stderr.splitlines()) == 1


def test_source_is_not_overwritten(tmp_path, bundle, run):
    video = streams.write_video(tmp_path / "a.mp4", 3)
    result = run(bundle, "--source", video, "--save", video)
    assert result.exit_code == 2 and video in result.stderr
    assert open_source(video).total == 3


def test_folder_that_is_no_bundle(tmp_path):
    result = streams.invoke(tmp_path, "--source", "sample://")
    assert result.exit_code == 1 and "bundle" in result.stderr and str(tmp_path) in result.stderr


def test_runtime_that_is_not_installed(bundle, monkeypatch):
    monkeypatch.setattr(
        runtimes.module("saved_model"), "missing", lambda: "TensorFlow is not installed: pip install it."
    )
    result = streams.invoke(bundle, "--source", "sample://", "--runtime", "saved_model")
    assert result.exit_code == 1 and "TensorFlow is not installed" in result.stderr


def start(bundle, *options, delay="0.01"):
    """The command in a process of its own."""
    command = [sys.executable, streams.__file__, "stream", bundle] + [str(option) for option in options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=streams.environment(FAKE_DELAY=delay)
    )


def wait_for_lines(path, count):
    end = time.monotonic() + 30
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "number, delay", [(signal.SIGINT, "0.01"), (signal.SIGTERM, "0.01"), (signal.SIGHUP, "0.01"), (signal.SIGTERM, "3")]
)
def test_signal_ends_it_within_a_second_with_complete_files(tmp_path, bundle, number, delay):
    video, lines, out = streams.write_video(tmp_path / "a.mp4", 2000), tmp_path / "a.jsonl", tmp_path / "out.mp4"
    if delay == "3":  # the runtime hangs in a frame when the signal comes
        video = "sample://?size=64x128&seconds=0.1"
    process = start(
        bundle, "--source", video, "--save", out, "--json-lines", lines, "--json", tmp_path / "a.json", delay=delay
    )
    wait_for_lines(lines, 1 if delay == "3" else 10)
    time.sleep(0.3)
    process.send_signal(number)
    before = time.monotonic()
    output, errors = process.communicate(timeout=20)
    # a second, and the interpreter's own end on a busy machine; 2.7 if the frame were waited for
    assert time.monotonic() - before < 2.0
    assert process.returncode == 0 and errors.count(b"Traceback") == 0, errors
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["captured"] == report["frames"] + report["dropped"] + report["under_way"]
    if delay != "3":  # a file's frames wait for each other
        assert report["dropped"] == 0 and f"0 of {report['captured']} dropped".encode() in output
    assert len(lines.read_text().splitlines()) == report["frames"] > 0
    if delay != "3":
        assert open_source(str(out)).total == report["frames"]
    assert b"frames" in output


def test_failure_with_a_hanging_runtime_exits_1(tmp_path, bundle):
    lines = tmp_path / "a.jsonl"
    with streams.NetworkCamera() as network:
        process = start(bundle, "--source", network.url, "--retries", "0", "--json-lines", lines, delay="2")
        wait_for_lines(lines, 1)
        time.sleep(0.2)
        network.kill()
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"0 attempts" in errors.splitlines()[-1] and b"secret" not in output + errors


def test_reconnect_is_reported_and_counted(tmp_path, bundle):
    lines = tmp_path / "a.jsonl"
    with streams.NetworkCamera() as network:
        process = start(bundle, "--source", network.url, "--json-lines", lines, "--json", tmp_path / "a.json")
        wait_for_lines(lines, 5)
        network.kill()
        count = len(lines.read_text().splitlines())
        network.start()
        wait_for_lines(lines, count + 10)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and json.loads((tmp_path / "a.json").read_text())["reconnects"] == 1
    assert b"Attempt 1" in errors and b"back" in errors and b"secret" not in output + errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_more_signals_change_nothing(tmp_path, bundle, number):
    video, lines, out = streams.write_video(tmp_path / "a.mp4", 2000), tmp_path / "a.jsonl", tmp_path / "out.mp4"
    process = start(bundle, "--source", video, "--json-lines", lines, "--save", out)
    wait_for_lines(lines, 3)
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(number)
        time.sleep(0.005)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == b"" and b"frames" in output
    assert open_source(str(out)).total == len(lines.read_text().splitlines())


@pytest.mark.parametrize("options, live", [((), True), (("--labels-out", "ids"), False)])
def test_label_files_do_not_depend_on_which_runtime_is_fast(bundle, tmp_path, monkeypatch, options, live):
    asked = []

    def open_runtime(bundle, name, precision, live):
        asked.append(live)
        return streams.FakeRuntime(bundle)

    monkeypatch.setattr(runtimes, "open_runtime", open_runtime)
    monkeypatch.chdir(tmp_path)
    result = streams.invoke(bundle, "--source", "sample://?size=64x128&seconds=0.1", "--frames", "2", *options)
    assert result.exit_code == 0 and asked == [live], result.stderr
