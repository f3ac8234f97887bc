"""Where the frames of `deeplab-tf stream` go: which files of which source, what they may replace, and their sinks."""

import os

import click

from deeplab_tf.cli.options import new_guard, overwriting
from deeplab_tf.core.errors import DeepLabError

FOLDERS = ("save", "labels_out", "panoptic_out")
"""Options whose files are one source's own."""
FILE_OUTPUTS = (*FOLDERS, "json_lines")
_TOKEN_FILE = "deeplab_tf.token_file"


def own_outputs(outputs, number, count):
    """Return the paths of one source's own files, by option: with several sources, in the folders of the options."""
    if count == 1:
        return {name: outputs[name] for name in FOLDERS}
    name = f"source{number + 1}"
    endings = {"save": ".mp4"}
    return {
        option: os.path.join(outputs[option], name + endings.get(option, "")) if outputs[option] else None
        for option in FOLDERS
    }


def check_loop(ends, frames, outputs):
    """Refuse to loop sources that do not end (`ends` says which do), and to write files that would not."""
    if not any(ends):
        raise click.UsageError("--loop plays a file or a folder again and again; this --source does not end by itself.")
    for name in FOLDERS:
        if outputs[name] and frames is None:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} with --loop would never end; say after how many frames with --frames.")


def check_several(uris, outputs):
    """Refuse what several sources cannot share."""
    if len(uris) == 1:
        return
    from deeplab_tf.deploy.video.video_sink import is_video_name

    if outputs["save"] and is_video_name(outputs["save"]):
        raise click.UsageError("--save of several sources takes a folder, in which each gets a video file of its own.")
    if outputs["publish"]:
        raise click.UsageError("--publish sends one source; give one --source, or start a stream for each.")


def guard(bundle, uris, zones, outputs, json_target, written):
    """Refuse to write over a source, another output or a file of a person's."""
    from deeplab_tf.core.image_files import IMAGE_SUFFIXES
    from deeplab_tf.deploy.video import sinks
    from deeplab_tf.deploy.video.panoptic_sink import PanopticFolderSink
    from deeplab_tf.deploy.video.sources import local_files
    from deeplab_tf.deploy.video.video_sink import is_video_name, part_name

    guard = new_guard(json_target)
    guard.reads(bundle, zones, click.get_current_context().meta.get(_TOKEN_FILE))
    for number, uri in enumerate(uris):
        read = local_files(uri, without=written)
        images = [path for path in read if path.lower().endswith(IMAGE_SUFFIXES) and not os.path.isdir(path)]
        folder = next(filter(os.path.isdir, read), "")
        guard.reads(*read, whole=False)
        own = own_outputs(outputs, number, len(uris))
        save, labels_out, panoptic_out = (own[name] for name in FOLDERS)
        if save and is_video_name(save):
            guard.writes(save, "--save")
            guard.makes(part_name(save), "--save")
        elif save:
            guard.fills(save, "--save", sinks.ImageFolderSink.paths(save, images, folder))
        if labels_out:
            guard.fills(labels_out, "--labels-out", sinks.LabelFolderSink.paths(labels_out, images, folder))
        if panoptic_out:
            guard.fills(panoptic_out, "--panoptic-out", PanopticFolderSink.paths(panoptic_out, images))
    guard.writes(outputs["json_lines"], "--json-lines", own=sinks.JsonLinesSink.wrote)
    guard.check()


def open_sinks(sinks, sources, bundle, outputs, stop):
    """Append the sinks that the options ask for to those of each source; some are shared."""
    from deeplab_tf.deploy.video import sinks as kinds
    from deeplab_tf.deploy.video.loop import unique_names

    names = unique_names([source.safe for source in sources])
    progress = _ProgressSink(sources)
    _share(sinks, progress)
    if outputs["window"]:
        for own, name in zip(sinks, names):
            own.append(kinds.WindowSink(f"deeplab-tf: {name}", stop))
    if outputs["serve"]:
        _share(sinks, _open_page(outputs, bundle, names, progress))
    for number, (own, source) in enumerate(zip(sinks, sources)):
        places = own_outputs(outputs, number, len(sources))
        if places["save"]:
            own.append(kinds.save(places["save"], source))
        if outputs["publish"]:
            from deeplab_tf.deploy.video.publish_sink import PublishSink

            own.append(PublishSink(outputs["publish"], source, progress.say))
        if places["labels_out"]:
            own.append(kinds.LabelFolderSink(places["labels_out"], bundle.label_stride, source.folder))
    if outputs["json_lines"]:
        _share(sinks, kinds.JsonLinesSink(outputs["json_lines"], bundle.table, stop, overwrite=overwriting()))


def _share(sinks, sink):
    for own in sinks:
        own.append(sink)


def _open_page(outputs, bundle, names, progress):
    from deeplab_tf.deploy.video.page import PageSink

    host, port = outputs["serve"]
    title = f"deeplab-tf: {names[0] if len(names) == 1 else f'{len(names)} sources'}"
    page = PageSink(host, port, bundle.table, title, outputs["token"], sources=names)
    progress.say(f"The web page is at {page.url}")
    if page.warning:
        progress.say(page.warning)
    return page


def open_panoptic(sinks, network, outputs, track):
    """Say what the instances are, if they are asked for, and open the folders of their maps, if they are wanted. Raise
    DeepLabError if there are none."""
    if not (outputs["panoptic_out"] or track):
        return
    from deeplab_tf.core.prediction import NO_INSTANCES
    from deeplab_tf.deploy.video.panoptic_sink import PanopticFolderSink

    if network.gives_instances and network.mode == "slide":
        raise DeepLabError(NO_INSTANCES)
    if not network.gives_instances:
        click.echo("This network predicts no instances; connected regions of a class count as one each.", err=True)
    for number, own in enumerate(sinks):
        folder = own_outputs(outputs, number, len(sinks))["panoptic_out"]
        if folder:
            method = "centers" if network.gives_instances else "components"
            own.append(PanopticFolderSink(folder, network.table, method))


class _ProgressSink:
    """Shows rate, latency and dropped frames on the terminal."""

    def __init__(self, sources):
        from deeplab_tf.core.progress import progress

        known = all(source.total and not source.live for source in sources)
        total = sum(source.total for source in sources) if known else None
        self._bar = progress(iter(()), "stream", total=total, unit="frames")
        self._dropped = [0] * len(sources)
        self.say = self._bar.say
        for source in sources:
            source.say = self.say

    def write(self, frame):
        stats = frame.stats
        self._dropped[frame.feed] = stats.dropped
        self._bar.advance(1, f"latency {stats.latency_ms['end_to_end']:.0f} ms, {sum(self._dropped)} dropped")

    def close(self):
        """Leave the totals to the report."""
