"""Option types and options that commands share: --json, -v, sizes, devices, choices with suggestions, examples."""

import json
import math
import os
import re
from typing import Any, Optional

import click

from deeplab_tf import deploy
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import is_device, modules_in, remove_parts, write_text
from deeplab_tf.core.guard import STANDARD_OUTPUT, Guard, expand, written_by
from deeplab_tf.core.modes import MAX_OVERLAP, MODES
from deeplab_tf.core.standard_streams import output_is_closed

VERBOSE_KEY = "deeplab_tf.verbose"
"""Key of -v in click's `ctx.meta`."""
_OVERWRITE_KEY = "deeplab_tf.overwrite"


def example(*lines: str) -> str:
    """Return the `epilog` of a command: its examples, one per line, as they are."""
    return "\b\nExample:\n" + "\n".join("  " + line for line in lines)


class Choice(click.Choice):
    """A click.Choice whose error suggests the closest choice."""

    def __init__(self, choices, thing: Optional[str] = None):
        """Take the choices, and what they are if the error is to say so."""
        super().__init__(choices)
        self.thing = thing

    def convert(self, value, param, ctx):
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            choices = [str(choice) for choice in self.choices]
            meant = did_you_mean(str(value), choices)
            if self.thing:
                self.fail(f"There is no {self.thing} '{value}'. {meant}", param, ctx)
            meant = "" if meant.startswith("Choose") else f" {meant}"
            self.fail(f"'{value}' is not one of {', '.join(choices)}.{meant}", param, ctx)


RUNTIME = Choice(["auto", *modules_in(os.path.join(os.path.dirname(deploy.__file__), "runtimes"))], "runtime")
"""The runtimes, without importing their package, which needs NumPy."""


PRECISIONS = ("int8", "float16", "float32")
"""Of the runtimes."""


def runtime_options(function):
    """Add `--runtime NAME` and `--precision NAME`, both None by default, to a command that runs a bundle."""
    help_text = (
        "Run with this runtime (bundles only). [default: auto, the preferred one that works here; on a processor ONNX "
        "Runtime, and in `stream` the fastest]"
    )
    precision = precision_option(
        "Run at this precision (bundles only). [default: the best that bundle and runtime have]"
    )
    return click.option("--runtime", type=RUNTIME, help=help_text)(precision(function))


def precision_option(text: str):
    """Return a decorator that adds `--precision NAME`, None by default, to a command that runs a bundle; `text` is
    its help."""
    return click.option("--precision", type=Choice(PRECISIONS), help=text)


def checkpoint_option(verb: str, **attributes):
    """Return a decorator that adds `--checkpoint STEP`, None by default, to a command that runs a run."""
    help_text = f"{verb} this saved step, 'best' or 'last' (runs only)."
    if attributes.get("multiple"):
        help_text = f"{help_text[:-1]}; repeatable."
    return click.option("--checkpoint", metavar="STEP", help=f"{help_text} [default: best]", **attributes)


def mode_options(function):
    """Add `--mode NAME` and `--overlap X`, both None by default, to a command that predicts images of any size."""
    help_text = (
        "Images of another size than the network's: stretch: resize them to it. pad: resize them to fit into it, and "
        "pad. slide: move windows of its size over them, blended. keep_aspect, native (runs only): resize them to fit "
        "into it; take their own size. [default: as `convert --mode` wrote it, else stretch]"
    )
    overlap = click.option(
        "--overlap",
        type=FloatRange(0, MAX_OVERLAP),
        help="With the mode slide: the least share of a window that its neighbor covers, too. [default: 0.25]",
    )
    return click.option("--mode", type=Choice(MODES), help=help_text)(overlap(function))


def root_option(function):
    """Add `--root DIR`, None by default, to a command that reads the dataset of a run."""
    help_text = "Read the run's dataset here. [default: as in the run's recipe]"
    return click.option("--root", metavar="DIR", type=PathType(), help=help_text)(function)


