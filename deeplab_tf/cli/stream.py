"""`deeplab-tf stream`: live video through the network, to a window, a web page, files."""

import os
import signal
import sys
import traceback

import click

from deeplab_tf.cli.options import (
    RUNTIME,
    Choice,
    IntRange,
    PathType,
    example,
    json_option,
    new_guard,
    overwriting,
    show,
    verbose_option,
    write_json,
)
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2", "runtime")
OPTION_NEEDS = {"--serve": "tornado", "--show": "windows"}
_FILE_OUTPUTS = ("save", "labels_out", "json_lines")


def _check_source(ctx, param, value):
    from deeplab_tf.deploy.video.address import parse

    try:
        parse(value)
    except DeepLabError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _split_address(ctx, param, value):
    """Convert [HOST:]PORT to (host, port)."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(f"'{value}' is not [HOST:]PORT, such as 8080 or 0.0.0.0:8080.")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command(
    epilog=example(
        "deeplab-tf stream demo/bundle --source sample:// --serve 8080",
        "deeplab-tf stream BUNDLE --source /dev/video0 --show",
        "deeplab-tf stream BUNDLE --source street.mp4 --save labeled.mp4",
        "deeplab-tf stream BUNDLE --source rtsp://USER:PASSWORD@HOST/PATH --serve 0.0.0.0:8080 --json-lines log.jsonl",
    )
)
@click.argument("bundle", type=PathType())
# the source
@click.option(
    "--source",
    "uri",
    required=True,
    metavar="URI",
    callback=_check_source,
    help="Read a USB camera (0, /dev/video0?width=1280&height=720&fps=30), a Jetson's CSI camera "
    "(csi://0?width=1280&height=720&fps=30), a network camera (rtsp://, http://), a video file, a folder or pattern of "
    "images, synthetic streets (sample://?size=512x1024&fps=30&seed=1), or a custom pipeline (gst:..., ffmpeg:...).",
)
@click.option("--frames", type=IntRange(1, 10**9), help="Stop after N frames.")
@click.option("--paced", is_flag=True, help="Play files at their own frame rate and drop frames, like a camera.")
@click.option(
    "--retries", type=IntRange(0, 10**9), help="Give up a lost camera after N attempts in a row. [default: never]"
)
# the network
@click.option("--runtime", "runtime_name", type=RUNTIME, default="auto", show_default=True, help="Choose the runtime.")
@click.option(
    "--precision",
    type=Choice(["int8", "float16", "float32"]),
    help="Choose the precision. [default: the best of bundle and runtime]",
)
# the outputs
@click.option("--show", "window", is_flag=True, help="Show a window; Escape ends the stream.")
@click.option(
    "--serve",
    metavar="[HOST:]PORT",
    callback=_split_address,
    help="Serve a web page; HOST 0.0.0.0 opens it to the network. [default host: 127.0.0.1]",
)
@click.option(
    "--save",
    metavar="FILE|DIR",
    type=PathType(),
    help="Save a video file (.mp4, .mov, .mkv, .avi), or a folder of images.",
)
@click.option(
    "--labels-out", metavar="DIR", type=PathType(), help="Save class ids, one PNG per frame at the frame's size."
)
@click.option(
    "--json-lines",
    metavar="FILE",
    type=PathType(allow_dash=True),
    help="Write statistics and class shares, one line per frame, after those of an earlier stream; - for standard "
    "output.",
)
@json_option
@verbose_option
def command(bundle, uri, runtime_name, precision, frames, retries, paced, json_target, verbose, **outputs):
    """Run a network on live video or files.

    From a camera the newest frame is processed, others are dropped and counted; from a file every frame is processed,
    as fast as possible. A lost camera is reconnected. Ctrl-C ends the stream and leaves complete files.
    """
    import cv2

    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.runtimes import open_runtime
    from deeplab_tf.deploy.video.loop import Stream
    from deeplab_tf.deploy.video.sources import open_source
    from deeplab_tf.deploy.video.systemd import SystemdNotifier

    _guard(bundle, uri, outputs, json_target)
    notifier = SystemdNotifier()
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // 2))  # per OpenCV call; the stages already run in parallel
    opened = open_bundle(bundle)
    source = open_source(uri, paced=paced, retries=retries)
    sinks: list = []
    stream: Stream
    try:
        _open_sinks(sinks, source, opened, outputs, lambda: stream.stop())
        runtime = open_runtime(opened, runtime_name, precision)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    stream = Stream(source, runtime, sinks, frames=frames, heartbeat=notifier.heartbeat)
    failure = _run(stream, notifier)
    context = {
        "source": source.safe,
        "runtime": runtime.name,
        "precision": runtime.precision,
        "warnings": source.warnings,
    }
    _report(stream.report(), outputs, json_target, context)
    _exit_if_hanging(stream, failure)
    if failure is not None:
        raise failure
    runtime.close()


def _guard(bundle, uri, outputs, json_target):
    """Refuse to write over the source, another output or a file of a person's."""
    from deeplab_tf.core.image_files import IMAGE_SUFFIXES
    from deeplab_tf.deploy.video import sinks
    from deeplab_tf.deploy.video.sources import local_files

    save, labels_out, json_lines = (outputs[name] for name in _FILE_OUTPUTS)
    guard, read = new_guard(json_target), local_files(uri)
    images = [path for path in read if path.lower().endswith(IMAGE_SUFFIXES) and not os.path.isdir(path)]
    guard.reads(bundle, *read)
    if save and sinks.is_video_name(save):
        guard.writes(save, "--save")
        guard.makes(sinks.part_name(save), "--save")
    elif save:
        guard.fills(save, "--save", sinks.ImageFolderSink.paths(save, images))
    if labels_out:
        guard.fills(labels_out, "--labels-out", sinks.LabelFolderSink.paths(labels_out, images))
    guard.writes(json_lines, "--json-lines", own=sinks.JsonLinesSink.wrote)
    guard.check()


