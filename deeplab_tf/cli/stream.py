"""`deeplab-tf stream`: live video through the network, to a window, a web page, files."""

import os
import re
import secrets
import sys
import traceback

import click
from click.core import ParameterSource

from deeplab_tf.cli.options import (
    IntRange,
    PathType,
    check_standard_output,
    example,
    json_option,
    mode_options,
    opacity_option,
    require,
    runtime_options,
    show,
    source_option,
    verbose_option,
    write_json,
)
from deeplab_tf.cli.stream_outputs import (
    FILE_OUTPUTS,
    FOLDERS,
    check_loop,
    check_several,
    guard,
    open_panoptic,
    open_sinks,
    own_outputs,
)
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.signals import OrderlyEnd, handling
from deeplab_tf.deploy.video.shown_address import hide

NEEDS = ("numpy", "cv2", "runtime")
OPTION_NEEDS = {"--serve": "tornado", "--show": "windows"}


def _split_address(ctx, param, value):
    """Convert [HOST:]PORT to (host, port)."""
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.BadParameter(f"'{value}' is not [HOST:]PORT, such as 8080 or 0.0.0.0:8080.")
    return host.strip("[]") or "127.0.0.1", int(port)


_TOKEN_FILE = "deeplab_tf.token_file"
"""Key of the file of --token in click's `ctx.meta`."""


def _read_token(ctx, param, value):
    """Return the token of --token: a new one, or from a file or the environment."""
    from deeplab_tf.core.private_files import read_private

    if value == "auto":
        return secrets.token_urlsafe(16)
    if value is not None and value.startswith("@"):
        ctx.meta[_TOKEN_FILE] = value[1:]
        try:
            value = read_private(value[1:], value[1:])
        except DeepLabError as error:
            raise click.BadParameter(str(error)) from error
    elif value is not None and ctx.get_parameter_source(param.name) == ParameterSource.COMMANDLINE:
        raise click.BadParameter(
            "everyone on this machine can read the command line; write auto, or @FILE for a file of mode 600, or set "
            "DEEPLAB_TF_TOKEN."
        )
    if value is not None and not re.match(r"[A-Za-z0-9._~-]{8,}$", value):
        raise click.BadParameter("a token has 8 or more characters, all of them letters, digits or one of . _ ~ -")
    return value