def opacity_option(place: str):
    """Return a decorator that adds `--opacity X` to a command that draws class colors; its help names the place."""
    help_text = f"Opacity of the class colors {place}: 0 shows the image, 1 the colors alone."
    return click.option("--opacity", type=FloatRange(0, 1), default=0.5, show_default=True, help=help_text)


class PathType(click.Path):
    """A path; its `~` is replaced, and with `allow_dash` every name of standard output is "-"."""

    def convert(self, value, param, ctx):
        if self.allow_dash and value in STANDARD_OUTPUT:
            return "-"
        try:
            return super().convert(expand(value), param, ctx)
        except DeepLabError as error:
            self.fail(str(error), param, ctx)


class IntRange(click.IntRange):
    """An integer from `min` to `max`; N in the help, where click would write INTEGER RANGE."""

    def get_metavar(self, param, ctx=None):
        return "N"


class FloatRange(click.FloatRange):
    """A number from `min` to `max`, never NaN; likewise."""

    def get_metavar(self, param, ctx=None):
        return "X"

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):  # neither below nor above any limit
            self.fail(f"'{value}' is not a number.", param, ctx)
        return number


class SizeType(click.ParamType):
    """HEIGHTxWIDTH in pixels."""

    name = "size"

    def get_metavar(self, param, ctx=None):
        return "HxW"  # click would write a name in capitals

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(re.match("[0-9]{1,9}$", part) for part in parts):
            self.fail(f"'{value}' is not a size; write height x width, such as 512x1024.", param, ctx)
        height, width = (int(part) for part in parts)
        if not all(32 <= side <= 4096 for side in (height, width)):
            self.fail(f"'{value}': both sides must be 32 to 4096 pixels.", param, ctx)
        return height, width


class DeviceType(click.ParamType):
    """The name of a device that `budget` knows."""

    name = "NAME"

    def convert(self, value, param, ctx):
        from deeplab_tf.deploy.budget.devices import find

        try:
            find(value)
        except DeepLabError as error:
            self.fail(str(error), param, ctx)
        return value


class PartType(click.ParamType):
    """i/n, the part of some files that this process takes; see `deeplab_tf.core.parts`."""

    name = "part"

    def get_metavar(self, param, ctx=None):
        return "I/N"

    def convert(self, value, param, ctx):
        from deeplab_tf.core.parts import Part, parse_part

        try:
            return value if isinstance(value, Part) else parse_part(value)
        except DeepLabError as error:
            self.fail(str(error), param, ctx)


def require(option: str, given, *names: str) -> None:
    """Raise a wrong call if options were given that only go with another one, which was not: `given` is its value."""
    source = click.get_current_context().get_parameter_source
    for name in names:
        if not given and source(name.replace("-", "_")) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes with --{option}; add it.")


