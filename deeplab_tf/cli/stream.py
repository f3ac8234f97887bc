"""`deeplab-tf stream`: live video through the network, to a window, a web page, files."""

import os
import signal
import sys
import traceback

import click

from deeplab_tf.cli.options import Choice, example, json_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError

NEEDS = ("numpy", "cv2", "runtime")
OPTION_NEEDS = {"--serve": "tornado", "--show": "windows"}


def _check_source(ctx, param, value):
    from deeplab_tf.deploy.video.address import parse

    try:
        parse(value)
    except DeepLabError as error:
        raise click.BadParameter(str(error)) from error
    return value


def _check_runtime(ctx, param, value):
    if value != "auto":
        from deeplab_tf.deploy.runtimes import names

        Choice(["auto"] + names()).convert(value, param, ctx)
    return value


def _split_address(ctx, param, value):
    """[HOST:]PORT -> (host, port)"""
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
        "deeplab-tf stream BUNDLE --source street.mp4 --save labelled.mp4",
        "deeplab-tf stream BUNDLE --source rtsp://USER:PASSWORD@HOST/PATH --serve 0.0.0.0:8080 --json-lines log.jsonl",
    )
)
@click.argument("bundle", type=click.Path())
@click.option(
    "--source",
    "uri",
    required=True,
    metavar="URI",
    callback=_check_source,
    help="A USB camera (0, /dev/video0?width=1280&height=720&fps=30), a Jetson's camera "
    "(csi://0?width=1280&height=720&fps=30), rtsp:// or"
    " http://, a video file, a folder of images or a pattern, drawn streets "
    "(sample://?size=512x1024&fps=30&seed=1), a pipeline of your own"
    " (gst:..., ffmpeg:...).",
)
@click.option(
    "--runtime",
    "runtime_name",
    default="auto",
    show_default=True,
    callback=_check_runtime,
    help="What runs the network.",
)
@click.option(
    "--precision", type=Choice(["int8", "float16", "float32"]), help="[default: the best that bundle and runtime have]"
)
@click.option("--show", "window", is_flag=True, help="In a window; Escape ends it.")
@click.option(
    "--serve",
    metavar="[HOST:]PORT",
    callback=_split_address,
    help="As a web page, for this machine alone unless HOST says else.",
)
@click.option("--save", metavar="FILE|DIR", help="Into a video file (.mp4, .mov, .mkv, .avi), or a folder of pictures.")
@click.option("--labels-out", metavar="DIR", help="Class ids, one PNG file a frame at its own size.")
@click.option(
    "--json-lines",
    metavar="FILE",
    help="Figures and the share of every class, one line a frame; - for standard output.",
)
@click.option("--frames", type=click.IntRange(1), metavar="N", help="End after N frames.")
@click.option(
    "--retries",
    type=click.IntRange(0),
    metavar="N",
    help="Give a lost camera up after N attempts in a row. [default: never]",
)
@click.option("--paced", is_flag=True, help="Play files at their own speed and drop frames, as if they were a camera.")
@json_option
@verbose_option
def command(bundle, uri, runtime_name, precision, frames, retries, paced, json_target, verbose, **outputs):
    """Runs a network on live video or files.

    From a camera the newest frame is taken and the others are dropped, and counted; from a file every frame is taken,
    as fast as the network goes. A lost camera is tried again. Ctrl-C ends it; files are whole then.
    """
    import cv2

    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.runtimes import open_runtime
    from deeplab_tf.deploy.video.notify import Notify
    from deeplab_tf.deploy.video.sources import open_source

    notify = Notify()
    cv2.setNumThreads(
        max(1, (os.cpu_count() or 1) // 2)
    )  # of one OpenCV call; the stages already run beside each other
    opened = open_bundle(bundle)
    source = open_source(uri, paced=paced, retries=retries)
    _check_outputs(source, uri, outputs)
    sinks = []
    try:
        stop = _Stop()
        _open_sinks(sinks, source, opened, outputs, stop)
        runtime = open_runtime(opened, runtime_name, precision)
    except BaseException:
        for sink in sinks:
            sink.close()
        raise
    from deeplab_tf.deploy.video.loop import Stream

    stream = Stream(source, runtime, sinks, frames=frames, pulse=notify.pulse)
    failure = _run(stream, stop, notify)
    _tell(
        stream.report(),
        outputs,
        json_target,
        {"source": source.safe, "runtime": runtime.name, "precision": runtime.precision},
    )
    if failure is not None:
        _leave(stream, failure)
        raise failure
    _leave(stream)
    runtime.close()


class _Stop:
    """Ends the stream, also where it is made only later."""

    def __init__(self):
        self.stream, self._early = None, False

    def __call__(self, *_):
        self._early = True
        if self.stream is not None:
            self.stream.stop()

    def attach(self, stream):
        self.stream = stream
        if self._early:
            stream.stop()


def _check_outputs(source, uri, outputs):
    """Refuses to write over what is read."""
    for name in ("save", "labels_out", "json_lines"):
        path = outputs[name]
        if path and os.path.exists(path) and os.path.exists(uri) and os.path.realpath(path) == os.path.realpath(uri):
            raise click.UsageError(
                "--{} {} is the source itself; choose another name.".format(name.replace("_", "-"), path)
            )


def _open_sinks(sinks, source, bundle, outputs, stop):
    from deeplab_tf.deploy.video import sinks as kinds

    title = f"deeplab-tf: {source.safe}"
    sinks.append(_Progress(source, outputs))
    if outputs["window"]:
        sinks.append(kinds.Window(title, stop))
    if outputs["serve"]:
        from deeplab_tf.deploy.video.page import PageSink

        page = PageSink(outputs["serve"][0], outputs["serve"][1], bundle.table, title)
        sinks.append(page)
        sinks[0].say("The picture is at {}".format(getattr(page, "url", "http://{}:{}/".format(*outputs["serve"]))))
    if outputs["save"]:
        sinks.append(kinds.save(outputs["save"], source))
    if outputs["labels_out"]:
        sinks.append(kinds.LabelFolder(outputs["labels_out"], bundle.label_stride))
    if outputs["json_lines"]:
        sinks.append(kinds.JsonLines(outputs["json_lines"], bundle.table))


class _Progress:
    """A sink: rate, latency and drops on the terminal."""

    def __init__(self, source, outputs):
        from deeplab_tf.core.progress import progress

        self._bar = progress(iter(()), "stream", total=None if source.live else source.total, unit="frames")
        self.say = source.say = self._bar.say

    def write(self, shown):
        figures = shown.figures
        note = "latency {:.0f} ms, {} dropped".format(figures.latency_ms["end_to_end"], figures.dropped)
        self._bar.advance(1, note)

    def close(self):
        """The report says the rest."""


def _run(stream, stop, notify):
    """Runs the stream until it ends, or SIGINT or SIGTERM ends it; what failed, or None."""
    handlers = {number: signal.signal(number, _once(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
    stop.attach(stream)
    notify.ready()
    try:
        stream.run()
    except BaseException as error:  # raised again when what was shown has been told
        return error
    finally:
        notify.stopping()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return None


def _once(stop):
    """A signal handler that stops the stream; the second signal ends the program."""

    def handle(number, frame):
        signal.signal(number, signal.SIG_DFL)
        stop()

    return handle


def _tell(report, outputs, json_target, more):
    """What was done, for a person and as JSON."""
    files = [outputs[name] for name in ("save", "labels_out", "json_lines") if outputs[name] not in (None, "-")]
    text = _sentence(report) + (" In {}.".format(", ".join(files)) if files and report.frames else "")
    show(text, "-" if outputs["json_lines"] == "-" else json_target)
    write_json(dict(report._asdict(), **more), json_target)


def _sentence(report):
    if not report.frames:
        return f"No frame was shown ({report.captured} captured)."
    latency, text = (
        report.latency_ms["end_to_end"],
        "{} frames in {:.1f} s, {:.2f} frames/s; latency {:.0f} ms (p90 {:.0f})",
    )
    text = text.format(report.frames, report.seconds, report.fps, latency["p50"], latency["p90"])
    text += f"; {report.dropped} of {report.captured} dropped"
    return text + (f"; {report.reconnects} reconnects." if report.reconnects else ".")


def _leave(stream, failure=None):
    """Ends the process at once where a thread hangs in a camera's or a network's library: Python aborts when it takes
    those down itself."""
    if not stream.left():
        return
    if isinstance(failure, DeepLabError):
        click.echo(f"Error: {failure}", err=True)
    elif failure is not None:
        traceback.print_exception(type(failure), failure, failure.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if failure is None else 130 if isinstance(failure, KeyboardInterrupt) else 1)