def _check_publish(ctx, param, value):
    """Return the address of --publish, which may be in a file."""
    if value is None:
        return None
    from deeplab_tf.core.private_files import read_private
    from deeplab_tf.deploy.video import publish_sink

    try:
        value = read_private(value[1:], value[1:]) if value.startswith("@") else value
        publish_sink.check(value)
    except DeepLabError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command(
    epilog=example(
        "deeplab-tf stream demo/bundle --source sample:// --serve 8080",
        "deeplab-tf stream BUNDLE --source /dev/video0 --show",
        "deeplab-tf stream BUNDLE --source street.mp4 --save labeled.mp4",
        "deeplab-tf stream BUNDLE --source rtsp://USER:PASSWORD@HOST/PATH --json-lines log.jsonl",
        "deeplab-tf stream BUNDLE --source @camera.txt --serve 0.0.0.0:8080 --token auto",
        "deeplab-tf stream BUNDLE --source /dev/video0 --source @camera.txt --serve 8080 --save recordings",
    )
)
@click.argument("bundle", type=PathType())
# the source
@source_option(
    "Read a USB camera (0, /dev/video0?width=1280&height=720&fps=30), a Jetson's CSI camera "
    "(csi://0?width=1280&height=720&fps=30), a network camera (rtsp://, http://), a video file, a folder or pattern of "
    "images, synthetic streets (sample://?size=512x1024&fps=30&seed=1), or a custom pipeline (gst:..., ffmpeg:...). "
    "Repeat it for several sources, which share the network in turn.",
    several=True,
)
@click.option("--frames", type=IntRange(1, 10**9), help="Stop after N frames, of each source.")
@click.option("--paced", is_flag=True, help="Play files at their own frame rate and drop frames, like a camera.")
@click.option(
    "--loop", is_flag=True, help="Repeat a file or folder without end; with --save or --labels-out also give --frames."
)
@click.option(
    "--retries", type=IntRange(0, 10**9), help="Give up a lost camera after N attempts in a row. [default: never]"
)
# the network
@runtime_options
@mode_options
@click.option(
    "--track",
    is_flag=True,
    help="Number the things and keep the numbers from frame to frame; counts different things by class.",
)
@click.option(
    "--smooth", is_flag=True, help="Hold labels against flicker: another class shows once several frames agree on it."
)
@click.option("--trails", is_flag=True, help="With --track, draw where things came from.")
@click.option(
    "--zones",
    metavar="FILE",
    type=PathType(exists=True, dir_okay=False),
    help="With --track, count the things that cross the lines and visit the zones that this YAML file names.",
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
    "--token",
    metavar="auto|@FILE",
    envvar="DEEPLAB_TF_TOKEN",
    callback=_read_token,
    help="Require a token to view the page: auto generates one, @FILE reads it from a file of mode 600; or set "
    "DEEPLAB_TF_TOKEN.",
)
@click.option(
    "--save",
    metavar="FILE|DIR",
    type=PathType(),
    help="Save a video file (.mp4, .mov, .mkv, .avi), or a folder of images; of several sources a folder of videos.",
)
@click.option(
    "--labels-out", metavar="DIR", type=PathType(), help="Save class ids, one PNG per frame at the frame's size."
)
@click.option(
    "--panoptic-out", metavar="DIR", type=PathType(), help="Save class and instance of each pixel in COCO's format."
)
@click.option(
    "--publish",
    metavar="URI",
    callback=_check_publish,
    help="Send the video to a server (rtsp://HOST/PATH, rtmp://HOST/PATH, or @FILE with the address) by ffmpeg, whose "
    "command line shows the address to others on this machine.",
)
@click.option(
    "--json-lines",
    metavar="FILE",
    type=PathType(allow_dash=True),
    callback=check_standard_output,
    help="Append statistics and class shares, one line per frame, to this log; --overwrite starts a new one; - for "
    "standard output.",
)
@opacity_option("over the image")
@json_option
@verbose_option
def command(
    bundle,
    uris,
    runtime,
    precision,
    mode,
    overlap,
    frames,
    retries,
    paced,
    loop,
    smooth,
    track,
    trails,
    zones,
    opacity,
    json_target,
    verbose,
    **outputs,
):
    """Run a network on live video or files.

    From a camera the newest frame is processed, others are dropped and counted; from a file every frame is processed,
    as fast as possible. A lost camera is reconnected. Several sources take turns; one that is lost does not stop
    the others. Ctrl-C ends the stream and leaves complete files.
    """
    require("track", track, "trails", "zones")
    import cv2

    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.core.fitting import choose_mode
    from deeplab_tf.deploy.runtimes import open_runtime
    from deeplab_tf.deploy.video.address import parse
    from deeplab_tf.deploy.video.loop import Stream, each_once
    from deeplab_tf.deploy.video.sources import open_source
    from deeplab_tf.deploy.video.systemd import SystemdNotifier

    ends = [parse(uri).kind in ("file", "images") for uri in uris]
    if loop:
        check_loop(ends, frames, outputs)
    written = [outputs[name] for name in FOLDERS if outputs[name]]
    _check_token(outputs)
    check_several(uris, outputs)
    guard(bundle, uris, zones, outputs, json_target, written)
    notifier = SystemdNotifier()
    cv2.setNumThreads(max(1, (os.cpu_count() or 1) // 2))  # per OpenCV call; the stages already run in parallel
    opened = open_bundle(bundle)
    regions = _read_regions(zones, opened.table)
    sources = [
        open_source(uri, paced=paced, retries=retries, loop=loop and end, without=written)
        for uri, end in zip(uris, ends)
    ]
    sinks: list = [[] for _ in sources]
    stream: Stream
    try:
        open_sinks(sinks, sources, opened, outputs, lambda: stream.stop())
        if outputs["serve"] and all(ends) and not loop:
            sources[0].say("The page ends with the source; --loop plays it again and again.")
        files = outputs["labels_out"] or outputs["panoptic_out"]  # do not depend on how fast a runtime is today
        network = open_runtime(opened, runtime or "auto", precision, live=not files)
        choose_mode(network, mode, overlap)
        open_panoptic(sinks, network, outputs, track)
    except BaseException:
        for sink in each_once(sinks):
            sink.close()
        raise
    drawn = {"opacity": opacity, "panoptic": outputs["panoptic_out"] is not None, "track": track, "trails": trails}
    drawn["smooth"] = smooth
    (source, own), *more = zip(sources, sinks)
    stream = Stream(
        source, network, own, frames=frames, heartbeat=notifier.heartbeat, regions=regions, more=more, **drawn
    )
    end = click.get_current_context().ensure_object(OrderlyEnd)

    def stop(number, frame):
        end.has_begun()
        stream.stop()

    with handling(stop):
        failure = _run(stream, notifier)
        warnings = [warning for source in sources for warning in source.warnings]
        warnings += filter(None, (getattr(sink, "warning", None) for sink in each_once(sinks)))
        context = {"runtime": network.name, "precision": network.precision, "warnings": warnings}
        _report(stream, outputs, json_target, context)
    _exit_if_hanging(stream, failure)
    if failure is not None:
        raise failure
    network.close()


def _read_regions(path, table):
    """Return the lines and zones of --zones; None without."""
    if path is None:
        return None
    from deeplab_tf.core.panoptic.zone_file import read_regions

    return read_regions(path, table)


def _check_token(outputs):
    """Refuse a --token without a page; in the environment it may be for others."""
    given = click.get_current_context().get_parameter_source("token")
    if given == ParameterSource.COMMANDLINE and not outputs["serve"]:
        raise click.UsageError("--token protects the page of --serve, which is missing.")


def _run(stream, notifier):
    """Run the stream until it ends. Return what failed, or None."""
    notifier.ready()
    try:
        stream.run()
    except BaseException as error:  # raised again after the report
        return error
    finally:
        notifier.stopping()
    return None


def _report(stream, outputs, json_target, context):
    """Print the totals and write them as JSON."""
    report, each = stream.report(), []
    for number, (feed, own) in enumerate(zip(stream.feeds, stream.reports())):
        places = {name: path for name, path in own_outputs(outputs, number, len(stream.feeds)).items() if path}
        counts = {} if feed.follower is None else feed.follower.counts()
        each.append(dict(own._asdict(), source=feed.name, **counts, **(places if len(stream.feeds) > 1 else {})))
    files = [outputs[name] for name in FILE_OUTPUTS if outputs[name] not in (None, "-")]
    text = _summary(report) + (f" In {', '.join(files)}." if files and report.frames else "")
    if len(each) == 1:
        context = dict(each[0], **context)
    else:
        lines = [f"  {feed.name}: {_summary(own)}" for feed, own in zip(stream.feeds, stream.reports())]
        text, context = "\n".join([text, *lines]), dict(report._asdict(), sources=each, **context)
    show(text, "-" if outputs["json_lines"] == "-" else json_target)
    write_json(context, json_target)


def _summary(report):
    if not report.frames:
        return f"No frame was shown ({report.captured} captured)."
    from deeplab_tf.core.progress import counted

    latency = report.latency_ms["end_to_end"]
    return (
        f"{counted(report.frames, 'frames')} in {report.seconds:.1f} s, {report.fps:.2f} frames/s; "
        f"latency {latency['p50']:.0f} ms (p90 {latency['p90']:.0f}); {report.dropped} of {report.captured} dropped"
        + (f", {report.under_way} under way at the end" if report.under_way else "")
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
        lines = traceback.format_exception(type(failure), failure, failure.__traceback__)
        click.echo(hide("".join(lines), sys.argv[1:]), err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if failure is None else 1)
