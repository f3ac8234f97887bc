"""What the commands share: --json, -v, choices that say what was meant, examples in the help."""

import json
import math
import os
from typing import Optional

import click

from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.files import is_device, write_text

VERBOSE_KEY = "deeplab_tf.verbose"
"""Where -v stands in click's `ctx.meta`."""


def example(*lines: str) -> str:
    """The `epilog` of a command: its examples, one a line, kept as they are."""
    return "\b\nExample:\n" + "\n".join("  " + line for line in lines)


class Choice(click.Choice):
    """click.Choice whose error says which choice was meant."""

    def convert(self, value, param, ctx):
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            choices = [str(choice) for choice in self.choices]
            message = "'{}' is not one of {}. {}".format(value, ", ".join(choices), did_you_mean(str(value), choices))
            self.fail(message.split(" Choose from:")[0], param, ctx)


class SizeType(click.ParamType):
    """HEIGHTxWIDTH in pixels."""

    name = "HxW"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            self.fail(f"'{value}' is not a size; write height x width, such as 512x1024.", param, ctx)
        height, width = (int(part) for part in parts)
        if not all(32 <= side <= 4096 for side in (height, width)):
            self.fail(f"'{value}': both sides must be 32 to 4096 pixels.", param, ctx)
        return height, width


class DeviceType(click.ParamType):
    """A device that `budget` knows, by name."""

    name = "NAME"

    def convert(self, value, param, ctx):
        from deeplab_tf.deploy.budget.devices import DEVICES

        return Choice(sorted(DEVICES)).convert(value, param, ctx)


def _check_json_target(ctx, param, value):
    """Refuses, before any work is done, a file that could not be written afterwards."""
    if value in (None, "-"):
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
    """Adds `--json FILE` to a command; pass its value, the argument `json_target`, to `show` and `write_json`."""
    return click.option(
        "--json",
        "json_target",
        metavar="FILE",
        callback=_check_json_target,
        help="Also write the result as JSON; - for standard output.",
    )(function)


def verbose_option(function):
    """Adds `-v` to a command, which gets `verbose`: a bool. With it an error also shows where it arose."""

    def remember(ctx, param, value):
        ctx.meta[VERBOSE_KEY] = value
        return value

    return click.option("-v", "--verbose", is_flag=True, callback=remember, help="Show where an error arose.")(function)


def show(text: str, json_target: Optional[str] = None) -> None:
    """Prints what a person reads: to standard output, or to standard error where that is taken by `--json -`."""
    click.echo(text, err=json_target == "-")


def write_json(report: dict, json_target: Optional[str]) -> None:
    """Writes a report where --json asked for it; NaN and infinity become null.

    Args:
        report: dictionaries, lists, strings, numbers, None, paths, NumPy scalars and arrays.
        json_target: a file (replaced whole or not at all), "-" for standard output, None for nowhere.
    Raises:
        DeepLabError: the file cannot be written.
    """
    if json_target is None:
        return
    text = json.dumps(_plain(report), indent=2, allow_nan=False)
    if json_target == "-":
        click.echo(text)
        return
    try:
        write_text(json_target, text + "\n")
    except OSError as error:
        raise DeepLabError(f"Cannot write the JSON report to {json_target}: {error.strerror}.") from error


def _plain(value):
    """The value in JSON's own types."""
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
