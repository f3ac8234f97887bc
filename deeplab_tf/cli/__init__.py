"""The command line `deeplab-tf`. One file per command: cli/NAME.py defines `command`; nothing else registers it.

A command module is imported for its help, so it imports everything but click inside the command function. Its constants
NEEDS and OPTION_NEEDS name the software that the command and its options need, for `doctor`.

Exit codes: 0 done, also a stream that a signal ended; 1 one sentence about bad data or a missing part, or a full
standard output, on which the result is lost; 2 a wrong call; 130 an interrupted training; else 128 and the number of
the signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP. Every signal ends a command in order: temporary files are
removed, a saved video is whole, children have ended. With a closed standard output or error, or a pipe that nobody
reads, the command does all its work, and its exit code is the usual one.
"""

import contextlib
import errno
import importlib
import os
import re
import sys
import traceback
from typing import List

import click

from deeplab_tf.cli.options import VERBOSE_KEY
from deeplab_tf.core import __version__, process_arguments, standard_streams
from deeplab_tf.core.errors import DeepLabError, WrongCall, did_you_mean
from deeplab_tf.core.extras import EXTRAS, LAB_PYTHON
from deeplab_tf.core.progress import clear_line, say
from deeplab_tf.core.signals import OrderlyEnd
from deeplab_tf.deploy.video.shown_address import hide, shown_arguments

_INTERRUPTED = {"train": 130, "stream": 0}
"""Exit codes of commands that do not end as their signal says."""
_CLICKS_OWN = (click.exceptions.Exit, click.exceptions.Abort, click.ClickException)
_NOT_COMMANDS = ("__init__", "options", "stream_outputs")


class FolderGroup(click.Group):
    """A click group whose commands are the files of this folder; load_data.py would be the command `load-data`.

    No error shows an argument's password or token, also not one that click repeats.
    """

    _arguments: List[str] = []

    def make_context(self, info_name, args, parent=None, **extra):
        self._arguments = list(args)
        with self._hiding():
            return super().make_context(info_name, args, parent, **extra)

    @contextlib.contextmanager
    def _hiding(self):
        try:
            yield
        except click.ClickException as error:
            error.message = self._hide(error.message)  # type: ignore[misc]
            raise

    def _hide(self, text):
        extra = text.startswith("Got unexpected extra argument")
        if extra and self._arguments != shown_arguments(self._arguments):
            return "Got unexpected extra arguments; put quotes around the address."
        return hide(text, self._arguments)

    def list_commands(self, ctx):
        stems = [os.path.splitext(name) for name in os.listdir(os.path.dirname(__file__))]
        return sorted(stem.replace("_", "-") for stem, ending in stems if ending == ".py" and stem not in _NOT_COMMANDS)

    def get_command(self, ctx, cmd_name):
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module("deeplab_tf.cli." + cmd_name.replace("-", "_")).command

    def format_commands(self, ctx, formatter):
        """Write the list of commands, each with its whole first sentence, which click would cut to one line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        if commands:
            with formatter.section("Commands"):
                formatter.write_dl([(name, command.get_short_help_str(limit=300)) for name, command in commands])

    def resolve_command(self, ctx, args):
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and name not in self.list_commands(ctx):
            ctx.fail(f"No such command '{name}'. {did_you_mean(name, self.list_commands(ctx))}")
        for position, text in enumerate(args):
            if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
                ctx.fail(f"Argument {position} of '{name}' has a NUL character or bytes that are not UTF-8 in it.")
        ctx.ensure_object(OrderlyEnd).code = _INTERRUPTED.get(name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        """Run the command; errors that the user should read become one sentence, others keep their traceback.

        KeyboardInterrupt("sentence") prints its sentence, such as how to resume, in place of "Interrupted.".
        """
        with self._hiding():
            return self._invoke(ctx)

    def _invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            self._end(ctx, str(interrupt))
        except Exception as error:
            sentence = _sentence(error)
            clear_line()
            if sentence is None:  # a bug, or click's own
                if ctx.ensure_object(OrderlyEnd).interrupted and not isinstance(error, _CLICKS_OWN):
                    self._end(ctx)  # a library has made an error of its own of the KeyboardInterrupt
                raise
            if ctx.meta.get(VERBOSE_KEY):
                click.echo(self._hide(traceback.format_exc()), err=True)
            sentence = re.sub("[\x00-\x1f\x7f]", lambda found: repr(found.group())[1:-1], sentence)  # of a file's name
            raise (_WrongCall if isinstance(error, WrongCall) else click.ClickException)(sentence) from error

    @staticmethod
    def _end(ctx, sentence=""):
        say(sentence or "Interrupted.")
        ctx.exit(ctx.ensure_object(OrderlyEnd).exit_code())


class _WrongCall(click.ClickException):
    exit_code = 2


def _sentence(error):
    """Return the sentence for an error; None for a bug, whose traceback is needed."""
    if isinstance(error, DeepLabError):
        return str(error)
    if not isinstance(error, OSError):
        return _missing_part(error)
    if error.errno is None or error.errno == errno.EPIPE:  # click ends quietly when a pipe (| head) is closed
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = error.filename or "any further"
        return f"The disk is full: cannot write {place}. Free some space and run the command again."
    return f"Cannot open or write {error.filename or 'a file'}: {error.strerror}."


def _missing_part(error):
    """Return what to install for a command that this machine cannot run; None for an error of another kind."""
    package = (getattr(error, "name", None) or "").split(".")[0]
    if package == "cv2":
        return (
            "OpenCV is missing: on a Jetson, apt install python3-opencv (JetPack's own); elsewhere, pip "
            "install opencv-python-headless."
        )
    importing = any(frame.name == "<module>" for frame in traceback.extract_tb(error.__traceback__))
    of_lab = importing or isinstance(error, SyntaxError) or package in EXTRAS["train"]
    if of_lab and sys.version_info < LAB_PYTHON[0]:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in LAB_PYTHON)
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"This command needs Python {wanted}, as on the machine that trains; this is Python {here}."
    for extra, packages in EXTRAS.items():
        if package in packages and isinstance(error, ModuleNotFoundError):
            return f"This command needs {package}, which is not installed here: in the clone, pip install '.[{extra}]'."
    return None


@click.group(cls=FolderGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version=__version__, prog_name="deeplab-tf")
def group():
    """DeepLabV3+ from training in Keras to real-time inference with ONNX Runtime and TensorRT.

    Help for a command: deeplab-tf COMMAND --help
    """


def main():
    """Run the console script."""
    standard_streams.prepare()
    arguments, shown = sys.argv[1:], shown_arguments(sys.argv[1:])
    if shown != arguments:
        process_arguments.overwrite(shown)
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"  # its messages hold addresses; before 4.5 only this silences it
    with OrderlyEnd() as end:
        try:
            group(prog_name="deeplab-tf", obj=end)
        except SystemExit as exit:
            sys.exit(exit.code or _unprinted())
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None and isinstance(error, OSError):
                raise
            # of deeplab-tf's own --help, or a bug, whose traceback is needed; a command's other errors never come here
            click.echo(f"Error: {sentence}" if sentence else hide(traceback.format_exc(), arguments), err=True)
            sys.exit(1)


def _unprinted():
    """Return the exit code of a command that has succeeded, and say whether its result could not be printed."""
    sys.stdout.flush()
    error = standard_streams.output_error()
    if error is None or standard_streams.output_is_closed() or error.errno == errno.EPIPE:
        return 0
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    problem = "The disk is full" if full else f"Standard output failed ({error.strerror})"
    say(f"Error: {problem}: the result could not be printed.")
    return 1
