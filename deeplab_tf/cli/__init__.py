"""The command line `deeplab-tf`. One file a command: cli/NAME.py defines `command`; nothing else registers it.

A command module is imported for its help, so it imports TensorFlow and the lab's packages inside the command function
only. Its constants NEEDS and OPTION_NEEDS name the software that the command and its options need, for `doctor`. Exit
codes: 0 done, 1 one sentence about bad data or a missing part, 2 a wrong call, 130 interrupted.
"""

import errno
import importlib
import os
import sys
import traceback

import click

from deeplab_tf import __version__
from deeplab_tf.cli.options import VERBOSE_KEY
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.progress import clear_line

_NOT_COMMANDS = ("__init__", "options")
_LAB_PYTHON = (3, 11)
_EXTRAS = {
    "train": ("tensorflow", "keras", "tensorflow_datasets", "yaml", "matplotlib"),
    "convert": ("tf2onnx", "onnx", "onnxruntime"),
}


class FolderGroup(click.Group):
    """A click group whose commands are the files of this folder; load_data.py would be the command `load-data`."""

    def list_commands(self, ctx):
        stems = [os.path.splitext(name) for name in os.listdir(os.path.dirname(__file__))]
        return sorted(stem.replace("_", "-") for stem, ending in stems if ending == ".py" and stem not in _NOT_COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module("deeplab_tf.cli." + cmd_name.replace("-", "_")).command

    def format_commands(self, ctx, formatter):
        """The list of commands, each with its whole first sentence (click cuts it at the width of the terminal)."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        if commands:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.get_short_help_str(limit=300)) for name, command in commands])

    def resolve_command(self, ctx, args):
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and name not in self.list_commands(ctx):
            ctx.fail(f"No such command '{name}'. {did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        """Runs the command; what a person should read becomes one sentence, everything else keeps its traceback.

        KeyboardInterrupt("sentence") says more than "Interrupted.", such as how to resume.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            clear_line()
            click.echo(str(interrupt) or "Interrupted.", err=True)
            ctx.exit(130)
        except Exception as error:
            sentence = _sentence(error)
            clear_line()
            if sentence is None:  # a bug, or click's own
                raise
            if ctx.meta.get(VERBOSE_KEY):
                click.echo(traceback.format_exc(), err=True)
            raise click.ClickException(sentence) from error


def _sentence(error):
    """What went wrong, for a person; None where the error is a bug and its traceback is what is needed."""
    if isinstance(error, DeepLabError):
        return str(error)
    if not isinstance(error, OSError):
        return _missing_part(error)
    if error.errno is None or error.errno == errno.EPIPE:  # click ends quietly when a pipe (| head) is closed
        return None
    place = "" if error.filename is None else f" {error.filename}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: cannot write{}. Free some space and run the command again.".format(
            place or " any further"
        )
    return "Cannot open or write{}: {}.".format(place or " a file", error.strerror)


def _missing_part(error):
    """What to install for a command that this machine cannot run; None for an error of another kind."""
    package = (getattr(error, "name", None) or "").split(".")[0]
    if package == "cv2":
        return (
            "OpenCV is missing: on a Jetson, apt install python3-opencv (JetPack's own); elsewhere, pip "
            "install opencv-python-headless."
        )
    importing = any(frame.name == "<module>" for frame in traceback.extract_tb(error.__traceback__))
    if sys.version_info < _LAB_PYTHON and (importing or isinstance(error, SyntaxError) or package in _EXTRAS["train"]):
        return "This command needs Python 3.11 or 3.12, as on the machine that trains; this is Python {}.{}.".format(
            *sys.version_info[:2]
        )
    for extra, packages in _EXTRAS.items():
        if package in packages and isinstance(error, ModuleNotFoundError):
            return f"This command needs {package}, which is not installed here: in the clone, pip install '.[{extra}]'."
    return None


@click.group(cls=FolderGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version=__version__, prog_name="deeplab-tf")
def group():
    """DeepLabV3+ from street images to a real-time network on a Jetson.

    Each command explains itself: deeplab-tf COMMAND --help
    """


def main():
    """The console script."""
    try:
        group(prog_name="deeplab-tf")
    except OSError as error:  # of deeplab-tf's own --help; a command's errors never come here
        if _sentence(error) is None:
            raise
        click.echo(f"Error: {_sentence(error)}", err=True)
        sys.exit(1)
