"""Measure what a stream costs beside the bare network, and the age of a live frame when it is shown.

    python tools/benchmark/stream.py BUNDLE --runtime onnx
    python tools/benchmark/stream.py BUNDLE --seconds 300 --slower 5     # is the age bounded with a 5x slower runtime?

File: the same frames of a video of drawn streets at the network's size, first with the runtime alone, then with the
stream (overlay, legend, statistics, writing an .mp4 file), in the order A B B A. On a CPU the runtime alone uses every
core for one frame, the stream one core for each of several frames, so the stream may be the faster of the two. Live:
drawn streets at 30 frames/s; the age of each shown frame against its own capture + run + post-processing. Needs an idle
machine.
"""

import json
import os
import tempfile
import threading
import time

import click
import numpy as np

from deeplab_tf.cli.options import RUNTIME, Choice
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.deploy.runtimes import open_runtime
from deeplab_tf.deploy.video.loop import Stream
from deeplab_tf.deploy.video.sinks import Sink, VideoFileSink
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source
from deeplab_tf.synth import draw_scene

DRAWN = 24
"""Different frames in the video."""


class Latencies(Sink):
    """Records each frame's capture time, latency and the sum of its stages, in ms."""

    def __init__(self):
        self.rows = []

    def write(self, frame):
        latency = frame.stats.latency_ms
        stages = latency["capture"] + latency["run"] + latency["post"]
        self.rows.append((frame.captured_at, 1000.0 * (time.monotonic() - frame.captured_at), stages))


class Slower:
    """A runtime slowed down by a factor."""

    def __init__(self, runtime, factor):
        self._runtime, self._factor = runtime, factor
        self.name, self.precision, self.table = runtime.name, runtime.precision, runtime.table
        self.size, self.label_stride = runtime.size, runtime.label_stride

    def predict(self, frame):
        start = time.monotonic()
        prediction = self._runtime.predict(frame)
        time.sleep((self._factor - 1.0) * (time.monotonic() - start))
        return prediction


def write_video(path, size, count):
    """Write `count` frames of a drive, forwards and backwards, at 30 frames/s."""
    import cv2

    frames = [cv2.cvtColor(draw_scene(1, 0, size, time=i / 30.0).image, cv2.COLOR_RGB2BGR) for i in range(DRAWN)]
    turn = frames + frames[-2:0:-1]
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 30.0, size[::-1])
    for index in range(count):
        writer.write(turn[index % len(turn)])
    writer.release()


def bare(runtime, frames):
    """Return the frames/s of the runtime alone."""
    start = time.monotonic()
    for frame in frames:
        runtime(frame.image)
    return len(frames) / (time.monotonic() - start)


def streamed(runtime, path, folder):
    """Return the frames/s of the stream, between its first and its last shown frame."""
    source = open_source(path)
    return Stream(source, runtime, [VideoFileSink(os.path.join(folder, "out.mp4"), source)]).run().fps


def from_file(runtime, count, folder):
    """Return both rates, two turns each, and their ratio."""
    path = os.path.join(folder, "in.mp4")
    write_video(path, runtime.size, count)
    frames = collect(open_source(path), count)
    bare(runtime, frames[:5])
    first, second = bare(runtime, frames), streamed(runtime, path, folder)
    third, fourth = streamed(runtime, path, folder), bare(runtime, frames)
    alone, both = (first + fourth) / 2, (second + third) / 2
    return {"bare_fps": [first, fourth], "stream_fps": [second, third], "ratio": both / alone}


def live(runtime, seconds, fps):
    """Return latency and drops with a live source."""
    source = open_source(f"sample://?size={runtime.size[0]}x{runtime.size[1]}&fps={fps}&seconds={DRAWN / fps}")
    latencies = Latencies()
    source.prepare(threading.Event())
    stream = Stream(source, runtime, [latencies])
    timer = threading.Timer(seconds, stream.stop)
    timer.start()
    report = stream.run()
    timer.cancel()
    while stream.hanging_threads():  # the run that was under way
        time.sleep(0.05)
    rows = np.array(latencies.rows[2:])  # the first frames meet a cold cache
    latency, fifth = rows[:, 1], max(1, len(rows) // 5)
    return {
        "frames": report.frames,
        "captured": report.captured,
        "dropped": report.dropped,
        "dropped_by_queues": stream.dropped,
        "fps": report.fps,
        "latency_ms": {"p50": np.percentile(latency, 50), "p90": np.percentile(latency, 90), "max": latency.max()},
        "latency_by_stages_p90": np.percentile(latency / rows[:, 2], 90),
        "latency_ms_first_and_last_fifth": [np.median(latency[:fifth]), np.median(latency[-fifth:])],
    }


@click.command()
@click.argument("bundle", type=click.Path(exists=True))
@click.option("--runtime", "runtime_name", type=RUNTIME, default="auto", show_default=True)
@click.option("--precision", type=Choice(["int8", "float16", "float32"]))
@click.option("--frames", default=60, show_default=True, help="Frames of the video file.")
@click.option("--seconds", default=20.0, show_default=True, help="Duration of the live source.")
@click.option("--fps", default=30, show_default=True, help="Frame rate of the live source.")
@click.option(
    "--slower", default=1.0, show_default=True, help="Slow the runtime down by this factor, and skip the file."
)
@click.option("--json", "json_target", type=click.Path(), help="Also write the result.")
def main(bundle, runtime_name, precision, frames, seconds, fps, slower, json_target):
    """Measure throughput and latency of `deeplab-tf stream`."""
    import cv2

    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // 2))  # as in the command
    runtime = open_runtime(open_bundle(bundle), runtime_name, precision)
    found = {"runtime": runtime.name, "precision": runtime.precision}
    with tempfile.TemporaryDirectory() as folder:
        if slower == 1.0:
            found["file"] = from_file(runtime, frames, folder)
        found["live"] = live(Slower(runtime, slower) if slower != 1.0 else runtime, seconds, fps)
    text = json.dumps(found, indent=2, default=float)
    click.echo(text)
    if json_target:
        with open(json_target, "w", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
