"""mkdocs hooks: fill `<!-- options: COMMAND -->` with the options of a command, as click knows them."""

import html
import re

import click

from deeplab_tf.cli import group

_MARK = re.compile(r"^<!-- options: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown, **_):
    """Replace each mark by the command's usage and a table of its options."""
    return _MARK.sub(lambda match: options(match[1]), markdown)


def options(name):
    """Return usage line, arguments and table of options of one command, as Markdown."""
    with click.Context(group, info_name="deeplab-tf") as parent:
        command = group.get_command(parent, name)
        if command is None:
            raise click.UsageError(f"There is no command '{name}'.")
        with click.Context(command, info_name=name, parent=parent) as context:
            usage = " ".join(command.collect_usage_pieces(context))
            records = [each.get_help_record(context) for each in command.get_params(context)]
    rows = [f"| `{' '.join(flags.split())}` | {_escaped(text)} |" for flags, text in filter(None, records)]
    return "\n".join([f"```text\ndeeplab-tf {name} {usage}\n```\n", "| option | meaning |", "| --- | --- |", *rows])


def _escaped(text):
    return re.sub(r"([\[\]|*_])", r"\\\1", " ".join(html.escape(text).split()))