def _open_sinks(sinks, source, bundle, outputs, stop):
    """Append the sinks that the options ask for."""
    from deeplab_tf.deploy.video import sinks as kinds

    title = f"deeplab-tf: {source.safe}"
    progress = _ProgressSink(source)
    sinks.append(progress)
    if outputs["window"]:
        sinks.append(kinds.WindowSink(title, stop))
    if outputs["serve"]:
        from deeplab_tf.deploy.video.page import PageSink

        host, port = outputs["serve"]
        page = PageSink(host, port, bundle.table, title)
        sinks.append(page)
        progress.say(f"The web page is at {page.url}")
    if outputs["save"]:
        sinks.append(kinds.save(outputs["save"], source))
    if outputs["labels_out"]:
        sinks.append(kinds.LabelFolderSink(outputs["labels_out"], bundle.label_stride))
    if outputs["json_lines"]:
        sinks.append(kinds.JsonLinesSink(outputs["json_lines"], bundle.table, overwrite=overwriting()))


class _ProgressSink:
    """Shows rate, latency and dropped frames on the terminal."""

    def __init__(self, source):
        from deeplab_tf.core.progress import progress

        self._bar = progress(iter(()), "stream", total=None if source.live else source.total, unit="frames")
        self.say = source.say = self._bar.say

    def write(self, frame):
        stats = frame.stats
        self._bar.advance(1, f"latency {stats.latency_ms['end_to_end']:.0f} ms, {stats.dropped} dropped")

    def close(self):
        """Leave the totals to the report."""


def _run(stream, notifier):
    """Run the stream until it ends, or SIGINT or SIGTERM ends it. Return what failed, or None."""

    def stop(number, frame):
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the program
        stream.stop()

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    notifier.ready()
    try:
        stream.run()
    except BaseException as error:  # raised again after the report
        return error
    finally:
        notifier.stopping()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return None


def _report(report, outputs, json_target, context):
    """Print the totals and write them as JSON."""
    files = [outputs[name] for name in _FILE_OUTPUTS if outputs[name] not in (None, "-")]
    text = _summary(report) + (f" In {', '.join(files)}." if files and report.frames else "")
    show(text, "-" if outputs["json_lines"] == "-" else json_target)
    write_json(dict(report._asdict(), **context), json_target)


def _summary(report):
    if not report.frames:
        return f"No frame was shown ({report.captured} captured)."
    from deeplab_tf.core.progress import counted

    latency = report.latency_ms["end_to_end"]
    return (
        f"{counted(report.frames, 'frames')} in {report.seconds:.1f} s, {report.fps:.2f} frames/s; "
        f"latency {latency['p50']:.0f} ms (p90 {latency['p90']:.0f}); {report.dropped} of {report.captured} dropped"
        + (f"; {counted(report.reconnects, 'reconnects')}." if report.reconnects else ".")
    )


def _exit_if_hanging(stream, failure):
    """End the process at once if a thread hangs in a camera's or a network's library: Python aborts when it takes those
    down itself."""
    if not stream.hanging_threads():
        return
    if isinstance(failure, DeepLabError):
        click.echo(f"Error: {failure}", err=True)
    elif failure is not None:
        traceback.print_exception(type(failure), failure, failure.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if failure is None else 130 if isinstance(failure, KeyboardInterrupt) else 1)