def require_not(option: str, *names: str) -> None:
    """Raise a wrong call for options that were given and do not go with another one."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") == click.core.ParameterSource.COMMANDLINE
        if given and any(f"--{name}" in parameter.opts for name in names):
            raise click.UsageError(f"{parameter.opts[0]} does not go with --{option}; leave it out.")


class _SourceType(click.ParamType):
    """The URI of a source. In an environment variable stands one, which may hold spaces."""

    name = "URI"

    def convert(self, value, param, ctx):
        from deeplab_tf.deploy.video.address import parse

        try:
            if not value.startswith("@"):  # which is a file, and read when it is needed
                parse(value)
        except DeepLabError as error:
            self.fail(str(error), param, ctx)
        return value

    def split_envvar_value(self, value):
        return [value]


def source_option(text: str, *, several: bool = False):
    """Return a decorator that adds `--source URI` to a command, which gets `uri`, or with `several` the tuple `uris`;
    `text` is its help."""
    text += " To keep a password off the command line, write the URI into a file of mode 600 and pass @FILE, or set "
    text += "DEEPLAB_TF_SOURCE."
    options: Any = {
        "required": True,
        "metavar": "URI",
        "envvar": "DEEPLAB_TF_SOURCE",
        "type": _SourceType(),
        "help": text,
    }
    return click.option("--source", "uris" if several else "uri", multiple=several, **options)


def renamed_option(old: str, new: str, **attributes):
    """Return a decorator that makes `old`, an option that was renamed, an error that names the new one."""

    def fail(ctx, param, value):
        if value:
            raise click.UsageError(f"{old} has been renamed: use {new}.", ctx)

    return click.option(old, callback=fail, expose_value=False, hidden=True, is_eager=True, **attributes)


def check_standard_output(ctx, param, value):
    """Raise a usage error for "-", where the program was started with a closed standard output; a click callback."""
    if value == "-" and output_is_closed():
        raise click.BadParameter("standard output is closed; name a file.")
    return value


def _check_json_target(ctx, param, value):
    """Raise a usage error for a file that could not be written, before any work is done."""
    if check_standard_output(ctx, param, value) in (None, "-"):
        return value
    folder = os.path.dirname(os.path.abspath(value))
    if os.path.isdir(value):
        raise click.BadParameter(f"'{value}' is a folder; name a file.")
    if not os.path.isdir(folder):
        raise click.BadParameter(f"the folder '{folder}' does not exist; create it first.")
    for place in [value] if is_device(value) else [path for path in (folder, value) if os.path.exists(path)]:
        if not os.access(place, os.W_OK):
            raise click.BadParameter(f"'{place}' cannot be written: permission denied.")
    return value


def json_option(function):
    """Add `--json FILE` and `--overwrite` to a command; pass the argument `json_target` to `new_guard`, `show` and
    `write_json`."""

    def remember(ctx, param, value):
        ctx.meta[_OVERWRITE_KEY] = value

    overwrite = click.option(
        "--overwrite",
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Replace existing output files, whoever wrote them. Inputs are never replaced.",
    )
    json_target = click.option(
        "--json",
        "json_target",
        metavar="FILE",
        type=PathType(allow_dash=True),
        callback=_check_json_target,
        help="Write the result as JSON; - for standard output.",
    )
    return json_target(overwrite(function))


def overwriting() -> bool:
    """Return whether the running command was given --overwrite."""
    return click.get_current_context().meta[_OVERWRITE_KEY]


def new_guard(json_target: Optional[str]) -> Guard:
    """Return the guard of the running command, which knows of --json and --overwrite and watches until its end."""
    context = click.get_current_context()
    guard = Guard(context.info_name or "", overwrite=overwriting())
    guard.writes(json_target, "--json", own=guard.wrote_report)
    return context.with_resource(guard)


def verbose_option(function):
    """Add `-v` to a command, which gets `verbose`: a bool. Errors then come with their traceback."""

    def remember(ctx, param, value):
        ctx.meta[VERBOSE_KEY] = value
        return value

    return click.option("-v", "--verbose", is_flag=True, callback=remember, help="Show tracebacks.")(function)


def show(text: str, json_target: Optional[str] = None) -> None:
    """Print text to standard output, or to standard error if `--json -` takes that."""
    click.echo(text, err=json_target == "-")


def write_json(report: dict, json_target: Optional[str]) -> None:
    """Write a report as --json asks for; NaN and infinity become null. A file names the command as `written_by`.

    Args:
        report: dictionaries, lists, strings, numbers, None, paths, NumPy scalars and arrays.
        json_target: a file, "-" for standard output, None for nowhere.

    Raises:
        DeepLabError: the file cannot be written.
    """
    if json_target is None:
        return
    context = click.get_current_context(silent=True)
    if context is not None and json_target != "-":
        report = dict([("written_by", written_by(context.info_name or "")), *report.items()])
    text = json.dumps(_plain(report), indent=2, allow_nan=False)
    if json_target == "-":
        click.echo(text)
        return
    if not is_device(json_target):
        remove_parts(os.path.dirname(os.path.abspath(json_target)))
    try:
        write_text(json_target, text + "\n")
    except OSError as error:
        raise DeepLabError(f"Cannot write the JSON report to {json_target}: {error.strerror}.") from error


def _plain(value):
    """Return a value in JSON's own types."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "__fspath__"):
        return os.fspath(value)
    return value
