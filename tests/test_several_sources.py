"""Several sources in one stream: equal shares of the runtime, drops counted for each, files and lines of their own."""

import json
import threading
import time

import numpy as np
import pytest
import streams
from test_stream import Camera, Keep, no_thread_is_left

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.fair_queue import FairQueue
from deeplab_tf.deploy.video.frame_queue import TIMED_OUT
from deeplab_tf.deploy.video.loop import Stream, unique_names
from deeplab_tf.deploy.video.sources import open_source


@pytest.fixture
def runtime(tmp_path):
    return streams.fake_runtime(tmp_path / "bundle")


@pytest.fixture
def run(monkeypatch, tmp_path):
    return streams.with_fake_runtime(monkeypatch, tmp_path / "bundle")


def test_places_are_emptied_in_turn():
    queue = FairQueue([2, 2, 2], [False, False, False])
    for item in ("a1", "a2", "c1"):
        queue.put(item, "abc".index(item[0]))
    assert [queue.get() for _ in range(2)] == ["a1", "c1"]  # b has none, and holds nobody up
    queue.put("b1", 1)
    assert [queue.get() for _ in range(2)] == ["a2", "b1"]
    assert queue.get(timeout=0.01) is TIMED_OUT
    queue.close(0)
    assert not queue.put("a3", 0) and queue.put("b2", 1)
    queue.close()
    assert list(queue) == ["b2"] and queue.dropped == [0, 0, 0]


def test_a_place_that_is_full_drops_or_waits_without_the_others():
    queue = FairQueue([1, 1], [True, False])
    assert [queue.put(i, 0) for i in range(3)] == [True] * 3
    queue.put("x", 1)
    waiting = threading.Thread(target=queue.put, args=("y", 1))
    waiting.start()
    assert [queue.get(), queue.get()] == [2, "x"]
    waiting.join(10)
    assert queue.get() == "y" and queue.dropped == [2, 0]
    queue.abort()
    assert queue.get() is None and not queue.put(1, 1)


def test_sources_of_one_name_are_numbered():
    assert unique_names(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]


def test_cameras_get_equal_shares_and_a_slow_one_all_its_frames(runtime):
    """Three cameras of 60 frames/s want more than the runtime carries, at most 50 in a second; one sends 3. It is
    shown whole, or on a busy machine as often as the others, which share what is left within a tenth. What is captured
    is shown, dropped or under way."""
    runtime.delay = 0.02
    cameras, sinks = [Camera(60.0), Camera(3.0), Camera(60.0), Camera(60.0)], [Keep() for _ in range(4)]
    (camera, sink), *more = zip(cameras, [[sink] for sink in sinks])
    stream = Stream(camera, runtime, sink, more=more)
    threading.Timer(3.0, stream.stop).start()
    total, reports = stream.run(), stream.reports()
    shown = [report.frames for report in reports]
    fast = [shown[0], *shown[2:]]
    assert min(fast) >= 5 and max(fast) - min(fast) <= 0.1 * max(fast) + 1, shown
    assert shown[1] >= min(reports[1].captured - 2, min(fast) - 1), shown
    for sink, report in zip(sinks, reports):
        assert len(sink.numbers) == report.frames and np.diff(sink.numbers).min() > 0
        assert report.captured == report.frames + report.dropped + report.under_way and report.under_way <= 8
    assert total.frames == sum(shown) and total.dropped == stream.dropped == sum(each.dropped for each in reports) > 50
    assert no_thread_is_left()


def test_frames_go_to_the_sinks_of_their_source(tmp_path, runtime):
    first, second, both = Keep(), Keep(), Keep()
    videos = [streams.write_video(tmp_path / f"{name}.mp4", count) for name, count in (("a", 9), ("b", 17))]
    one, two = (open_source(video) for video in videos)
    stream = Stream(one, runtime, [first, both], more=[(two, [second, both])])
    total = stream.run()
    assert first.numbers == list(range(9)) and second.numbers == list(range(17))
    assert [frame.stats.source for frame in both.frames].count(videos[1]) == 17 and len(both.frames) == 26
    assert {frame.feed for frame in second.frames} == {1} and both.closed == 1
    assert (total.frames, total.captured, total.dropped) == (26, 26, 0)
    assert total.latency_ms["run"]["p99"] >= max(each.latency_ms["run"]["p50"] for each in stream.reports())


def test_each_source_stops_at_its_number_of_frames(tmp_path, runtime):
    cameras, sinks = [Camera(100.0), Camera(20.0)], [Keep(), Keep()]
    stream = Stream(cameras[0], runtime, [sinks[0]], frames=6, more=[(cameras[1], [sinks[1]])])
    stream.run()
    assert [len(sink.numbers) for sink in sinks] == [6, 6]
    for report in stream.reports():
        assert report.captured == report.frames + report.dropped + report.under_way


def test_a_lost_source_does_not_stop_the_others(tmp_path, runtime):
    class Lost(Camera):
        def run(self, deliver, stopped):
            super().run(deliver, stopped)
            raise DeepLabError("camera: lost.")

    lost, said, sink = Lost(100.0, 3), [], Keep()
    lost.say = said.append
    with pytest.raises(DeepLabError, match="camera: lost"):
        Stream(lost, runtime, [], more=[(Camera(50.0, 30), [sink])]).run()
    assert sink.numbers[-1] == 29 and said == ["camera: lost. The other sources go on."]


def test_a_camera_that_comes_back_is_not_noticed_by_the_other(runtime):
    """A network camera is killed for a while; the other one's frames come on."""
    sinks = [Keep(), Keep()]
    with streams.NetworkCamera() as one, streams.NetworkCamera() as two:
        sources = [open_source(camera.url) for camera in (one, two)]
        for source in sources:
            source._delay = lambda attempt: 0.05
        stream = Stream(sources[0], runtime, [sinks[0]], more=[(sources[1], [sinks[1]])])
        thread = threading.Thread(target=stream.run)
        thread.start()

        def wait_for(sink, count):
            end = time.monotonic() + 20
            while len(sink.numbers) < count and time.monotonic() < end:
                time.sleep(0.02)
            assert len(sink.numbers) >= count

        wait_for(sinks[0], 5)
        one.kill()
        wait_for(sinks[1], len(sinks[1].numbers) + 20)
        one.start()
        wait_for(sinks[0], len(sinks[0].numbers) + 5)
        stream.stop()
        thread.join(10)
    first, second = stream.reports()
    assert first.reconnects >= 1 and second.reconnects == 0
    assert max(np.diff([frame.captured_at for frame in sinks[1].frames])) < 2.0


def test_files_and_lines_are_of_their_source(run, tmp_path):
    videos = [streams.write_video(tmp_path / f"{name}.mp4", count) for name, count in (("a", 5), ("b", 8))]
    out = tmp_path / "out"
    options = ["--save", out, "--labels-out", tmp_path / "ids", "--panoptic-out", tmp_path / "maps", "--track"]
    options += ["--json-lines", tmp_path / "a.jsonl", "--json", tmp_path / "a.json"]
    result = run("--source", videos[0], "--source", videos[1], *options)
    assert result.exit_code == 0, result.stderr
    assert [open_source(str(out / f"source{i}.mp4")).total for i in (1, 2)] == [5, 8]
    assert [len(list((tmp_path / "ids" / f"source{i}").glob("*.png"))) for i in (1, 2)] == [5, 8]
    assert [len(list((tmp_path / "maps" / f"source{i}").glob("*_panoptic.png"))) for i in (1, 2)] == [5, 8]
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [[row["frame"] for row in rows if row["source"] == video] for video in videos] == [[*range(5)], [*range(8)]]
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["frames"], report["captured"]) == (13, 13)
    assert [(each["source"], each["frames"], each["save"]) for each in report["sources"]] == [
        (videos[0], 5, str(out / "source1.mp4")),
        (videos[1], 8, str(out / "source2.mp4")),
    ]
    assert f"{videos[1]}: 8 frames" in result.stdout


@pytest.mark.parametrize(
    "options, fact",
    [
        (["--save", "a.mp4"], "--save of several sources takes a folder"),
        (["--publish", "rtsp://host/a"], "--publish sends one source"),
        (["--loop"], "does not end by itself"),
        (["--source", "rtsp//typo"], "--source"),
    ],
)
def test_what_several_sources_cannot_share_is_a_wrong_call(run, options, fact):
    result = run("--source", "sample://", "--source", "sample://?seed=2", *options)
    assert result.exit_code == 2 and fact in result.stderr


def test_no_source_is_written_over(run, tmp_path):
    """The second source is the file that the first one's video would be."""
    folder = tmp_path / "out"
    folder.mkdir()
    video = streams.write_video(tmp_path / "a.mp4", 3)
    mine = streams.write_video(folder / "source1.mp4", 3)
    result = run("--source", video, "--source", mine, "--save", folder, "--overwrite")
    assert result.exit_code == 2 and "source1.mp4" in result.stderr and open_source(mine).total == 3


def test_an_address_with_spaces_in_the_environment_is_one_source(run, tmp_path, monkeypatch):
    video = streams.write_video(tmp_path / "two words.mp4", 3)
    monkeypatch.setenv("DEEPLAB_TF_SOURCE", video)
    result = run("--json", tmp_path / "a.json")
    assert result.exit_code == 0 and json.loads((tmp_path / "a.json").read_text())["source"] == video
